"""Which partitioner placed the keys of each topic, and which topics differ from the others.

Producers of different families place one key in different partitions, and a join across topics
that differ misses most traces without a word. Owns a few recent keys of each topic, as the set of
partitioners that would have placed each where it lies. Invariant: which keys are looked at follows
from their position in their topic alone, never from how the stream was cut into chunks.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np

from streams.core.traces.murmur2 import murmur2_partition
from streams.units import I64, U8, U64

_WORD: Final = 0xFFFF_FFFF
_SIGN: Final = 0x8000_0000


def crc32_partition(key: bytes, partitions: int) -> int:
    """Return the partition that librdkafka's `consistent_random`, its default, gives a key."""
    return crc32(key) % partitions


def fnv1a_partition(key: bytes, partitions: int) -> int:
    """Return the partition that Sarama, and what keeps compatible with it, gives a key.

    Source: IBM/sarama, ``NewHashPartitioner``: the remainder of a signed hash, without its sign.
    """
    h = 0x811C9DC5
    for byte in key:
        h = (h ^ byte) * 0x01000193 & _WORD
    return (h if h < _SIGN else (1 << 32) - h) % partitions


KeyOf = Callable[[int], bytes | None]
"""Gives the key of a record by its position in the chunk."""
BY_TRACE: Final = b"\x00by trace"
"""Stands for the key of an event that came in a message with others: they were placed by their
trace ids, or should have been."""
PARTITIONERS: Final[Mapping[str, Callable[[bytes, int], int]]] = {
    "murmur2": murmur2_partition,
    "crc32": crc32_partition,
    "fnv1a": fnv1a_partition,
}
RIGHT: Final = "murmur2"
"""The one to use where the topics do not agree on another."""

MIXED, UNKEYED, FOREIGN, UNKNOWN = "mixed", "unkeyed", "foreign", "unknown"
_FOUND: Final = {
    "murmur2": "its keys are placed by murmur2 (the default of Java clients)",
    "crc32": "its keys are placed by CRC32 (consistent_random, the default of librdkafka)",
    "fnv1a": "its keys are placed by FNV-1a (Sarama's and OpenTelemetry's default)",
    MIXED: "its producers place their keys by different partitioners",
    UNKEYED: "its records have no keys",
    FOREIGN: "its keys are not the trace ids of their events",
    UNKNOWN: "no known partitioner places its keys",
}
_SETTING: Final = {
    "murmur2": "partitioner=murmur2_random in librdkafka clients, record_partitioner: {sticky_key: "
    "{hasher: murmur2}} in OpenTelemetry's Kafka exporter",
    "crc32": "partitioner=consistent_random in librdkafka clients",
    "fnv1a": "partitioner=fnv1a_random in librdkafka clients, record_partitioner: {sticky_key: "
    "{hasher: sarama_compat}} in OpenTelemetry's Kafka exporter",
}

KEYS_KEPT: Final = 64
"""The keys a topic is judged by: its latest that were looked at."""
KEYS_MIN: Final = 50
"""With fewer keys a topic is not said to differ."""
VOTE_MIN: Final = 8
"""With so many keys a topic says already what is usual: a wrong partitioner fits all of them with
probability 2 ** -8 at most, and a lone early topic must not decide for those that come later."""
STRIDE: Final = 512
"""After its first `KEYS_KEPT`, one in so many keyed events of a topic is looked at."""
_FIT_RATIO: Final = 0.95
_FITS_ANY: Final = (1 << len(PARTITIONERS)) - 1
_IS_FOREIGN: Final = 1 << len(PARTITIONERS)
_IS_UNKEYED: Final = 2 << len(PARTITIONERS)


class Misplaced(NamedTuple):
    """How a topic's keys are placed, and how they should be."""

    found: str
    expected: str

    @property
    def counter(self) -> str:
        """Return the name of the counter of such events; `from_counter` reads it."""
        return f"{COUNTER_PREFIX}{self.found}.{self.expected}"

    @classmethod
    def from_counter(cls, name: str) -> "Misplaced":
        """Return what a counter's name says."""
        found, _, expected = name.removeprefix(COUNTER_PREFIX).partition(".")
        return cls(found, expected)

    @property
    def sentence(self) -> str:
        """Say what is wrong and which setting of the producer mends it."""
        wanted = _SETTING.get(self.expected, _SETTING[RIGHT])
        keyed = ""
        if self.found in (UNKEYED, FOREIGN):
            keyed = (
                "key each record by its trace id, 32 lower-case hex digits (partition_traces_by_id"
                ": true in OpenTelemetry's Kafka exporter), and "
            )
        return (
            f"{_FOUND.get(self.found, self.found)}, where {self.expected} is expected; "
            f"{keyed}set {wanted}"
        )


COUNTER_PREFIX: Final = "mispartitioned."


class PartitionerWatch:
    """Looks at a few keys of each topic of one partition; see the module's docstring.

    Args:
        topics: names of the task's topics.
        partition: the partition that is read of each of them.
        partitions: how many each of them has; of one alone there is nothing to find.
        ignored: indexes of topics that are placed by other means.
    """

    def __init__(
        self, topics: Sequence[str], partition: int, partitions: int, ignored: Sequence[int] = ()
    ) -> None:
        self._topics = tuple(topics)
        self._partition = partition
        self.partitions = partitions
        self._watched = frozenset(range(len(topics))) - frozenset(ignored)
        self._seen = [0] * len(topics)
        self._marks = [b""] * len(topics)
        self._kinds = [("", "")] * len(topics)
        self._misplaced: dict[int, Misplaced] = {}

    def observe(self, topic: U8, trace_id: U64, row: I64, key_of: KeyOf | None) -> None:
        """Take in the keys of a chunk; those of events without a trace say nothing.

        Args:
            topic: (n,) topic of each event.
            trace_id: (n, 2) both halves 0 for none.
            row: (n,) position of each event's record in the chunk.
            key_of: gives the key of a record by its position; without it nothing is looked at.
        """
        if self.partitions < 2 or key_of is None:
            return
        traced = trace_id[:, 0] | trace_id[:, 1] != 0
        before = [*self._kinds]
        for t in np.flatnonzero(np.bincount(topic)).tolist():
            if t not in self._watched:
                continue
            mine = np.flatnonzero((topic == t) & traced)
            looked_at = mine[_positions(self._seen[t], len(mine))]
            self._seen[t] += len(mine)
            marks = [
                self._mark(key_of(int(row[i])), *trace_id[i].tolist()) for i in looked_at.tolist()
            ]
            self._marks[t] = (self._marks[t] + bytes(marks))[-KEYS_KEPT:]
            if marks:
                self._kinds[t] = self._kinds_of(t)
        if self._kinds != before:
            self._misplaced = self._compare()

    def misplaced(self) -> Mapping[int, Misplaced]:
        """Return the topics that differ from the others, by index."""
        return self._misplaced

    def _mark(self, key: bytes | None, high: int, low: int) -> int:
        """Return which partitioners place a key where it lies, as bits, or what is odd about it."""
        if not key:
            return _IS_UNKEYED
        trace = b"%016x%016x" % (high, low)
        if key == BY_TRACE:
            key = trace
        elif key != trace:
            return _IS_FOREIGN
        places = [place(key, self.partitions) for place in PARTITIONERS.values()]
        return sum((place == self._partition) << bit for bit, place in enumerate(places))

    def _compare(self) -> dict[int, Misplaced]:
        """Return the topics that differ from what most topics use.

        Topics that no one partitioner explains have no vote. Without any vote nothing says that a
        key of another kind is wrong, as long as it is always placed alike.
        """
        votes = Counter(vote for vote, _ in self._kinds)
        known = {name: votes[name] for name in PARTITIONERS if votes[name]}
        most = max(known.values(), default=0)
        usual = [name for name, n in known.items() if n == most]
        expected = usual[0] if len(usual) == 1 else RIGHT
        wrong = {MIXED, UNKEYED} if not known else {*_FOUND} - {expected}
        return {
            t: Misplaced(one, expected) for t, (_, one) in enumerate(self._kinds) if one in wrong
        }

    def _kinds_of(self, topic: int) -> tuple[str, str]:
        """Return what places a topic's keys: as a vote, and as a finding; "" with too few keys."""
        marks = self._marks[topic]
        kind = self._kind(Counter(marks), len(marks)) if len(marks) >= VOTE_MIN else ""
        return kind, kind if len(marks) >= KEYS_MIN else ""

    def _kind(self, marks: Mapping[int, int], n: int) -> str:
        """Name what places n keys with these marks."""
        enough = _FIT_RATIO * n
        for bit, name in enumerate(PARTITIONERS):
            if sum(count for mark, count in marks.items() if mark >> bit & 1) >= enough:
                return name
        if 2 * marks.get(_IS_UNKEYED, 0) > n:
            return UNKEYED
        if 2 * marks.get(_IS_FOREIGN, 0) > n:
            return FOREIGN
        # Of two partitions one of three partitioners finds most keys by chance.
        explained = sum(count for mark, count in marks.items() if mark & _FITS_ANY)
        return MIXED if explained >= enough and self.partitions > 2 else UNKNOWN

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able, by topic name."""
        topics = {
            name: [self._seen[t], self._marks[t].hex()]
            for t, name in enumerate(self._topics)
            if self._seen[t]
        }
        return {"partitions": self.partitions, "topics": topics}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `snapshot` returned, of topics with as many partitions."""
        assert snapshot["partitions"] == self.partitions, "the state it is part of was refused"
        for t, name in enumerate(self._topics):
            if t not in self._watched:
                continue  # it was, before its keys were placed by other means
            seen, marks = snapshot["topics"].get(name, (0, ""))
            self._seen[t], self._marks[t] = seen, bytes.fromhex(marks)
            self._kinds[t] = self._kinds_of(t)
        self._misplaced = self._compare()


def _positions(seen: int, count: int) -> I64:
    """Return which of the next `count` keyed events are looked at, after `seen` earlier ones."""
    dense = np.arange(min(count, max(0, KEYS_KEPT - seen)))
    first = -seen % STRIDE if seen else STRIDE
    return np.concatenate([dense, np.arange(first, count, STRIDE)])
