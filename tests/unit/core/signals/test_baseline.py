"""The baseline: what it finds, what it does not, and that it forgets, restarts and stays small."""

import json
from math import log10, sin, tau
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.signals.baseline import DAY_US, QUANTILE, WARM_UP, Baseline, Tail
from tests.signal_cases import SECOND, T0

STEP = 300 * SECOND
DAY = DAY_US // STEP
LIMIT = 4.0


def scores(values: list[float], baseline: Baseline | None = None) -> list[float]:
    made = baseline or Baseline()
    return [made.step(T0 + at * STEP, value).score for at, value in enumerate(values)]


def noise(count: int, seed: int = 1, level: float = 10.0) -> list[float]:
    random = Random(seed)
    return [random.gauss(level, 1.0) for _ in range(count)]


def daily(days: int, seed: int = 1) -> list[float]:
    """Return days of a daily wave from -10 to 10 with a little noise."""
    random = Random(seed)
    return [10 * sin(tau * at / DAY) + random.gauss(0, 0.3) for at in range(days * DAY)]


def test_noise_alone_is_seldom_an_anomaly() -> None:
    """20 series of 2,000 values: fewer than one in a thousand reaches the limit."""
    found = sum(score >= LIMIT for seed in range(20) for score in scores(noise(2_000, seed)))
    assert found < 40


def test_heavy_tails_are_usual_where_they_are_usual() -> None:
    """A series with a spike every fifty values is not told of each of them."""
    values = [(50.0 if at % 50 == 25 else 10.0) + v for at, v in enumerate(noise(3_000, 3, 0.0))]
    late = scores(values)[1_000:]
    assert max(late) < LIMIT


def test_a_spike_is_found_at_once_and_is_over_with_it() -> None:
    """100 sigma: the value itself scores, the one after it does not."""
    values = noise(800)
    values[600] = 110.0
    found = scores(values)
    assert found[600] >= LIMIT
    assert found[599] < LIMIT
    assert found[640] < LIMIT


def test_a_small_lasting_shift_is_found_though_no_value_is_odd() -> None:
    """Two sigma up, for good: found within a hundred values, and after a while the new usual."""
    values = noise(1_000) + [v + 2.5 for v in noise(3_000, 2)]
    found = scores(values)
    assert any(score >= LIMIT for score in found[1_000:1_100])
    assert not any(score >= LIMIT for score in found[3_500:])


def test_a_missing_wave_is_found_though_its_values_are_common() -> None:
    """A day that stays at 0 where it should rise: only the time of day tells."""
    values = daily(10)
    flat = 8 * DAY + DAY // 8
    values[flat : flat + DAY // 4] = [0.0] * (DAY // 4)
    found = scores(values)
    assert any(score >= LIMIT for score in found[flat : flat + DAY // 4])
    assert not any(score >= LIMIT for score in found[5 * DAY : 8 * DAY])


def test_the_expected_value_is_that_of_the_time_of_day() -> None:
    """At the top of the wave the usual value is near 10, at the bottom near -10."""
    made = Baseline()
    read = [made.step(T0 + at * STEP, v) for at, v in enumerate(daily(6))]
    top = 5 * DAY + DAY // 4
    assert read[top].expected == pytest.approx(10, abs=1.0)
    assert read[top + DAY // 2].expected == pytest.approx(-10, abs=1.0)


def test_nothing_is_said_before_the_warm_up() -> None:
    """The first values have no past to be judged by."""
    assert max(scores([0.0] * (WARM_UP - 1) + [1e9])) == 0.0


def test_a_constant_series_that_moves_is_an_anomaly() -> None:
    """After a thousand zeros a one is news; the zeros are none."""
    found = scores([0.0] * 1_000 + [1.0] + [0.0] * 5)
    assert max(found[:1_000]) == 0.0
    assert found[1_000] >= LIMIT


def test_an_outlier_moves_what_is_usual_only_so_far() -> None:
    """One value of a million: the level afterwards is within a few sigma."""
    made = Baseline()
    scores(noise(1_000), made)
    made.step(T0 + 1_000 * STEP, 1e6)
    assert abs(made.slow - 10.0) < 3.0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=120), st.integers(1, 100))
def test_a_restart_changes_nothing(values: list[float], at: int) -> None:
    """Restored from JSON in between, the baseline reads the same."""
    whole = scores(values)
    made = Baseline()
    head = scores(values[:at], made)
    other = Baseline.restore(json.loads(json.dumps(made.snapshot())))
    tail = [
        other.step(T0 + n * STEP, v).score for n, v in enumerate(values) if n >= len(values[:at])
    ]
    assert head + tail == whole


def test_memory_does_not_grow() -> None:
    """The state after ten thousand values has as many numbers as after a thousand."""
    made = Baseline()
    scores(noise(1_000), made)
    before = len(json.dumps(made.snapshot()).split(","))
    scores(noise(9_000, 2), made)
    assert len(json.dumps(made.snapshot()).split(",")) == before


def test_an_exponential_tail_gives_its_own_probabilities() -> None:
    """Of exponential residuals, one in 10,000 reaches the score 4: within a factor of four."""
    tail, random = Tail(), Random(5)
    for _ in range(20_000):
        tail.learn(random.expovariate(1.0))
    assert tail.score(tail.quantile) == 0.0
    for score, residual in ((3.0, 6.907755), (4.0, 9.210340)):
        assert tail.score(residual) == pytest.approx(score, abs=log10(4))
    assert tail.quantile == pytest.approx(-2.302585 * log10(1 - QUANTILE), rel=0.25)
