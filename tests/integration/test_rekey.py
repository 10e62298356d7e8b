"""Topics that lie wrongly, placed anew by a real worker: nothing missed, nothing twice."""

import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from streams.codec.records import decode
from streams.core.traces.partitioners import fnv1a_partition, murmur2_partition
from tests.fault.harness import (
    TRACES,
    Deployment,
    Feeder,
    WorkerProcess,
    assert_revisions_are_whole,
    assert_spans_are_whole,
    balance,
    highest,
    read_committed,
    wait_for,
)
from tests.integration.traces import event_of
from tests.otlp_cases import as_json, logs, span_id, span_of, trace_id, traces
from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

SPANS_TOPIC = "otlp_spans"
OTHER = "telemetry.other.v1"
INTERNAL = "spanloom.rekeyed.v1"
OTLP = ("--otlp-topics", "otlp_spans,otlp_logs")
REKEY = (*OTLP, "--rekey", SPANS_TOPIC)
SPANS = 5
Place = Callable[[bytes, int], int]
OF_OTLP = 3
"""Spans of a trace that come by OTLP; the others are events of our own."""


def make_topics(deployment: Deployment, spans_partitions: int) -> None:
    """Make the topics of a deployment, that of the Collector's spans with a count of its own."""
    client = AdminClient({"bootstrap.servers": deployment.broker})
    new = [NewTopic(SPANS_TOPIC, spans_partitions, 1)]
    for done in client.create_topics(new).values():
        done.result(30)
    done_ = deployment.cli("topics", "create", "--partitions", deployment.partitions, *REKEY)
    assert done_.returncode == 0, done_.stderr
    assert INTERNAL in done_.stdout


def feed_trace(
    feeder: Feeder, n: int, partitions: int, now_ns: int, place: Place = fnv1a_partition
) -> None:
    """Send a trace: spans of OTLP placed as Sarama does, and events of ours placed by murmur2."""
    key = trace_id(n).hex().encode()
    spans = [span_of(n, s) for s in range(1, OF_OTLP + 1)]
    for span in spans:
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns, now_ns + 1_000
    value = traces("checkout", spans).SerializeToString()
    feeder.send_bytes(SPANS_TOPIC, key, value, partition=place(key, partitions))
    for s in range(OF_OTLP + 1, SPANS + 1):
        event = event_of(n, s, now_ns // 1000)
        ids = {"trace_id": key.decode(), "span_id": span_id(n, s).hex()}
        feeder.send(OTHER, event | ids | {"parent_span_id": span_id(n, 1).hex()})


def spans_by_trace(numbers: Any) -> Mapping[str, set[str]]:
    """Return the span ids of whole traces."""
    return {trace_id(n).hex(): {span_id(n, s).hex() for s in range(1, SPANS + 1)} for n in numbers}


def asked(port: int, path: str) -> str:
    """Return what a worker's page says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
        said: bytes = answer.read()
    return said.decode()


def whole_traces(deployment: Deployment) -> dict[str, Any]:
    """Return the valid revisions of the traces that have all their spans."""
    found = highest(deployment.read_by(TRACES, decode))
    return {t: trace for t, trace in found.items() if len(trace["spans"]) == SPANS}


def wait_for_traces(
    deployment: Deployment, expected: Mapping[str, set[str]], worker: WorkerProcess
) -> None:
    """Wait until traces are published with all their spans."""

    def left() -> int:
        return len(expected.keys() - whole_traces(deployment).keys())

    wait_for(lambda: not left(), 240, lambda: f"{left()} are not whole: {worker.tail()}", worker)


def events_of_internal(deployment: Deployment) -> Counter[tuple[str, str]]:
    """Return how often each span is in the internal topic, for readers of committed records."""
    seen: Counter[tuple[str, str]] = Counter()
    for message in read_committed(deployment.broker, INTERNAL):
        found = decode(message.value)
        seen.update((e["trace_id"], e["span_id"]) for e in found.get("events", ()))
    return seen


def places_of_internal(deployment: Deployment) -> Counter[tuple[int, int]]:
    """Return how many events came of each message of the origin, by partition and offset."""
    found: Counter[tuple[int, int]] = Counter()
    for message in read_committed(deployment.broker, INTERNAL):
        batch = decode(message.value)
        for offset in np.frombuffer(batch["offsets"], "<i8").tolist():
            found[batch["partition"], offset] += 1
    return found


def committed_by(deployment: Deployment) -> dict[int, int]:
    """Return where the group stands in the topic of spans, by partition."""
    consumer = Consumer({"bootstrap.servers": deployment.broker, "group.id": deployment.group})
    try:
        asked_for = [TopicPartition(SPANS_TOPIC, p) for p in range(deployment.partitions)]
        return {at.partition: at.offset for at in consumer.committed(asked_for, timeout=60)}
    finally:
        consumer.close()


def test_a_topic_placed_by_fnv_is_named_and_then_repaired(deployment: Deployment) -> None:
    """Log, health and metric name it; started again with --rekey, the group joins all traces."""
    make_topics(deployment, deployment.partitions)
    port = free_port()
    settings = {"health_port": port}
    worker = deployment.worker(*OTLP, "--fixed-waits", 1, settings=settings)
    numbers = count(1)
    torn: list[int] = []

    def is_named() -> bool:
        with Feeder(deployment.broker) as feeder:
            for _ in range(100):
                torn.append(next(numbers))
                feed_trace(feeder, torn[-1], deployment.partitions, time.time_ns())
        if not worker.events("topic_mispartitioned"):
            return False
        health = json.loads(asked(port, "/health"))
        return [one["topic"] for one in health["mispartitioned"]] == [SPANS_TOPIC]

    wait_for(is_named, 240, lambda: f"named: {worker.tail()}", worker)
    told = worker.events("topic_mispartitioned")[0]
    assert (told["topic"], told["repair"].endswith(f"--rekey {SPANS_TOPIC}")) == (SPANS_TOPIC, True)
    metrics = asked(port, "/metrics")
    assert f'topic="{SPANS_TOPIC}"' in metrics.split("spanloom_mispartitioned_topic{")[1]
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    stood = committed_by(deployment)
    before = set(whole_traces(deployment))
    assert len(before) < len(torn), "nothing was torn, so nothing can be repaired"

    worker = deployment.worker(*REKEY, "--fixed-waits", 1, settings=settings)
    mended = [next(numbers) for _ in range(200)]
    with Feeder(deployment.broker) as feeder:
        for n in mended:
            feed_trace(feeder, n, deployment.partitions, time.time_ns())
    expected = spans_by_trace(mended)
    wait_for_traces(deployment, expected, worker)
    assert json.loads(asked(port, "/health"))["mispartitioned"] == []
    metrics = asked(port, "/metrics")
    assert f'spanloom_rekeyed_records_total{{task="rekey.{SPANS_TOPIC}-0",what="moved"}}' in metrics
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    found = [t for t in deployment.read_by(TRACES, decode) if t["trace_id"] in expected]
    assert_revisions_are_whole(found)
    assert_spans_are_whole(found, expected)
    # It begins where the join stood: what the group had read is not read again, the rest is, once.
    left = [m for m in deployment.read(SPANS_TOPIC) if m.offset >= stood.get(m.partition, 0)]
    assert len(left) < len(deployment.read(SPANS_TOPIC))
    assert places_of_internal(deployment) == {(m.partition, m.offset): OF_OTLP for m in left}


def feed_oddly(feeder: Feeder, numbers: list[int], partitions: int) -> tuple[int, int]:
    """Send what may lie anywhere; return how many events it is, and how many of them are bad.

    Requests of spans of many traces without a key, as protobuf and JSON, with a bad span among
    them; requests that are none; and events of ours.
    """
    now_ns = time.time_ns()
    chance = random.Random(7)
    spans = [span_of(n, s) for n in numbers for s in range(1, OF_OTLP + 1)]
    for span in spans:
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns, now_ns + 1_000
    chance.shuffle(spans)
    bad = span_of(numbers[0], 9)
    bad.span_id = b"short"
    requests = [spans[i : i + 40] for i in range(0, len(spans), 40)]
    requests[0].append(bad)
    for i, some in enumerate(requests):
        request = traces("checkout", some)
        value = as_json(request) if i % 2 else request.SerializeToString()
        feeder.send_bytes(SPANS_TOPIC, None, value, partition=i % partitions)
    feeder.send_bytes(SPANS_TOPIC, None, b"no request", partition=1)
    events = 0
    for n in numbers:
        for s in range(OF_OTLP + 1, SPANS + 1):
            event = event_of(n, s, now_ns // 1000)
            ids = {"trace_id": trace_id(n).hex(), "span_id": span_id(n, s).hex()}
            feeder.send(OTHER, event | ids | {"parent_span_id": span_id(n, 1).hex()})
            events += 1
    return len(spans) + 2 + events, 2


def test_another_count_no_keys_and_mixed_traces_are_repaired(deployment: Deployment) -> None:
    """Counts are equal, resends are duplicates, and bad spans are rejected where they lay."""
    make_topics(deployment, 3)
    numbers = list(range(1, 121))
    free = LogRecord(time_unix_nano=time.time_ns())
    with Feeder(deployment.broker) as feeder:
        events, bad = feed_oddly(feeder, numbers, 3)
        feed_oddly(feeder, numbers, 3)
        feeder.send_bytes("otlp_logs", None, logs("checkout", [free]).SerializeToString())
    accepted = 2 * events + 1
    end = ("--exit-after", accepted, "--drain-seconds", 240, "--fixed-waits", 1)
    worker = deployment.worker(*REKEY, *end)
    assert worker.wait(240) == 0, worker.tail()
    accounts = worker.accounting()
    assert balance(accounts) == 0
    good = events - bad
    counted = ("accepted", "joined", "duplicate", "rejected", "untraced", "open")
    assert {name: accounts[name] for name in counted} == {
        "accepted": accepted,
        "joined": good,
        "duplicate": good,
        "rejected": 2 * bad,
        "untraced": 1,
        "open": 0,
    }
    assert_spans_are_whole(deployment.read_by(TRACES, decode), spans_by_trace(numbers))
    rejected = deployment.read_by("telemetry.rejected.v1", decode)
    told = Counter((r["reason"], r["topic"], r["partition"]) for r in rejected)
    assert told == {
        ("invalid_span_id", SPANS_TOPIC, 0): 2,
        ("invalid_otlp", SPANS_TOPIC, 1): 2,
    }
    sent = {m.offset: m.value for m in deployment.read(SPANS_TOPIC) if m.partition == 1}
    for whole in (r for r in rejected if r["reason"] == "invalid_otlp"):
        assert whole["value"] == sent[whole["offset"]] == b"no request"
    details = [r["detail"] for r in rejected if r["reason"] == "invalid_span_id"]
    assert all(detail.startswith("event 41 of 41: ") for detail in details), details


def test_kills_neither_lose_nor_repeat_what_is_rekeyed(deployment: Deployment) -> None:
    """After kill -9 at any moment each event is in the internal topic once, each trace whole."""
    make_topics(deployment, 3)
    chance = random.Random(11)
    numbers = count(1)
    fed: list[int] = []

    def start() -> WorkerProcess:
        return deployment.worker(*REKEY, "--fixed-waits", 2)

    def feed(traces_count: int) -> None:
        with Feeder(deployment.broker) as feeder:
            for _ in range(traces_count):
                fed.append(next(numbers))
                feed_trace(feeder, fed[-1], 3, time.time_ns())

    for _ in range(3):
        worker = start()
        worker.wait_until_restored(3, "rekey", 100)
        began = time.monotonic()
        lasting = chance.uniform(0.5, 4)
        while time.monotonic() - began < lasting:
            feed(20)
            time.sleep(0.05)
        worker.kill()
    worker = start()
    feed(50)
    expected = spans_by_trace(fed)
    wait_for_traces(deployment, expected, worker)
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    found = deployment.read_by(TRACES, decode)
    assert_revisions_are_whole(found)
    assert_spans_are_whole(found, expected)
    seen = events_of_internal(deployment)
    of_otlp = {(trace_id(n).hex(), span_id(n, s).hex()) for n in fed for s in range(1, OF_OTLP + 1)}
    assert seen.keys() == of_otlp
    assert set(seen.values()) == {1}
    print("rekeyed through kills:", len(fed), "traces,", len(of_otlp), "spans")


def test_taken_back_nothing_is_left_out_and_nothing_joined_twice(deployment: Deployment) -> None:
    """The producers are mended: without --rekey the join goes on where the rekey task stood."""
    make_topics(deployment, deployment.partitions)
    worker = deployment.worker(*REKEY, "--fixed-waits", 1)
    with Feeder(deployment.broker) as feeder:
        for n in range(1, 41):
            feed_trace(feeder, n, deployment.partitions, time.time_ns())
    wait_for_traces(deployment, spans_by_trace(range(1, 41)), worker)
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    with Feeder(deployment.broker) as feeder:
        for n in range(41, 81):
            feed_trace(feeder, n, deployment.partitions, time.time_ns(), murmur2_partition)
    rows = 80 * SPANS
    end = ("--exit-after", rows, "--drain-seconds", 240, "--fixed-waits", 1)
    worker = deployment.worker(*OTLP, *end)
    assert worker.wait(240) == 0, worker.tail()
    accounts = worker.accounting()
    assert balance(accounts) == 0
    assert (accounts["accepted"], accounts["joined"], accounts["duplicate"]) == (rows, rows, 0)
    assert_spans_are_whole(deployment.read_by(TRACES, decode), spans_by_trace(range(1, 81)))
