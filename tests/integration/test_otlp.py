"""OTLP from Kafka, as a Collector's exporter writes it, through a real worker."""

import json
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint

from streams.codec.plain import plain
from streams.codec.records import decode
from streams.core.traces.partitioners import fnv1a_partition, murmur2_partition
from tests.fault.harness import (
    TRACES,
    Deployment,
    Feeder,
    WorkerProcess,
    assert_spans_are_whole,
    balance,
    highest,
    wait_for,
)
from tests.integration.test_broker import make_topic
from tests.integration.traces import event_of
from tests.otlp_cases import START_NS, as_json, logs, metrics, span_id, span_of, trace_id, traces

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPICS = "otlp_spans,otlp_logs,otlp_metrics"
SERVICES = ("checkout", "payment")
SPANS = 6


def otlp_deployment(deployment: Deployment) -> Deployment:
    """Make the topics, those of OTLP too."""
    done = deployment.cli(
        "topics", "create", "--partitions", deployment.partitions, "--otlp-topics", TOPICS
    )
    assert done.returncode == 0, done.stderr
    return deployment


def run_worker(deployment: Deployment, rows: int) -> WorkerProcess:
    """Run a worker over so many rows; it ends well and its accounts balance."""
    end = ("--exit-after", rows, "--drain-seconds", 240, "--fixed-waits", 1)
    worker = deployment.worker("--otlp-topics", TOPICS, *end)
    assert worker.wait(90) == 0, worker.tail()
    assert balance(worker.accounting()) == 0
    return worker


def spans_by_trace(numbers: range) -> Mapping[str, set[str]]:
    """Return the span ids of whole traces."""
    return {trace_id(n).hex(): {span_id(n, s).hex() for s in range(1, SPANS + 1)} for n in numbers}


def feed_spans(feeder: Feeder, numbers: range) -> None:
    """Send traces as the exporter does with partition_traces_by_id, in part as JSON."""
    for n in numbers:
        key = trace_id(n).hex().encode()
        first = traces(SERVICES[0], [span_of(n, s) for s in range(1, 5)])
        second = traces(SERVICES[1], [span_of(n, s) for s in range(5, SPANS + 1)])
        feeder.send_bytes("otlp_spans", key, first.SerializeToString())
        feeder.send_bytes("otlp_spans", key, as_json(second))


def test_traces_of_a_collector_are_joined_and_resends_are_duplicates(
    deployment: Deployment,
) -> None:
    """Spans as protobuf and JSON, sent twice, with logs and metrics: whole traces, counts equal."""
    otlp_deployment(deployment)
    numbers = range(1, 41)
    line = LogRecord(time_unix_nano=START_NS, trace_id=trace_id(1), severity_number=17)
    line.body.string_value = "card 4711 refused"
    free = LogRecord(time_unix_nano=START_NS)
    gauge = Gauge(data_points=[NumberDataPoint(time_unix_nano=START_NS, as_int=7)])
    depth = Metric(name="queue.depth", unit="1", gauge=gauge)
    with Feeder(deployment.broker) as feeder:
        for _ in range(2):
            feed_spans(feeder, numbers)
            lines = logs(SERVICES[0], [line, free]).SerializeToString()
            feeder.send_bytes("otlp_logs", trace_id(1).hex().encode(), lines)
        points = metrics(SERVICES[0], [depth]).SerializeToString()
        feeder.send_bytes("otlp_metrics", None, points)
    sent = len(numbers) * SPANS
    worker = run_worker(deployment, 2 * (sent + 2) + 1)

    accounts = worker.accounting()
    counted = {name: accounts[name] for name in ("accepted", "joined", "duplicate", "untraced")}
    assert counted == {
        "accepted": 2 * (sent + 2) + 1,
        "joined": sent + 1,
        "duplicate": sent + 1,
        "untraced": 3,
    }
    found = deployment.read_by(TRACES, decode)
    spans_alone = [
        {**trace, "spans": [e for e in trace["spans"] if e["event_type"] == "TRACE"]}
        for trace in found
    ]
    assert_spans_are_whole(spans_alone, spans_by_trace(numbers))
    trace = highest(found)[trace_id(1).hex()]
    modules = {event["module"] for event in trace["spans"]}
    assert modules == set(SERVICES)
    said = [event for event in trace["spans"] if event["event_type"] == "LOG"]
    assert [(e["severity"], e["dimensions"]["message"]) for e in said] == [
        ("ERROR", "card 4711 refused")
    ]


def test_bad_spans_are_rejected_alone_and_unreadable_messages_whole(
    deployment: Deployment,
) -> None:
    """Each is kept with reason, topic, partition, offset and its place in the message."""
    otlp_deployment(deployment)
    spans = [span_of(1, s) for s in range(1, SPANS + 1)]
    spans[2].span_id = b"short"
    spans[4].trace_id = bytes(16)
    value = traces(SERVICES[0], spans).SerializeToString()
    key = trace_id(1).hex().encode()
    partition = murmur2_partition(key, deployment.partitions)
    with Feeder(deployment.broker) as feeder:
        feeder.send_bytes("otlp_spans", key, value)
        feeder.send_bytes("otlp_spans", key, value[:-7])
        feeder.send_bytes("otlp_spans", key, b'{"resourceSpans": [')
    worker = run_worker(deployment, SPANS + 2)

    accounts = worker.accounting()
    assert (accounts["accepted"], accounts["joined"], accounts["rejected"]) == (8, 4, 4)
    rejected = deployment.read_by("telemetry.rejected.v1", decode)
    told = [(r["reason"], r["offset"], r["detail"].partition(":")[0]) for r in rejected]
    assert sorted(told)[2:] == [
        ("invalid_span_id", 0, "event 3 of 6"),
        ("invalid_trace_id", 0, "event 5 of 6"),
    ]
    assert {(r["topic"], r["partition"]) for r in rejected} == {("otlp_spans", partition)}
    whole = [r for r in rejected if r["reason"] == "invalid_otlp"]
    assert [r["value"] for r in whole] == [value[:-7], b'{"resourceSpans": [']


CONTRACT = """
version: "1"
name: shop
modules:
  SHOP: {owner: shop-team, topic: telemetry.other.v1}
services:
  checkout: {module: SHOP}
"""


def test_an_exporter_that_places_by_fnv_is_named_with_the_fix(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Sarama's hash beside murmur2: alert and log say which topic differs, and what to set."""
    contract = tmp_path / "contract.yaml"
    contract.write_text(CONTRACT, "utf-8")
    deployment.contract = str(contract)
    otlp_deployment(deployment)
    short = {
        "warm_up_seconds": 0,
        "window_seconds": 2,
        "burn_short_seconds": 4,
        "burn_long_seconds": 8,
    }
    worker = deployment.worker("--otlp-topics", TOPICS, "--fixed-waits", 1, settings=short)
    alerts: list[dict[str, Any]] = []
    numbers = iter(range(1, 100_000))

    def is_told() -> bool:
        with Feeder(deployment.broker) as feeder:
            feed_unlike(feeder, deployment.partitions, list(islice(numbers, 300)))
        found = deployment.read_by("alerts.raised.v1", decode)
        alerts[:] = [a for a in found if a["kind"] == "mispartitioned"]
        return bool(alerts)

    wait_for(is_told, 150, lambda: f"an alert: {worker.tail()}", worker)
    alert = alerts[0]
    print(json.dumps(plain(alert)))
    assert "sticky_key: {hasher: murmur2}" in alert["explanation"]
    assert (alert["module"], alert["owner"]) == ("SHOP", "shop-team")
    logged = worker.events("topic_mispartitioned")
    assert {e["topic"] for e in logged} == {"otlp_spans"}
    assert "sticky_key: {hasher: murmur2}" in logged[0]["fix"]


def feed_unlike(feeder: Feeder, partitions: int, numbers: Sequence[int]) -> None:
    """Send spans placed by FNV-1a, and log records and native events placed by murmur2."""
    now_ns = time.time_ns()
    for n in numbers:
        key = trace_id(n).hex().encode()
        span = span_of(n, 1)
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns, now_ns + 1_000
        value = traces(SERVICES[0], [span]).SerializeToString()
        feeder.send_bytes("otlp_spans", key, value, partition=fnv1a_partition(key, partitions))
        line = LogRecord(time_unix_nano=now_ns, trace_id=trace_id(n))
        feeder.send_bytes("otlp_logs", key, logs(SERVICES[1], [line]).SerializeToString())
        event = event_of(n, 2, now_ns // 1000) | {"trace_id": trace_id(n).hex()}
        feeder.send("telemetry.other.v1", event)


def test_another_partition_count_is_refused_with_the_fix(deployment: Deployment) -> None:
    """Topics that cannot be joined are refused before anything is read."""
    deployment.create_topics()
    for name in TOPICS.split(","):
        make_topic(deployment.broker, name, 3)
    worker = deployment.worker("--otlp-topics", TOPICS)
    assert worker.wait(60) != 0
    assert "otlp_spans has 3" in worker.tail()
    assert "Operator action: have all workers of the group place the events" in worker.tail()
