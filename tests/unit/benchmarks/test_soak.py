"""Whether something grew is judged by a slope that outliers do not bend."""

import numpy as np
import pytest

from benchmarks.cases.soak import slope


def test_a_slope_survives_outliers() -> None:
    """A tenth of wild values does not move the slope of the others."""
    rng = np.random.default_rng(1)
    x = np.arange(200) / 60
    y = 5.0 * x + rng.normal(0, 0.01, 200)
    y[::10] += 1_000
    assert slope(x.tolist(), y.tolist()) == pytest.approx(5.0, abs=0.1)


def test_what_is_level_has_no_slope() -> None:
    """Steps up and down again, as an allocator makes them, are no growth."""
    x = list(range(100))
    y = [100.0 + (i % 7 == 0) for i in x]
    assert slope(x, y) == 0
    assert slope(x, [3.0 * i for i in x]) == 3
