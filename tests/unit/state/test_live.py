"""Of all pieces in a changelog those that follow each other are the state, if none misses."""

import numpy as np
import pytest

from streams.core.bodies import Bodies
from streams.errors import StateError
from streams.state.live import (
    Base,
    Delta,
    LiveSegments,
    base_key,
    encode_manifest,
    manifest_key,
    piece_key,
)
from streams.state.segment import Segment, SegmentRows, encode_piece, encode_pieces, scalars_segment
from tests.unit.state.state_cases import delta, number_of, pieces


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


def a_base(generation: int, number: int, **scalars: object) -> list[bytes]:
    """Return the piece and the manifest of a base up to a number."""
    [whole] = encode_pieces(scalars_segment(dict(scalars)), generation, number)
    base = Base(generation, number, 1)
    return [encode_piece(whole[26:], generation, number, 0, 0), encode_manifest(base)[1]]


def live(*values: list[bytes]) -> LiveSegments:
    """Return what is collected of some segments' pieces, in this order."""
    out = LiveSegments()
    for segment in values:
        out.add(segment)
    return out


def numbers(found: LiveSegments) -> list[tuple[int, int]]:
    """Return generation and number of the segments that make up the state."""
    return [(d.generation, d.number) for d in found.line().deltas]


def test_no_pieces_are_no_state() -> None:
    """A new task has no segments, and nobody has held it."""
    assert (live().segments(), live().line().deltas, live().generation) == ([], [], 0)


def test_segments_come_oldest_first_whatever_the_order_of_pieces() -> None:
    """A compacted changelog may hold a later segment before an earlier one."""
    found = live(pieces(1, 2), pieces(1, 0), pieces(1, 1))
    assert numbers(found) == [(1, 0), (1, 1), (1, 2)]
    assert number_of(found) == 2


def test_a_higher_generation_replaces_from_its_first_number_on() -> None:
    """What a holder that lost its task wrote beside its successor is not the state."""
    found = live(pieces(1, 0), pieces(1, 1), pieces(1, 2), pieces(2, 2), pieces(1, 3), pieces(2, 3))
    assert numbers(found) == [(1, 0), (1, 1), (2, 2), (2, 3)]
    found.add(pieces(1, 4))
    assert numbers(found)[-1] == (2, 3), "nor what it goes on to write"


def test_a_whole_segment_needs_nothing_before_it() -> None:
    """A task whose every segment is its whole state has one that counts."""
    whole = encode_pieces(scalars_segment({"n": 5}), 1, 5)
    found = live(pieces(1, 3), whole, pieces(1, 6))
    assert numbers(found) == [(1, 5), (1, 6)]
    assert found.line().all_keys() == {b"1/5/0", b"1/6/0"}


def test_the_same_piece_twice_is_one_piece() -> None:
    """The local copy and the changelog's tail may overlap."""
    found = live(pieces(1, 0), pieces(1, 0), pieces(1, 1))
    assert numbers(found) == [(1, 0), (1, 1)]
    assert sorted(found.values()) == [b"1/0/0", b"1/1/0"]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_missing_segment_is_an_error(lost: int) -> None:
    """A state with a hole would lose or repeat events: it is refused, with what to do."""
    kept = [pieces(1, n) for n in range(3) if n != lost]
    with pytest.raises(StateError, match=rf"segment {lost} is incomplete.*Operator action"):
        live(*kept).segments()


def test_a_missing_piece_is_an_error() -> None:
    """A segment of several pieces is whole or nothing."""
    parts = large(1, 0)
    assert len(parts) > 2
    assert sum(len(s.rows) for s in live(parts).segments()) == 6
    with pytest.raises(StateError, match="incomplete"):
        live(parts[:1] + parts[2:]).segments()


def test_a_deleted_piece_is_gone() -> None:
    """What the changelog deletes is not there, and what never was may be deleted too."""
    found = live(pieces(1, 0), pieces(1, 1))
    found.drop(b"1/1/0")
    found.drop(b"1/7/0")
    assert numbers(found) == [(1, 0)]


def test_a_base_counts_from_its_manifest_on() -> None:
    """Pieces of a base without the manifest are nothing; with it, what they replace is not read."""
    piece, manifest = a_base(1, 1, n=11)
    found = live(pieces(1, 0), pieces(1, 1), pieces(1, 2), [piece])
    assert found.line().base is None
    found.add([manifest])
    assert (found.line().base, numbers(found)) == (Base(1, 1, 1), [(1, 2)])
    for key in (b"1/0/0", b"1/1/0"):
        found.drop(key)
    assert found.line().all_keys() == {base_key(1, 1, 0), manifest_key(1, 1), b"1/2/0"}


def test_the_base_that_reaches_furthest_counts() -> None:
    """While the one before is not deleted yet, both are there."""
    found = live(a_base(1, 1), a_base(1, 3), pieces(1, 4))
    assert found.line().base == Base(1, 3, 1)


def test_a_base_that_lost_a_piece_is_an_error() -> None:
    """A manifest promises its pieces: without one the state has a hole."""
    found = live([a_base(1, 1)[1]], pieces(1, 2))
    with pytest.raises(StateError, match=r"base of all segments up to 1 .*Operator action"):
        found.line()


def test_a_base_of_a_holder_that_was_replaced_is_not_the_state() -> None:
    """It reaches into numbers that its successor wrote: what is in it was never so."""
    found = live(pieces(1, 0), pieces(1, 1), pieces(1, 2), pieces(2, 2), a_base(1, 2))
    assert (found.line().base, numbers(found)) == (None, [(1, 0), (1, 1), (2, 2)])


def test_keys_say_where_a_piece_belongs() -> None:
    """Segments, bases and manifests never share a key."""
    assert Delta(3, 7, 2).piece_keys() == [piece_key(3, 7, 0), piece_key(3, 7, 1)]
    assert Base(3, 7, 2).piece_keys() == [base_key(3, 7, 0), base_key(3, 7, 1)]
    assert len({piece_key(3, 7, 0), base_key(3, 7, 0), manifest_key(3, 7)}) == 3
    assert delta(3).scalars == {"n": 3}
