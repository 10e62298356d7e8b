"""The console on a real broker and a real worker: killed at random, it archives all once."""

import random
import socket
import threading
import time
import uuid
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streams.codec.records import decode
from streams.console.archive.kinds import KINDS
from streams.runtime.topics import AUDIT, OTHER, admin, create, spec
from tests.fault.comparing import archived, published
from tests.fault.console import ConsoleAt
from tests.fault.harness import Deployment, Feeder, wait_for
from tests.fault.nezha import read_recording
from tests.unit.console.at_hand import batch, event

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

ROWS = 40_000
PACE = 1_500.0
"""Rows a second: the worker writes while the console is killed."""
OTHERS = 2_800
"""Events that are no spans."""
KILLS = 12
EVENTS = next(kind for kind in KINDS if kind.name == "events")


def feed_others(deployment: Deployment, spans: list[dict[str, Any]]) -> None:
    """Send a metric, log line or audit entry for each of some spans; every tenth message is five.

    Those of one message name no trace: its spans may lie in another partition.
    """
    examples = ("metric_outside_traces", "log", "audit")
    with Feeder(deployment.broker) as feeder:
        for n in range(0, OTHERS, 14):
            sent = [
                event(
                    examples[i % 3],
                    event_id=str(uuid.UUID(int=i, version=4)),
                    trace_id=spans[i]["trace_id"] if i % 3 and i >= n + 5 else "",
                    timestamp=spans[i]["timestamp"],
                )
                for i in range(n, n + 14)
            ]
            for one in sent[5:]:
                feeder.send(OTHER, one)
            feeder.send_bytes(OTHER, None, batch(sent[:5]), n % deployment.partitions)
            time.sleep(0.1)


def test_killed_at_random_it_archives_all_once(deployment: Deployment, data_dir: Path) -> None:
    """A dozen kills while a worker writes: the files equal the topics, record by record."""
    recording = read_recording(data_dir, ROWS)
    chance = random.Random(8)
    deployment.create_topics()
    worker = deployment.worker("--exit-after", recording.rows + OTHERS, "--drain-seconds", 240)
    at = ConsoleAt(deployment)
    console = at.start()
    feeding = threading.Thread(target=deployment.feed, args=(recording.events(), PACE), daemon=True)
    feeding.start()
    spans = [one for _, one in islice(recording.events(), 0, ROWS, ROWS // OTHERS)]
    more = threading.Thread(target=feed_others, args=(deployment, spans), daemon=True)
    more.start()
    for _ in range(KILLS):
        if chance.random() < 0.7:  # else it dies before it serves, or soon after
            wait_for(lambda: at.get("/health") is not None, 60, console.tail, console)
        time.sleep(chance.uniform(0.5, 3))
        console.kill()
        console = at.start()
    feeding.join(240)
    more.join(240)
    assert worker.wait(120) == 0, worker.tail()
    at.wait_until_read(console)
    traces = [decode(one.value) for one in deployment.read(KINDS[0].topic)]
    merges = [one.events("archive_merged") for one in at.consoles]
    assert any(merges), "no console merged anything: the kills met no merge"
    check_answers(at, traces)
    console.terminate()
    assert console.wait(30) == 0, console.tail()
    for kind in KINDS:
        there = published(deployment, kind, [OTHER, AUDIT])
        assert archived(at.archive, kind) == there, kind.name
    assert len(traces) > 300
    assert sum(OTHER in row for row in archived(at.archive, EVENTS)) == OTHERS


def check_answers(at: ConsoleAt, traces: list[dict[str, Any]]) -> None:
    """Fail unless the interface tells each trace at its last revision."""
    last = {t["trace_id"]: t for t in sorted(traces, key=lambda t: t["revision"])}
    query = "/api/v1/traces?start=2000-01-01&end=2100-01-01&limit=1000&continuation_token="
    found, token = [], ""
    while True:
        answer = at.get(query + token)
        found += answer["traces"]
        token = answer["continuation_token"]
        if not token:
            break
    assert {(t["trace_id"], t["revision"]) for t in found} == {
        (id_, t["revision"]) for id_, t in last.items()
    }
    assert len(found) == len(last)
    some = next(iter(last.values()))
    one = at.get(f"/api/v1/traces/{some['trace_id']}")
    assert [s["span_id"] for s in one["spans"]] == [s["span_id"] for s in some["spans"]]
    assert at.get("/api/v1/openapi.json")["openapi"] == "3.1.0"


def test_a_telemetry_topic_may_come_later(deployment: Deployment) -> None:
    """The console serves without it, and reads it from its first event once it is there."""
    deployment.create_topics()
    at = ConsoleAt(deployment)
    console = at.start("--contract", "seed")
    at.wait_until_read(console)
    late = "telemetry.alpha.v1"
    create(admin({"bootstrap.servers": deployment.broker}), [spec(late, deployment.partitions)])
    with Feeder(deployment.broker) as feeder:
        feeder.send(late, event("log"))

    def is_there() -> bool:
        said = at.get("/health")  # None while it does not answer
        events = said["archive"]["events"] if said else {}
        return bool(events.get("tail_records", 0) + events.get("files", 0))

    wait_for(is_there, 60, console.tail, console)
    console.terminate()
    assert console.wait(30) == 0, console.tail()
    assert len(archived(at.archive, EVENTS)) == 1
    # Its log has a begin and an end.
    assert [one["port"] for one in console.events("console_ready")] == [at.port]
    assert [one["why"] for one in console.events("console_stops")] == ["a signal"]
    assert [one["unwritten_records"] for one in console.events("console_stopped")] == [0]


def test_an_archive_has_one_writer(deployment: Deployment) -> None:
    """A second console on it would write everything twice: it ends with 3 and says what to do."""
    deployment.create_topics()
    first, second = ConsoleAt(deployment), ConsoleAt(deployment)
    holder = first.start()
    wait_for(lambda: first.get("/health") is not None, 60, holder.tail, holder)
    second.lives = first.lives
    late = second.start()
    assert late.wait(60) == 3
    assert "give each console an archive of its own with --archive" in late.tail()
    assert holder.is_alive


def test_a_port_that_is_taken_is_told(deployment: Deployment) -> None:
    """Ends with 2 and names the setting; nothing of the archive is touched."""
    deployment.create_topics()
    at = ConsoleAt(deployment)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", at.port))
        taken.listen()
        console = at.start()
        assert console.wait(60) == 2
    assert "SPANLOOM_CONSOLE_PORT" in console.tail()
