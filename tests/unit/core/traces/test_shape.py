"""The tree of a trace: parents, orphans, loops of parents, clocks that differ."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.core.traces.shape import shape_of


def test_parents_orphans_and_skew() -> None:
    """A parent that is not there makes an orphan; an earlier start than the parent's is skew."""
    shape = shape_of(["a", "b", "c"], ["", "a", "x"], np.array([100, 90, 5]))
    assert shape.parent.tolist() == [-1, 0, -1]
    assert shape.is_orphan.tolist() == [False, False, True]
    assert shape.skew_us.tolist() == [0, 10, 0]


def test_a_loop_begins_at_its_first_span() -> None:
    """Spans that are each other's ancestors hang below the one that began first."""
    shape = shape_of(["a", "b", "c", "d"], ["c", "a", "b", "c"], np.array([3, 1, 2, 9]))
    assert shape.parent.tolist() == [2, -1, 1, 2]
    assert shape.is_looped.tolist() == [False, True, False, False]


def test_of_repeated_ids_the_first_is_the_parent() -> None:
    """And a trace without spans has a shape too."""
    assert shape_of(["a", "a", "b"], ["", "", "a"], np.array([1, 2, 3])).parent.tolist()[2] == 0
    assert len(shape_of([], [], np.zeros(0, np.int64)).parent) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=12))
def test_the_parents_are_a_forest(pairs: list[tuple[int, int]]) -> None:
    """From every span the way up ends."""
    ids, parents = [str(a) for a, _ in pairs], [str(b) for _, b in pairs]
    shape = shape_of(ids, parents, np.arange(len(ids)))
    for row in range(len(ids)):
        seen = set()
        above = row
        while above >= 0:
            assert above not in seen
            seen.add(above)
            above = int(shape.parent[above])
