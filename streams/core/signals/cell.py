"""What a series did in one window: how often, and which values.

Owns the cell and its sums. Invariant: of one window and source, a cell with more points holds
all that one with fewer holds, so that the latest can be told without a number.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple, Self


class Cell(NamedTuple):
    """Points of one series in one window.

    Attributes:
        points: how many.
        total: their sum.
        low, high: the smallest and the largest value.
        last: the value of the latest point; of several at one time the largest.
        last_us: its event time.
    """

    points: int
    total: float
    low: float
    high: float
    last: float
    last_us: int

    def plus(self, other: "Cell") -> "Cell":
        """Return both together; which of the two comes first makes no difference."""
        last, last_us = max((self.last_us, self.last), (other.last_us, other.last))[::-1]
        return Cell(
            self.points + other.points,
            self.total + other.total,
            min(self.low, other.low),
            max(self.high, other.high),
            last,
            last_us,
        )

    @classmethod
    def read(cls, row: Sequence[Any]) -> Self:
        """Return the cell that its fields as JSON values say."""
        points, total, low, high, last, last_us = row
        return cls(int(points), float(total), float(low), float(high), float(last), int(last_us))


def events_cell(points: int, last_us: int) -> Cell:
    """Return the cell of events without values."""
    return Cell(points, 0.0, 0.0, 0.0, 0.0, last_us)


def told(number: float) -> float:
    """Return a sum as it is told: 12 digits, so that the order of the additions does not show."""
    return float(f"{number:.12g}") if isfinite(number) else number
