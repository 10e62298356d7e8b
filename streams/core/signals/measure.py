"""What a group of series did over the last windows: the numbers that conditions compare.

Owns look-backs and the increase of counters. Invariant: memory per group is the windows of its
rule's look-back, whatever came.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from streams.core.signals.cell import Cell
from streams.units import SECOND_US


@dataclass(frozen=True, slots=True)
class Point:
    """One window of a group: where it starts, its cells added up, and by how much they rose."""

    start_us: int
    cell: Cell
    increase: float


@dataclass(slots=True)
class Lookback:
    """The points of a group within the look-back, oldest first."""

    points: deque[Point] = field(default_factory=deque)

    def add(self, point: Point | None, before_us: int) -> None:
        """Take the newest window in, if it has points, and drop those before `before_us`."""
        if point is not None:
            self.points.append(point)
        while self.points and self.points[0].start_us < before_us:
            self.points.popleft()

    def count(self) -> int:
        """Return the points in the look-back."""
        return sum(point.cell.points for point in self.points)

    def value(self, stat: str, over_us: int) -> float | None:
        """Return a statistic over the look-back; None when it is empty."""
        if not self.points:
            return None
        cells = [point.cell for point in self.points]
        if stat == "last":
            return cells[-1].last
        if stat == "min":
            return min(cell.low for cell in cells)
        if stat == "max":
            return max(cell.high for cell in cells)
        if stat in ("increase", "rate"):
            increase = sum(point.increase for point in self.points)
            return increase if stat == "increase" else increase * SECOND_US / over_us
        points, total = self.count(), sum(cell.total for cell in cells)
        return {"count": float(points), "sum": total, "mean": total / points}[stat]

    def snapshot(self) -> list[list[Any]]:
        """Return the points as JSON-able rows."""
        return [[point.start_us, point.increase, *point.cell] for point in self.points]

    @classmethod
    def restore(cls, rows: Sequence[Sequence[Any]]) -> Self:
        """Return what `snapshot` was of."""
        points = (Point(int(s), Cell.read(cell), float(rise)) for s, rise, *cell in rows)
        return cls(deque(points))


def increase_of(cell: Cell, before: float | None) -> float:
    """Return by how much a rising counter rose in a window.

    Args:
        cell: the window's points.
        before: the last value of the window before; None when there was none: then the rise is
            within the window alone, or the whole past would count as now.

    A counter that fell began anew at 0, so it rose by what it shows.

    Source: Prometheus, `increase()`.
    """
    base = cell.low if before is None else before
    return cell.last - base if cell.last >= base else cell.last
