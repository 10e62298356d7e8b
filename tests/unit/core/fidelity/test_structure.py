"""Parents, roots, orphans and circles of traces."""

import numpy as np
import pytest

from streams.core.columns import Operations
from streams.core.fidelity.plan import EMPTY
from streams.core.fidelity.structure import Structure, structure_of
from tests.judge_cases import batch_of, span
from tests.oracle_judge import OracleSpan


def shape(*traces: list[OracleSpan]) -> Structure:
    return structure_of(batch_of(traces, EMPTY, Operations()))


def test_a_parent_is_found_only_within_its_own_trace() -> None:
    """Two traces use the same span ids; each child hangs on its own trace's span."""
    found = shape([span("a", 1), span("b", 2, 1)], [span("a", 1), span("b", 2, 1)])
    assert found.parent_row.tolist() == [-1, 0, -1, 2]
    assert found.is_tree.all()


def test_a_parent_in_another_trace_alone_is_unseen() -> None:
    """The id occurs in the batch, but not in the child's trace: an orphan."""
    found = shape([span("a", 1)], [span("b", 2, 1)])
    assert found.parent_row.tolist() == [-1, -2]
    assert found.orphan_count.tolist() == [0, 1]
    assert found.root_count.tolist() == [1, 0]


def test_the_earliest_root_is_named() -> None:
    """Of two roots the one that starts first is the trace's root."""
    found = shape([span("b", 2, start_us=5), span("a", 7, start_us=3)])
    assert found.root_row.tolist() == [0]
    assert found.root_count.tolist() == [2]
    assert not found.is_tree[0]


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param([span("a", 1, 1)], id="its own parent"),
        pytest.param([span("a", 1, 2), span("b", 2, 1)], id="two name each other"),
        pytest.param([span("a", 1), span("b", 2, 3), span("c", 3, 2)], id="beside a sound root"),
        pytest.param([span("a", 1, 3), *(span("b", i, i - 1) for i in range(2, 9))], id="a tail"),
    ],
)
def test_a_circle_of_parents_is_no_tree(spans: list[OracleSpan]) -> None:
    """A circle has no root of its own: it is marked, and the search ends."""
    found = shape(spans)
    assert found.has_cycle.tolist() == [True]
    assert not found.is_tree[0]
    assert found.orphan_count.tolist() == [0]


def test_a_child_that_starts_before_its_parent_is_no_circle() -> None:
    """Skewed clocks reverse the rows, not the tree."""
    found = shape([span("a", 1, start_us=9), span("b", 2, 1, start_us=4), span("c", 3, 2, 1)])
    assert found.has_cycle.tolist() == [False]
    assert found.is_tree.all()


def test_a_trace_without_spans_has_no_root_and_no_time() -> None:
    """The ordinal stays; everything about it is absent."""
    found = shape([], [span("a", 1, start_us=50, duration_us=7)])
    assert found.root_row.tolist() == [-1, 0]
    assert found.start_us.tolist() == [0, 50]
    assert found.end_us.tolist() == [0, 57]
    assert found.first.tolist() == [0, 0, 1]


def test_no_traces_have_no_structure() -> None:
    """The empty batch is answered like any other."""
    found = shape()
    assert len(found.parent_row) == len(found.root_row) == len(found.is_tree) == 0


def test_the_end_is_that_of_the_longest_not_of_the_last_span() -> None:
    """A parent that outlives its children ends the trace."""
    found = shape([span("a", 1, start_us=0, duration_us=100), span("b", 2, 1, start_us=20)])
    assert found.end_us.tolist() == [100]
    assert np.diff(found.first).tolist() == [2]
