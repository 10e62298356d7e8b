"""What is about to go wrong is told in time, and noise is not told at all."""

from typing import Any

import numpy as np
import pytest

from streams.core.health.indicators import Indicator, Series, indicators
from streams.units import SECOND_US

STEP_US = 30 * SECOND_US
STEPS = 30


def judged(
    counts: Any, errors: Any = None, duration_us: Any = None, **given: Any
) -> dict[str, Indicator]:
    """Return the indicators of one series by type."""
    counts = np.asarray(counts, np.int64)
    took = np.full(len(counts), 1_000.0) if duration_us is None else np.asarray(duration_us)
    failed = None if errors is None else np.asarray(errors, np.int64)
    one = Series("M", "m", "", counts, failed, took)
    found = indicators([one], STEP_US, given.get("error_ratio", 0.05), given.get("count_min", 20))
    return {i.indicator_type: i for i in found}


def test_errors_that_grow_say_when_they_will_be_too_many() -> None:
    """One more in a thousand each step: 2.9 % now, and 5 % within 22 steps."""
    one = judged([1_000] * STEPS, range(STEPS))["ERROR_RATE_INCREASE"]
    assert (one.trend, one.status) == ("INCREASING", "HEALTHY")
    assert one.current_value == pytest.approx(0.028)
    assert one.time_to_threshold == pytest.approx(22 * 30)


def test_throughput_that_ebbs_away_says_when_half_is_gone() -> None:
    """A hundredth less each step."""
    one = judged([1_000 - 10 * n for n in range(STEPS)])["THROUGHPUT_DECLINE"]
    assert (one.trend, one.status) == ("DECREASING", "HEALTHY")
    usual = 1_000 - 10 * 13  # the middle of the 27 steps before the current ones
    assert one.usual_value == pytest.approx(usual / 30)
    steps = (1_000 - 10 * 28 - usual / 2) / 10
    assert one.time_to_threshold == pytest.approx(steps * 30)


def test_a_step_up_is_bad_at_once_and_one_odd_step_is_not() -> None:
    """Twice the usual time is a spike once two of three steps have it; ten times is worse."""
    usual = [1_000.0] * (STEPS - 3)
    odd = judged([100] * STEPS, None, [*usual, 9e9, 1_000, 1_000])["LATENCY_SPIKE"]
    assert (odd.status, odd.time_to_threshold) == ("HEALTHY", None)
    spike = judged([100] * STEPS, None, [*usual, 1_000, 2_000, 2_500])["LATENCY_SPIKE"]
    assert (spike.status, spike.time_to_threshold) == ("DEGRADED", 0.0)
    stuck = judged([100] * STEPS, None, [*usual, 9e4, 9e4, 9e4])["LATENCY_SPIKE"]
    assert stuck.status == "UNHEALTHY"


def test_a_stop_is_worse_than_a_decline() -> None:
    """Half of the usual is degraded, none of it unhealthy."""
    usual = [200] * (STEPS - 3)
    assert judged([*usual, 90, 90, 90])["THROUGHPUT_DECLINE"].status == "DEGRADED"
    assert judged([*usual, 0, 0, 0])["THROUGHPUT_DECLINE"].status == "UNHEALTHY"


def test_few_counts_say_nothing() -> None:
    """Of a rare component, and of one that began a minute ago, nothing is judged."""
    assert judged([3] * STEPS, [3] * STEPS) == {}
    begun = judged([0] * (STEPS - 2) + [500, 500], [0] * STEPS, [np.nan] * (STEPS - 2) + [1.0] * 2)
    assert begun.keys() == {"ERROR_RATE_INCREASE"}
    assert judged([]) == {}


def test_noise_has_no_trend() -> None:
    """Of 1,000 steady series at most five seem to go somewhere, and none is called bad."""
    chance = np.random.default_rng(7)
    trends = 0
    for _ in range(1_000):
        counts = chance.poisson(120, STEPS)
        errors = chance.binomial(counts, 0.01)
        found = judged(counts, errors, chance.lognormal(7, 0.1, STEPS))
        trends += sum(one.trend != "STABLE" for one in found.values())
        assert {one.status for one in found.values()} == {"HEALTHY"}
    assert trends <= 15, "three quantities a series"
