"""Where a short series is going: a slope that outliers do not move, and when it gets somewhere.

Sources: Theil (1950) and Sen (1968) for the slope, the median of the slopes between all pairs of
points, which stays put while fewer than 29 % of the points are wrong; Mann (1945) and Kendall
(1975), with the correction for ties, for whether there is a trend at all.
"""

from math import sqrt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Trend = Literal["STABLE", "INCREASING", "DECREASING"]
STABLE: Final = "STABLE"
INCREASING: Final = "INCREASING"
DECREASING: Final = "DECREASING"

POINTS_MIN: Final = 10
"""Fewer points have no trend: the test below can hardly reach its bound, and a line through five
points promises more than they hold."""
Z_MIN: Final = 3.29
"""Of series without a trend one in a thousand passes; a pipeline has about a hundred, looked at
again and again."""
DRIFT_MIN_RATIO: Final = 0.1
"""A drift over the whole series of less than a tenth of the threshold is real, perhaps, but nothing
to tell anybody of."""
HORIZON_S: Final = 3_600.0
"""A quarter of an hour says nothing of what comes after four of them."""


def slope(at_s: Floats, values: Floats) -> float:
    """Return the Theil-Sen slope of a series.

    Args:
        at_s: shape (n,), seconds, all different.
        values: shape (n,), finite.

    Returns:
        Units of the values a second; 0.0 of fewer than two points.
    """
    first, second = np.triu_indices(len(values), 1)
    if not len(first):
        return 0.0
    return float(np.median((values[second] - values[first]) / (at_s[second] - at_s[first])))


def z_score(values: Floats) -> float:
    """Return the Mann-Kendall statistic of a series in the order of time.

    Args:
        values: shape (n,), finite.

    Returns:
        Standard deviations from what chance gives; 0.0 where all values are alike.
    """
    count = len(values)
    first, second = np.triu_indices(count, 1)
    total = int(np.sign(values[second] - values[first]).sum())
    _, ties = np.unique(values, return_counts=True)
    variance = _pairs_term(np.array([count])) - _pairs_term(ties)
    if variance <= 0:
        return 0.0
    return float(total - np.sign(total)) / sqrt(variance / 18)


def _pairs_term(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1) * (2 * counts + 5)).sum())


def trend_of(at_s: Floats, values: Floats, threshold: float) -> tuple[Trend, float]:
    """Return where a series goes, and how fast.

    Args:
        at_s: shape (n,), seconds, increasing.
        values: shape (n,), finite.
        threshold: the value that matters, above 0: what a drift is measured by.

    Returns:
        The trend, and the slope in units a second, 0.0 for STABLE.
    """
    if len(values) < POINTS_MIN or abs(z_score(values)) < Z_MIN:
        return STABLE, 0.0
    per_second = slope(at_s, values)
    if abs(per_second) * float(at_s[-1] - at_s[0]) < DRIFT_MIN_RATIO * threshold:
        return STABLE, 0.0
    return (INCREASING if per_second > 0 else DECREASING), per_second


def seconds_to(
    current: float, per_second: float, threshold: float, *, is_above_bad: bool
) -> float | None:
    """Return when a value will be at its threshold, if it goes on as it does.

    Args:
        current: the value now.
        per_second: its slope.
        threshold: the value that matters.
        is_above_bad: whether the value is beyond the threshold when it is above it.

    Returns:
        Seconds; 0.0 where it is there or beyond, None where it never gets there within `HORIZON_S`.
    """
    left = threshold - current if is_above_bad else current - threshold
    speed = per_second if is_above_bad else -per_second
    if left <= 0:
        return 0.0
    if speed <= 0 or left > speed * HORIZON_S:
        return None
    return left / speed
