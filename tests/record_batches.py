"""Kafka's record batches for tests, written byte by byte as a producer would."""

from collections.abc import Iterable, Sequence

from streams.codec.recordbatch import Record, RecordBatch
from streams.codec.varints import varint

Header = tuple[bytes, bytes | None]


def batch(
    records: Sequence[Record], *, headers: Sequence[Header] = (), next_offset: int | None = None
) -> RecordBatch:
    """Return a batch of at least one record, all with the same headers."""
    first = records[0]
    payload = b"".join(record_bytes(r, first.offset, first.timestamp, headers) for r in records)
    after = records[-1].offset + 1 if next_offset is None else next_offset
    return RecordBatch(first.offset, after, first.timestamp, -1, len(records), payload)


def record_bytes(
    record: Record, base_offset: int, base_ms: int, headers: Iterable[Header] = ()
) -> bytes:
    """Return one record as it lies in a batch."""
    listed = list(headers)
    body = (
        b"\0"
        + varint(record.timestamp - base_ms)
        + varint(record.offset - base_offset)
        + _bytes(record.key)
        + _bytes(record.value)
        + varint(len(listed))
        + b"".join(_bytes(name) + _bytes(value) for name, value in listed)
    )
    return varint(len(body)) + body


def _bytes(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value
