"""What is known before each row of a run is what a loop over the run's rows would know."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.within_chunk import _NO_ROOT, _before, _each, _earlier_root

roots = st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(-1, 2))
runs = st.lists(st.tuples(roots, st.lists(roots, min_size=1, max_size=11)), min_size=1, max_size=5)


def places(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return where each run starts, and each row's place in its run."""
    start = np.cumsum([0, *sizes])[:-1]
    return start, np.concatenate([np.arange(size) for size in sizes])


def test_a_row_knows_the_rows_before_it_and_not_itself() -> None:
    """Bits are those of the run's start and of earlier rows; another run's do not count."""
    bits = np.array([[1], [2], [4], [8], [16]], np.uint64)
    start, position = places([3, 2])
    at_start = np.array([[32], [0]], np.uint64)
    (known,) = _before((bits,), (at_start,), start, position, _each(np.bitwise_or))
    assert known[:, 0].tolist() == [32, 33, 35, 0, 8]


@given(given_runs=runs)
@settings(max_examples=150)
def test_the_earliest_root_before_each_row_is_that_of_a_loop(given_runs: list) -> None:
    """By time, then span id, the first of equal ones; rows without a flow change nothing."""

    def columns(rows: list) -> tuple[np.ndarray, ...]:
        times = [at if flow >= 0 else _NO_ROOT for at, _, flow in rows]
        ids, flows = [i for _, i, _ in rows], [flow for *_, flow in rows]
        return np.array(times, np.int64), np.array(ids, np.uint64), np.array(flows, np.int32)

    start, position = places([len(rows) for _, rows in given_runs])
    found = _before(
        columns([row for _, rows in given_runs for row in rows]),
        columns([first for first, _ in given_runs]),
        start,
        position,
        _earlier_root,
    )[2]
    expected = []
    for at_start, rows in given_runs:
        best = at_start
        for row in rows:
            expected.append(best[2])
            if row[2] >= 0 and (best[2] < 0 or row[:2] < best[:2]):
                best = row
    assert found.tolist() == expected
