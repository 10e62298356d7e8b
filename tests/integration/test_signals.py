"""Metric points on a real broker: a rule of the contract raises an alert, and an incident."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.codec.records import decode
from tests.fault.harness import Deployment, Feeder, WorkerProcess, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

METRIC = "pipeline.a.sender.gauge.queue_depth"
CONTRACT = """
version: "7"
name: signals
modules:
  A: {owner: a-team, playbook: queue}
flows:
  f:
    entry: go
    wait_ms: 1000
    stages:
      - {id: go, module: A, component: sender, name: go}
playbooks:
  queue: Look at the sender.
rules:
  - id: deep_queue
    version: "3"
    kind: threshold
    match: {module: A, name: "pipeline.a.*.gauge.queue_depth"}
    condition: {op: ">", value: 100}
    for_s: 2
    severity: ERROR
    alert: queue_lag
"""
TOPIC = "telemetry.a.v1"


def point(number: int, value: float, at_us: int, destination: str) -> dict[str, Any]:
    """Return one metric point."""
    return {
        "event_id": f"00000000-0000-4000-8000-{number:012x}",
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "timestamp": at_us,
        "module": "A",
        "component": "sender",
        "event_type": "METRIC",
        "severity": "INFO",
        "name": METRIC,
        "value": value,
        "unit": "1",
        "dimensions": {"destination": destination},
        "record_id": "",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": 0,
        "status": "UNSET",
        "span_kind": "INTERNAL",
        "trace_flags": 0,
        "links": [],
    }


def points(first: int, seconds: int, values: dict[str, float]) -> Iterator[tuple[str, Any]]:
    """Yield a point a second of each destination, ending now."""
    now_us = time.time_ns() // 1000
    for second in range(seconds):
        at_us = now_us - (seconds - second) * 1_000_000
        for at, (destination, value) in enumerate(sorted(values.items())):
            number = first + second * len(values) + at
            yield TOPIC, point(number, value, at_us, destination)


EXTERNAL = b"""{"version": "4", "alerts": [{"status": "firing", "labels":
{"alertname": "Disk", "service": "a", "severity": "critical"}, "annotations": {},
"startsAt": "2026-01-05T10:00:00Z", "endsAt": "0001-01-01T00:00:00Z"}]}"""


def has_external(deployment: Deployment) -> bool:
    """Say whether the alert from outside was raised."""
    alerts = firing(deployment, "alerts.raised.v1")
    return any((a["kind"], a["module"], a["severity"]) == ("external", "A", "CRITICAL")
               for a in alerts)  # fmt: skip


def firing(deployment: Deployment, topic: str) -> list[dict[str, Any]]:
    """Return the committed records of a derived topic."""
    return list(deployment.read_by(topic, decode))


def test_a_threshold_in_the_contract_raises_an_alert_and_an_incident(
    deployment: Deployment, tmp_path: Path
) -> None:
    """One destination's queue is deep: one alert with the rule's names, one incident of its own.

    The worker is killed between the two halves of the points: what it had counted is in the state,
    so nothing counts twice and the violation goes on.
    """
    contract = tmp_path / "contract.yaml"
    contract.write_text(CONTRACT, "utf-8")
    deployment.contract = str(contract)
    deployment.start_anew()
    settings = {
        "window_seconds": 1,
        "burn_short_seconds": 2,
        "burn_long_seconds": 4,
        "warm_up_seconds": 0,
        "quiet_seconds": 600,
    }
    worker: WorkerProcess = deployment.worker(settings=settings)
    worker.wait_until_restored(deployment.partitions)
    deployment.feed(points(0, 4, {"crm": 5.0, "erp": 500.0}))
    time.sleep(3)
    worker.kill()
    worker = deployment.worker(settings=settings)
    for round_ in range(1, 40):
        deployment.feed(points(round_ * 100, 1, {"crm": 5.0, "erp": 500.0}))
        if firing(deployment, "incidents.events.v1"):
            break
        time.sleep(1)
    wait_for(lambda: len(firing(deployment, "incidents.events.v1")) >= 1, 60, worker.tail, worker)
    alerts = firing(deployment, "alerts.raised.v1")
    (print_,) = {alert["fingerprint"] for alert in alerts}
    assert print_
    first = alerts[0]
    assert (first["kind"], first["state"], first["severity"]) == ("queue_lag", "FIRING", "ERROR")
    assert (first["rule_id"], first["rule_version"]) == ("deep_queue", "3")
    assert (first["owner"], first["playbook"]) == ("a-team", "Look at the sender.")
    assert (first["module"], first["component"], first["to_stage"]) == ("A", "sender", "go")
    assert (first["value"], first["threshold"]) == (500.0, 100.0)
    assert first["labels"]["destination"] == "erp"
    assert first["contract_version"] == "7"
    with Feeder(deployment.broker) as feeder:
        feeder.send_bytes("alerts.external.v1", None, EXTERNAL)
        feeder.send_bytes("alerts.external.v1", None, b"{")
    wait_for(lambda: has_external(deployment), 60, worker.tail, worker)
    # What is bad comes out with another cut, if it was read later.
    is_told = lambda: bool(firing(deployment, "telemetry.rejected.v1"))  # noqa: E731
    wait_for(is_told, 60, worker.tail, worker)
    (rejected,) = firing(deployment, "telemetry.rejected.v1")
    assert (rejected["reason"], rejected["offset"]) == ("external_not_json", 1)
    kinds = [i["kinds"] for i in firing(deployment, "incidents.events.v1") if i["version"] == 1]
    assert ["queue_lag"] in kinds
    partials = firing(deployment, "signals.partials.v1")
    told: dict[tuple[int, str], list[int]] = {}
    for partial in partials:
        for row in partial["series"]:
            key = partial["window_start"], row["dimensions"].get("destination", "")
            told.setdefault(key, []).append(row["count"])
    assert told
    assert all(counts == sorted(counts) for counts in told.values()), "counts only grow"
    assert not any(math.isnan(row["sum"]) for p in partials for row in p["series"])
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
