"""Numbers sorted by their digits stand as any stable sort would put them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.order import distinct, run_starts, stable_order, sums_by

numbers = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 5), max_size=60)


@given(numbers)
def test_the_order_is_that_of_a_stable_sort(values: list[int]) -> None:
    """Small and large numbers, equal ones in the order in which they came."""
    number = np.array(values, np.int64)
    assert stable_order(number).tolist() == sorted(range(len(values)), key=values.__getitem__)


@given(st.lists(st.integers(-(2**62), 2**62 - 1) | st.integers(-3, 9), max_size=60))
def test_distinct_numbers_come_in_order_with_their_places(values: list[int]) -> None:
    """Close together or far apart: the same as a set, sorted."""
    found, which = distinct(np.array(values, np.int64))
    assert found.tolist() == sorted(set(values))
    assert [int(found[i]) for i in which] == values


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-(2**40), 2**40)), max_size=40))
def test_sums_are_those_of_each_group(rows: list[tuple[int, int]]) -> None:
    """A group without rows has 0."""
    which = np.array([g for g, _ in rows], np.int64)
    value = np.array([v for _, v in rows], np.int64)
    wanted = [sum(v for g, v in rows if g == group) for group in range(7)]
    assert sums_by(which, value, 7).tolist() == wanted


@pytest.mark.parametrize(
    ("ordered", "starts"), [([], []), ([4], [0]), ([1, 1, 2, 5, 5], [0, 2, 3])]
)
def test_runs_begin_where_the_number_changes(ordered: list[int], starts: list[int]) -> None:
    """The first row begins a run, if there is one."""
    assert run_starts(np.array(ordered, np.int64)).tolist() == starts
