"""The critical path: what a trace's length hangs on, against worked-out traces and by its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.traces.critical_path import CriticalPath, critical_path


def path_of(*spans: tuple[int, int, int]) -> CriticalPath:
    """Return the path of spans given as (parent row, start, end)."""
    parent, start, end = (np.array(part, np.int64) for part in zip(*spans, strict=True))
    return critical_path(parent, start, end - start)


@pytest.mark.parametrize(
    ("spans", "own"),
    [
        ([(-1, 0, 100)], [100]),
        ([(-1, 0, 100), (0, 10, 60)], [50, 50]),
        # One after the other: both. Side by side: the one that ended last.
        ([(-1, 0, 100), (0, 10, 30), (0, 40, 90)], [30, 20, 50]),
        ([(-1, 0, 100), (0, 10, 80), (0, 20, 90)], [30, 0, 70]),
        # A child is cut to its parent; one wholly outside is not waited for.
        ([(-1, 0, 100), (0, 90, 130)], [90, 10]),
        ([(-1, 50, 100), (0, 10, 60)], [40, 10]),
        ([(-1, 0, 100), (0, 110, 160), (1, 120, 130)], [100, 0, 0]),
        # An overlap below 1 % is clocks; of 1 % it is concurrency.
        ([(-1, 0, 1000), (0, 0, 509), (0, 500, 900)], [91, 509, 400]),
        ([(-1, 0, 1000), (0, 0, 510), (0, 500, 900)], [600, 0, 400]),
        # What a third child does there says that they ran side by side.
        ([(-1, 0, 1000), (0, 0, 505), (0, 500, 900), (0, 400, 502)], [498, 0, 400, 102]),
        # The lengths of overlapping children never exceed their parent's.
        ([(-1, 0, 1000), (0, 0, 505), (0, 500, 1000)], [0, 500, 500]),
        # A call without length lies where it lies.
        ([(-1, 0, 10), (0, 10, 10), (0, 0, 10)], [0, 0, 10]),
    ],
)
def test_own_time_on_the_path(spans: list[tuple[int, int, int]], own: list[int]) -> None:
    """Each span's own time on the path, worked out by hand."""
    path = path_of(*spans)
    assert path.own_us.tolist() == own


def test_each_tree_has_its_own_path() -> None:
    """Two roots, as two fragments of one trace have them."""
    path = path_of((-1, 0, 10), (-1, 50, 90), (1, 60, 70))
    assert path.is_on.tolist() == [True, True, True]
    assert path.own_us.tolist() == [10, 30, 10]


def test_no_span_no_path() -> None:
    """A trace without spans has none."""
    empty = np.zeros(0, np.int64)
    assert len(critical_path(empty, empty, empty).is_on) == 0


@st.composite
def forests(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    spans = []
    for row in range(draw(st.integers(1, 25))):
        start = draw(st.integers(0, 2_000))
        spans.append((draw(st.integers(-1, row - 1)), start, start + draw(st.integers(0, 1_500))))
    return spans


@given(forests())
def test_own_times_add_up_to_the_roots_length(spans: list[tuple[int, int, int]]) -> None:
    """Whatever the clocks say: no own time is negative, and none is lost or counted twice."""
    path = path_of(*spans)
    assert (path.own_us >= 0).all()
    assert (path.own_us[~path.is_on] == 0).all()
    roots = sum(end - start for parent, start, end in spans if parent < 0)
    assert int(path.own_us.sum()) == roots
    for row, (parent, _, _) in enumerate(spans):
        if path.is_on[row] and parent >= 0:
            assert path.is_on[parent]
            assert path.start_us[parent] <= path.start_us[row]
            assert path.end_us[row] <= path.end_us[parent]


@given(forests(), st.integers(0, 10_000))
def test_the_path_does_not_depend_on_when(spans: list[tuple[int, int, int]], later: int) -> None:
    """A trace that ran later has the same path."""
    moved = [(parent, start + later, end + later) for parent, start, end in spans]
    assert path_of(*moved).own_us.tolist() == path_of(*spans).own_us.tolist()
