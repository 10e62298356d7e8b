"""The archive: what was read and lies in files, and what was read since and lies in memory.

Owns when a file is written, and the view of both that a query sees. One thread takes records in,
any thread may look. Invariants: each record is once in the files or in the tail of each kind that
its topic feeds, never in both and never in neither; after a crash reading goes on at the offset
after the last file, so that what was in the tail is read again, and a kind that was further than
another one of its topic passes over what it has.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from streams.console.archive.changes import Change
from streams.console.archive.counting import counts_of_files, counts_of_rows
from streams.console.archive.counts import reworded
from streams.console.archive.decoding import Decoding
from streams.console.archive.ends import Ends, files_before, rows_before
from streams.console.archive.files import HOUR_US, At, Segment, hour_end_us, hour_of, positions
from streams.console.archive.hourlists import list_hours
from streams.console.archive.kinds import KIND, KINDS, Kind
from streams.console.archive.lists import Times, least_and_most
from streams.console.archive.merging import merged, merges
from streams.console.archive.otlpcolumns import NOWHERE, OtlpSource
from streams.console.archive.packing import part_of
from streams.console.archive.retention import Growth, growth
from streams.console.archive.sealed import Sealed
from streams.console.archive.store import Store
from streams.console.archive.summaries import ALL_KINDS
from streams.console.archive.tail import Limits, Look, Tail, shares
from streams.console.archive.tally import Tallies, Tally
from streams.console.archive.times import FileTimes
from streams.console.limits import spend
from streams.core.privacy.records import Privacy
from streams.errors import StateError
from streams.runtime.reading import Message, Place
from streams.units import I64

SLACK_US: Final = HOUR_US // 6
"""An hour is over so long after its end: most of what is late has come by then."""
REMOVE_SECONDS: Final = 300.0
"""A file is removed so long after it was merged or expired: a question may be reading it."""


class Archive:
    """The archive of one deployment.

    Args:
        store: where its files are.
        limits: when one is written.
        prefix: of the names of derived topics.
        telemetry: names of the topics that hold events of ours; they may be absent.
        clock: seconds that only go forward.
        privacy: what is personal, and what is kept in its place; None for nothing of that.
        otlp: the topics that hold OTLP messages; they may be absent, too.

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
        privacy: Privacy | None = None,
        otlp: OtlpSource = NOWHERE,
    ) -> None:
        self._limits, self._clock = limits, clock
        self._decoding = Decoding(privacy, otlp)
        self.store = store
        """Where its files are."""
        derived = [kind for kind in KINDS if kind.topic]
        self.derived = tuple(dict.fromkeys(prefix + kind.topic for kind in derived))
        """Topics that have to be there."""
        self.telemetry = (*telemetry, *otlp.kinds)
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
        self.replaced = 0
        """How often summaries took the place of files: one look at both sees no such change."""
        self.turn = threading.Lock()
        """Held while a file is written, replaced or removed: each has one who does that."""
        self._lock = threading.Lock()
        """Of what is in memory; whoever has it takes no turn."""
        self._files: dict[str, dict[Segment, int]] = {name: {} for name in ALL_KINDS}
        store.clean()
        found = {one: size for one, size in store.segments().items() if one.kind in self._files}
        for one, size in found.items():
            self._files[one.kind][one] = size
        self._next: dict[At, int] = positions(one for one in found if one.kind in KIND)
        self._tails: dict[At, Tail] = {}
        self._sealed = Sealed(self._lock, self._write, limits.size_bytes)
        self._shares = shares()
        self._times = FileTimes(store)
        self._tallies, self._rewritten = Tallies(store.counts, store.hour_counts), store.rewritten
        self._leaving: deque[tuple[float, Segment]] = deque()

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

    def take(self, *messages: Message) -> None:
        """Take records in; those of a partition come in the order of their offsets.

        What a kind has already is passed over: a record may be given again.

        Raises:
            OSError: a file that was due could not be written; not all records were taken in, and
                all may be given again.
        """
        self._sealed.settle()
        for portion in self._decoding.portions(messages):
            by_place: defaultdict[Place, list[Message]] = defaultdict(list)
            for message in portion:
                by_place[message.topic, message.partition].append(message)
            by_kind: dict[str, list[list[Message]]] = {}
            for (topic, _), some in by_place.items():
                by_kind.setdefault(self.kinds[topic][0].name, []).append(some)
            for places in by_kind.values():
                self._take_alike(places)

    def _take_alike(self, places: Sequence[Sequence[Message]]) -> None:
        """Take in records of topics that feed the same kinds, those of each partition together.

        They are decoded together: a call costs more than a record.
        """
        messages = [message for some in places for message in some]
        kinds = self.kinds[messages[0].topic]
        decoded = self._decoding.rows(kinds, messages)
        for i in decoded.unreadable:
            at = kinds[0].name, messages[i].topic, messages[i].partition
            self.unreadable[messages[i].topic] += messages[i].offset >= self._next.get(at, 0)
        offset = np.array([message.offset for message in messages], np.int64)
        partition = np.array([message.partition for message in messages], np.int32)
        appended_us = np.array([message.timestamp_ms for message in messages], np.int64) * 1000
        for kind in kinds:
            rows = decoded.rows[kind.name]
            place = [pa.array(c[rows.message]) for c in (partition, offset, appended_us)]
            table = pa.Table.from_arrays([*place, *rows.table.columns], schema=kind.schema)
            first_row = np.searchsorted(rows.message, np.arange(len(messages) + 1))
            begin = 0
            for some in places:
                parts = first_row[begin : begin + len(some) + 1]
                self._add(kind, some, appended_us[begin : begin + len(some)], table, parts)
                begin += len(some)

    def _add(
        self,
        kind: Kind,
        messages: Sequence[Message],
        appended_us: I64,
        table: pa.Table,
        first_row: I64,
    ) -> None:
        """Add the rows of a partition's messages to its tails, as many as there are hours.

        Args:
            kind: of the rows.
            messages: n messages, at least one.
            appended_us: (n,) Kafka's time of each.
            table: holds the rows.
            first_row: (n + 1,) where the rows of each begin in the table, and where the last end.
        """
        at = kind.name, messages[0].topic, messages[0].partition
        i = bisect_left(messages, self._next.get(at, 0), key=lambda message: message.offset)
        while i < len(messages):
            tail = self._tail_for(kind, at, messages[i])
            later = np.flatnonzero(appended_us[i:] >= tail.hour_end_us)
            until = i + int(later[0]) if len(later) else len(messages)
            some = messages[i:until]
            part = table.slice(first_row[i], first_row[until] - first_row[i])
            with self._lock:
                if len(part):
                    tail.since = min(tail.since, self._clock())
                    tail.add(part)
                    self.archived[kind.name] += len(part)
                tail.next = self._next[at] = some[-1].offset + 1
            i = until

    def _tail_for(self, kind: Kind, at: At, message: Message) -> Tail:
        """Return the tail that a record goes to; one that is due is written and begun anew."""
        tail = self._tails.get(at)
        time_us = message.timestamp_ms * 1000
        is_full = tail is not None and tail.is_full(self._limits)
        if tail is not None and (is_full or time_us >= tail.hour_end_us):
            self._seal(at)
            self._sealed.settle()
            tail = None
        if tail is None:
            first, end_us = message.offset, hour_end_us(time_us)
            share = 1.0 if is_full else next(self._shares)
            tail = Tail(kind, first, first, hour_of(time_us), end_us, share)
            with self._lock:
                self._tails[at] = tail
        return tail

    def writing_beside(self) -> AbstractContextManager[None]:
        """Let files be written in a thread of its own for as long as the block runs.

        `take` and `write_due` then raise what became of files that were due before.
        """
        return self._sealed.beside()

    def write_due(self, *, all_of_it: bool = False) -> None:
        """Write the tails that are old enough, or all of them.

        Raises:
            OSError: as `take`; nothing is lost, the tail stays.
        """
        now = self._clock()
        for at, tail in list(self._tails.items()):
            if all_of_it or now - tail.since >= self._limits.seconds:
                self._seal(at)
        self._sealed.settle(all_of_it=all_of_it)

    def settle(self) -> None:
        """Wait until files hold all tails that were due.

        Raises:
            OSError: as `take`.
        """
        self._sealed.settle(all_of_it=True)

    def _seal(self, at: At) -> None:
        with self._lock:
            self._sealed.put(at, self._tails.pop(at))

    def _write(self, at: At, tail: Tail) -> None:
        """Write a tail as a file, without rows too: else all that led to none is read again."""
        kind, topic, partition = at
        segment = Segment(kind, tail.hour, topic, partition, tail.first, tail.next - 1)
        with self.turn:
            table = pa.concat_tables([tail.kind.schema.empty_table(), *tail.parts])
            with self._lock:
                others = list(self._files[kind])
            counts = counts_of_rows(self.store, tail.kind, table, self._times, others)
            size_bytes = self.store.write(tail.kind, segment, table, counts)
            if tail.kind.time and len(table):
                self._times.note(segment, least_and_most(table[tail.kind.time]))
            with self._lock:
                self._files[kind][segment] = size_bytes
                self._sealed.drop_first()

    def _unwritten(self) -> list[tuple[At, Tail]]:
        """Return the tails, those of a partition in the order of their offsets; with the lock."""
        return [*self._sealed.tails(), *self._tails.items()]

    def merge(self, now_us: int, is_over: Callable[[], bool] = lambda: False) -> int:
        """Merge files that are due, and remove those that were let go long enough ago.

        Args:
            now_us: the time of day; an hour is over `SLACK_US` after its end.
            is_over: whether no further file should be begun.

        Returns:
            How many files became fewer.

        Raises:
            OSError: the disk is full, or the bucket is away; nothing is lost.
        """
        done = 0
        with self._lock:
            sizes = {one: n for k in KIND for one, n in self._files[k].items()}
            filling = {(at, tail.hour) for at, tail in self._unwritten() if tail.rows}
        hour_over = hour_of(now_us - HOUR_US - SLACK_US)
        for files in merges(sizes, self._limits.merge_files, hour_over, filling):
            if is_over():
                break
            with self.turn:
                self._merge(files)
            done += len(files) - 1
        list_hours(self.store, self.turn, self.files(), self._times, hour_over, is_over)
        self._remove_leaving()
        return done

    def _merge(self, files: Sequence[Segment]) -> None:
        kind, whole, counts = KIND[files[0].kind], merged(files), counts_of_files(self.store, files)
        size_bytes = self.store.merge(kind, files, whole, counts)
        with self._lock:
            self._swap(files, whole, size_bytes)

    def every_file(self) -> list[Segment]:
        """Return all files that there are, also those that are about to be removed."""
        with self._lock:
            return [*chain.from_iterable(self._files.values()), *(one for _, one in self._leaving)]

    def visit(self, one: Segment, change: Change) -> bool:
        """Change the rows of a file that may be gone by now; return whether they were changed.

        Raises:
            OSError: it cannot be read or written; it is as it was.
        """
        with self.turn:
            if not self._is_there(one):
                return False
            kind = ALL_KINDS[one.kind]
            changed = change(one, kind, self.store.read(kind, [one]))
            if changed is None:
                return False
            if (counts := self.store.counts(one)) is not None:
                counts = reworded(counts, changed.fit)
            size_bytes = self.store.rewrite(kind, one, changed.rows, counts)
            with self._lock:
                if one in self._files[one.kind]:
                    self._files[one.kind][one] = size_bytes
        return True

    def _is_there(self, one: Segment) -> bool:
        with self._lock:
            return one in self._files[one.kind] or any(one == gone for _, gone in self._leaving)

    def visit_tails(self, change: Change) -> None:
        """Change the rows that are in no file yet."""
        with self.turn, self._lock:
            for (kind, topic, partition), tail in self._unwritten():
                one = Segment(kind, tail.hour, topic, partition, tail.first, tail.next - 1)
                changed = change(one, tail.kind, tail.as_table()) if tail.rows else None
                if changed is not None:
                    tail.parts, tail.slices = [changed.rows], 0

    def files(self) -> list[Segment]:
        """Return all files, those of summaries too."""
        with self._lock:
            return list(chain.from_iterable(self._files.values()))

    def replace(self, old: Sequence[Segment], new: Segment | None, size_bytes: int) -> None:
        """Let files go, for what sums them up or for nothing; a later `merge` removes them.

        Whoever does it has the turn since before the first of them was read.
        """
        with self._lock:
            self._swap(old, new, size_bytes)
            self.replaced += 1

    def _swap(self, old: Sequence[Segment], new: Segment | None, size_bytes: int) -> None:
        for one in old:
            del self._files[one.kind][one]
        if new is not None:
            self._files[new.kind][new] = size_bytes
        self._leaving += [(self._clock() + REMOVE_SECONDS, one) for one in old]

    def growth(self, now_us: int) -> Growth:
        """Return how the archive grows; see `retention.growth`."""
        with self._lock:
            sizes = {one: size for files in self._files.values() for one, size in files.items()}
        return growth(sizes, self.store.disk(), now_us)

    def _remove_leaving(self) -> None:
        """Remove what was let go so long ago that no question reads it any more."""
        now = self._clock()
        while self._leaving and self._leaving[0][0] <= now:
            with self.turn:
                self.store.remove(self._leaving[0][1])
                with self._lock:
                    _, gone = self._leaving.popleft()
                    is_last = all(one.hour != gone.hour for one in self._files[gone.kind])
                self._times.forget(gone)
                if is_last:
                    self.store.unlist_hour(gone.kind, gone.hour)

    def look(
        self,
        kind: str,
        times: Times | None = None,
        ids: Mapping[str, Collection[str]] | None = None,
        columns: Collection[str] = (),
        ends: Ends | None = None,
    ) -> Look:
        """Return a kind as of now, or of rows before some ends.

        Args:
            kind: its name.
            times: [start, end) of the kind's own time, in us: files without any of it are left
                out; None for all. What was appended more than `times.CLOCK_US` before its own time,
                by a clock so far ahead, is not found.
            ids: by column, one of `Kind.ids`, the ids that are asked for. Then all rows that hold
                one of them in its column are in `tail`, a few others may be, and `files` is empty.
            columns: with `ids`, those that are wanted; all without it.
            ends: where the rows that count end: those in `tail` do, `files` may have some beyond.

        Raises:
            OSError: with `ids`, a file cannot be read.
            TimeLimitError, TooMuchError: with `ids`, whoever asks has no more time or bytes.
        """
        with self._lock:
            files = files_before(self._files[kind], ends)
            held = [(at, t.as_table()) for at, t in self._unwritten() if at[0] == kind and t.rows]
        tails = [rows_before(tail, *at[1:], ends) for at, tail in held]
        if times is not None and ALL_KINDS[kind].time:
            files = self.within(kind, files, times)
        schema = part_of(ALL_KINDS[kind].schema, columns if ids is not None else ())
        parts = [tail.select(schema.names) for tail in tails]
        if ids is not None:
            for one, found in self.store.find(KIND[kind], files, ids, columns):
                spend(found.nbytes)
                parts.append(rows_before(found, one.topic, one.partition, ends))
            files = []
        files.sort(key=lambda one: (one.at, one.first))
        return Look(files, pa.concat_tables([schema.empty_table(), *parts]))

    def within(self, kind: str, files: Sequence[Segment], times: Times) -> list[Segment]:
        """Return the files that hold something of [start, end); each footer is read once.

        Raises:
            OSError: a file cannot be read.
        """
        return list(self._times.within(ALL_KINDS[kind], files, times))

    def tally(self, kind: str, times: Times, wanted: Mapping[str, Collection[str]]) -> Tally:
        """Return how many events of a kind there are in each minute; see `Tallies.tally`.

        Args:
            kind: one of `COUNTED`.
            times: [start, end) of the events' time, in us.
            wanted: by column, the values that they have.

        Raises:
            OSError: a file cannot be read.
        """
        with self._lock:
            files = list(self._files[kind])
            tails = [t.as_table() for at, t in self._unwritten() if at[0] == kind and t.rows]
            if self._rewritten != self.store.rewritten:
                self._tallies = Tallies(self.store.counts, self.store.hour_counts)
                self._rewritten = self.store.rewritten
            tallies, ends = self._tallies, self._ends(kind)
        some = self._times.within(KIND[kind], files, times)
        at = [tail[KIND[kind].time].to_numpy() for tail in tails]
        within = [rows[(rows >= times[0]) & (rows < times[1])] for rows in at]
        return tallies.tally(files, some, within, wanted, times)._replace(ends=ends)

    def ends(self, kind: str) -> Ends:
        """Return where the rows of a kind end as of now."""
        with self._lock:
            return self._ends(kind)

    def _ends(self, kind: str) -> Ends:
        return {(at[1], at[2]): next_ for at, next_ in self._next.items() if at[0] == kind}

    def dataset(self, files: Iterable[Segment], schema: pa.Schema) -> Any:
        """Return files as one dataset."""
        return self.store.dataset(files, schema)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return files, their bytes, and how many records lie in memory, by kind."""
        with self._lock:
            return {
                kind: {
                    "files": len(files),
                    "file_bytes": sum(files.values()),
                    "tail_records": sum(
                        tail.rows for at, tail in self._unwritten() if at[0] == kind
                    ),
                }
                for kind, files in self._files.items()
            }
