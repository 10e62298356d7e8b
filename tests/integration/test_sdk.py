"""Modules instrumented by the SDK on a real broker: whole traces, and a lost hop that is named."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from streams.codec.records import decode
from streams.runtime.topics import admin, create, spec
from streams.sdk import Telemetry
from tests.fault.harness import (
    REPOSITORY,
    TRACES,
    Deployment,
    Event,
    WorkerProcess,
    highest,
    wait_for,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

EXAMPLE = REPOSITORY / "docs" / "examples" / "sdk_kafka.py"
RECORDS = 40
STRIPPED, SWALLOWED, FAILED = "record-7", "record-8", "record-9"
"""What happens to three records between BETA and GAMMA; the last fails there, and is recovered."""
VALID, RICH, BEFORE_GAMMA = "example.valid", "example.rich", "example.gateway"
STATS = "fidelity.stats.v1"
LOST = {"rendering": 2, "acknowledgment": 1}
"""Records that never came to a stage."""
SPANS_OF_ALPHA, SPANS_OF_BETA, SPANS_OF_GAMMA = 5, 5, 4


def module(deployment: Deployment, name: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start one of the example's modules as a process."""
    command = [sys.executable, str(EXAMPLE), name, "--broker", deployment.broker]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=deployment.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gateway(broker: str) -> None:
    """Hand BETA's records on to GAMMA; strip one of its headers, and swallow another one."""
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": "gateway", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([RICH])
    producer = Producer({"bootstrap.servers": broker})
    for _ in range(RECORDS):
        message = consumer.poll(240)
        assert message is not None
        assert message.error() is None
        record_id = json.loads(message.value())["id"]
        headers = [] if record_id == STRIPPED else message.headers()
        if record_id == FAILED:
            fail_and_recover(broker, message.headers())
        elif record_id != SWALLOWED:
            producer.produce(BEFORE_GAMMA, message.value(), message.key(), headers=headers)
    assert producer.flush(30) == 0
    consumer.close()


def fail_and_recover(broker: str, headers: list[tuple[str, bytes]]) -> None:
    """Be a GAMMA whose delivery fails, and that tries again from its error queue, much later."""
    with Telemetry("GAMMA", "rendering", broker, exit_seconds_max=30) as rendering:
        routing, delivery = rendering.component("routing"), rendering.component("delivery")
        acknowledgment = rendering.component("acknowledgment")
        came = rendering.extract(headers)
        with rendering.span("gamma.render", "CONSUMER", parent=came):
            with routing.span("gamma.route"):
                pass
            with delivery.span("gamma.deliver", ack_pattern="sync") as failed:
                error = ConnectionError("away")
                failed.fail(error)
                queued = delivery.failed(error).kafka_headers()
        time.sleep(0.01)
        with (
            delivery.recover("gamma.deliver", queued, new_trace=True, ack_pattern="sync"),
            acknowledgment.span("gamma.acknowledge"),
        ):
            pass


def run_pipeline(deployment: Deployment) -> None:
    """Let the three modules and the gateway between them handle the records."""
    parts = [
        module(deployment, "gamma", "--in", BEFORE_GAMMA, "--records", RECORDS - 2),
        module(deployment, "beta", "--in", VALID, "--out", RICH, "--records", RECORDS),
        module(deployment, "alpha", "--out", VALID, "--records", RECORDS),
    ]
    try:
        gateway(deployment.broker)
        for part in parts:
            _, said = part.communicate(timeout=480)
            assert part.returncode == 0, said
            assert "telemetry:" not in said, said
    finally:
        for part in parts:
            part.kill()
            part.communicate()


def by_record(deployment: Deployment) -> dict[str, list[Event]]:
    """Return the valid revisions of the traces by the record that they are about."""
    found: dict[str, list[Event]] = {}
    for trace in highest(deployment.read_by(TRACES, decode)).values():
        spans = [span for span in trace["spans"] if span["record_id"]]
        found.setdefault(spans[0]["record_id"], []).append(trace)
    return found


def windows(deployment: Deployment) -> list[Event]:
    """Return the valid rows of the ten-second windows of the flow of records."""
    rows: dict[Any, Event] = {}
    for row in deployment.read_by(STATS, decode):
        if row["window_us"] == 10_000_000:
            at = tuple(row[k] for k in ("window_start", "kind", "flow", "from_stage", "to_stage"))
            rows[at] = row
    return [r for r in rows.values() if r["flow"] == "record"]


def lost(rows: list[Event], stage: str) -> int:
    """Return how many records never came to a stage, by the windows so far."""
    edges = [r for r in rows if r["kind"] == "edge" and r["to_stage"] == stage]
    return sum(r["expected"] - r["observed"] for r in edges)


def wait_until_told(deployment: Deployment, worker: WorkerProcess) -> None:
    """Wait until every record is in a trace, halves know of each other, windows of what is lost."""

    def is_told() -> bool:
        found = by_record(deployment)
        linked = [t for r in (STRIPPED, FAILED) for t in found.get(r, ()) if t["revision"] > 1]
        is_lost = all(lost(windows(deployment), stage) == n for stage, n in LOST.items())
        return len(found) == RECORDS and len(linked) == 4 and is_lost

    wait_for(is_told, 120, lambda: f"{len(by_record(deployment))}: {worker.tail()}", worker)


def test_three_instrumented_modules(deployment: Deployment) -> None:
    """Each record is one complete trace of 14 spans; what a hop lost says which hop."""
    deployment.contract = "seed"
    deployment.create_topics()
    client = admin({"bootstrap.servers": deployment.broker})
    create(client, [spec(name, 2) for name in (VALID, RICH, BEFORE_GAMMA)])
    worker = deployment.worker()
    worker.wait_until_restored(deployment.partitions)
    run_pipeline(deployment)
    wait_until_told(deployment, worker)
    found = by_record(deployment)
    check_traces(found)
    check_recovery(found[FAILED])
    check_fidelity(windows(deployment))
    check_audit(deployment)


def check_traces(found: dict[str, list[Event]]) -> None:
    whole = {r: t for r, t in found.items() if r not in (STRIPPED, SWALLOWED, FAILED)}
    assert len(whole) == RECORDS - 3
    for record, traces in whole.items():
        (trace,) = traces
        assert trace["status"] == "COMPLETE", (record, trace["missing"])
        assert trace["closed_by"] == "contract"
        assert trace["span_count"] == SPANS_OF_ALPHA + SPANS_OF_BETA + SPANS_OF_GAMMA
        assert trace["annotation_count"] == 3  # two audit entries and a gauge
    (swallowed,) = found[SWALLOWED]
    assert swallowed["status"] == "INCOMPLETE"
    edges = {(m["from_stage"], m["to_stage"], m["cause"]) for m in swallowed["missing"]}
    assert ("transfer_beta_gamma", "rendering", "NEVER_ARRIVED") in edges
    assert {m["name"] for m in swallowed["missing"]} == {
        "gamma.render", "gamma.route", "gamma.deliver", "gamma.acknowledge",
    }  # fmt: skip
    first, second = sorted(found[STRIPPED], key=lambda t: t["start"])
    assert {m["cause"] for m in first["missing"]} == {"CONTEXT_RESTARTED"}
    assert {m["from_stage"] for m in first["missing"]} == {"transfer_beta_gamma"}
    links = [s["links"] for s in first["spans"] if s["name"] == "spanloom.context_restarted"]
    assert [link["trace_id"] for one in links for link in one] == [second["trace_id"]]


def check_recovery(traces: list[Event]) -> None:
    """The original trace and the recovered one name each other, by the SDK and by the worker."""
    first, second = sorted(traces, key=lambda t: t["start"])
    assert {m["name"] for m in first["missing"]} == {"gamma.acknowledge"}
    assert {m["cause"] for m in first["missing"]} == {"CONTEXT_RESTARTED"}
    told = [s for t in traces for s in t["spans"] if s["name"] == "spanloom.record_recovered"]
    assert {s["trace_id"]: s["links"][0]["trace_id"] for s in told} == {
        first["trace_id"]: second["trace_id"],
        second["trace_id"]: first["trace_id"],
    }
    again = next(s for s in second["spans"] if s["name"] == "gamma.deliver")
    failed = next(s for s in first["spans"] if s["name"] == "gamma.deliver")
    assert (failed["status"], again["status"]) == ("ERROR", "OK")
    assert again["links"] == [{"trace_id": first["trace_id"], "span_id": failed["span_id"]}]
    assert (again["dimensions"]["attempt"], again["dimensions"]["recovered"]) == ("2", "true")


def check_fidelity(rows: list[Event]) -> None:
    """All edges but those that lost a record have fidelity 1."""
    for row in (r for r in rows if r["kind"] == "edge" and r["expected"]):
        if row["to_stage"] not in ("rendering", "acknowledgment"):
            assert row["ratio"] == 1.0, row
    assert {stage: lost(rows, stage) for stage in LOST} == LOST


def check_audit(deployment: Deployment) -> None:
    """Every audit entry says who did what when, for which record (row S2-59)."""
    found = [decode(m.value) for m in deployment.read("telemetry.gamma.v1")]
    events = [e for one in found for e in one["events"] if e["event_type"] == "AUDIT"]
    assert len(events) == RECORDS - 2
    for one in events:
        assert one["actor"] == "svc-gamma"
        assert (one["operation"], one["component"]) == ("DELIVER", "delivery")
        assert one["timestamp"] > 0
        assert one["record_id"].startswith("record-")
