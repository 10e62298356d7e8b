"""The archive: what was read and lies in files, and what was read since and lies in memory.

Owns when a file is written, and the view of both that a query sees. One thread takes records in,
any thread may look. Invariants: each record is in one file or in the tail, never in both and never
in neither; after a crash reading goes on at the offset after the last file, so that what was in the
tail is read again.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from streams.codec.records import decode_as
from streams.console.files import Segment, hour_of, positions
from streams.console.kinds import KINDS, SCHEMAS, Kind
from streams.console.store import Store
from streams.errors import RecordError, StateError
from streams.runtime.reading import Message, Place


@dataclass(frozen=True, slots=True)
class Limits:
    """When a file is written.

    Attributes:
        rows: at so many records of a partition ...
        size_bytes: ... or so many bytes of them ...
        seconds: ... or so long after the first of them, whichever is first; or in the next hour.
    """

    rows: int = 20_000
    size_bytes: int = 64 << 20
    seconds: float = 60.0


@dataclass(slots=True)
class _Tail:
    """What a partition had since its last file."""

    kind: Kind
    topic: str
    partition: int
    first: int
    next: int
    hour: str
    since: float
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
        clock: seconds that only go forward.

    Raises:
        StateError: the files overlap.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        prefix: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._limits, self._clock = store, limits, clock
        self.kinds: dict[str, Kind] = {prefix + kind.topic: kind for kind in KINDS}
        """By the whole name of the topic."""
        self.unreadable: Counter[str] = Counter()
        """Records that are no value of their schema, by topic; they are passed over."""
        self._lock = threading.Lock()
        self._files: dict[str, list[Segment]] = {kind.name: [] for kind in KINDS}
        found = [one for one in store.segments() if one.kind in self._files]
        for one in sorted(found, key=lambda s: (s.topic, s.partition, s.first)):
            self._files[one.kind].append(one)
        self._next: dict[Place, int] = positions(found)
        self._tails: dict[Place, _Tail] = {}

    def starts(self, held: Mapping[Place, tuple[int, int]]) -> dict[Place, int]:
        """Return where reading begins, given the offsets [low, high) that each partition holds.

        Raises:
            StateError: the archive is ahead of a topic, which was made anew.
        """
        out = {}
        for at, (low, high) in held.items():
            start = self._next.get(at, 0)
            if start > high:
                raise StateError(
                    f"the archive holds {at[0]}/{at[1]} up to offset {start - 1}, and the topic "
                    f"ends at {high}: it was made anew. Operator action: begin another archive "
                    "with --archive; the old one stays readable."
                )
            out[at] = max(start, low)
        return out

    @property
    def next_offsets(self) -> dict[Place, int]:
        """The offset after the last record taken in, by partition."""
        return dict(self._next)

    def take(self, message: Message) -> None:
        """Take a record in; records of a partition come in the order of their offsets.

        Raises:
            OSError: a file that was due could not be written; the record was not taken in.
        """
        at = (message.topic, message.partition)
        kind = self.kinds[message.topic]
        appended_us = message.timestamp_ms * 1000
        tail = self._tails.get(at)
        if tail is not None and (self._is_full(tail) or tail.hour != hour_of(appended_us)):
            self._write(at)
            tail = None
        try:
            row = kind.row(decode_as(kind.record, message.value))
        except RecordError:
            self.unreadable[message.topic] += 1
            row = None
        with self._lock:
            if tail is None:
                columns: list[list[Any]] = [[] for _ in kind.schema]
                tail = self._tails[at] = _Tail(
                    kind, *at, message.offset, 0, hour_of(appended_us), self._clock(), columns
                )
            if row is not None:
                place = (message.partition, message.offset, appended_us, message.value)
                for values, value in zip(tail.columns, (*place, *row), strict=True):
                    values.append(value)
            tail.next = self._next[at] = message.offset + 1
            tail.size_bytes += len(message.value or b"")

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

    def _write(self, at: Place) -> None:
        tail = self._tails[at]
        segment = Segment(tail.kind.name, tail.hour, *at, tail.first, tail.next - 1)
        if tail.rows:
            self._store.write(segment, tail.as_table())
        with self._lock:
            if tail.rows:
                self._files[segment.kind].append(segment)
            del self._tails[at]

    def look(self, kind: str, hours: tuple[str, str] | None = None) -> Look:
        """Return a kind as of now.

        Args:
            kind: its name.
            hours: the first and the last hour (UTC) in which it was appended; None for all.
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
