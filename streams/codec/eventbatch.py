"""Batch messages: many events in one Kafka message, read as columns like those sent alone.

The value is an Avro record with one array of events. An array in one block is its count, the items
one after the other and a zero, so the items of all batch messages of a step are rows that one call
reads. What is written in another way is read event by event and written anew.

Invariant: a batch message is read whole or refused whole; its events are then judged one by one.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from streams.codec import records, wire
from streams.codec.columnar import ColumnarReader, by_halves
from streams.codec.recordbatch import Walk
from streams.codec.rows import Rows
from streams.codec.schemas import Schema, SchemaSet, default_schemas
from streams.codec.step import Message
from streams.codec.varints import varint
from streams.codec.walked import WalkedReader
from streams.core.bodies import Bodies
from streams.errors import RecordError

NAME: Final = "telemetry_batch"
EVENT_BYTES_MIN: Final = 18
"""An event of nothing but empty fields: a count that promises more of them is no count."""


def encode_batch(bodies: Sequence[bytes], schemas: SchemaSet | None = None) -> bytes:
    """Return the wire value of a batch message.

    Args:
        bodies: events in the current schema, without their wire header; at least one.
        schemas: gives the id.
    """
    known = schemas or default_schemas()
    return wire.header(known.id_of(NAME)) + varint(len(bodies)) + b"".join(bodies) + b"\0"


class EventBatchReader:
    """Reads the batch messages of a step.

    Args:
        schemas: the ids that values may carry.
        reader: reads events without a wire header.
        hashed: the texts whose hashes are asked for, where events may come as `WalkedBlock`.
    """

    def __init__(
        self, schemas: SchemaSet, reader: ColumnarReader, hashed: Sequence[str] | None = None
    ) -> None:
        self._schemas = schemas
        self._reader = reader
        self._walker = None
        if hashed is not None:
            self._walker = WalkedReader(reader, hashed, is_framed=False)
        self._event: Schema = schemas.current("telemetry_event")
        self._header = wire.header(schemas.id_of("telemetry_event"))
        self._batch_header = wire.header(schemas.id_of(NAME))

    def is_batch(self, value: bytes | None) -> bool:
        """Whether a value, or its first bytes, are those of a batch message."""
        if value is None or len(value) < wire.HEADER_BYTES or value[0] != wire.MAGIC:
            return False
        schema_id = int.from_bytes(value[1 : wire.HEADER_BYTES], "big")
        return self._schemas.name_of(schema_id) == NAME

    def read(self, messages: Sequence[Message]) -> Iterator[tuple[Rows, Sequence[Message]]]:
        """Read the batch messages among some; yield those that were read as columns.

        Each message then knows its events, or why it has none; `is_column` tells those yielded.
        """
        batches = [m for m in messages if m.error is None and self.is_batch(m.record.value)]
        for some, block in self.read_bodies([m for m in batches if self._is_quick(m)]):
            if block is None:
                self._read_slowly(some[0])
            else:
                yield block, some

    def read_bodies(
        self, messages: Sequence[Message]
    ) -> Iterator[tuple[Sequence[Message], Rows | None]]:
        """Read messages whose events are counted; yield some with their block.

        None stands beside a message alone that is not exactly so many canonical events.

        Args:
            messages: each with its count, at least one, and its events as one body.
        """
        for some, block in by_halves(messages, self._block):
            for message in some if block is not None else ():
                message.is_column = True
            yield some, block

    def _is_quick(self, message: Message) -> bool:
        """Count the events of a message if they lie in one block; else read it event by event."""
        value = message.record.value
        assert value is not None
        message.header = self._header
        if value.startswith(self._batch_header):
            begin, count = _block_head(value)
            end = len(value) - 1
            if count and value[end] == 0 and count * EVENT_BYTES_MIN <= end - begin:
                message.count = count
                message.bodies = Bodies(value, np.array([begin]), np.array([end - begin]))
                return True
        self._read_slowly(message)
        return False

    def _block(self, messages: Sequence[Message]) -> Rows | None:
        """Return the events of messages as one block; None where they are not what was counted."""
        items = [m.bodies[0] for m in messages if m.bodies is not None]
        counts = np.array([m.count for m in messages])
        block: Rows | None = None
        if self._walker is not None:
            block = self._walker.read_block(items, counts.tolist())
        if block is None:
            block = self._reader.read_block(items, int(counts.sum()))
        if block is None:
            return None
        begin, end = block.starts[0], block.starts[-1]
        first = np.cumsum(counts) - counts
        item_bytes = np.array([len(one) for one in items])
        if not np.array_equal(begin[first] - begin[0], np.cumsum(item_bytes) - item_bytes):
            return None  # an event of one message reaches into the next one
        for message, at in zip(messages, first.tolist(), strict=True):
            rows = slice(at, at + message.count)
            message.bodies = Bodies(block.data, begin[rows], end[rows] - begin[rows])
        return block

    def _read_slowly(self, message: Message) -> None:
        """Read one message exactly: several blocks, another writer's schema, or broken."""
        value = message.record.value
        assert value is not None
        schema_id, body = wire.split(value, self._schemas)
        message.count, message.bodies = 1, None
        try:
            current = self._schemas.current(NAME)
            found = records.decode_body(self._schemas.writer(schema_id), body, current)
            events = [records.encode_body(self._event, event) for event in found["events"]]
        except RecordError as error:
            message.error = error
            return
        message.count, message.bodies = len(events), Bodies.of(events)


def _block_head(value: bytes) -> tuple[int, int]:
    """Return where the items of a value's first block begin, and how many they are.

    Count 0 where the block tells its size besides, is empty, or the number is no number.
    """
    walk = Walk(value, wire.HEADER_BYTES)
    try:
        count = walk.long()
    except IndexError:
        return 0, 0
    return walk.at, max(count, 0)
