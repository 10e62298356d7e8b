"""Canaries through a real worker, broker and console: in nothing that it keeps, says or answers."""

import json
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.runtime.topics import OTHER
from tests.fault.console import ConsoleAt
from tests.fault.harness import PROGRAM, Deployment, Feeder, WorkerProcess, wait_for
from tests.unit.console.at_hand import batch
from tests.unit.console.canaries import (
    CANARIES,
    CLASSES,
    DIMENSIONS,
    PRIVACY,
    TEXTS,
    contract,
    full,
    leaks,
    octets,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

NOW = "start=2020-01-01&end=2035-01-01"
TRACES = 6
EVENTS = 6
OF_OTHERS = 2
"""One in a message of many, and one that no worker takes: the archive has it all the same."""


def feed(deployment: Deployment) -> None:
    """Send traces, events, and what is rejected, with canaries in each field."""
    with Feeder(deployment.broker) as feeder:
        for n in range(TRACES):
            span = full("span", n, trace_id=f"{n + 1:032x}", span_id=f"{n + 1:016x}")
            feeder.send("telemetry.beta.v1", span | {"parent_span_id": ""})
        for n in range(EVENTS):
            example = ("log", "audit", "metric_outside_traces")[n % 3]
            feeder.send(OTHER, full(example, 100 + n, trace_id="", span_id=""))
        feeder.send_bytes(OTHER, None, batch([full("log", 200, trace_id="", span_id="")]), 0)
        feeder.send(OTHER, full("log", 300, trace_id="none"))
        feeder.send_bytes(OTHER, TEXTS["actor"].encode(), repr(TEXTS | DIMENSIONS).encode(), 0)


def ask(at: ConsoleAt, path: str, **body: Any) -> tuple[int, bytes]:
    """Return the status and the bytes of an answer."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(
        f"http://127.0.0.1:{at.port}{path}", data, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def is_archived(at: ConsoleAt) -> bool:
    """Whether all that was sent is in the archive."""
    said = (at.get("/health") or {}).get("archive", {})
    held = {kind: one["files"] + one["tail_records"] for kind, one in said.items()}
    metrics = ask(at, "/metrics")[1].decode()
    counted = {
        kind: float(line.rpartition(" ")[2])
        for kind in ("spans", "events", "rejected")
        for line in metrics.splitlines()
        if line.startswith(f'spanloom_console_archived_records_total{{kind="{kind}"}}')
    }
    is_all = counted.get("spans", 0) >= TRACES and counted.get("events", 0) >= EVENTS + OF_OTHERS
    return bool(is_all and counted.get("rejected", 0) >= 2 and all(held[k] for k in counted))


@pytest.fixture
def console(deployment: Deployment) -> tuple[ConsoleAt, WorkerProcess]:
    """Return a console that has archived what a worker made of the canaries."""
    plain = contract().plain()
    place = deployment.folder / "contract.yaml"
    place.write_text(yaml.safe_dump(plain, allow_unicode=True), "utf-8")
    deployment.contract = str(place)
    deployment.pseudonym_keys = ""  # it makes its own
    deployment.create_topics()
    deployment.worker()
    at = ConsoleAt(deployment)
    process = at.start()
    at.wait_until_ready(process)
    feed(deployment)
    wait_for(lambda: is_archived(at), 120, process.tail, process)
    return at, process


def test_no_canary_comes_out(console: tuple[ConsoleAt, WorkerProcess]) -> None:
    """Of the folder, the logs, /metrics, the answers; then a person is erased while it runs."""
    at, process = console
    kept = PRIVACY.rules
    assert len(kept.fields) + len(kept.dimensions) == sum(c != "PUBLIC" for c in CLASSES.values())
    query = {"time_range": {"start": "2020-01-01", "end": "2035-01-01"}}
    status, text = ask(at, "/api/v1/audit/query", **query, actor=TEXTS["actor"])
    entries = json.loads(text)["entries"]
    assert status == 200
    assert len(entries) == TRACES + EVENTS + OF_OTHERS
    (pseudonym,) = {entry["actor"] for entry in entries}
    record = entries[0]["record_id"]
    answers = [("audit", text)]
    paths = [
        f"/api/v1/traces?{NOW}", f"/api/v1/traces/{1:032x}", f"/api/v1/records/{record}",
        f"/api/v1/records/{TEXTS['record_id']}", f"/api/v1/lineage/{record}",
        f"/api/v1/metrics?{NOW}&name=*", "/api/v1/incidents", f"/api/v1/rejected?{NOW}",
        f"/api/v1/traces?{NOW}&dimension=user={DIMENSIONS['user']}",
        "/api/v1/catalog", "/api/v1/lag", "/health", "/ready", "/metrics",
    ]  # fmt: skip
    for path in paths:
        status, text = ask(at, path)
        assert status == 200, (path, text)
        answers.append((path, text))
    rejected = json.loads(ask(at, f"/api/v1/rejected?{NOW}")[1])["rejected"]
    assert len(rejected) == 2
    for one in rejected:
        place = f"{one['topic']}/{one['partition']}/{one['offset']}"
        answers.append((place, ask(at, f"/api/v1/rejected/{place}")[1]))
    assert leaks(answers) == []
    order = {"person": TEXTS["actor"], "reason": "request 17"}
    status, text = ask(at, "/api/v1/privacy/erasures", **order)
    assert status == 202, text
    assert json.loads(text)["rows"]["events"] >= EVENTS
    assert json.loads(ask(at, "/api/v1/audit/query", **query, actor=pseudonym)[1])["entries"] == []
    process.terminate()
    assert process.wait(60) == 0, process.tail()
    assert list(Path(at.archive).rglob("events/**/*.parquet"))
    assert leaks(octets(Path(at.archive))) == []
    for place in (process.out, process.log):
        assert leaks([(str(place), place.read_bytes())], CANARIES) == []
    parquet = [one for one in octets(Path(at.archive)) if "/access/" not in one[0]]
    assert leaks(parquet, [pseudonym]) == []


def test_a_rejected_record_goes_back_as_it_came(console: tuple[ConsoleAt, WorkerProcess]) -> None:
    """Driven again, its topic has the bytes that were sent, which the archive never had."""
    at, process = console
    rejected = json.loads(ask(at, f"/api/v1/rejected?{NOW}")[1])["rejected"]
    (torn,) = [one for one in rejected if one["reason"] == "bad_magic"]
    place = {name: torn[name] for name in ("topic", "partition", "offset")}
    status, text = ask(at, "/api/v1/rejected/redrive", **place)
    assert status == 202, text
    sent = [m for m in at.deployment.read(torn["topic"]) if m.value.startswith(b"{'actor'")]
    assert len(sent) == 2
    assert sent[0].value == sent[1].value
    assert {m.key for m in sent} == {TEXTS["actor"].encode()}
    assert process.is_alive


def test_without_a_key_it_makes_one(deployment: Deployment) -> None:
    """Once, in a file beside the archive; after a kill it goes on with it, and says so."""
    deployment.contract, deployment.pseudonym_keys = "seed", ""
    deployment.create_topics()
    at = ConsoleAt(deployment)
    texts = []
    for said in ("pseudonym_keys_made", "pseudonym_keys_own"):
        process = at.start()
        at.wait_until_ready(process)
        file = Path(f"{at.archive}.pseudonym-keys")
        texts.append(file.read_text("ascii"))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        shown = process.out.read_text("utf-8") + process.log.read_text("utf-8")
        assert shown.count("pseudonym_keys_") == shown.count(said) == 1
        assert texts[0].split()[1] not in shown
        process.kill()
        process.wait(60)
    assert texts[0] == texts[1]


def test_without_a_key_a_bucket_is_refused(deployment: Deployment) -> None:
    """Exit 2, the variable and the fix, before anything is asked of the bucket."""
    command = [sys.executable, *PROGRAM, "console", "--contract", "seed"]
    done = subprocess.run(
        [*command, "--archive", "s3://nowhere/archive"],
        env=deployment.environment | {"SPANLOOM_CONSOLE_PSEUDONYM_KEYS": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE" in done.stderr
    assert "openssl rand -hex 32" in done.stderr
