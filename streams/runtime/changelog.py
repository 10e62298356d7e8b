"""The changelog of one task: its segments in a compacted Kafka topic, and a local copy of them.

Owns the numbering of segments and the choice between a delta and a full one. A restart reads the
local copy and the changelog's tail; without a believable copy it reads the changelog from its
beginning.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.runtime import refusals
from streams.runtime.commit import Cut, OutRecord
from streams.runtime.crashpoints import reached
from streams.runtime.link import open_client
from streams.state.live import LiveSegments, piece_key
from streams.state.local import LocalState
from streams.state.segment import Segment, encode_pieces

FULL_FLOOR_BYTES: Final = 4 << 20
"""Below this much of deltas no full segment is worth it."""
FULL_FACTOR: Final = 4
"""A full segment is due when the deltas are this many times the last full one."""
_READ_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore found: the segments, and how it went."""

    segments: list[Segment]
    pieces: int
    from_local: int
    seconds: float


class Changelog:
    """The changelog partition of a task."""

    def __init__(
        self, base: Mapping[str, object], topic: str, partition: int, folder: Path
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._base = base
        self._local = LocalState(folder)
        self._generation = 0
        self._number = 0
        self._full_bytes = 0
        self._delta_bytes = 0

    def restore(self) -> Restored:
        """Read the state; blocking, after `init_transactions`, so that all is settled.

        Raises:
            StateError: the changelog is incomplete or damaged.
            BrokerError: it cannot be read.
        """
        began = time.monotonic()
        live = LiveSegments()
        local = self._local.load()
        start = 0
        from_local = 0
        if local is not None:
            pieces, manifest = local
            if manifest.changelog_offset <= self._end():
                live.add(pieces)
                start, from_local = manifest.changelog_offset, len(pieces)
            else:  # the topic is younger than the copy: it was made anew
                self._local.wipe()
        tail, end = self._read(start)
        reached("after_changelog_read")
        live.add(tail)
        segments = live.segments()
        encoded = live.encoded()
        self._generation, self._number = live.generation, live.next_number
        self._full_bytes = sum(len(p.payload) for _, p in encoded if p.number == 0)
        self._delta_bytes = sum(len(p.payload) for _, p in encoded if p.number > 0)
        if tail:  # or the copy would have a hole before the next cut's pieces
            self._local.write(self._generation, live.values(), end, replace=True)
        return Restored(segments, len(encoded), from_local, time.monotonic() - began)

    def wants_full(self) -> bool:
        """Whether the next segment should hold the whole state."""
        if self._number == 0:
            return True
        return self._delta_bytes > max(FULL_FLOOR_BYTES, FULL_FACTOR * self._full_bytes)

    def records(self, segment: Segment, *, full: bool) -> list[OutRecord]:
        """Number a segment and return it as records of the changelog."""
        if full:
            self._generation += 1
            self._number = 0
            self._full_bytes = self._delta_bytes = 0
        pieces = encode_pieces(segment, self._generation, self._number)
        out = [
            OutRecord(self.topic, self.partition, piece_key(self._number, i), piece)
            for i, piece in enumerate(pieces)
        ]
        size = sum(map(len, pieces))
        if full:
            self._full_bytes = size
        else:
            self._delta_bytes += size
        self._number += 1
        return out

    def committed(self, cut: Cut, *, full: bool) -> None:
        """Copy a committed segment to the local database; blocking."""
        pieces = [(r.key, r.value) for r in cut.changelog if r.key is not None]
        reached("in_local_write")
        self._local.write(self._generation, pieces, cut.next_changelog_offset, replace=full)
        reached("after_local_write")

    def close(self) -> None:
        """Close the local copy."""
        self._local.close()

    def _consumer(self) -> Consumer:
        consumer: Consumer = open_client(
            Consumer,
            {
                **self._base,
                "group.id": "spanloom-restore",  # never committed, never joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.max.bytes": 16 << 20,
            },
        )
        return consumer

    def _end(self) -> int:
        consumer = self._consumer()
        try:
            return _watermarks(consumer, self.topic, self.partition)[1]
        finally:
            consumer.close()

    def _read(self, start: int) -> tuple[list[bytes], int]:
        """Return the values from an offset to the end, in order, and the offset after them."""
        consumer = self._consumer()
        deadline = time.monotonic() + _READ_SECONDS
        values: list[bytes] = []
        try:
            low, high = _watermarks(consumer, self.topic, self.partition)
            if high <= max(low, start):
                return values, start
            consumer.assign([TopicPartition(self.topic, self.partition, max(low, start))])
            while time.monotonic() < deadline:
                for message in consumer.consume(500, 1.0):
                    error = message.error()
                    if error is None:
                        start = message.offset() + 1
                        if message.value() is not None:
                            values.append(message.value())
                    elif error.code() == KafkaError._PARTITION_EOF:
                        return values, start
                    elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                        continue  # librdkafka looks for a coordinator that is never needed here
                    elif refusals.is_of_right(error):
                        raise refusals.of_right(error, "Read", f"topic {self.topic}")
                    elif not error.retriable():
                        raise BrokerError(f"{self.topic}: {error.str()}. " + _LOOK)
        finally:
            consumer.close()
        raise BrokerError(f"{self.topic} could not be read within {_READ_SECONDS:.0f} s. " + _LOOK)


def beginnings(base: Mapping[str, object], topics: Sequence[str], partition: int) -> dict[str, int]:
    """Return the first offset that is still there of a partition of some topics; blocking.

    Raises:
        BrokerError: a topic cannot be asked.
    """
    settings = {**base, "group.id": "spanloom-restore", "enable.auto.commit": False}
    consumer = open_client(Consumer, settings)
    try:
        return {topic: _watermarks(consumer, topic, partition)[0] for topic in topics}
    finally:
        consumer.close()


_LOOK: Final = "Operator action: look at the broker; the worker starts again from its last commit."


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    for attempt in range(20):
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            return int(low), int(high)
        except KafkaException as error:
            if refusals.is_of_right(error.args[0]):
                raise refusals.of_right(error.args[0], "Describe", f"topic {topic}") from error
            # A topic made a moment ago is not yet known to every broker.
            if attempt == 19:
                raise BrokerError(
                    f"{topic}/{partition}: {error.args[0].str()}. " + _LOOK
                ) from error
            time.sleep(0.25)
    raise AssertionError
