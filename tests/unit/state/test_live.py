"""Of all pieces in a changelog those of the highest generation are the state, if none misses."""

import numpy as np
import pytest

from streams.core.bodies import Bodies
from streams.errors import StateError
from streams.state.live import LiveSegments, piece_key
from streams.state.segment import Segment, SegmentRows, encode_pieces, scalars_segment


def pieces(generation: int, number: int, **scalars: object) -> list[bytes]:
    """Return the pieces of a small segment."""
    return encode_pieces(scalars_segment(dict(scalars)), generation, number)


def large(generation: int, number: int) -> list[bytes]:
    """Return the pieces of a segment that needs several."""
    n = 6
    body = [np.random.default_rng(i).bytes(200_000) for i in range(n)]
    none = np.zeros(n, np.bool_)
    rows = SegmentRows(
        np.zeros((n, 2), np.uint64),
        np.zeros(n, np.uint8),
        np.arange(n),
        none,
        none,
        Bodies.of(body),
    )
    empty = scalars_segment({})
    return encode_pieces(Segment(rows, [], empty.closed, [], {}), generation, number)


def live(*values: list[bytes]) -> LiveSegments:
    """Return what is collected of some segments' pieces, in this order."""
    out = LiveSegments()
    for segment in values:
        out.add(segment)
    return out


def test_no_pieces_are_no_state() -> None:
    """A new task has no segments, and its first one has number 0."""
    assert (live().segments(), live().next_number, live().generation) == ([], 0, 0)


def test_segments_come_oldest_first_whatever_the_order_of_pieces() -> None:
    """A compacted changelog may hold a later segment before an earlier one."""
    found = live(pieces(1, 2, n=2), pieces(1, 0, n=0), pieces(1, 1, n=1))
    assert [s.scalars["n"] for s in found.segments()] == [0, 1, 2]
    assert found.next_number == 3


def test_a_higher_generation_drops_all_before_it() -> None:
    """What compaction has not yet removed of an earlier state is not mixed in."""
    found = live(pieces(1, 0, n=0), pieces(1, 1, n=1), pieces(2, 0, n=7), pieces(1, 2, n=2))
    assert [s.scalars["n"] for s in found.segments()] == [7]
    assert (found.generation, found.next_number) == (2, 1)


def test_the_same_piece_twice_is_one_piece() -> None:
    """The local copy and the changelog's tail may overlap."""
    found = live(pieces(1, 0, n=0), pieces(1, 0, n=0), pieces(1, 1, n=1))
    assert [s.scalars["n"] for s in found.segments()] == [0, 1]
    assert [key for key, _ in found.values()] == [b"0/0", b"1/0"]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_missing_segment_is_an_error(lost: int) -> None:
    """A state with a hole would lose or repeat events: it is refused, with what to do."""
    kept = [pieces(1, n) for n in range(3) if n != lost]
    with pytest.raises(StateError, match=f"segment {lost} of generation 1 is incomplete"):
        live(*kept).segments()


def test_a_missing_piece_is_an_error() -> None:
    """A segment of several pieces is whole or nothing."""
    parts = large(1, 0)
    assert len(parts) > 2
    assert len(live(parts).segments()[0].rows) == 6
    with pytest.raises(StateError, match="incomplete"):
        live(parts[:1] + parts[2:]).segments()


def test_keys_repeat_from_generation_to_generation() -> None:
    """Compaction drops an earlier generation because its keys are written again."""
    assert [key for key, _ in live(pieces(5, 0), pieces(5, 1)).encoded()] == [
        piece_key(0, 0),
        piece_key(1, 0),
    ]
