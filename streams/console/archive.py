"""The archive: what was read and lies in files, and what was read since and lies in memory.

Owns when a file is written, and the view of both that a query sees. One thread takes records in,
any thread may look. Invariants: each record is once in the files or in the tail of each kind that
its topic feeds, never in both and never in neither; after a crash reading goes on at the offset
after the last file, so that what was in the tail is read again, and a kind that was further than
another one of its topic passes over what it has.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from streams.console.files import At, Segment, hour_of, positions
from streams.console.kinds import KINDS, SCHEMAS, Kind, Row
from streams.console.store import Store
from streams.errors import RecordError, StateError
from streams.runtime.reading import Message, Place


@dataclass(frozen=True, slots=True)
class Limits:
    """When a file is written.

    Attributes:
        rows: at so many records of a partition ...
        size_bytes: ... or so many bytes of them ...
        seconds: ... or so long after the first of them, whichever is first; or in a later hour.
    """

    rows: int = 20_000
    size_bytes: int = 64 << 20
    seconds: float = 60.0


@dataclass(slots=True)
class _Tail:
    """What a partition had of a kind since its last file.

    Attributes:
        first, next: offsets [first, next) of it.
        hour: of its first record. Earlier ones may follow, for clocks differ; a later one does not.
        since: when it had its first row; infinite while it has none.
    """

    kind: Kind
    first: int
    next: int
    hour: str
    since: float = math.inf
    columns: list[list[Any]] = field(default_factory=list)
    size_bytes: int = 0
    table: pa.Table | None = None

    @property
    def rows(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def as_table(self) -> pa.Table:
        """Return it as a table; made anew when something came since."""
        if self.table is None or len(self.table) != self.rows:
            arrays = [
                pa.array(values, column.type)
                for values, column in zip(self.columns, self.kind.schema, strict=True)
            ]
            self.table = pa.Table.from_arrays(arrays, schema=self.kind.schema)
        return self.table


class Look(NamedTuple):
    """One kind as of now: its files, and the tails as one table."""

    files: list[Segment]
    tail: pa.Table


class Archive:
    """The archive of one deployment.

    Args:
        store: where its files are.
        limits: when one is written.
        prefix: of the names of derived topics.
        telemetry: names of the topics that hold events; they may be absent.
        clock: seconds that only go forward.

    Raises:
        StateError: the files overlap.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        prefix: str = "",
        telemetry: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._limits, self._clock = store, limits, clock
        derived = [kind for kind in KINDS if kind.topic]
        self.derived = tuple(dict.fromkeys(prefix + kind.topic for kind in derived))
        """Topics that have to be there."""
        self.telemetry = tuple(telemetry)
        """Topics that are read when they are there."""
        self.kinds: dict[str, tuple[Kind, ...]] = {
            topic: tuple(kind for kind in derived if prefix + kind.topic == topic)
            for topic in self.derived
        }
        """What each topic feeds."""
        others = tuple(kind for kind in KINDS if not kind.topic)
        self.kinds |= dict.fromkeys(self.telemetry, others)
        self.unreadable: Counter[str] = Counter()
        """Records that are no value of their schema, by topic; they are passed over."""
        self.archived: Counter[str] = Counter({kind.name: 0 for kind in KINDS})
        """Records taken in since the start, by kind."""
        self.written_bytes: Counter[str] = Counter({kind.name: 0 for kind in KINDS})
        """Bytes of the files written since the start, by kind."""
        self._lock = threading.Lock()
        self._files: dict[str, list[Segment]] = {kind.name: [] for kind in KINDS}
        found = [one for one in store.segments() if one.kind in self._files]
        for one in sorted(found, key=lambda s: (s.at, s.first)):
            self._files[one.kind].append(one)
        self._next: dict[At, int] = positions(found)
        self._tails: dict[At, _Tail] = {}

    def starts(self, held: Mapping[Place, tuple[int, int]]) -> dict[Place, int]:
        """Return where reading begins, given the offsets [low, high) that each partition holds.

        Raises:
            StateError: the archive is ahead of a topic, which was made anew.
        """
        out = {}
        for at, (low, high) in held.items():
            nexts = [self._next.get((kind.name, *at), 0) for kind in self.kinds[at[0]]]
            if max(nexts) > high:
                raise StateError(
                    f"the archive holds {at[0]}/{at[1]} up to offset {max(nexts) - 1}, and the "
                    f"topic ends at {high}: it was made anew. Operator action: begin another "
                    "archive with --archive; the old one stays readable."
                )
            out[at] = max(min(nexts), low)
        return out

    @property
    def next_offsets(self) -> dict[Place, int]:
        """The offset after the last record that all kinds of its topic have, by partition."""
        found: dict[Place, int] = {}
        for (_, topic, partition), next_ in self._next.copy().items():
            at = topic, partition
            found[at] = min(next_, found.get(at, next_))
        return found

    def take(self, message: Message) -> None:
        """Take a record in; records of a partition come in the order of their offsets.

        What a kind has already is passed over: a record may be given again.

        Raises:
            OSError: a file that was due could not be written; not all kinds took the record in.
        """
        is_readable = True
        for kind in self.kinds[message.topic]:
            at = (kind.name, message.topic, message.partition)
            if message.offset < self._next.get(at, 0):
                continue
            try:
                rows = kind.rows(message.value)
            except RecordError:
                rows, is_readable = [], False
            self._add(kind, at, message, rows)
        if not is_readable:
            self.unreadable[message.topic] += 1

    def _add(self, kind: Kind, at: At, message: Message, rows: Sequence[Row]) -> None:
        appended_us = message.timestamp_ms * 1000
        tail = self._tails.get(at)
        if tail is not None and (self._is_full(tail) or tail.hour < hour_of(appended_us)):
            self._write(at)
            tail = None
        with self._lock:
            if tail is None:
                columns: list[list[Any]] = [[] for _ in kind.schema]
                tail = self._tails[at] = _Tail(
                    kind, message.offset, 0, hour_of(appended_us), columns=columns
                )
            if rows and not tail.rows:
                tail.since = self._clock()
            place = (message.partition, message.offset, appended_us)
            for row in rows:
                for values, value in zip(tail.columns, (*place, *row), strict=True):
                    values.append(value)
                self.archived[kind.name] += 1
            tail.next = self._next[at] = message.offset + 1
            tail.size_bytes += len(message.value or b"") if rows else 0

    def _is_full(self, tail: _Tail) -> bool:
        return tail.rows >= self._limits.rows or tail.size_bytes >= self._limits.size_bytes

    def write_due(self, *, all_of_it: bool = False) -> None:
        """Write the tails that are old enough, or all of them.

        Raises:
            OSError: as `take`; nothing is lost, the tail stays.
        """
        now = self._clock()
        for at, tail in list(self._tails.items()):
            if all_of_it or now - tail.since >= self._limits.seconds:
                self._write(at)

    def _write(self, at: At) -> None:
        """Write a tail as a file, without rows too: else all that led to none is read again."""
        tail = self._tails[at]
        kind, topic, partition = at
        segment = Segment(kind, tail.hour, topic, partition, tail.first, tail.next - 1)
        self.written_bytes[kind] += self._store.write(segment, tail.as_table())
        with self._lock:
            self._files[segment.kind].append(segment)
            del self._tails[at]

    def look(self, kind: str, hours: tuple[str, str] | None = None) -> Look:
        """Return a kind as of now.

        Args:
            kind: its name.
            hours: the first and the last hour (UTC) in which it was appended; None for all. A
                record may be in a later hour than its own, when another clock was ahead of its
                sender's by so much.
        """
        with self._lock:
            files = list(self._files[kind])
            tails = [t.as_table() for t in self._tails.values() if t.kind.name == kind and t.rows]
        if hours is not None:
            files = [one for one in files if hours[0] <= one.hour <= hours[1]]
        return Look(files, pa.concat_tables(tails) if tails else SCHEMAS[kind].empty_table())

    def dataset(self, files: Iterable[Segment], schema: pa.Schema) -> Any:
        """Return files as one dataset."""
        return self._store.dataset(files, schema)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many files there are and how many records lie in memory, by kind."""
        with self._lock:
            return {
                kind: {
                    "files": len(files),
                    "tail_records": sum(
                        t.rows for t in self._tails.values() if t.kind.name == kind
                    ),
                }
                for kind, files in self._files.items()
            }
