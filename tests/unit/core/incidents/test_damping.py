"""An alert that flips is damped by its penalty, which the event times alone decide."""

from typing import Any

import pytest

from streams.core.incidents.damping import Damper
from streams.core.incidents.settings import DampingSettings
from streams.units import MINUTE_US


def damper(**settings: float) -> Damper:
    given: dict[str, Any] = {"half_life_us": MINUTE_US} | settings
    return Damper(DampingSettings(**given))


def test_a_penalty_halves_in_a_half_life() -> None:
    """One flip is 1000; after one half-life 500, after two 250."""
    one = damper()
    one.flip("a", 0)
    assert [one.penalty("a", n * MINUTE_US) for n in (0, 1, 2)] == [1000, 500, 250]
    assert one.penalty("b", 0) == 0


def test_two_flips_within_a_half_life_damp() -> None:
    """1000 that has fallen to 500, and 1000 more, reach 1500; a moment later they do not."""
    quick, slow = damper(), damper()
    quick.flip("a", 0)
    slow.flip("a", 0)
    assert not quick.is_damped("a", 0)
    quick.flip("a", MINUTE_US)
    slow.flip("a", MINUTE_US + 1_000_000)
    assert quick.is_damped("a", MINUTE_US)
    assert not slow.is_damped("a", MINUTE_US + 1_000_000)


def test_it_is_heard_again_below_the_lower_limit() -> None:
    """2000 fall to 1000 in one half-life: damped until then, and not after."""
    one = damper()
    one.flip("a", 0)
    one.flip("a", 0)
    assert one.is_damped("a", MINUTE_US - 1)
    assert not one.is_damped("a", MINUTE_US)


def test_a_ceiling_bounds_the_wait() -> None:
    """However often it flips, 8000 fall to 1000 in three half-lives."""
    one = damper()
    for _ in range(50):
        one.flip("a", 0)
    assert one.penalty("a", 0) == 8000
    assert one.is_damped("a", 3 * MINUTE_US - 1)
    assert not one.is_damped("a", 3 * MINUTE_US)


def test_no_half_life_turns_it_off() -> None:
    """With 0 nothing is ever damped."""
    one = damper(half_life_us=0)
    one.flip("a", 0)
    one.flip("a", 0)
    assert not one.is_damped("a", 0)
    assert one.flaps == {}


def test_what_says_nothing_any_more_is_dropped() -> None:
    """Penalties below a quarter of the lower limit go, and of too many the smallest."""
    one = damper(max_alerts=2)
    for name, flips in (("a", 1), ("b", 2), ("c", 3)):
        for _ in range(flips):
            one.flip(name, 0)
    one.forget(0)
    assert set(one.flaps) == {"b", "c"}
    one.forget(4 * MINUTE_US)
    assert one.flaps == {}, "3000 are 187 after four half-lives"
    assert one.changed == {"a", "b", "c"}


@pytest.mark.parametrize("gap_s", [1, 10, 30])
def test_an_order_of_flips_that_is_late_counts_at_once(gap_s: int) -> None:
    """A flip older than the last one is charged as if it came with it."""
    one = damper()
    one.flip("a", gap_s * 1_000_000)
    one.flip("a", 0)
    assert one.penalty("a", gap_s * 1_000_000) == 2000
