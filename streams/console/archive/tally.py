"""Counts of many files added up: how many events of a sort there were in each minute.

Owns which minutes are told by counts. A minute is not when a file has something of it that is not
counted, when rows in memory are of it, or when it repeats events of an hour that has expired; it
has to be counted from the rows. Keeps what was added up by hour, within a bound.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from streams.console.archive.counts import (
    CELL,
    COLUMNS,
    FIRST,
    MINUTE_US,
    Counts,
    HourCounts,
    grouped,
)
from streams.console.archive.ends import Ends
from streams.console.archive.files import At, Segment
from streams.units import I64, Mask

HELD_CELLS_MAX: Final = 4_000_000
"""Cells of all hours that stay in memory, of 32 bytes each."""
SMALL_CELLS: Final = 500
"""A file with so few is one of an hour that goes on, or of little."""
SMALL_FILES_MAX: Final = 2_000
"""Of which the counts stay in memory: 32 MB at most."""
COMBOS_MAX: Final = 200_000
"""Of all hours; with more, what was added up is thrown away, and read again as it is asked for."""
UNTOLD_MAX: Final = 4
"""Times that a question counts from rows; were they more, what lies between is counted as well."""
Span = tuple[int, int]
"""[begin, end), in us."""
Values = tuple[str, ...]
"""Of the first columns of `COLUMNS`."""


class Tally(NamedTuple):
    """Events of one kind.

    Attributes:
        minute: (n,) minutes since 1970 that have some, increasing.
        rows: (n,) how many.
        untold: times, apart and in order, of which the counts say nothing; there is some file or
            some row of each.
        ends: where the rows ended of which this is.
    """

    minute: I64
    rows: I64
    untold: list[Span]
    ends: Ends = MappingProxyType({})


class _Hour(NamedTuple):
    """The cells of one hour's files, and which of them are not counted."""

    files: tuple[Segment, ...]
    minute: I64
    combo: I64
    hour: I64
    rows: I64
    uncounted: frozenset[Segment]


class Tallies:
    """Adds up counts.

    Args:
        counts: gives the counts of a file, None when there are none.
        hour_counts: gives those of files of a kind's hour together, None when there are none.
    """

    def __init__(
        self,
        counts: Callable[[Segment], Counts | None],
        hour_counts: Callable[[str, str], HourCounts | None],
    ) -> None:
        self._counts = counts
        self._hour_counts = hour_counts
        self._lock = threading.Lock()
        self._book = _Book()

    def tally(
        self,
        files: Sequence[Segment],
        times: Mapping[Segment, Span],
        tails: Iterable[I64],
        wanted: Mapping[str, Collection[str]],
        span: Span,
    ) -> Tally:
        """Return how many events there are.

        Args:
            files: all files of a kind.
            times: the least and the greatest time of those that have some within the span.
            tails: timestamps of rows in memory, in us.
            wanted: by column, one of `COLUMNS`, the values that events have.
            span: [start, end) in us; what is left of its first and last minute is untold.
        """
        first, last = -(-span[0] // MINUTE_US), span[1] // MINUTE_US
        present = _present_hours(files)
        with self._lock:
            if len(self._book.combos) > COMBOS_MAX:
                self._book = _Book()
            book = self._book  # who asks already goes on with the old one
        hours = self._hours_of(book, files, {one.hour for one in times})
        edges = [(span[0], first * MINUTE_US), (last * MINUTE_US, span[1])]
        untold = [some for some in edges if _is_touched(some, times.values())]
        uncounted = {one for hour in hours for one in hour.uncounted}
        untold += [_whole_minutes(times[one]) for one in uncounted & times.keys()]
        for at in tails:
            untold += _minutes(np.unique(at // MINUTE_US))
        fits, is_known = self._fitting(book, wanted)
        minute, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for cells in hours:
            is_within = (cells.minute >= first) & (cells.minute < last)
            is_sure = is_known[cells.combo] & _is_there(cells.hour, present)
            if not is_sure.all():
                untold += _minutes(np.unique(cells.minute[is_within & ~is_sure]))
            is_one = is_within & fits[cells.combo] & (cells.hour == FIRST)
            minute.append(cells.minute[is_one])
            rows.append(cells.rows[is_one])
        untold = few(united(untold, span), UNTOLD_MAX)
        at, of = np.unique(np.concatenate(minute), return_inverse=True)
        total = np.bincount(of, np.concatenate(rows), len(at)).astype(np.int64)
        is_told = ~_is_in(at, untold)
        return Tally(at[is_told], total[is_told], untold)

    def _fitting(self, book: "_Book", wanted: Mapping[str, Collection[str]]) -> tuple[Mask, Mask]:
        """Return which combos fit, and of which the values that are asked for are known."""
        with self._lock:
            combos = list(book.combos)
        columns = [COLUMNS.index(name) for name in wanted]
        size = max(columns, default=-1) + 1
        known = np.array([len(combo) >= size for combo in combos], np.bool_)
        some = [(i, frozenset(values)) for i, values in zip(columns, wanted.values(), strict=True)]
        fits = [
            len(combo) >= size and all(combo[i] in values for i, values in some) for combo in combos
        ]
        return np.array(fits, np.bool_), known

    def _hours_of(
        self, book: "_Book", files: Sequence[Segment], hours: Collection[str]
    ) -> list[_Hour]:
        by_hour: dict[str, list[Segment]] = {hour: [] for hour in hours}
        for one in files:
            if one.hour in by_hour:
                by_hour[one.hour].append(one)
        return [self._hour(book, tuple(some)) for _, some in sorted(by_hour.items())]

    def _hour(self, book: "_Book", files: tuple[Segment, ...]) -> _Hour:
        """Return what the files of an hour hold together."""
        key = files[0].kind, files[0].hour
        with self._lock:
            held = book.hours.get(key)
            if held is not None and held.files == files:
                book.hours.move_to_end(key)
                return held
        whole = self._hour_counts(*key)
        paths = frozenset() if whole is None else whole.paths
        if not paths <= {one.path for one in files}:  # some were merged since, or expired
            whole, paths = None, frozenset()
        found = [(one, self._of(book, one)) for one in files if one.path not in paths]
        counted = [counts for _, counts in found if counts is not None]
        counted += [] if whole is None else [whole.counts]
        uncounted = frozenset(one for one, counts in found if counts is None)
        with self._lock:
            made = _Hour(files, *book.added(counted), uncounted)
            old = book.hours.pop(key, None)
            book.cells += len(made.minute) - (0 if old is None else len(old.minute))
            book.hours[key] = made
            while book.cells > HELD_CELLS_MAX and len(book.hours) > 1:
                _, old = book.hours.popitem(last=False)
                book.cells -= len(old.minute)
        return made

    def _of(self, book: "_Book", one: Segment) -> Counts | None:
        """Return the counts of a file; small ones are kept: their hour may change each second."""
        with self._lock:
            if one in book.small:
                return book.small[one]
        counts = self._counts(one)
        if counts is not None and len(counts.minute) <= SMALL_CELLS:
            with self._lock:
                book.small[one] = counts
                if len(book.small) > SMALL_FILES_MAX:
                    book.small.popitem(last=False)
        return counts


class _Book:
    """What was read and added up, and the combos that it numbers."""

    def __init__(self) -> None:
        self.combos: dict[Values, int] = {}
        self.hours: OrderedDict[tuple[str, str], _Hour] = OrderedDict()
        self.cells = 0
        self.small: OrderedDict[Segment, Counts] = OrderedDict()

    def added(self, counted: Sequence[Counts]) -> tuple[I64, I64, I64, I64]:
        """Return the cells of several files as those of one, with combos known to all hours."""
        parts = [np.zeros((len(CELL), 0), np.int64)]
        for one in counted:
            ids = [self.combos.setdefault(c, len(self.combos)) for c in one.combos]
            combo = np.array(ids, np.int64)[one.combo]
            parts.append(np.stack([one.minute, combo, one.hour, one.rows]))
        return grouped(*np.concatenate(parts, axis=1))


def _present_hours(files: Iterable[Segment]) -> I64:
    """Return the hours, since 1970, of which nothing has expired, as far as files tell.

    An hour goes at once but for the last file of each partition: where another one is there, all
    are.
    """
    last: dict[At, Segment] = {}
    for one in files:
        if one.at not in last or one.last > last[one.at].last:
            last[one.at] = one
    hours = {one.hour for one in files if last[one.at] != one}
    return np.array(sorted(hour_number(hour) for hour in hours), np.int64)


def hour_number(hour: str) -> int:
    """Return an hour such as 2026-11-26T08 as hours since 1970."""
    return int(np.datetime64(hour, "h").astype(np.int64))


def _is_there(hour: I64, present: I64) -> Mask:
    found: Mask = (hour == FIRST) | np.isin(hour, present)
    return found


def _is_in(minute: I64, spans: Sequence[Span]) -> Mask:
    """Return which minutes begin within one of some spans, which are apart and in order."""
    ends = np.array([end for _, end in spans], np.int64)
    begins = np.array([begin for begin, _ in spans] or [0], np.int64)
    at = np.searchsorted(ends, minute * MINUTE_US, "right")
    found: Mask = at < len(ends)
    return found & (begins[np.minimum(at, len(begins) - 1)] <= minute * MINUTE_US)


def _whole_minutes(times: Span) -> Span:
    """Return the whole minutes of the least and the greatest time."""
    return times[0] // MINUTE_US * MINUTE_US, (times[1] // MINUTE_US + 1) * MINUTE_US


def _is_touched(span: Span, times: Iterable[Span]) -> bool:
    return span[0] < span[1] and any(a < span[1] and b >= span[0] for a, b in times)


def _minutes(minute: I64) -> list[Span]:
    return [(at * MINUTE_US, (at + 1) * MINUTE_US) for at in minute.tolist()]


def united(spans: Iterable[Span], within: Span) -> list[Span]:
    """Return spans as few that are apart, in order, within one."""
    found: list[Span] = []
    for some in sorted(spans):
        begin, end = max(some[0], within[0]), min(some[1], within[1])
        if begin >= end:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def few(spans: Sequence[Span], most: int) -> list[Span]:
    """Return spans as no more than so many, the nearest of them united with what lies between."""
    found = list(spans)
    while len(found) > most:
        gaps = [b[0] - a[1] for a, b in pairwise(found)]
        at = gaps.index(min(gaps))
        found[at : at + 2] = [(found[at][0], found[at + 1][1])]
    return found
