"""Metric points and log lines per event-time window and series, of one source partition.

Owns which point counts where, and the bounds. Invariants: what is told of a window and series is
absolute, so that a reader takes the latest and adds nothing; a window that was given up is never
begun again; bounds act by leaving out and counting why, never by stopping.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streams.core.columns import METRIC, EventColumns
from streams.core.order import distinct, run_starts
from streams.core.signals.cell import Cell, events_cell, told
from streams.core.signals.series import NO_SIGNAL, OVER_BOUND, REJECTED, Series, SeriesBook
from streams.units import F64, I64, MINUTE_US, TimesUs

SERIES_PER_PARTIAL: Final = 500
"""A record of the partials' topic holds so many: 1 MiB is the broker's bound, a series has 700
bytes at most but for its dimensions."""

EXPIRED: Final = "signal_window_expired"
WINDOW_BOUND: Final = "signal_window_limit"
SERIES_BOUND: Final = "signal_series_limit"
BOOK_BOUND: Final = "signal_series_max"
NO_VALUE: Final = "signal_without_value"


@dataclass(frozen=True, slots=True)
class SignalBounds:
    """How many series and windows one partition counts.

    Attributes:
        series_max: series of one window; points of further ones are left out.
        windows_max: windows at once; an event time far in the future opens one for nothing.
        retention_us: how long, in stream time, an ended window still takes points.
    """

    series_max: int = 2_000
    windows_max: int = 60
    retention_us: int = 2 * MINUTE_US


@dataclass(slots=True)
class _Entry:
    """A cell, whether it was told since it changed, and whether a snapshot has it."""

    cell: Cell
    is_changed: bool = True
    is_unsaved: bool = True


class SignalCounts:
    """The cells of all windows of one partition.

    Attributes:
        window_us: length of a window, microseconds; windows are [start, end).
        floor_us: windows that start before it were given up.
        sequence: number of the last record told; every record has its own.
        discarded: points left out, by reason.
    """

    def __init__(self, window_us: int, bounds: SignalBounds | None = None) -> None:
        assert window_us > 0, window_us
        self.window_us = window_us
        self.bounds = bounds or SignalBounds()
        self.floor_us = 0
        self.sequence = 0
        self.discarded: Counter[str] = Counter()
        self._windows: dict[int, dict[Series, _Entry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._windows.values()))

    # --- taking points in -----------------------------------------------------------------------

    def add_events(self, events: EventColumns, book: SeriesBook) -> None:
        """Add the metric points and log lines among n events, repeats included."""
        is_signal = events.series != NO_SIGNAL
        if not is_signal.any():
            return
        over = int((events.series == OVER_BOUND).sum())
        self._leave_out(BOOK_BOUND, over)
        # A line may have a value, as events of breakers do; one without counts as 0.
        is_bare = (events.event_type != METRIC) & ~np.isfinite(events.value)
        value = np.where(is_bare, 0.0, events.value)
        has_value = np.isfinite(value)
        self._leave_out(NO_VALUE, int((is_signal & ~has_value).sum()))
        rows = np.flatnonzero((events.series >= 0) & has_value)
        if len(rows):
            code = events.series[rows].astype(np.int64)
            self._add_rows(code, events.timestamp_us[rows], value[rows], book)

    def _add_rows(self, code: I64, timestamp_us: TimesUs, value: F64, book: SeriesBook) -> None:
        starts, window = distinct(timestamp_us // self.window_us)
        # By time and value within a cell: the last is the last, and sums do not tell the order.
        order = np.lexsort((value, timestamp_us, code, window))
        code, window = code[order], window[order]
        value, timestamp_us = value[order], timestamp_us[order]
        first = run_starts(window * (int(code.max()) + 1) + code)
        last = np.append(first[1:], len(order)) - 1
        cells = zip(
            (starts[window[first]] * self.window_us).tolist(),
            book.of(code[first]),
            (last - first + 1).tolist(),
            np.add.reduceat(value, first).tolist(),
            np.minimum.reduceat(value, first).tolist(),
            np.maximum.reduceat(value, first).tolist(),
            value[last].tolist(),
            timestamp_us[last].tolist(),
            strict=True,
        )
        for start_us, series, *fields in cells:
            self._add(start_us, series, Cell(*fields))

    def add_rejected(self, reasons: Sequence[tuple[str, str, str]], kafka_us: TimesUs) -> None:
        """Add rejected events.

        Args:
            reasons: n times module, topic and reason.
            kafka_us: (n,) when they came; what they say of their time cannot be believed.
        """
        for (module, topic, reason), at_us in zip(reasons, kafka_us.tolist(), strict=True):
            start_us = at_us // self.window_us * self.window_us
            self._add(start_us, Series(REJECTED, module, topic, reason), events_cell(1, at_us))

    def _add(self, start_us: int, series: Series, cell: Cell) -> None:
        if start_us < self.floor_us:
            return self._leave_out(EXPIRED, cell.points)
        window = self._windows.get(start_us)
        if window is None:
            if len(self._windows) >= self.bounds.windows_max:
                return self._leave_out(WINDOW_BOUND, cell.points)
            window = self._windows[start_us] = {}
        entry = window.get(series)
        if entry is not None:
            entry.cell = entry.cell.plus(cell)
            entry.is_changed = entry.is_unsaved = True
        elif len(window) >= self.bounds.series_max:
            self._leave_out(SERIES_BOUND, cell.points)
        else:
            window[series] = _Entry(cell)
        return None

    def _leave_out(self, reason: str, points: int) -> None:
        if points:
            self.discarded[reason] += points

    # --- telling --------------------------------------------------------------------------------

    def has_changed(self) -> bool:
        """Say whether there is something to tell."""
        return any(e.is_changed for window in self._windows.values() for e in window.values())

    def take_changed(self, watermark_us: int) -> list[dict[str, Any]]:
        """Return the cells that changed since they were told, as records of SignalPartial.

        Args:
            watermark_us: the time that all topics of the partition have passed.
        """
        told_now = []
        for start_us, window in sorted(self._windows.items()):
            changed = sorted(series for series, entry in window.items() if entry.is_changed)
            for at in range(0, len(changed), SERIES_PER_PARTIAL):
                some = changed[at : at + SERIES_PER_PARTIAL]
                rows = [row_of(series, window[series].cell) for series in some]
                told_now.append(self.record(start_us, watermark_us, rows))
            for series in changed:
                window[series].is_changed = False
                window[series].is_unsaved = True  # that it was told is state too
        return told_now

    def record(
        self, start_us: int, watermark_us: int, rows: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a record of SignalPartial, as far as a partition's counts know it."""
        return {
            "window_start": start_us,
            "window_us": self.window_us,
            "watermark": watermark_us,
            "series": rows,
        }

    def expire(self, before_us: int) -> None:
        """Give up the windows that end at or before `before_us`."""
        self.floor_us = max(self.floor_us, before_us // self.window_us * self.window_us)
        for start_us in [start_us for start_us in self._windows if start_us < self.floor_us]:
            del self._windows[start_us]

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self, *, full: bool) -> dict[str, Any]:
        """Return everything, or what changed since the last snapshot, as JSON values."""
        windows = []
        for start_us, window in sorted(self._windows.items()):
            rows = []
            for series, entry in window.items():
                if full or entry.is_unsaved:
                    entry.is_unsaved = False
                    rows.append([*series, *entry.cell, entry.is_changed])
            if rows:
                windows.append([start_us, rows])
        return {
            "window_us": self.window_us,
            "floor_us": self.floor_us,
            "sequence": self.sequence,
            "discarded": dict(self.discarded),
            "windows": windows,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put a snapshot on top of what is there; one of other windows says nothing."""
        if snapshot["window_us"] != self.window_us:
            return
        self.sequence = snapshot["sequence"]
        self.discarded = Counter(snapshot["discarded"])
        for start_us, rows in snapshot["windows"]:
            window = self._windows.setdefault(start_us, {})
            for row in rows:
                at = len(Series._fields)
                entry = _Entry(Cell.read(row[at:-1]), bool(row[-1]), is_unsaved=False)
                window[Series.read(row[:at])] = entry
        self.expire(snapshot["floor_us"])


def row_of(series: Series, cell: Cell) -> dict[str, Any]:
    """Return a series and its cell as a row of SignalPartial."""
    return {
        **series._asdict(),
        "dimensions": dict(series.dimensions),
        "count": cell.points,
        "sum": told(cell.total),
        "min": cell.low,
        "max": cell.high,
        "last": cell.last,
        "last_at": cell.last_us,
    }


def read_row(row: Mapping[str, Any]) -> tuple[Series, Cell]:
    """Return what a row of SignalPartial says."""
    names = [str(row[name]) for name in Series._fields[:-1]]
    series = Series.read([*names, sorted(row["dimensions"].items())])
    cell = Cell(row["count"], row["sum"], row["min"], row["max"], row["last"], row["last_at"])
    return series, cell


def with_earlier(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return a snapshot with the cells that only an earlier one holds: they did not change since.

    Args:
        later: a snapshot, perhaps of the changed cells only.
        earlier: the one before it.
    """
    if earlier["window_us"] != later["window_us"]:
        return dict(later)
    merged: dict[int, dict[str, list[Any]]] = {}
    for start_us, rows in _rows((earlier, later)):
        if start_us >= later["floor_us"]:
            at = len(Series._fields)
            merged.setdefault(start_us, {}).update({repr(row[:at]): row for row in rows})
    windows = [[start_us, list(rows.values())] for start_us, rows in sorted(merged.items())]
    return {**later, "windows": windows}


def _rows(snapshots: Iterable[Mapping[str, Any]]) -> Iterable[tuple[int, list[Any]]]:
    for snapshot in snapshots:
        yield from snapshot["windows"]
