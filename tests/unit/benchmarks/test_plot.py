"""Charts are drawn true: points where their values are, axes labelled, valid XML."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cases.plot import Chart, Series, grid, nice_ticks, short

SVG = "{http://www.w3.org/2000/svg}"


def test_points_lie_where_their_values_say() -> None:
    """Higher values lie higher; equal factors of x lie equally far apart on a long axis."""
    chart = Chart(
        "Speed", "partitions", "spans a second", [Series("a", [(1, 10), (8, 20), (64, 40)])]
    )
    root = ElementTree.fromstring(grid([[chart]], "speed"))
    at = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter(f"{SVG}circle")]
    (x1, y1), (x2, y2), (x3, y3) = at
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    zero = max(float(line.get("y1", "")) for line in root.iter(f"{SVG}line"))
    assert zero - y2 == pytest.approx(2 * (zero - y1), abs=0.2)
    assert zero - y3 == pytest.approx(4 * (zero - y1), abs=0.3)


def test_axes_have_names_and_ticks() -> None:
    """Titles, both labels, every x and the names of several lines are written, escaped."""
    series = [Series("a second", [(4, 1)]), Series("p<99", [(4, 2_500)])]
    text = grid([[Chart("T & T", "cut, s", "latency, ms", series)]], "a & b")
    root = ElementTree.fromstring(text)
    words = [node.text for node in root.iter(f"{SVG}text")]
    assert {"T & T", "cut, s", "latency, ms", "4", "2k", "a second", "p<99"} <= set(words)
    assert "//" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(fill|stroke)=\"(#000|#fff|black|white)", text)


@given(st.floats(1e-3, 1e9))
def test_ticks_reach_over_the_highest_value(highest: float) -> None:
    """From zero to the highest value in a handful of equal steps."""
    ticks = nice_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-1] >= highest * (1 - 1e-6)
    assert 2 <= len(ticks) <= 6


def test_numbers_are_short() -> None:
    """Axes have little room."""
    assert [short(n) for n in (0, 0.3, 500, 1_000, 250_000, 1e6)] == [
        "0",
        "0.3",
        "500",
        "1k",
        "250k",
        "1M",
    ]
