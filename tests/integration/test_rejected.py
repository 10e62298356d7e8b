"""Events that cannot be accepted: told apart, kept with their origin, and harmless."""

import pytest

from streams.codec.eventbatch import encode_batch
from streams.codec.records import decode, encode
from streams.codec.wire import HEADER_BYTES, header
from streams.core.traces.partitioners import murmur2_partition
from tests.fault.harness import (
    TRACES,
    Deployment,
    Feeder,
    assert_spans_are_whole,
    balance,
)
from tests.integration.traces import event_of, trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPIC = "telemetry.other.v1"
KEYS = [b"this key", b"", None]
START_US = 1_700_000_000_000_000


def test_bad_events_are_kept_with_reason_and_origin(deployment: Deployment) -> None:
    """Each bad event is rejected with topic, partition, offset and reason; the good are joined."""
    deployment.create_topics()
    good = trace_of(1, spans=3, start_us=START_US)
    whole = encode("telemetry_event", good[0])
    large = {**event_of(9, 1, START_US), "dimensions": {"text": "x" * 600_000}}
    no_span = {**event_of(8, 1, START_US), "span_id": "xyz"}
    bad: list[tuple[str, bytes | None]] = [
        ("bad_magic", b"{garbage}"),
        ("invalid_avro", whole[:-7]),
        ("unknown_schema_id", header(4_711) + whole[5:]),
        ("empty_value", None),
        ("event_too_large", encode("telemetry_event", large)),
        ("invalid_avro", header(1) + b"\xff" * 40),
    ]
    with Feeder(deployment.broker) as feeder:
        feeder.send(TOPIC, good[0])
        for _, value in bad:
            feeder.send_bytes(TOPIC, b"key", value, partition=2)
        for key in KEYS:
            feeder.send_bytes(TOPIC, key, b"{other garbage}", partition=1)
        feeder.send(TOPIC, no_span)
        for event in good[1:]:
            feeder.send(TOPIC, event)
    end = ("--exit-after", feeder.count, "--drain-seconds", 240)
    worker = deployment.worker(*end, "--fixed-waits", 1)
    assert worker.wait(90) == 0, worker.tail()

    accounting = worker.accounting()
    assert balance(accounting) == 0
    assert (accounting["accepted"], accounting["rejected"], accounting["joined"]) == (13, 10, 3)
    rejected = sorted(
        deployment.read_by("telemetry.rejected.v1", decode),
        key=lambda r: (r["reason"] == "bad_span_id", r["offset"]),
    )
    print("rejected:", [(r["reason"], r["partition"], r["offset"], r["detail"]) for r in rejected])
    on_two = [r for r in rejected if r["partition"] == 2 and r["key"] == b"key"]
    assert [r["reason"] for r in on_two] == [reason for reason, _ in bad]
    first = on_two[0]["offset"]
    assert [r["offset"] for r in on_two] == list(range(first, first + len(bad)))
    assert {r["topic"] for r in rejected} == {TOPIC}
    published = [
        (decode(message.value)["offset"], message.key)
        for message in deployment.read("telemetry.rejected.v1")
        if decode(message.value)["value"] == b"{other garbage}"
    ]
    assert [key for _, key in sorted(published)] == KEYS
    assert [r["value_bytes"] for r in on_two] == [len(value or b"") for _, value in bad]
    assert on_two[0]["value"] == b"{garbage}"
    assert len(on_two[4]["value"]) == 64 << 10
    valid = deployment.read_by(TRACES, decode)
    assert_spans_are_whole(valid, {good[0]["trace_id"]: {e["span_id"] for e in good}})


def test_many_events_in_a_message_are_joined_with_those_sent_alone(deployment: Deployment) -> None:
    """Two traces, each in part in a batch message with a bad event, in part alone."""
    deployment.create_topics()
    traces = [trace_of(n, spans=6, start_us=START_US) for n in (1, 2)]
    bad = encode("telemetry_event", {**event_of(9, 1, START_US), "span_id": "xyz"})
    with Feeder(deployment.broker) as feeder:
        for events in traces:
            together = [encode("telemetry_event", event)[HEADER_BYTES:] for event in events[:5]]
            together.insert(2, bad[HEADER_BYTES:])
            key = events[0]["trace_id"].encode()
            partition = murmur2_partition(key, deployment.partitions)
            feeder.send_bytes(TOPIC, key, encode_batch(together), partition=partition)
            feeder.send_bytes(TOPIC, key, encode_batch(together)[:-9], partition=partition)
            feeder.send(TOPIC, events[5])
    worker = deployment.worker("--exit-after", 16, "--drain-seconds", 240, "--fixed-waits", 1)
    assert worker.wait(90) == 0, worker.tail()

    accounting = worker.accounting()
    assert balance(accounting) == 0
    assert (accounting["accepted"], accounting["rejected"], accounting["joined"]) == (16, 4, 12)
    rejected = deployment.read_by("telemetry.rejected.v1", decode)
    assert sorted(r["reason"] for r in rejected) == ["invalid_avro"] * 2 + ["invalid_span_id"] * 2
    alone = [r for r in rejected if r["reason"] == "invalid_span_id"]
    assert [r["value"] for r in alone] == [bad, bad]
    assert {r["detail"].split(":")[0] for r in alone} == {"event 3 of 6"}
    spans = {events[0]["trace_id"]: {e["span_id"] for e in events} for events in traces}
    assert_spans_are_whole(deployment.read_by(TRACES, decode), spans)
