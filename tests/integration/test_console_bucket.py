"""The console's archive in a bucket, on a server that speaks S3: killed at random, it has all."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.codec.records import decode
from streams.console.archive.archive import REMOVE_SECONDS, SLACK_US, Archive
from streams.console.archive.files import HOUR_US
from streams.console.archive.kinds import KIND, KINDS
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.errors import ConfigError
from streams.runtime import topics
from streams.runtime.topics import AUDIT, OTHER
from tests.fault.comparing import archived, published
from tests.fault.console import ConsoleAt
from tests.fault.harness import Deployment, wait_for
from tests.fault.nezha import read_recording
from tests.integration import bucket
from tests.unit.console.at_hand import T0_US, TELEMETRY, Clock, message, trace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

ROWS = 12_000
PACE = 1_500.0
KILLS = 4


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bucket.S3Server]:
    """Yield a server with an empty bucket, whose keys are in the environment."""
    binary, why = bucket.find_binary()
    if binary is None:
        pytest.skip(f"no S3 server: {why} (or set SPANLOOM_VERSITYGW)")
    with bucket.S3Server(binary, tmp_path / "s3") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_files_in_a_bucket_become_fewer(server: bucket.S3Server) -> None:
    """Merged and found by their ids as in a folder, by this process and by the next one."""
    clock = Clock()
    archive = Archive(Store(server.url), Limits(rows=3), telemetry=(TELEMETRY,), clock=clock)
    for n in range(30):
        one = trace(f"{n % 10:032x}", record_id=f"rec-{n % 7}", revision=n)
        archive.take(message(topics.TRACES, n, one))
    archive.write_due(all_of_it=True)
    before = Store(server.url).segments()
    assert archive.merge(T0_US + 2 * HOUR_US + SLACK_US) > 0
    clock.now += REMOVE_SECONDS + 1
    archive.merge(T0_US + 2 * HOUR_US + SLACK_US)
    store = Store(server.url)
    store.clean()
    after = store.segments()
    assert len(after) < len(before) / 3
    for kind in (KIND["traces"], KIND["spans"]):
        mine = [one for one in after if one.kind == kind.name]
        assert {r["offset"] for r in store.read(kind, mine).to_pylist()} == set(range(30))
    spans = KIND["spans"]
    mine = [one for one in after if one.kind == "spans"]
    found = store.find(spans, mine, {"record_id": ["rec-3"]})
    assert {row["offset"] for _, rows in found for row in rows.to_pylist()} == {3, 10, 17, 24}
    with pytest.raises(ConfigError, match="there is no bucket nobody; make it"):
        Store(server.url.replace("archive/kept", "nobody/kept"))
    where = {one.removesuffix(f"/{mine[0].path}") for one in store.addresses()["spans"]}
    assert "s3://archive/kept" in where, "others read the same files by these addresses"


def test_a_bucket_has_all_once(
    deployment: Deployment, server: bucket.S3Server, data_dir: Path
) -> None:
    """Files that are written, merged and removed over HTTP equal the topics, and are asked."""
    recording = read_recording(data_dir, ROWS)
    chance = random.Random(3)
    deployment.create_topics()
    worker = deployment.worker("--exit-after", recording.rows, "--drain-seconds", 240)
    at = ConsoleAt(deployment, server.url)
    console = at.start()
    feeding = threading.Thread(target=deployment.feed, args=(recording.events(), PACE), daemon=True)
    feeding.start()
    for _ in range(KILLS):
        wait_for(lambda: at.get("/health") is not None, 60, console.tail, console)
        time.sleep(chance.uniform(0.5, 3))
        console.kill()
        console = at.start()
    feeding.join(240)
    assert worker.wait(120) == 0, worker.tail()
    at.wait_until_read(console)
    traces = [decode(one.value) for one in deployment.read(KINDS[0].topic)]
    assert len(traces) > 100
    found = at.get(f"/api/v1/traces/{traces[0]['trace_id']}")
    assert found["trace_id"] == traces[0]["trace_id"]
    assert at.get("/api/v1/traces?start=2000-01-01&end=2100-01-01&limit=10")["traces"]
    console.terminate()
    assert console.wait(30) == 0, console.tail()
    for kind in KINDS:
        there = published(deployment, kind, [OTHER, AUDIT])
        assert archived(at.archive, kind) == there, kind.name
    said = "".join(one.log.read_text("utf-8") for one in at.consoles)
    assert server.environment["AWS_SECRET_ACCESS_KEY"] not in said
