"""The learned wait: the time in which almost all traces were complete, within its bounds."""

import json

import numpy as np
import pytest

from streams.core.traces.waits import LearnedWait, WaitSettings
from streams.units import SECOND_US

SETTINGS = WaitSettings()


def learned(*seconds_and_traces: tuple[float, int], settings: WaitSettings = SETTINGS) -> float:
    """Return the wait in seconds after so many traces took so long."""
    wait = LearnedWait(settings)
    for seconds, traces in seconds_and_traces:
        wait.learn(np.full(traces, round(seconds * SECOND_US)))
    return wait.wait_us / SECOND_US


def test_too_few_traces_teach_nothing() -> None:
    """With 999 of the 1,000 traces needed the wait is the initial 30 s."""
    assert learned((8, 999)) == 30


def test_the_wait_is_at_most_a_fifth_too_long() -> None:
    """Traces that take 8 s are waited for 8 s to 9.52 s: buckets are a quarter octave wide."""
    assert 8 <= learned((8, 1_000)) <= 8 * 1.19


def test_one_straggler_in_a_thousand_is_not_waited_for() -> None:
    """With 999 traces of 8 s and one of 100 s the wait stays; with two it is theirs."""
    assert learned((8, 999), (100, 1)) < 10
    assert 100 <= learned((8, 998), (100, 2)) <= 119


@pytest.mark.parametrize(("seconds", "wait"), [(0, 5), (0.001, 5), (10_000, 300)])
def test_the_wait_stays_within_its_bounds(seconds: float, wait: float) -> None:
    """Not below 5 s, not above 300 s, whatever the traces take."""
    assert learned((seconds, 1_000)) == wait


def test_a_restart_in_between_changes_nothing() -> None:
    """The estimate goes on from a snapshot that went through JSON."""
    whole = LearnedWait(SETTINGS)
    whole.learn(np.full(600, 8 * SECOND_US))
    again = LearnedWait(SETTINGS)
    again.restore(json.loads(json.dumps(whole.snapshot())))
    for wait in (whole, again):
        wait.learn(np.full(600, 20 * SECOND_US))
    assert again.wait_us == whole.wait_us
    assert again.snapshot() == whole.snapshot()
