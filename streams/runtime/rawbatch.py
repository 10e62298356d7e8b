"""One record batch as the broker sends it: its header, its checksum, its records inflated.

Stands where aiokafka has a batch object, with the attributes that its fetcher asks for. Batches of
the formats before Kafka 0.11 are written anew as format 2, so that only one is read further on.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import cramjam
from aiokafka.codec import snappy_decode
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from streams.codec.recordbatch import RecordBatch

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_MAGIC_AT: Final = 16
_CHECKED_FROM: Final = 21  # the checksum covers what follows it
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
INFLATED_BYTES_MAX: Final = 256 << 20
"""A batch that inflates to more is refused: 8 MB of zstd can hold gigabytes."""


_FULL: Final = "failed to write whole buffer"
_memory = threading.local()


class Delivered(NamedTuple):
    """A batch where aiokafka expects a record: `offset` is the last one it stands for."""

    offset: int
    batch: RecordBatch


class RawBatch:
    """A batch of records.

    Attributes:
        base_offset, next_offset: the offsets it stands for.
        producer_id: of a transactional or idempotent producer; None before format 2.
        is_transactional, is_control_batch: as its header says.
    """

    def __init__(self, data: bytes) -> None:
        self._old: Any = None
        if data[_MAGIC_AT] < 2:
            self._old = MemoryRecords(data).next_batch()
            data = _as_format_2(data)
        self._data = data
        fields = _HEADER.unpack_from(data)
        self.base_offset: int = fields[0]
        self.producer_id: int | None = fields[9] if self._old is None else None
        self._crc, self._attributes, last_offset = fields[4], fields[5], fields[6]
        self._base_ms, self._max_ms, self._count = fields[7], fields[8], fields[12]
        self.next_offset = self.base_offset + last_offset + 1
        self.is_transactional = bool(self._attributes & _TRANSACTIONAL)
        self.is_control_batch = bool(self._attributes & _CONTROL)

    def validate_crc(self) -> bool:
        """Return whether the bytes are those that were sent."""
        if self._old is not None:
            return bool(self._old.validate_crc())
        return bool(calc_crc32c(memoryview(self._data)[_CHECKED_FROM:]) == self._crc)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batch itself, inflated."""
        batch = self._inflated()
        if batch.count:
            yield Delivered(batch.next_offset - 1, batch)

    def __next__(self) -> Any:
        """Return the record of a control batch."""
        return next(DefaultRecordBatch(self._data))

    def _inflated(self) -> RecordBatch:
        payload = inflated(self._attributes & _CODEC, self._data[_HEADER.size :])
        return RecordBatch(
            self.base_offset,
            self.next_offset,
            self._base_ms,
            self._max_ms if self._attributes & _APPEND_TIME else -1,
            self._count,
            payload,
        )


def inflated(kind: int, payload: bytes, bytes_max: int = INFLATED_BYTES_MAX) -> bytes:
    """Return the records of a batch, b"" for those that cannot be had or would be too many bytes.

    The broker inflated the batch when it took it in, so the first hardly happens; the records are
    then rejected one by one, as any other bytes that are no event.

    Args:
        kind: compression as in the batch's attributes; 0 for none.
        payload: the compressed records.
        bytes_max: the most that they may inflate to.
    """
    try:
        if kind == 0:
            return payload
        if kind == 1:
            stream = zlib.decompressobj(31)
            found = stream.decompress(payload, bytes_max)
            return found if stream.eof else b""
        if kind == 2:
            return bytes(snappy_decode(payload))  # grows 21 times at most
        return _inflated_into({3: cramjam.lz4, 4: cramjam.zstd}[kind], payload, bytes_max)
    except Exception:  # whatever the bytes make a decompressor raise
        return b""


def _inflated_into(codec: Any, payload: bytes, bytes_max: int) -> bytes:
    """Inflate into memory that is used again, larger only when that is too small."""
    space: bytearray = getattr(_memory, "space", bytearray(1 << 20))
    while True:
        try:
            size = codec.decompress_into(payload, space)
            _memory.space = space
            return bytes(memoryview(space)[:size]) if size <= bytes_max else b""
        except cramjam.DecompressionError as error:
            if _FULL not in str(error) or len(space) >= bytes_max:
                raise
        space = bytearray(min(4 * len(space), bytes_max))


def _as_format_2(data: bytes) -> bytes:
    """Return a batch of an older format, uncompressed, in format 2."""
    records = list(MemoryRecords(data).next_batch())
    first = records[0].offset
    size = 64 * len(records) + sum(len(r.key or b"") + len(r.value or b"") for r in records)
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, size + 1024)
    for record in records:
        stamp = record.timestamp if record.timestamp is not None else 0
        builder.append(record.offset - first, stamp, record.key, record.value, [])
    built = bytes(builder.build())
    return int(first).to_bytes(8, "big") + built[8:]
