"""Names of files say what is in them, and their set says where reading goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.archive.files import Segment, hour_of, positions, segment_of
from streams.errors import StateError

SEGMENTS = st.builds(
    Segment,
    st.sampled_from(("traces", "incidents")),
    st.just("2026-11-26T08"),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
    st.integers(0, 500),
    st.integers(0, 10**15),
    st.integers(0, 10**15),
)


@given(SEGMENTS)
def test_a_name_says_all(segment: Segment) -> None:
    """What is written as a name is read from it, topics with dots and numbers included."""
    assert segment_of(segment.path) == segment


@pytest.mark.parametrize("path", ["traces/x.parquet", "README", "traces/hour=2026/a.0.1-2.parquet"])
def test_other_files_are_left_alone(path: str) -> None:
    """A file of somebody else is no segment."""
    assert segment_of(path) is None


def test_hours_are_of_utc() -> None:
    """The folder is the hour of Kafka's time."""
    assert hour_of(1_760_000_000_000_000) == "2025-10-09T08"
    assert hour_of(-1_000) == "1970-01-01T00"
    assert hour_of(1 << 62) == "9999-12-31T23"


@given(st.lists(st.integers(1, 50), max_size=8), st.randoms())
def test_reading_goes_on_after_the_last_file(sizes: list[int], chance: object) -> None:
    """Whatever the order in which files are found, and with gaps between them."""
    at, segments = 0, []
    for size in sizes:
        first = at + size % 3
        segments.append(Segment("traces", "2026-11-26T08", "t", 0, first, first + size - 1))
        at = first + size
    chance.shuffle(segments)  # type: ignore[attr-defined]
    assert positions(segments) == ({("traces", "t", 0): at} if sizes else {})


def test_doubled_files_are_refused() -> None:
    """Two consoles on one archive would count everything twice: that is told, not summed up."""
    one = Segment("traces", "2026-11-26T08", "t", 0, 0, 9)
    with pytest.raises(StateError, match="Operator action"):
        positions([one, one._replace(first=5, last=12)])
