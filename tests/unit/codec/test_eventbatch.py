"""Batch messages: the same events as those sent alone, whatever lies beside them."""

import random

import numpy as np
import pytest
from hypothesis import given, settings

from streams.codec import wire
from streams.codec.eventbatch import encode_batch
from streams.codec.recordbatch import Record, RecordBatch
from streams.codec.records import encode
from streams.codec.schemas import SchemaSet, default_schemas, load_schema
from streams.codec.varints import varint
from streams.core.columns import EventColumns
from streams.core.traces.partitioners import BY_TRACE
from tests.judge_cases import randoms
from tests.record_batches import batch
from tests.unit.codec.codec_cases import T0_US, decoder, event, run, value, values

MS = T0_US // 1000
BATCH_HEADER = wire.header(default_schemas().id_of("telemetry_batch"))
KEY = b"k" * 32


def body(**changes: object) -> bytes:
    return value(**changes)[wire.HEADER_BYTES :]


def bodies(n: int, first: int = 0) -> list[bytes]:
    return [one[wire.HEADER_BYTES :] for one in values(first + n)[first:]]


def messages(*sent: bytes | None) -> RecordBatch:
    """Return a record batch of some values, from offset 40 on."""
    return batch([Record(40 + i, MS + i, KEY, one) for i, one in enumerate(sent)])


def in_blocks(parts: list[list[bytes]], *, sized: bool) -> bytes:
    """Return a batch message whose array has several blocks, with their sizes or without."""
    out = BATCH_HEADER
    for part in parts:
        items = b"".join(part)
        head = varint(-len(part)) + varint(len(items)) if sized else varint(len(part))
        out += head + items
    return out + b"\0"


def columns(events: EventColumns) -> dict[str, object]:
    names = ("trace_id", "event_key", "span_id", "timestamp_us", "operation", "duration_us")
    return {name: getattr(events, name).tolist() for name in names} | {"body": list(events.body)}


def test_many_events_in_a_message_are_those_events() -> None:
    """Rows go on over messages and batches; time and offset are the message's."""
    sent = [messages(encode_batch(bodies(3)), encode_batch(bodies(2, 3))), messages(values(6)[5])]
    events, rejected, step = decoder().decode_batches(sent, [3, 3], [0, 0])
    plain, _ = run(values(6))
    assert not rejected.row
    assert columns(events) == columns(plain)
    assert events.row.tolist() == [0, 1, 2, 3, 4, 5]
    assert (events.kafka_us // 1000 - MS).tolist() == [0, 0, 0, 1, 1, 0]
    assert [step.record(row).offset for row in range(6)] == [40, 40, 40, 41, 41, 40]
    assert [step.key(row) for row in range(6)] == [BY_TRACE] * 5 + [KEY]
    assert [step.record(row).value for row in range(6)] == values(6)
    assert step.place(4) == "event 2 of 2: "
    assert step.place(5) == ""


@pytest.mark.parametrize("sized", [True, False])
def test_an_array_in_several_blocks_is_read_too(sized: bool) -> None:
    """The specification allows it; it is only slower."""
    sent = messages(in_blocks([bodies(2), bodies(1, 2)], sized=sized), encode_batch(bodies(1, 3)))
    events, rejected, _ = decoder().decode_batches([sent], [3], [0])
    assert not rejected.row
    assert columns(events) == columns(run(values(4))[0])


def test_a_message_without_events_is_none() -> None:
    """An empty array is no error: its position is taken and nothing else."""
    sent = messages(BATCH_HEADER + b"\0", encode_batch(bodies(1)), BATCH_HEADER + b"\0")
    events, rejected, step = decoder().decode_batches([sent], [3], [0])
    assert (len(events), len(rejected), len(step)) == (1, 0, 1)
    assert step.record(0).offset == 41


def test_messages_before_the_position_are_not_read_again() -> None:
    """A batch that was sought into: what lies before is another step's."""
    sent = messages(encode_batch(bodies(3)), encode_batch(bodies(2, 3)))
    events, _, step = decoder().decode_batches([sent], [3], [41])
    assert columns(events) == columns(run(values(5)[3:])[0])
    assert {step.record(row).offset for row in events.row.tolist()} == {41}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"trace_id": "no"}, "invalid_trace_id"),
        ({"name": ""}, "missing_name"),
        ({"timestamp": 0}, "invalid_timestamp"),
        ({"record_id": "r" * 600}, "event_too_large"),
    ],
)
def test_a_bad_event_is_rejected_alone(bad: dict[str, object], reason: str) -> None:
    """With its own bytes; the events beside it are good."""
    sent = messages(encode_batch([*bodies(1), body(**bad), *bodies(1, 1)]))
    events, rejected, step = decoder(max_event_bytes=500).decode_batches([sent], [3], [0])
    assert (rejected.row, rejected.reason) == ([1], [reason])
    assert step.record(1).value == value(**bad)
    assert step.place(1) == "event 2 of 3: "
    assert columns(events) == columns(run(values(2))[0])


@pytest.mark.parametrize(
    "broken",
    [
        BATCH_HEADER,
        BATCH_HEADER + varint(3) + b"".join(bodies(3)),
        BATCH_HEADER + varint(3) + b"".join(bodies(3))[:-1] + b"\0",
        BATCH_HEADER + varint(4) + b"".join(bodies(3)) + b"\0",
        BATCH_HEADER + varint(2) + b"".join(bodies(3)) + b"\0",
        BATCH_HEADER + varint(1 << 40) + b"".join(bodies(3)) + b"\0",
        BATCH_HEADER + b"\xff" * 11,
        encode_batch(bodies(2)) + b"\0",
    ],
)
def test_a_broken_message_is_refused_whole_and_alone(broken: bytes) -> None:
    """Where one event ends is not known any more, so none of its events is taken."""
    sent = messages(encode_batch(bodies(2)), broken, encode_batch(bodies(2, 2)), values(5)[4])
    events, rejected, step = decoder().decode_batches([sent], [3], [0])
    assert (rejected.row, rejected.reason) == ([2], ["invalid_avro"])
    assert step.record(2).value == broken
    assert step.record(2).offset == 41
    assert columns(events) == columns(run(values(5))[0])


def test_another_writers_batch_is_resolved() -> None:
    """A schema registered under its own id, with a field that this version does not have."""
    theirs = load_schema("telemetry_event")
    theirs["fields"] = [*theirs["fields"], {"name": "extra", "type": "string"}]
    schemas = SchemaSet()
    writer: dict[str, object] = {
        "type": "record",
        "name": "TelemetryBatch",
        "namespace": "spanloom",
    }
    items = {"type": "array", "items": theirs}
    schemas.register(
        60, {**writer, "fields": [{"name": "events", "type": items}]}, "telemetry_batch"
    )
    text = varint(5) + b"extra"
    sent = wire.header(60) + varint(2) + b"".join(one + text for one in bodies(2)) + b"\0"
    events, rejected, _ = decoder(schemas).decode_batches([messages(sent)], [3], [0])
    assert not rejected.row
    assert columns(events) == columns(run(values(2))[0])


def test_what_is_encoded_is_the_schemas_own_form() -> None:
    """Any Avro writer gives the same bytes."""
    made = [event(span_id=f"{i + 1:016x}", timestamp=T0_US + i) for i in range(3)]
    assert encode("telemetry_batch", {"events": made}) == encode_batch(bodies(3))


@settings(max_examples=60)
@given(randoms)
def test_how_events_are_put_together_changes_nothing(rng: random.Random) -> None:
    """Alone or together, good or bad, in any batches: the same events and rejections in order."""
    every: list[bytes] = []
    batches: list[RecordBatch] = []
    at = 0
    for _ in range(rng.randint(1, 4)):
        records = []
        for _ in range(rng.randint(1, 4)):
            some = [_any_body(rng, len(every) + i) for i in range(rng.randint(1, 4))]
            header = default_schemas().id_of("telemetry_event")
            every += [wire.header(header) + one for one in some]
            is_alone = len(some) == 1 and rng.random() < 0.5
            records.append(every[-1] if is_alone else encode_batch(some))
        batches.append(batch([Record(at + i, MS, KEY, one) for i, one in enumerate(records)]))
        at += len(records)
    none = np.zeros(len(batches), np.int64).tolist()
    events, rejected, step = decoder().decode_batches(batches, none, none)
    plain, wrong = run(every)
    assert events.row.tolist() == plain.row.tolist()
    assert columns(events) == columns(plain)
    assert (rejected.row, rejected.reason) == (wrong.row, wrong.reason)
    assert rejected.detail == wrong.detail
    assert [step.record(row).value for row in range(len(step))] == every


def _any_body(rng: random.Random, i: int) -> bytes:
    changes = rng.choice(({}, {}, {}, {"trace_id": "no"}, {"module": ""}, {"duration_us": -1}))
    return body(span_id=f"{i + 1:016x}", record_id="r" * rng.randrange(4), **changes)
