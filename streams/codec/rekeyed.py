"""The messages of the internal topic of rekeyed events: written by a rekey task, read by the join.

Owns their bytes. A `rekeyed_batch` holds events of one origin, a topic's partition, with the place
and time that each had there; a `rejected_event` one that was judged bad already. Invariant: what is
read back is what would have been read at the origin: event, time, place and verdict.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from streams.codec import records, wire
from streams.codec.eventbatch import EVENT_BYTES_MIN, EventBatchReader
from streams.codec.recordbatch import Record, Walk
from streams.codec.rows import Rows
from streams.codec.schemas import SchemaSet
from streams.codec.step import Message, Origin
from streams.codec.varints import text, varint
from streams.core.bodies import NOTHING, Bodies
from streams.errors import RecordError
from streams.units import I64

BATCH: Final = "rekeyed_batch"
REJECTED: Final = "rejected_event"
PLACE_BYTES: Final = 16
"""What the place and time of an event take."""


def encode_rekeyed(
    schema_id: int,
    topic: str,
    partition: int,
    read_to_us: int = 0,
    places: tuple[I64, I64] | None = None,
    bodies: bytes = b"",
) -> bytes:
    """Return the wire value of a `rekeyed_batch`.

    Args:
        schema_id: its id.
        topic: the origin's.
        partition: the origin.
        read_to_us: when it was known to be read to its end, up to this message; 0 while it is not.
        places: (n,) offsets and (n,) record times, microseconds, of n events at the origin; None
            for a message without events.
        bodies: the n events in the current schema, one after the other.
    """
    out = [wire.header(schema_id), text(topic), varint(partition), varint(read_to_us)]
    if places is None:
        return b"".join((*out, b"\0\0\0"))
    offset, kafka_us = places
    for column in (offset, kafka_us):
        raw = column.astype("<i8").tobytes()
        out += [varint(len(raw)), raw]
    return b"".join((*out, varint(len(offset)), bodies, b"\0"))


class RekeyedReader:
    """Reads the messages of the internal topic among those of a step.

    Args:
        schemas: the ids that values may carry.
        many: reads the events of messages.
        sources: index of the topic that stands for each origin, (topic, partition); events of an
            origin that is not among them keep that of the topic they are read from.
    """

    def __init__(
        self, schemas: SchemaSet, many: EventBatchReader, sources: Mapping[tuple[str, int], int]
    ) -> None:
        self._schemas = schemas
        self._many = many
        self._sources = sources
        self._header = wire.header(schemas.id_of("telemetry_event"))
        self._event = schemas.current("telemetry_event")

    def read(self, messages: Sequence[Message]) -> Iterator[tuple[Rows, Sequence[Message]]]:
        """Read messages; yield those that were read as columns.

        Each then knows its events and its origin, or why it has none. Others than those of a rekey
        task are left as they are.
        """
        full: list[Message] = []
        for message in messages:
            name = self._name_of(message.record.value)
            try:
                if name == REJECTED:
                    self._take_rejected(message)
                elif name == BATCH:
                    self._take_batch(message)
            except RecordError as error:
                message.count, message.error = 1, error
            if name == BATCH and message.error is None and message.count:
                full.append(message)
        for some, block in self._many.read_bodies(full):
            if block is not None:
                yield block, some
            else:
                self._read_slowly(some[0])

    def _name_of(self, value: bytes | None) -> str | None:
        if value is None or len(value) < wire.HEADER_BYTES or value[0] != wire.MAGIC:
            return None
        return self._schemas.name_of(int.from_bytes(value[1 : wire.HEADER_BYTES], "big"))

    def _take_batch(self, message: Message) -> None:
        """Note origin and events of a message, the events as one body."""
        value = message.record.value
        assert value is not None
        walk = Walk(value, wire.HEADER_BYTES)
        try:
            topic = (walk.octets() or b"").decode()
            partition, read_to_us = walk.long(), walk.long()
            columns = [walk.octets() or b"", walk.octets() or b""]
            count = walk.long()
        except (IndexError, UnicodeDecodeError) as error:
            raise RecordError("invalid_avro", f"no {BATCH}: {error}") from error
        end = len(value) - 1 if count else len(value)
        is_whole = count >= 0 and count * EVENT_BYTES_MIN <= end - walk.at
        if not is_whole or {len(c) for c in columns} != {8 * count} or value[-1]:
            raise RecordError("invalid_avro", f"no {BATCH}: its counts do not fit")
        offset, kafka_us = (np.frombuffer(c, "<i8").astype(np.int64) for c in columns)
        message.origin = Origin(
            topic, partition, self._sources.get((topic, partition)), read_to_us, offset, kafka_us
        )
        message.header, message.count = self._header, count
        at = np.array([walk.at])
        message.bodies = Bodies(value, at, end - at) if count else NOTHING

    def _read_slowly(self, message: Message) -> None:
        """Read the events of one message exactly: they were written in another schema."""
        value, origin = message.record.value, message.origin
        assert origin is not None
        message.count, message.bodies = 1, None
        try:
            found = records.decode(value, self._schemas)
            events = [records.encode_body(self._event, event) for event in found["events"]]
            if len(events) != len(origin.offset):
                raise RecordError("invalid_avro", f"no {BATCH}: its counts do not fit")
        except RecordError as error:
            message.error, message.origin = error, None
            return
        message.count, message.bodies = len(events), Bodies.of(events)

    def _take_rejected(self, message: Message) -> None:
        """Put a rejected event back to where it was rejected."""
        found = records.decode(message.record.value, self._schemas)
        topic, partition, kafka_us = found["topic"], found["partition"], found["timestamp"]
        message.origin = Origin(
            topic,
            partition,
            self._sources.get((topic, partition)),
            0,
            np.array([found["offset"]], np.int64),
            np.array([kafka_us], np.int64),
            found["value_bytes"],
        )
        key = found["key"] or message.record.key
        message.record = Record(found["offset"], kafka_us // 1000, key, found["value"])
        message.error = RecordError(found["reason"], found["detail"])
