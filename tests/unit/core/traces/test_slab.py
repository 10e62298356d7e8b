"""Arrays in a slab are copies that nobody else writes to, and hold their memory themselves."""

import gc
import weakref

import numpy as np
import pytest

from streams.core.traces.slab import SLAB_BYTES, Slab


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.bool_, np.int32])
def test_arrays_lie_side_by_side_and_stay_as_they_were(dtype: type) -> None:
    """Of any length and shape, empty ones too; writing to the source changes nothing."""
    slab = Slab()
    given = [np.arange(n).astype(dtype) for n in (0, 1, 3, 1_000)]
    given.append(np.arange(6).astype(dtype).reshape(3, 2))
    laid = [slab.laid(array) for array in given]
    for array, copy in zip(given, laid, strict=True):
        before = array.copy()
        array[...] = 0
        assert copy.dtype == before.dtype
        assert np.array_equal(copy, before)


def test_what_does_not_fit_begins_the_next_slab() -> None:
    """An array may be larger than a slab."""
    slab = Slab()
    large = np.arange(SLAB_BYTES // 8 + 5)
    first, second, third = slab.laid(np.ones(3)), slab.laid(large), slab.laid(np.ones(2))
    assert first.tolist() == [1, 1, 1]
    assert np.array_equal(second, large)
    assert third.tolist() == [1, 1]


def test_a_slab_is_there_as_long_as_one_of_its_arrays() -> None:
    """The mapping goes with the last array; no other one keeps it."""
    slab = Slab()
    first = slab.laid(np.ones(3))
    mapping = weakref.ref(slab._mapping)
    slab.laid(np.zeros(SLAB_BYTES // 8))  # the next one
    gc.collect()
    assert mapping() is not None
    assert first.tolist() == [1, 1, 1]
    del first
    gc.collect()
    assert mapping() is None
