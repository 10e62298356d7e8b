"""What is about to go wrong: throughput that falls, errors and times that grow (row S2-30).

Owns from where on each of the three is bad, and which series is long or busy enough to be judged.
Invariant: an indicator is a function of its series alone. A series that cannot be judged has none:
nothing is made of few counts.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.core.health.status import DEGRADED, HEALTHY, UNHEALTHY, Status
from streams.core.health.trend import Floats, Trend, seconds_to, trend_of
from streams.units import SECOND_US

IndicatorType = Literal["THROUGHPUT_DECLINE", "ERROR_RATE_INCREASE", "LATENCY_SPIKE"]
THROUGHPUT_DECLINE: Final = "THROUGHPUT_DECLINE"
ERROR_RATE_INCREASE: Final = "ERROR_RATE_INCREASE"
LATENCY_SPIKE: Final = "LATENCY_SPIKE"

CURRENT_STEPS: Final = 3
"""What is called current is the middle one of so many steps: one odd step is no news."""
USUAL_STEPS_MIN: Final = 3
"""Steps before the current ones that say what is usual."""
DECLINE_RATIO: Final = 0.5
"""Half of the usual throughput is a decline."""
STOP_RATIO: Final = 0.1
"""A tenth of it is as good as none."""
USUAL_COUNT_MIN: Final = 64
"""Usual count of a step from which on a decline is judged: half of 64 lies four standard deviations
of a Poisson count below it."""
FAILING_RATIO: Final = 0.5
"""Where every second one fails, the work is not done."""
SLOW_RATIO: Final = 2.0
"""Twice the usual time is a spike."""
STUCK_RATIO: Final = 10.0
"""Ten times it is as good as stuck: a queue behind it grows tenfold."""


class Series(NamedTuple):
    """What one place did, a value a step.

    Attributes:
        module, component, flow: the place: a component, or the whole way of a flow.
        counts: shape (n,), int64: spans of the component, or traces of the flow.
        errors: shape (n,), int64, of the counts; None where they are not told.
        duration_us: shape (n,), float64; NaN in steps without any.
    """

    module: str
    component: str
    flow: str
    counts: NDArray[np.int64]
    errors: NDArray[np.int64] | None
    duration_us: Floats


class Indicator(NamedTuple):
    """One quantity of one place against its threshold.

    Attributes:
        indicator_type: which quantity.
        module, component, flow: the place.
        unit: of the values: per_second, ratio or us.
        current_value: now.
        usual_value: before; 0.0 of a ratio of errors, which should be none.
        threshold: from where on it is bad.
        trend: where it goes.
        time_to_threshold: seconds until it is bad if it goes on so; 0.0 where it is, None where it
            does not get there.
        status: what it makes of its place.
    """

    indicator_type: IndicatorType
    module: str
    component: str
    flow: str
    unit: str
    current_value: float
    usual_value: float
    threshold: float
    trend: Trend
    time_to_threshold: float | None
    status: Status

    @property
    def excess(self) -> float:
        """How far it is from usual, 1.0 at its threshold; 0.0 where it is better than usual."""
        way = self.threshold - self.usual_value
        return max(0.0, (self.current_value - self.usual_value) / way) if way else 0.0


class _Judged(NamedTuple):
    """A quantity and its bounds: bad from `threshold` on, and from `limit` on as good as gone."""

    current: float
    usual: float
    threshold: float
    limit: float

    def status(self, *, is_above_bad: bool) -> Status:
        way = 1.0 if is_above_bad else -1.0
        if way * self.current >= way * self.limit:
            return UNHEALTHY
        return DEGRADED if way * self.current >= way * self.threshold else HEALTHY


def indicators(
    series: Iterable[Series], step_us: int, error_ratio: float, count_min: int
) -> Iterator[Indicator]:
    """Yield what can be judged of some series.

    Args:
        series: of steps of one length, the oldest first, the last of them whole.
        step_us: the length of a step.
        error_ratio: the share of errors that is bad, above 0.
        count_min: fewer in the current steps are too few for a share or a mean.
    """
    for one in series:
        at_s = np.arange(len(one.counts), dtype=np.float64) * (step_us / SECOND_US)
        yield from _throughput(one, at_s, step_us)
        if int(one.counts[-CURRENT_STEPS:].sum()) >= max(1, count_min):
            yield from _errors(one, at_s, error_ratio)
            yield from _latency(one, at_s)


def _throughput(one: Series, at_s: Floats, step_us: int) -> Iterator[Indicator]:
    begun = np.flatnonzero(one.counts)
    if not len(begun):
        return
    # Before its first step it was not there, which is no throughput of 0.
    at_s, counts = at_s[begun[0] :], one.counts[begun[0] :].astype(np.float64)
    found = _now_and_usual(counts)
    if found is None or found[1] < USUAL_COUNT_MIN:
        return
    per_second = SECOND_US / step_us
    now, usual = found[0] * per_second, found[1] * per_second
    judged = _Judged(now, usual, DECLINE_RATIO * usual, STOP_RATIO * usual)
    values = counts * per_second
    yield _indicator(
        THROUGHPUT_DECLINE, one, "per_second", judged, at_s, values, is_above_bad=False
    )


def _errors(one: Series, at_s: Floats, error_ratio: float) -> Iterator[Indicator]:
    if one.errors is None:
        return
    # Of all that there was: the middle of three shares would forget a step that had most of it.
    now = int(one.errors[-CURRENT_STEPS:].sum()) / int(one.counts[-CURRENT_STEPS:].sum())
    is_some = one.counts > 0
    shares = one.errors[is_some] / one.counts[is_some]
    judged = _Judged(now, 0.0, error_ratio, max(FAILING_RATIO, error_ratio))
    yield _indicator(
        ERROR_RATE_INCREASE, one, "ratio", judged, at_s[is_some], shares, is_above_bad=True
    )


def _latency(one: Series, at_s: Floats) -> Iterator[Indicator]:
    is_some = np.isfinite(one.duration_us)
    values = one.duration_us[is_some]
    found = _now_and_usual(values)
    if found is None or found[1] <= 0:
        return
    now, usual = found
    judged = _Judged(now, usual, SLOW_RATIO * usual, STUCK_RATIO * usual)
    yield _indicator(LATENCY_SPIKE, one, "us", judged, at_s[is_some], values, is_above_bad=True)


def _indicator(
    indicator_type: IndicatorType,
    one: Series,
    unit: str,
    judged: _Judged,
    at_s: Floats,
    values: Floats,
    *,
    is_above_bad: bool,
) -> Indicator:
    trend, per_second = trend_of(at_s, values, judged.threshold)
    return Indicator(
        indicator_type,
        one.module,
        one.component,
        one.flow,
        unit,
        judged.current,
        judged.usual,
        judged.threshold,
        trend,
        seconds_to(judged.current, per_second, judged.threshold, is_above_bad=is_above_bad),
        judged.status(is_above_bad=is_above_bad),
    )


def _now_and_usual(values: Floats) -> tuple[float, float] | None:
    """Return the middle of the current values and of those before; None of too few."""
    if len(values) < CURRENT_STEPS + USUAL_STEPS_MIN:
        return None
    now, before = values[-CURRENT_STEPS:], values[:-CURRENT_STEPS]
    return float(np.median(now)), float(np.median(before))
