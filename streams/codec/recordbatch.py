"""Kafka's record batches as they lie in the log, read as columns together with what they carry.

A record of format 2 is, byte for byte, an Avro record: its numbers are the same zigzag varints,
its key and value are length and bytes, no headers are an empty array. So the records of many
batches, laid one after the other, are read by the same call that reads the events in them, and
no record ever becomes an object.

Invariant: the records that `BatchReader` returns are those that `records_of` finds one by one.
Source: Apache Kafka, "Record batch", message format v2; Avro 1.11, "Binary encoding".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from streams.codec.columnar import ColumnarReader, Field, varint_bytes
from streams.codec.rows import Rows
from streams.codec.walked import WalkedReader
from streams.core.bodies import Bodies
from streams.errors import RecordError
from streams.units import I64, U8, Mask

RECORD_BYTES_MIN: Final = 7
"""Length, attributes, two deltas, no key, no value, no headers."""
HEADERS_MAX: Final = 8
"""Records with more headers are read one by one."""
_LENGTH, _ATTRIBUTES, _DELAY, _STEP = "__length", "__attributes", "__delay", "__step"
_KEY, _VALUE, _WIRE, _HEADERS = "__key", "__value", "__wire", "__headers"


class Record(NamedTuple):
    """One record, with what anybody here asks of it; `timestamp` is in milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """A batch of records of one producer, inflated.

    Attributes:
        base_offset: the first record's offset, before any was compacted away.
        next_offset: where the partition goes on after it.
        base_ms: the time that the records' delays are added to.
        append_ms: the broker's time for all of them, where the topic says so; else -1.
        count: how many records there are.
        payload: the records.
    """

    base_offset: int
    next_offset: int
    base_ms: int
    append_ms: int
    count: int
    payload: bytes


class Shape(NamedTuple):
    """What the columns of a batch depend on: whether records have a key, how many headers."""

    is_keyed: bool
    headers: int


@dataclass(frozen=True, slots=True)
class Records:
    """n records that were read together; all arrays (n,).

    Attributes:
        block: the columns; those of the event have their own names.
        batch: index of each record's batch among those read.
        offset: where each lies in its partition.
        kafka_us: record time, microseconds.
        key: where the keys lie in `block.data`; None where the records have none.
        value: where the values lie.
        body: where the bodies lie: the values without their wire header.
    """

    block: Rows
    batch: I64
    offset: I64
    kafka_us: I64
    key: Bodies | None
    value: Bodies
    body: Bodies


class BatchReader:
    """Reads batches whose values have one schema and one wire header.

    Args:
        fields: the schema's fields.
        header_bytes: length of the wire header in front of each value, 0 for none.
        hashed: the texts whose hashes are asked for, where the rows may come as `WalkedBlock`.
    """

    def __init__(
        self, fields: Sequence[Field], header_bytes: int, hashed: Sequence[str] | None = None
    ) -> None:
        self._fields = tuple(fields)
        self._header_bytes = header_bytes
        self._hashed = hashed
        self._readers: dict[Shape, ColumnarReader] = {}
        self._walkers: dict[Shape, WalkedReader] = {}

    def read(self, batches: Sequence[RecordBatch], shape: Shape) -> Records | None:
        """Return the records of batches of one shape.

        None when they are not exactly what the schema says: then they are to be read one by one.
        """
        count = np.array([batch.count for batch in batches], np.int64)
        block = self._block([b.payload for b in batches], count, shape)
        if block is None:
            return None
        batch = np.repeat(np.arange(len(batches)), count)
        at = dict(zip((f.name for f in self._reader(shape).fields), block.starts, strict=False))
        value_bytes = block.numbers(_VALUE)
        begin = at[_WIRE] if self._header_bytes else at[self._fields[0].name]
        if not _is_framed(block, at, begin, value_bytes):
            return None
        base_ms = np.array([b.base_ms for b in batches], np.int64)[batch]
        append_ms = np.array([b.append_ms for b in batches], np.int64)[batch]
        base_offset = np.array([b.base_offset for b in batches], np.int64)[batch]
        time_ms = np.where(append_ms >= 0, append_ms, base_ms + block.numbers(_DELAY))
        key = None
        if shape.is_keyed:
            key_bytes = block.text_bytes(_KEY)
            key = Bodies(block.data, begin - varint_bytes(value_bytes) - key_bytes, key_bytes)
        head = self._header_bytes
        return Records(
            block,
            batch,
            base_offset + block.numbers(_STEP),
            time_ms * 1000,
            key,
            Bodies(block.data, begin, value_bytes),
            Bodies(block.data, begin + head, value_bytes - head),
        )

    def _block(self, payloads: Sequence[bytes], count: I64, shape: Shape) -> Rows | None:
        """Read records, without polars where they are of the common form."""
        reader = self._reader(shape)
        if self._hashed is not None:
            walker = self._walkers.get(shape)
            if walker is None:
                walker = WalkedReader(reader, self._hashed, is_framed=True)
                self._walkers[shape] = walker
            walked = walker.read_block(payloads, count.tolist())
            if walked is not None:
                return walked
        return reader.read_block(payloads, int(count.sum()))

    def wire_headers(self, records: Records) -> Sequence[bytes]:
        """Return the distinct wire headers of the records' values."""
        if not self._header_bytes:
            return [b""]
        heads = self._heads(records)
        if (heads == heads[0]).all():
            return [heads[0].tobytes()]
        return sorted({head.tobytes() for head in heads})

    def with_header(self, records: Records, header: bytes) -> Mask:
        """Return which records' values begin with this wire header; (n,) bool."""
        if not self._header_bytes:
            return np.ones(len(records.offset), np.bool_)
        is_equal = self._heads(records) == np.frombuffer(header, np.uint8)
        return np.asarray(is_equal.all(axis=1))

    def _heads(self, records: Records) -> U8:
        """Return the (n, header_bytes) first bytes of the values."""
        octets = np.frombuffer(records.block.data, np.uint8)
        heads: U8 = octets[records.value.start[:, None] + np.arange(self._header_bytes)]
        return heads

    def _reader(self, shape: Shape) -> ColumnarReader:
        reader = self._readers.get(shape)
        if reader is None:
            reader = self._readers[shape] = ColumnarReader(self._row(shape))
        return reader

    def _row(self, shape: Shape) -> list[Field]:
        """Return the fields of one record: frame, key, value, headers."""
        key = Field(_KEY, "bytes") if shape.is_keyed else Field(_KEY, "long", low=-1, high=-1)
        row = [
            Field(_LENGTH, "long"),
            Field(_ATTRIBUTES, "fixed", size=1),
            Field(_DELAY, "long"),
            Field(_STEP, "long"),
            key,
            Field(_VALUE, "long"),
        ]
        if self._header_bytes:
            row.append(Field(_WIRE, "fixed", size=self._header_bytes))
        row += [*self._fields, Field(_HEADERS, "long", low=shape.headers, high=shape.headers)]
        for i in range(shape.headers):
            row += [Field(f"__header_{i}", "bytes"), Field(f"__header_value_{i}", "bytes")]
        return row


def _is_framed(block: Rows, at: dict[str, I64], begin: I64, value_bytes: I64) -> bool:
    """Whether each record and each value is as long as it says, and has the batch's shape."""
    length = block.numbers(_LENGTH)
    after = at[_LENGTH] + varint_bytes(length) + length
    is_whole = np.array_equal(after, block.starts[-1]) and np.array_equal(
        begin + value_bytes, at[_HEADERS]
    )
    headers = block.numbers(_HEADERS)
    return is_whole and bool((headers == headers[0]).all())


def shape_of(batch: RecordBatch) -> Shape | None:
    """Return the shape of a batch's first record; None when it must be read one by one."""
    if not 0 < batch.count <= len(batch.payload) // RECORD_BYTES_MIN:
        return None
    walk = Walk(batch.payload)
    try:
        walk.frame()
        key_bytes = walk.skip_bytes()
        walk.skip_bytes()
        headers = walk.long()
    except IndexError:
        return None
    return Shape(key_bytes >= 0, headers) if 0 <= headers <= HEADERS_MAX else None


def first_bytes(batch: RecordBatch, size: int) -> bytes:
    """Return the first bytes of the first value of a batch that has a shape."""
    walk = Walk(batch.payload)
    walk.frame()
    walk.skip_bytes()
    value_bytes = walk.long()
    return batch.payload[walk.at : walk.at + min(size, max(value_bytes, 0))]


def records_of(batch: RecordBatch) -> list[Record]:
    """Return the records of a batch, one by one.

    Raises:
        RecordError: `corrupt_batch`: the bytes are not so many records.
    """
    walk = Walk(batch.payload)
    out: list[Record] = []
    try:
        for _ in range(batch.count):
            end, delay, step = walk.frame()
            key, value = walk.octets(), walk.octets()
            for _ in range(walk.long()):
                walk.skip_bytes()
                walk.skip_bytes()
            if walk.at != end:
                raise RecordError("corrupt_batch", f"record {len(out)} is not as long as it says")
            time_ms = batch.append_ms if batch.append_ms >= 0 else batch.base_ms + delay
            out.append(Record(batch.base_offset + step, time_ms, key, value))
    except IndexError as error:
        raise RecordError("corrupt_batch", f"record {len(out)} is cut short") from error
    if walk.at != len(batch.payload):
        raise RecordError("corrupt_batch", f"{len(batch.payload) - walk.at} bytes too many")
    return out


class Walk:
    """Steps over the fields of records; raises IndexError beyond the end."""

    def __init__(self, payload: bytes, at: int = 0) -> None:
        self._payload = payload
        self.at = at

    def long(self) -> int:
        """Return a number."""
        bits = shift = 0
        while True:
            octet = self._payload[self.at]
            self.at += 1
            bits |= (octet & 0x7F) << shift
            if octet < 0x80:
                return (bits >> 1) ^ -(bits & 1)
            shift += 7
            if shift > 63:
                raise IndexError

    def frame(self) -> tuple[int, int, int]:
        """Return where a record ends, its delay and its step."""
        length = self.long()
        end = self.at + length
        self.at += 1  # attributes: unused
        return end, self.long(), self.long()

    def skip_bytes(self) -> int:
        """Step over bytes and return how many, -1 for null."""
        length = self.long()
        self.at += max(length, 0)
        if self.at > len(self._payload) or length < -1:
            raise IndexError
        return length

    def octets(self) -> bytes | None:
        """Return bytes; None for null."""
        length = self.skip_bytes()
        return None if length < 0 else self._payload[self.at - length : self.at]
