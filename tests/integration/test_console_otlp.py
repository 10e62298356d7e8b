"""A Collector's topics and a console killed at random: points and log records are kept once."""

import json
import random
import re
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from streams.codec import wire
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.records import decode
from streams.codec.schemas import default_schemas
from streams.console.archive.kinds import KIND
from streams.contract.loader import load_contract
from streams.runtime.build import services_of
from streams.runtime.topics import OTHER, REJECTED
from tests.fault.comparing import archived
from tests.fault.console import SETTINGS, ConsoleAt
from tests.fault.harness import Deployment, Feeder, Message, balance
from tests.otlp_cases import (
    START_NS,
    as_json,
    attribute,
    logs,
    metrics,
    span_of,
    trace_id,
    traces,
)
from tests.unit.console.at_hand import event

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPICS: Final = "otlp_spans,otlp_logs,otlp_metrics"
KINDS: Final = {"otlp_logs": "logs", "otlp_metrics": "metrics"}
EVENTS: Final = KIND["events"]
CONTRACT: Final = """
version: "1"
name: shop
modules:
  SHOP: {owner: shop-team, topic: telemetry.other.v1}
services:
  checkout: {module: SHOP, component: cart}
"""
ROUNDS: Final = 60
KILLS: Final = 6
RANGE: Final = {"start": "2023-11-14T00:00:00Z", "end": "2023-11-16T00:00:00Z"}
POINTS: Final = {"queue.depth": 2, "orders": 1, "wait": 1, "size": 1}
"""Good data points of a round by metric; one more of the first has no time."""
LINES: Final = 4
"""Log records of a round: two that are equal, one without a trace, one of a record."""
PLACE: Final = re.compile(r"event (\d+) of \d+: ")


def points_of(n: int) -> list[Metric]:
    """Return the metrics of a round, one of each form; one point has no time."""
    time_ns = START_NS + n * 1_000_000_000
    depth = [
        NumberDataPoint(time_unix_nano=time_ns, as_int=n),
        NumberDataPoint(as_int=n),
        NumberDataPoint(
            time_unix_nano=time_ns, as_double=0.5, attributes=[attribute("queue", "b")]
        ),
    ]
    total = NumberDataPoint(time_unix_nano=time_ns, as_int=10 * n)
    waits = HistogramDataPoint(
        time_unix_nano=time_ns, count=4, sum=8.0, bucket_counts=[1, 3], explicit_bounds=[1.0]
    )
    sizes = ExponentialHistogramDataPoint(time_unix_nano=time_ns, count=2, sum=5.0, scale=3)
    cumulative = AGGREGATION_TEMPORALITY_CUMULATIVE
    return [
        Metric(name="queue.depth", unit="1", gauge=Gauge(data_points=depth)),
        Metric(
            name="orders",
            sum=Sum(data_points=[total], aggregation_temporality=cumulative, is_monotonic=True),
        ),
        Metric(
            name="wait",
            unit="s",
            histogram=Histogram(data_points=[waits], aggregation_temporality=cumulative),
        ),
        Metric(
            name="size",
            exponential_histogram=ExponentialHistogram(
                data_points=[sizes], aggregation_temporality=cumulative
            ),
        ),
    ]


def lines_of(n: int) -> list[LogRecord]:
    """Return the log records of a round."""
    time_ns = START_NS + n * 1_000_000_000
    alike = LogRecord(time_unix_nano=time_ns, trace_id=trace_id(n + 1), severity_number=17)
    alike.body.string_value = f"card {n} refused"
    free = LogRecord(time_unix_nano=time_ns, severity_number=9)
    free.body.string_value = "up"
    of_record = LogRecord(time_unix_nano=time_ns, trace_id=trace_id(n + 1))
    of_record.attributes.append(attribute("spanloom.record_id", f"order-{n}"))
    return [alike, alike, free, of_record]


def feed(deployment: Deployment) -> None:
    """Send rounds as a Collector's exporter does, every second one as JSON; some of it is wrong."""
    with Feeder(deployment.broker) as feeder:
        for n in range(ROUNDS):
            key = trace_id(n + 1).hex().encode()
            spans = traces("checkout", [span_of(n + 1, s) for s in range(1, 4)])
            lines, points = logs("checkout", lines_of(n)), metrics("checkout", points_of(n))
            for topic, at, request in (
                ("otlp_spans", key, spans),
                ("otlp_logs", key, lines),
                ("otlp_metrics", None, points),
            ):
                value = as_json(request) if n % 2 else request.SerializeToString()
                partition = n % deployment.partitions if at is None else -1
                feeder.send_bytes(topic, at, value, partition)
            if n % 10 == 0:
                feeder.send_bytes("otlp_logs", key, b'{"resourceLogs": [')
                feeder.send_bytes("otlp_metrics", None, b"", 0)  # nothing at all
                feeder.send_bytes("otlp_logs", key, logs("checkout", []).SerializeToString())
                audit_of(feeder, OTHER, n)
                audit_of(feeder, "otlp_metrics", n + 1)  # as one that was driven again lies there
            time.sleep(0.1)


def audit_of(feeder: Feeder, topic: str, n: int) -> None:
    """Send an audit entry of our own schema."""
    event_id = str(uuid.UUID(int=n, version=4))
    time_us = START_NS // 1000
    feeder.send(topic, event("audit", event_id=event_id, trace_id="", timestamp=time_us))


def rows_of(deployment: Deployment) -> list[str]:
    """Return the rows that the topics' messages are, but for what a worker rejected."""
    services = services_of(load_contract(deployment.contract))
    schemas = default_schemas()
    encoder = OtlpEncoder(schemas.current("telemetry_event"), services)
    header = wire.header(schemas.id_of("telemetry_event"))
    rejected: dict[tuple[str, int, int], set[int]] = {}
    for one in deployment.read_by(REJECTED, decode):
        place = PLACE.match(one["detail"])
        rejected.setdefault((one["topic"], one["partition"], one["offset"]), set()).add(
            int(place[1]) if place else 0
        )

    def values(message: Message) -> Iterator[bytes]:
        bad = rejected.get((message.topic, message.partition, message.offset), set())
        if 0 in bad:
            return
        if message.topic not in KINDS or message.value[0] == wire.MAGIC:
            yield message.value
            return
        bodies = encoder.bodies(KINDS[message.topic], message.value)
        yield from (header + body for nth, body in enumerate(bodies, 1) if nth not in bad)

    return sorted(
        repr((m.topic, m.partition, m.partition, m.offset, m.timestamp_ms * 1000, *row))
        for topic in (OTHER, *KINDS)
        for m in deployment.read(topic)
        for value in values(m)
        for row in EVENTS.rows(value)
    )


def audit(at: ConsoleAt, **wanted: Any) -> list[dict[str, Any]]:
    """Return the entries of all pages of an audit query; no page repeats another's."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        asked = {"time_range": RANGE, "limit": 7, "continuation_token": token, **wanted}
        request = urllib.request.Request(
            f"http://127.0.0.1:{at.port}/api/v1/audit/query",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            page = json.load(answer)
        found += page["entries"]
        token = page["continuation_token"]
        if not token:
            assert page["total_count"] == len(found)
            return found


def check_answers(at: ConsoleAt) -> None:
    """Fail unless metrics, audit and a record's history tell of all that was sent, once."""
    query = f"start={RANGE['start']}&end={RANGE['end']}&name=*"
    series = at.get(f"/api/v1/metrics?{query}")["series"]
    told: Counter[str] = Counter()
    for one in series:
        assert (one["module"], one["component"]) == ("SHOP", "cart")
        told[one["name"]] += sum(point["count"] for point in one["points"])
    assert told == {name: ROUNDS * count for name, count in POINTS.items()}
    means = {one["name"]: one["points"][0]["mean"] for one in series}
    assert (means["wait"], means["size"]) == (2.0, 2.5)

    lines = audit(at, event_types=["LOG"])
    assert len(lines) == ROUNDS * LINES
    assert len({line["event_id"] for line in lines}) == len(lines)
    said = Counter(line["dimensions"].get("message") for line in lines)
    assert said["card 7 refused"] == 2, "two equal records of one message are two"
    assert len(audit(at, trace_ids=[trace_id(8).hex()])) == 3 + 3, "spans and their records"
    assert len(audit(at, event_types=["AUDIT"])) == 2 * (ROUNDS // 10)
    assert len(audit(at, event_types=["METRIC"])) == ROUNDS * sum(POINTS.values())
    entries = at.get("/api/v1/records/order-3")["entries"]
    assert len({entry["event_id"] for entry in entries}) == len(entries)
    (own,) = [entry for entry in entries if entry["record_id"] == "order-3"]
    assert (own["event_type"], own["trace_id"]) == ("LOG", trace_id(4).hex())


def test_points_and_records_of_a_collector_are_archived_once(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Killed while they come: the files equal the topics, and the counts those of the worker."""
    contract = tmp_path / "contract.yaml"
    contract.write_text(CONTRACT, "utf-8")
    deployment.contract = str(contract)
    done = deployment.cli(
        "topics", "create", "--partitions", deployment.partitions, "--otlp-topics", TOPICS
    )
    assert done.returncode == 0, done.stderr
    chance = random.Random(5)
    every_tenth = ROUNDS // 10
    good = ROUNDS * (3 + LINES + sum(POINTS.values())) + 2 * every_tenth
    bad = ROUNDS + 2 * every_tenth
    end = ("--exit-after", good + bad, "--drain-seconds", 240, "--fixed-waits", 1)
    worker = deployment.worker("--otlp-topics", TOPICS, *end)
    at = ConsoleAt(deployment)
    console = at.start("--otlp-topics", TOPICS)
    feeding = threading.Thread(target=feed, args=(deployment,), daemon=True)
    feeding.start()
    by_setting = {**SETTINGS, "SPANLOOM_OTLP_TOPICS": TOPICS}
    for _ in range(KILLS):
        at.wait_until_ready(console)
        time.sleep(chance.uniform(0.2, 2))
        console.kill()
        console = at.start(settings=by_setting)
    feeding.join(120)
    assert worker.wait(90) == 0, worker.tail()
    accounts = worker.accounting()
    assert balance(accounts) == 0
    assert (accounts["accepted"], accounts["rejected"]) == (good + bad, bad)
    at.wait_until_read(console)
    check_answers(at)
    unreadable = at.get("/health")["unreadable"]
    assert set(unreadable) <= set(KINDS), unreadable
    console.terminate()
    assert console.wait(30) == 0, console.tail()

    found = archived(at.archive, EVENTS)
    assert len(found) == good - ROUNDS * 3
    assert found == rows_of(deployment)
