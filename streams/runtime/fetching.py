"""How aiokafka's fetcher hands out batches instead of records, and since when an end is known.

Owns the private corners of aiokafka that this takes. Invariants: what a poll hands out says the
fetch positions around it; the end of a partition is known as of `known_ms`, which is no later than
the broker's look at it, give or take the wait of a fetch.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher
from faust.types.tuples import TP

from streams.codec.recordbatch import RecordBatch
from streams.runtime.rawbatch import RawBatch

_LENGTH_END: Final = 12
"""A batch begins with its first offset, 8 bytes, and the length of what follows, 4 bytes."""
FETCH_WAIT_MS = 100
"""How long a fetch waits at the broker for enough; also how fresh "read to the end" is."""
FETCH_MIN_BYTES = 128 << 10
"""What is enough for a fetch to be answered at once: each costs a millisecond, however small."""


class RawRecords:
    """The record batches of a fetch, each left as it is until somebody inflates it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return how many bytes the broker sent."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether there is another whole batch: the broker cuts the last one where it is full."""
        end = self._at + _LENGTH_END
        if end > len(self._data):
            return False
        return self._at + _LENGTH_END + self._length() <= len(self._data)

    def _length(self) -> int:
        return int.from_bytes(self._data[self._at + 8 : self._at + _LENGTH_END], "big")

    def next_batch(self) -> RawBatch:
        """Return the next batch."""
        end = self._at + _LENGTH_END + self._length()
        batch = RawBatch(self._data[self._at : end])
        self._at = end
        return batch


class BatchRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """Hands out batches where aiokafka hands out records.

    Which batches are aborted, which are markers and where the partition goes on stays aiokafka's
    to say: it iterates over a batch only when that is to be delivered, and then finds one record,
    the batch itself.
    """

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record.batch


class BatchResult(fetcher.FetchResult):  # type: ignore[misc]
    """A fetch whose size is told in records, so that a poll is bounded by them."""

    def getall(self, max_records: int | None = None) -> Any:
        """Return batches, until they hold `max_records` records or more."""
        tp = self._topic_partition
        if not self.check_assignment(tp) or not self.has_more():
            return Polled([], 0)
        batches: list[RecordBatch] = []
        count = 0
        for batch in self._partition_records:
            batches.append(batch)
            count += batch.count
            if max_records is not None and count >= max_records:
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records: Any = None
        count = count if max_records is None else min(count, max_records)
        return handed_out(self._assignment.state_value(tp), batches, count)


class Polled:
    """Batches of a partition; its length is what aiokafka counts against the size of a poll.

    Attributes:
        begin, end: the fetch positions around the batches, which are all that lies between.
    """

    def __init__(
        self, batches: list[RecordBatch], count: int, begin: int = 0, end: int = 0
    ) -> None:
        self.batches = batches
        self.begin, self.end = begin, end
        self._count = count

    def __len__(self) -> int:
        return self._count


def handed_out(state: Any, batches: list[RecordBatch], count: int) -> Polled:
    """Return batches that leave the fetcher, with the positions around them.

    Said here, in the client's thread, where no seek can come between: who hears of a poll may have
    heard of a seek that came after it, or not yet of one before it, and records that never came
    would pass for known.

    Args:
        state: what aiokafka knows of the partition; its `handed_to` is where the last ones ended,
            or where it was sought to. Markers and holes move the position without a word.
        batches: the batches, whose position the state has passed.
        count: their records.
    """
    if not batches:
        return Polled([], 0)
    first, after = batches[0].base_offset, batches[-1].next_offset
    # Never later than what is there: records of before would pass for new ones.
    begin = min(getattr(state, "handed_to", first), first)
    state.handed_to = end = max(state.position or 0, after)
    return Polled(batches, count, begin, end)


def partition_state(consumer: Any, tp: TP) -> Any:
    """Return what aiokafka knows of an assigned partition, None of others."""
    subscription = consumer._subscription.subscription if consumer is not None else None
    assignment = subscription.assignment if subscription is not None else None
    if assignment is None or tp not in assignment.tps:
        return None
    return assignment.state_value(tp)


class StampedFetcher(fetcher.Fetcher):  # type: ignore[misc]
    """Takes an answer for as old as it may be, not for as new as it was read: `known_ms`.

    A process that was stopped, or a busy one, reads an answer long after the broker gave it. An end
    of then, taken for one of now, closes traces whose spans wait at the broker.

    Where the broker has the next record no more, aiokafka goes on with the first that it has. Then
    `handed_to` is forgotten, or what expired would pass for a hole that never held anything.
    """

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> Any:
        asked_ms = int(time.time() * 1000)
        found = await super()._proc_fetch_request(assignment, node_id, request)
        if assignment.active:
            for topic, partitions in request.topics:
                for partition, *_ in partitions:
                    state = assignment.state_value(TopicPartition(topic, partition))
                    if not state.has_valid_position and hasattr(state, "handed_to"):
                        del state.handed_to
                    if state.timestamp is not None and state.timestamp >= asked_ms:
                        # A broker that waited looks again before it answers.
                        has_waited = state.timestamp >= asked_ms + FETCH_WAIT_MS
                        state.known_ms = asked_ms + (FETCH_WAIT_MS if has_waited else 0)
        return found

    async def close(self) -> None:
        """End all fetches, also those that wait before another attempt at a broker that is away.

        aiokafka waits for each one that it cancels, and is cancelled by it: the client's thread
        ended with a traceback, and connections stayed open.
        """
        fetches = {self._fetch_task, *self._pending_tasks}
        for fetch in fetches:
            fetch.cancel()
        await asyncio.wait(fetches)
        self._pending_tasks.clear()
        await super().close()


# The fetcher has no seam for this; Faust's consumer is the only one of aiokafka in the process.
fetcher.MemoryRecords = RawRecords
fetcher.PartitionRecords = BatchRecords
fetcher.FetchResult = BatchResult
aiokafka_consumer.Fetcher = StampedFetcher
