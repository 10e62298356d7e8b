"""The critical path: what a trace's length hangs on, against worked-out traces and by its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.traces.critical_path import CriticalPath, TracePath, critical_path, trace_path


def path_of(*spans: tuple[int, int, int]) -> CriticalPath:
    """Return the path of spans given as (parent row, start, end)."""
    parent, start, end = (np.array(part, np.int64) for part in zip(*spans, strict=True))
    return critical_path(parent, start, end - start)


def trace_path_of(*spans: tuple[int, int, int]) -> TracePath:
    """Return the path of a trace of spans given as (parent row, start, end)."""
    parent, start, end = (np.array(part, np.int64) for part in zip(*spans, strict=True))
    return trace_path(parent, start, end - start)


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


@pytest.mark.parametrize(
    ("spans", "own", "waited"),
    [
        # A chain in which each hands on to the next, and two queues between.
        ([(-1, 0, 10), (0, 12, 30), (1, 35, 50)], [10, 18, 15], [0, 2, 5]),
        # Handed on before the parent was over: from then on the child is waited for.
        ([(-1, 0, 30), (0, 20, 90)], [20, 70], [0, 0]),
        # What was over before it was handed on was waited for; what went on meanwhile was not.
        (
            [(-1, 0, 40), (0, 5, 15), (0, 10, 35), (0, 20, 90)],
            [10, 10, 0, 70],
            [0, 0, 0, 0],
        ),
        # The line goes through a call: its caller's time before it, its own time before the work.
        ([(-1, 0, 60), (0, 10, 40), (1, 45, 80)], [10, 30, 35], [0, 0, 5]),
        # Clocks that differ: the next began before its parent did.
        ([(-1, 0, 10), (0, 30, 40), (1, 25, 60)], [10, 0, 35], [0, 15, 0]),
        # Two trees: only the one that ends last. Of two that end together, nearest to a root.
        ([(-1, 0, 10), (-1, 5, 30), (1, 31, 40)], [0, 25, 9], [0, 0, 1]),
        ([(-1, 0, 50), (0, 10, 50)], [10, 40], [0, 0]),
        ([(-1, 0, 50), (-1, 10, 50)], [50, 0], [0, 0]),
    ],
)
def test_the_path_of_a_trace_that_is_handed_on(
    spans: list[tuple[int, int, int]], own: list[int], waited: list[int]
) -> None:
    """Each span's own time and wait, worked out by hand."""
    path = trace_path_of(*spans)
    assert (path.own_us.tolist(), path.waited_us.tolist()) == (own, waited)


def test_a_trace_without_spans_hangs_on_none() -> None:
    """No row, no path."""
    empty = np.zeros(0, np.int64)
    assert len(trace_path(empty, empty, empty).is_on) == 0


def test_a_chain_of_many_is_no_recursion() -> None:
    """20,000 spans, each handed on by the one before."""
    count = 20_000
    start = np.arange(count, dtype=np.int64) * 10
    path = trace_path(np.arange(count, dtype=np.int64) - 1, start, np.full(count, 7, np.int64))
    assert path.own_us.tolist() == [7] * count
    assert path.waited_us.tolist() == [0] + [3] * (count - 1)


@given(forests())
def test_where_a_root_ends_last_it_is_the_path_of_its_tree(
    spans: list[tuple[int, int, int]],
) -> None:
    """The recorded paths of request trees hold for traces as they are."""
    last = max(end for _, _, end in spans) + 1
    spans = [(-1, 0, last), *((parent + 1, *times) for parent, *times in spans)]
    tree, trace = path_of(*spans), trace_path_of(*spans)
    assert trace.own_us.tolist() == tree.own_us.tolist()
    assert trace.is_on.tolist() == tree.is_on.tolist()
    assert not trace.waited_us.any()


@given(forests())
def test_own_times_and_waits_add_up_to_the_end(spans: list[tuple[int, int, int]]) -> None:
    """From the line's first begin to the last end of all; nothing is negative or off the path."""
    path = trace_path_of(*spans)
    assert (path.own_us >= 0).all()
    assert (path.waited_us >= 0).all()
    assert not path.own_us[~path.is_on].any()
    assert not path.waited_us[~path.is_on].any()
    begins = int(path.start_us[path.is_on].min())
    assert int(path.own_us.sum() + path.waited_us.sum()) == max(end for *_, end in spans) - begins
    parents = np.array([parent for parent, _, _ in spans])
    on = np.flatnonzero(path.is_on & (parents >= 0))
    assert path.is_on[parents[on]].all()


def backwards(spans: list[tuple[int, int, int]]) -> dict[int, int]:
    """Return own times by going back from the end a microsecond at a time; the slow way.

    At each moment one span is waited for. Within it the child that ended last, if it ended by now
    and within; when the span's begin is reached, whoever began it.
    """
    last = max(end for _, _, end in spans)
    depth = [0] * len(spans)
    for row, (parent, _, _) in enumerate(spans):
        depth[row] = depth[parent] + 1 if parent >= 0 else 0
    at = min(
        (row for row, one in enumerate(spans) if one[2] == last),
        key=lambda row: (depth[row], spans[row][1], row),
    )
    own: dict[int, int] = {}
    line, now, came_from = [at], last, -1
    while spans[line[-1]][0] >= 0:
        line.append(spans[line[-1]][0])
    for row in line:
        low, high = min(spans[row][1], now), min(spans[row][2], now)
        inside = [
            one
            for one, (parent, _, end) in enumerate(spans)
            if parent == row and one != came_from and end <= high
        ]
        _walk(spans, row, (low, high), inside, own)
        now, came_from = low, row
    return own


def _walk(
    spans: list[tuple[int, int, int]],
    row: int,
    within: tuple[int, int],
    children: list[int],
    own: dict[int, int],
) -> None:
    low, now = within
    own[row] = 0
    while now > low:
        ending = [
            (max(low, spans[one][1]), one)
            for one in children
            if max(low, spans[one][1]) < min(spans[one][2], within[1]) == now
        ]
        if not ending:
            own[row] += 1
            now -= 1
            continue
        start, one = min(ending)
        below = [n for n, (parent, _, _) in enumerate(spans) if parent == one]
        _walk(spans, one, (start, now), below, own)
        now = start


@st.composite
def short_forests(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Spans shorter than 100 us, of which no overlap is below 1 %."""
    spans = []
    for row in range(draw(st.integers(1, 12))):
        start = draw(st.integers(0, 60))
        spans.append((draw(st.integers(-1, row - 1)), start, start + draw(st.integers(1, 60))))
    return spans


@given(short_forests())
def test_the_path_is_what_going_back_by_the_microsecond_finds(
    spans: list[tuple[int, int, int]],
) -> None:
    """Against the slow rule, of spans that have a length."""
    path = trace_path_of(*spans)
    slow = [0] * len(spans)
    for row, own_us in backwards(spans).items():
        slow[row] = own_us
    assert path.own_us.tolist() == slow
