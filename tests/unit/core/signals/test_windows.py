"""Signal windows: merged over partitions, ended by watermarks, restored as they were."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.signals.cell import Cell
from streams.core.signals.series import Series
from streams.core.signals.windows import SignalWindows, SignalWindowSettings
from streams.errors import StateError
from tests.signal_cases import SECOND, T0, cell, partial, series

WINDOW = 10 * SECOND


def windows(**changes: Any) -> SignalWindows:
    return SignalWindows(SignalWindowSettings(window_us=WINDOW, **changes))


def end(made: SignalWindows, target_us: int | None) -> list[tuple[int, dict[Series, Cell]]]:
    """Return the windows that end, with what they hold."""
    out = []
    while (end_us := made.end_next(target_us)) is not None:
        out.append((end_us, made.take(end_us - WINDOW)))
    return out


def test_a_window_ends_when_all_partitions_have_passed_it() -> None:
    """The slower partition decides, and both count."""
    made = windows()
    made.apply(partial(T0, T0 + 12 * SECOND, {series(): cell(1.0, 2.0)}, partitions=2))
    assert end(made, made.progress.low_us()) == []
    late = {series(): cell(5.0, at_us=T0 + 7)}
    made.apply(partial(T0, T0 + 11 * SECOND, late, partition=1, partitions=2))
    ((end_us, cells),) = end(made, made.progress.low_us())
    assert end_us == T0 + WINDOW
    assert cells == {series(): Cell(3, 8.0, 1.0, 5.0, 5.0, T0 + 7)}


def test_a_later_partial_replaces_an_earlier_one_and_a_repeat_changes_nothing() -> None:
    """Cells are absolute: the one with more points holds, whichever came last."""
    made = windows()
    few = partial(T0, T0, {series(): cell(1.0)}, sequence=1)
    many = partial(T0, T0, {series(): cell(1.0, 2.0)}, sequence=2)
    for one in (few, many, few, many):
        made.apply(one)
    assert made.windows[T0].cells[series()] == {0: cell(1.0, 2.0)}


def test_what_comes_after_the_end_is_counted_and_left_out() -> None:
    """The rules have spoken about that window."""
    made = windows()
    made.apply(partial(T0, T0 + WINDOW, {series(): cell(1.0)}))
    assert len(end(made, T0 + WINDOW)) == 1
    made.apply(partial(T0, T0 + 2 * WINDOW, {series(): cell(1.0, 2.0)}))
    made.apply(partial(T0 + WINDOW, T0, {series(): cell(1.0)}, window_us=7))
    assert made.discarded == {"signals_too_late": 1, "signals_of_other_windows": 1}


def test_bounds_refuse_series_and_windows() -> None:
    """Beyond the bounds the newest window goes, and series are left out; both are counted."""
    made = windows(max_series=1, max_windows=1)
    made.apply(partial(T0, T0, {series("a"): cell(1.0), series("b"): cell(1.0)}))
    made.apply(partial(T0 + WINDOW, T0, {series("a"): cell(1.0)}))
    assert made.discarded == {"window_series_over_bound": 1, "window_over_bound": 1}
    assert list(made.windows) == [T0]


def test_a_partition_that_lags_is_waited_for_until_the_wall_limit() -> None:
    """While the input is read to its end, and not a moment longer."""
    made = windows(wall_limit_us=30 * SECOND)
    made.apply(partial(T0, T0 + WINDOW, {series(): cell(1.0)}, partitions=2))
    assert made.overdue_us(100 * SECOND, True) is None
    assert made.overdue_us(129 * SECOND, True) is None
    assert made.overdue_us(130 * SECOND, True) == T0 + WINDOW


def test_stages_are_handed_on_and_wait_for_no_window() -> None:
    """What closed traces count comes later than its window may end."""
    stage = Series("STAGE", "ALPHA", "", "f/go")
    made = windows()
    assert made.apply(partial(T0, T0, {stage: cell(0.0), series(): cell(1.0)})) == [
        (stage, cell(0.0))
    ]
    assert list(made.windows[T0].cells) == [series()]


PARTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from("ab"), st.integers(1, 4)),
    max_size=15,
)


@given(PARTS, st.randoms(use_true_random=False))
def test_order_and_repetition_of_partials_change_nothing(
    parts: list[tuple[int, int, str, int]], random: Any
) -> None:
    """Any order, any repetition, a restart anywhere: the same windows."""
    partials = [
        partial(T0 + w * WINDOW, T0, {series(n): cell(*[1.0] * count)}, partition=p, partitions=3)
        for p, w, n, count in parts
    ]
    plain, other = windows(), windows()
    for one in partials:
        plain.apply(one)
    mixed = partials + random.sample(partials, len(partials) // 2)
    random.shuffle(mixed)
    for one in mixed:
        other.apply(one)
        if random.random() < 0.3:
            restored = windows()
            restored.restore(json.loads(json.dumps(other.snapshot())))
            other = restored
    target_us = T0 + 3 * WINDOW
    assert end(other, target_us) == end(plain, target_us)


def test_state_of_other_windows_is_refused() -> None:
    """The message says what to do."""
    with pytest.raises(
        StateError, match=r"set the old width \(SPANLOOM_WINDOW_SECONDS=.*fidelity and signals"
    ):
        SignalWindows(SignalWindowSettings(window_us=5 * SECOND)).restore(windows().snapshot())
