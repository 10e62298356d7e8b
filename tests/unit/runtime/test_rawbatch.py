"""Batches as the broker sends them become the records that went in, whatever their format."""

import zlib
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from streams.codec.recordbatch import Record, RecordBatch, records_of
from streams.runtime.fetching import BatchRecords, BatchResult, RawRecords
from streams.runtime.rawbatch import RawBatch, inflated

RECORDS = [Record(i, 1_000 + i, b"key", b"value %d" % i) for i in range(4)]


def built(kind: int = 0, *, first: int = 0, **flags: Any) -> bytes:
    """Return a batch of format 2 as the broker would send it."""
    builder = DefaultRecordBatchBuilder(2, kind, flags.get("transactional", 0), *_producer(flags))
    for record in RECORDS:
        assert builder.append(record.offset, record.timestamp, record.key, record.value, [])
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def _producer(flags: dict[str, Any]) -> tuple[int, int, int, int]:
    return flags.get("producer_id", -1), 0, 0, 1 << 20


def delivered(batch: RawBatch) -> list[Record]:
    (one,) = batch
    assert isinstance(one.batch, RecordBatch)
    assert one.offset == one.batch.next_offset - 1
    return records_of(one.batch)


@pytest.mark.parametrize("kind", range(5), ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_gives_the_records_that_went_in(kind: int) -> None:
    """Offsets count from the batch's first; the checksum is right, and wrong after a change."""
    data = built(kind, first=70)
    batch = RawBatch(data)
    assert (batch.base_offset, batch.next_offset) == (70, 74)
    assert batch.validate_crc()
    assert delivered(batch) == [r._replace(offset=70 + r.offset) for r in RECORDS]
    assert not RawBatch(data[:-1] + bytes([data[-1] ^ 1])).validate_crc()


@pytest.mark.parametrize("magic", [0, 1])
def test_batches_of_old_formats_are_read_too(magic: int) -> None:
    """What was written before Kafka 0.11 and never compacted away."""
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    builder.append(0, timestamp=1_005, key=b"k", value=b"v")
    batch = RawBatch(bytes(builder.build()))
    assert batch.validate_crc()
    (record,) = delivered(batch)
    assert (record.offset, record.key, record.value) == (0, b"k", b"v")
    assert record.timestamp == (1_005 if magic else 0)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 7])
def test_what_cannot_be_inflated_is_nothing(kind: int) -> None:
    """Its records are rejected one by one; nothing is raised into the client."""
    assert inflated(kind, b"no such stream") == b""


def test_each_compression_is_known_by_its_number() -> None:
    """As Kafka numbers them."""
    data = b"spanloom" * 100
    gzip = zlib.compressobj(wbits=31)
    packed = {
        0: data,
        1: gzip.compress(data) + gzip.flush(),
        2: snappy_encode(data),
        3: bytes(cramjam.lz4.compress(data)),
        4: bytes(cramjam.zstd.compress(data)),
    }
    assert {kind: inflated(kind, one) for kind, one in packed.items()} == dict.fromkeys(
        packed, data
    )


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_a_bomb_is_not_inflated(kind: int) -> None:
    """Megabytes that would become more than is allowed become nothing; what fits is whole."""
    data = bytes(3 << 20)
    gzip = zlib.compressobj(wbits=31)
    packed = {
        1: gzip.compress(data) + gzip.flush(),
        3: bytes(cramjam.lz4.compress(data)),
        4: bytes(cramjam.zstd.compress(data)),
    }[kind]
    assert inflated(kind, packed, 2 << 20) == b""
    assert inflated(kind, packed, 4 << 20) == data


def polled(data: bytes, fetch_offset: int, max_records: int | None, **known: Any) -> Any:
    """Return what one poll of a fetch gives, and the fetch's records."""
    aborted = known.get("aborted", [])
    records = BatchRecords(None, RawRecords(data), aborted, fetch_offset, None, None, True, 1)
    result = BatchResult.__new__(BatchResult)
    result._partition_records, result._topic_partition = records, None
    result.check_assignment = lambda _tp: True
    result._update_position = lambda: None
    state = SimpleNamespace(position=0)
    result._assignment = SimpleNamespace(state_value=lambda _tp: state)
    return result.getall(max_records), records


def test_a_poll_takes_whole_batches_until_it_has_enough_records() -> None:
    """Of three batches of four records, five wanted: two batches, and the place after them."""
    data = b"".join(built(first=at) for at in (0, 4, 8))
    found, records = polled(data, 0, 5)
    assert [b.base_offset for b in found.batches] == [0, 4]
    assert (len(found), records.next_fetch_offset) == (5, 8)


def test_a_batch_that_the_broker_cut_off_is_left_for_the_next_fetch() -> None:
    """The bytes of a fetch end anywhere."""
    data = built() + built(first=4)[:-3]
    found, records = polled(data, 0, None)
    assert [b.base_offset for b in found.batches] == [0]
    assert (len(found), records.next_fetch_offset) == (4, 4)


def test_a_batch_before_the_position_is_passed_over() -> None:
    """A seek into a batch delivers it; one that ends before the position is not delivered."""
    data = built() + built(first=4)
    found, _ = polled(data, 6, None)
    assert [b.base_offset for b in found.batches] == [4]


def test_batches_of_aborted_transactions_are_not_delivered() -> None:
    """What a `read_committed` reader must not see never leaves the fetcher."""
    data = built(transactional=1, producer_id=9) + built(first=4)
    found, records = polled(data, 0, None, aborted=[(9, 0)])
    assert [b.base_offset for b in found.batches] == [4]
    assert records.next_fetch_offset == 8
