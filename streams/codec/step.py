"""The records of a step by their row: whatever a rejection or a key is asked about.

Rows count events: most messages are one, a batch message is as many as it holds.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from streams.codec.recordbatch import Record, RecordBatch, Records, records_of
from streams.core.bodies import Bodies
from streams.core.traces.partitioners import BY_TRACE
from streams.errors import RecordError
from streams.units import I64


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the events of a message lay before they were rekeyed.

    Attributes:
        topic, partition: there.
        source: index of the topic that stands for it; None where none does.
        read_to_us: when all of it had been read up to this message; 0 for not yet.
        offset, kafka_us: (n,) of the n events of the message, at the origin.
        value_bytes: size of a rejected event's value, which may be cut; -1 of whole ones.
    """

    topic: str
    partition: int
    source: int | None
    read_to_us: int
    offset: I64
    kafka_us: I64
    value_bytes: int = -1


@dataclass(slots=True)
class Message:
    """A message that is not read as part of a column.

    Attributes:
        record: as it lies in the topic.
        count: how many rows it is.
        bodies: its events, where it is a batch message that could be read.
        header: the wire header of each of them.
        error: why nothing of it can be read.
        first_row: row of its first event.
        is_column: its events were read as columns.
        keeps_key: its key placed its events; else their trace ids did.
        origin: where its events lay before they were rekeyed.
    """

    record: Record
    count: int = 1
    bodies: Bodies | None = None
    header: bytes = b""
    error: RecordError | None = None
    first_row: int = 0
    is_column: bool = False
    keeps_key: bool = False
    origin: Origin | None = None

    def one(self, nth: int) -> Record:
        """Return the record that its nth event would be if it were sent alone."""
        if self.bodies is None:
            return self.record
        key = self.record.key if self.keeps_key else BY_TRACE
        if self.origin is not None:
            offset, kafka_us = int(self.origin.offset[nth]), int(self.origin.kafka_us[nth])
            return Record(offset, kafka_us // 1000, key, self.header + self.bodies[nth])
        return self.record._replace(key=key, value=self.header + self.bodies[nth])


def messages_of(batch: RecordBatch) -> list[Message]:
    """Return the messages of a batch; where it is broken, each of them says so."""
    try:
        return [Message(record) for record in records_of(batch)]
    except RecordError as error:
        offsets = range(batch.base_offset, batch.base_offset + batch.count)
        lost = (Record(offset, batch.base_ms, None, None) for offset in offsets)
        return [Message(record, error=error) for record in lost]


class Step:
    """The rows of all batches of a step, one batch after the other.

    Args:
        batches: the batches.
        listed: the messages of those that are read one by one, by the batch's index.
    """

    def __init__(
        self, batches: Sequence[RecordBatch], listed: Mapping[int, Sequence[Message]]
    ) -> None:
        self.batches = batches
        self.counts = [
            sum(message.count for message in listed[i]) if i in listed else batch.count
            for i, batch in enumerate(batches)
        ]
        self._ends = list(accumulate(self.counts))
        self._read: dict[int, tuple[Records, int]] = {}
        self._listed = listed
        for i, messages in listed.items():
            row = self.first_row(i)
            for message in messages:
                message.first_row = row
                row += message.count

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def first_row(self, batch: int) -> int:
        """Return the row of a batch's first event."""
        return self._ends[batch] - self.counts[batch]

    def batch_of(self, row: int) -> int:
        """Return the index of the batch that holds a row."""
        return bisect_right(self._ends, row)

    def key(self, row: int) -> bytes | None:
        """Return a record's key; `BY_TRACE` for an event of a batch message."""
        return self.record(row).key

    def record(self, row: int) -> Record:
        """Return one event as a record."""
        batch = self.batch_of(row)
        if batch in self._read:
            records, first = self._read[batch]
            i = first + row - self.first_row(batch)
            key = records.key[i] if records.key is not None else None
            time_ms = int(records.kafka_us[i]) // 1000
            return Record(int(records.offset[i]), time_ms, key, records.value[i])
        message = self._message(batch, row)
        return message.one(row - message.first_row)

    def place(self, row: int) -> str:
        """Say which event of a batch message a row is; "" for a message of one event."""
        batch = self.batch_of(row)
        if batch in self._read:
            return ""
        message = self._message(batch, row)
        if message.bodies is None or message.origin is not None:
            return ""
        return f"event {row - message.first_row + 1} of {message.count}: "

    def origin(self, row: int) -> Origin | None:
        """Return where an event lay before it was rekeyed; None for one that was not."""
        batch = self.batch_of(row)
        return None if batch in self._read else self._message(batch, row).origin

    def origins(self) -> Iterator[Origin]:
        """Yield the origins of all messages of rekeyed events, in arrival order."""
        for i in sorted(self._listed):
            yield from (m.origin for m in self._listed[i] if m.origin is not None)

    def offsets(self) -> I64:
        """Return the (n,) offset of each row's message."""
        out = np.zeros(len(self), np.int64)
        for batch, (records, first) in self._read.items():
            at, n = self.first_row(batch), self.counts[batch]
            out[at : at + n] = records.offset[first : first + n]
        for messages in self._listed.values():
            for message in messages:
                at = message.first_row
                out[at : at + message.count] = message.record.offset
        return out

    def was_read(self, batches: Sequence[int], records: Records) -> None:
        """Note where the records of some batches are."""
        first = 0
        for batch in batches:
            self._read[batch] = records, first
            first += self.counts[batch]

    def _message(self, batch: int, row: int) -> Message:
        messages = self._listed[batch]
        # Of messages without any row, which share their first with the next, the last one is not.
        return messages[bisect_right(messages, row, key=lambda message: message.first_row) - 1]
