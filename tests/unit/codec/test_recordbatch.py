"""Record batches as columns: the same records as one by one, whatever lies in them."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from streams.codec import wire
from streams.codec.columnar import schema_fields
from streams.codec.recordbatch import (
    HEADERS_MAX,
    BatchReader,
    Record,
    RecordBatch,
    Shape,
    records_of,
    shape_of,
)
from streams.codec.schemas import SchemaSet, default_schemas, load_schema
from streams.errors import RecordError
from tests.judge_cases import randoms
from tests.record_batches import Header, batch
from tests.unit.codec.codec_cases import EVENT_ID, T0_US, decoder, run, value

MS = T0_US // 1000


def reader() -> BatchReader:
    fields = schema_fields(default_schemas().current("telemetry_event"))
    return BatchReader(fields, wire.HEADER_BYTES)


def records(values: Sequence[bytes | None], key: bytes | None = b"k" * 32) -> list[Record]:
    """Return records of some values, two offsets and 3 ms apart."""
    return [Record(100 + 2 * i, MS + 3 * i, key, one) for i, one in enumerate(values)]


@pytest.mark.parametrize("key", [None, b"", b"k" * 32, b"k" * 200])
@pytest.mark.parametrize(
    "headers", [[], [(b"traceparent", b"00-4b-00")], [(b"a", b""), (b"b", b"c")]]
)
def test_a_batch_read_as_columns_has_the_records_that_it_has_one_by_one(
    key: bytes | None, headers: list[Header]
) -> None:
    """Offsets with holes, times, keys and values, with headers and without."""
    wanted = records([value(record_id=f"r{i}") for i in range(5)], key)
    one = batch(wanted, headers=headers)
    shape = shape_of(one)
    assert shape == Shape(key is not None, len(headers))
    found = reader().read([one, one], shape)
    assert found is not None
    assert found.offset.tolist() == [r.offset for r in wanted] * 2
    assert found.kafka_us.tolist() == [r.timestamp * 1000 for r in wanted] * 2
    assert list(found.value) == [r.value for r in wanted] * 2
    assert [v[wire.HEADER_BYTES :] for v in found.value] == list(found.body)
    assert (list(found.key) if found.key is not None else [None] * 10) == [key] * 10
    assert records_of(one) == wanted


def test_the_brokers_time_is_the_time_of_all_records() -> None:
    """Where the topic says so, the producer's times do not count."""
    made = batch(records([value(), value()]))
    late = RecordBatch(made.base_offset, 200, made.base_ms, MS + 77, made.count, made.payload)
    found = reader().read([late], Shape(True, 0))
    assert found is not None
    assert found.kafka_us.tolist() == [(MS + 77) * 1000] * 2
    assert [r.timestamp for r in records_of(late)] == [MS + 77] * 2


@pytest.mark.parametrize("bad", [None, b"", b"\x00\x00", value()[:-1], value() + b"\x00"])
def test_a_batch_with_a_bad_value_is_not_read_as_columns(bad: bytes | None) -> None:
    """Nothing is known of the neighbours of a value that is not what it says."""
    assert reader().read([batch(records([value(), bad, value()]))], Shape(True, 0)) is None


@pytest.mark.parametrize(
    "payload", [b"", b"\x02", b"\xff" * 20, batch(records([value()])).payload[:-1]]
)
def test_bytes_that_are_no_records_are_refused(payload: bytes) -> None:
    """Torn, endless and empty batches end with a reason, in both ways of reading."""
    broken = RecordBatch(0, 1, MS, -1, 1, payload)
    shape = shape_of(broken)
    assert shape is None or reader().read([broken], shape) is None
    with pytest.raises(RecordError) as caught:
        records_of(broken)
    assert caught.value.reason == "corrupt_batch"


def test_more_records_than_bytes_are_not_believed() -> None:
    """A count that the bytes cannot hold must not become memory."""
    made = batch(records([value()]))
    assert shape_of(RecordBatch(0, 1, MS, -1, 1 << 30, made.payload)) is None


def test_records_with_many_headers_are_read_one_by_one() -> None:
    """So many shapes are not worth a plan."""
    headers = [(b"h", b"v")] * (HEADERS_MAX + 1)
    assert shape_of(batch(records([value()]), headers=headers)) is None


def schemas_with_another() -> SchemaSet:
    schemas = SchemaSet()
    schemas.register(50, {**load_schema("telemetry_event"), "doc": "the same bytes"})
    return schemas


def any_value(rng: random.Random, i: int) -> bytes | None:
    """Return a good value, or one that is bad in some way."""
    good = value(span_id=f"{i + 1:016x}", record_id="r" * rng.randrange(3))
    kind = rng.randrange(14)
    spoiled = {
        0: None,
        1: b"",
        2: good[: rng.randrange(len(good))],
        3: good + b"\x00" * rng.randrange(1, 4),
        4: b"\x01" + good[1:],
        5: wire.header(50) + good[5:],
        6: wire.header(77) + good[5:],
        7: value(trace_id="no"),
        8: value(event_type="LOG", event_id=EVENT_ID, span_id=""),
    }
    return spoiled.get(kind, good)


def any_batch(rng: random.Random, first: int) -> RecordBatch:
    """Return a batch whose bad values come one, many or none at a time."""
    count = rng.randint(1, 9)
    bad = rng.choice((0.0, 0.2, 1.0))
    values = [
        any_value(rng, first + i) if rng.random() < bad else value(span_id=f"{first + i + 1:016x}")
        for i in range(count)
    ]
    headers: list[Header] = [(b"h", b"v")] * rng.choice((0, 0, 1, HEADERS_MAX + 1))
    key = rng.choice((None, b"k" * 32, b"k" * 70))
    made = [Record(first + i, MS + i, key, one) for i, one in enumerate(values)]
    return batch(made, headers=headers)


@settings(max_examples=80)
@given(randoms)
def test_events_of_batches_are_those_of_their_values(rng: random.Random) -> None:
    """Whatever lies beside what: the same rows, the same rejections, the same records."""
    schemas = schemas_with_another()
    batches, at = [], 0
    for _ in range(rng.randint(1, 6)):
        batches.append(any_batch(rng, at))
        at += batches[-1].count
    every = [record for one in batches for record in records_of(one)]
    begin = rng.randrange(at)
    events, rejected, step = decoder(schemas).decode_batches(
        batches, [3] * len(batches), [begin] * len(batches)
    )
    plain, wrong = run([r.value for r in every[begin:]], decoder(schemas))
    assert (events.row - begin).tolist() == plain.row.tolist()
    assert [row - begin for row in rejected.row] == wrong.row
    assert (rejected.reason, rejected.detail) == (wrong.reason, wrong.detail)
    assert list(events.body) == list(plain.body)
    for name in ("trace_id", "event_key", "operation", "span_id", "timestamp_us", "topic"):
        assert getattr(events, name).tolist() == getattr(plain, name).tolist(), name
    assert events.kafka_us.tolist() == [every[i].timestamp * 1000 for i in events.row.tolist()]
    rows = [rng.randrange(at) for _ in range(3)]
    assert [step.record(row) for row in rows] == [every[row] for row in rows]


def test_events_keep_their_order_whatever_their_batches_are_read_by() -> None:
    """A batch that fails as columns is named after later ones that are never tried as columns."""
    foreign = wire.header(50) + value()[5:]  # of a schema of the same bytes, but with a torn one
    torn = batch([Record(0, MS, None, value()[:-1]), Record(1, MS, None, foreign)])
    headers: list[Header] = [(b"h", b"v")] * (HEADERS_MAX + 1)
    many = batch([Record(2, MS, None, value(span_id="b7ad6b7169203331"))], headers=headers)
    events, rejected, _ = decoder(schemas_with_another()).decode_batches(
        [torn, many], [0, 0], [0, 0]
    )
    assert rejected.row == [0]
    assert events.row.tolist() == [1, 2]


def test_a_batch_that_cannot_be_read_is_rejected_record_by_record() -> None:
    """The accounts stay whole when a batch's bytes are no records at all."""
    broken = RecordBatch(40, 43, MS, -1, 3, b"")
    good = batch([Record(43, MS, None, value())])
    events, rejected, step = decoder().decode_batches([broken, good], [0, 1], [41, 0])
    assert events.row.tolist() == [3]
    assert (rejected.row, rejected.reason) == ([1, 2], ["corrupt_batch"] * 2)
    assert [step.record(row).offset for row in rejected.row] == [41, 42]
    assert events.topic.tolist() == np.array([1]).tolist()
