"""Signal partials of all partitions become windows that end when all partitions have passed.

Owns the merge by series. Invariant: what an ended window holds is a function of the set of partials
that came before its end, not of their order or repetition; what comes after it is left out and
counted, because the rules have spoken about it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.core.event_windows import EventWindows
from streams.core.signals.cell import Cell
from streams.core.signals.counts import read_row
from streams.core.signals.series import Series
from streams.errors import ConfigError
from streams.units import SECOND_US

OTHER_WINDOWS: Final = "signals_of_other_windows"
TOO_LATE: Final = "signals_too_late"
SERIES_BOUND: Final = "window_series_over_bound"


@dataclass(frozen=True, slots=True)
class SignalWindowSettings:
    """How signal windows are laid, and how many there may be.

    Attributes:
        window_us: width of a window; partials of another width are refused and counted.
        wall_limit_us: a window that some partitions passed waits at most this long for the others.
        max_windows: bound on open windows; beyond it the newest goes (a clock far ahead made it).
        max_series: bound on the series of one window over all partitions.
    """

    window_us: int = 10 * SECOND_US
    wall_limit_us: int = 30 * SECOND_US
    max_windows: int = 500
    max_series: int = 10_000

    def __post_init__(self) -> None:
        for name in ("window_us", "wall_limit_us", "max_windows", "max_series"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} {getattr(self, name)}: must be positive")


@dataclass(slots=True)
class SignalWindow:
    """One window: the latest cell by series and partition."""

    cells: dict[Series, dict[int, Cell]] = field(default_factory=dict)
    pending_since_us: int = 0


class SignalWindows(EventWindows[SignalWindow]):
    """The open windows of signals."""

    def __init__(self, settings: SignalWindowSettings) -> None:
        super().__init__(settings)
        self.settings = settings

    def apply(self, partial: Mapping[str, Any]) -> list[tuple[Series, Cell]]:
        """Take one partial over; return what it says of stages, which no window waits for.

        An older or repeated partial changes nothing: of a series the cell with more points holds.
        """
        partition = int(partial["partition"])
        self.progress.report(partition, partial["watermark"], partial["partitions_total"])
        rows = [read_row(row) for row in partial["series"]]
        stages = [(series, cell) for series, cell in rows if series.kind == "STAGE"]
        signals = [(series, cell) for series, cell in rows if series.kind != "STAGE"]
        if signals:
            self._apply(int(partial["window_start"]), int(partial["window_us"]), partition, signals)
        return stages

    def _apply(
        self, start_us: int, window_us: int, partition: int, rows: list[tuple[Series, Cell]]
    ) -> None:
        if window_us != self.settings.window_us or start_us % window_us:
            self.discarded[OTHER_WINDOWS] += 1
            return
        if self.ended_us is not None and start_us < self.ended_us:
            self.discarded[TOO_LATE] += len(rows)
            return
        window = self.windows.get(start_us)
        if window is None:
            if not self.make_room(start_us):
                return
            window = self.windows[start_us] = SignalWindow()
        for series, cell in rows:
            if series not in window.cells and len(window.cells) >= self.settings.max_series:
                self.discarded[SERIES_BOUND] += 1
                continue
            parts = window.cells.setdefault(series, {})
            known = parts.get(partition)
            if known is None or cell.points >= known.points:
                parts[partition] = cell

    def take(self, start_us: int) -> dict[Series, Cell]:
        """Return the cells of an ended window by series, in order, and let the window go."""
        window = self.windows.pop(start_us, None)
        if window is None:
            return {}
        merged: dict[Series, Cell] = {}
        for series in sorted(window.cells):
            parts = window.cells[series]
            first, *others = (parts[partition] for partition in sorted(parts))
            for other in others:
                first = first.plus(other)
            merged[series] = first
        return merged

    def _skipped(self, before_us: int, ended_us: int) -> None:
        for start_us in [s for s in self.windows if s < ended_us]:
            self.discarded[TOO_LATE] += len(self.windows.pop(start_us).cells)

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the windows as JSON-able data; a series is written once."""
        number: dict[Series, int] = {}
        held = [
            [
                start_us,
                window.pending_since_us,
                [
                    [number.setdefault(series, len(number)), partition, *cell]
                    for series, parts in window.cells.items()
                    for partition, cell in parts.items()
                ],
            ]
            for start_us, window in self.windows.items()
        ]
        return {**self.header(), "open": held, "series": [list(series) for series in number]}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `snapshot` returned, into windows that have seen nothing yet.

        Raises:
            StateError: the snapshot's windows are of another width than the settings say.
        """
        self.restore_header(snapshot, "signals")
        series = [Series.read(row) for row in snapshot["series"]]
        for start_us, pending_since_us, rows in snapshot["open"]:
            window = self.windows[start_us] = SignalWindow(pending_since_us=pending_since_us)
            for number, partition, *cell in rows:
                window.cells.setdefault(series[number], {})[partition] = Cell.read(cell)
