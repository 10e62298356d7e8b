"""A segment comes back as it was, from pieces that a broker accepts, or not at all."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from streams.core.bodies import Bodies
from streams.core.fidelity.plan import EMPTY
from streams.errors import StateError
from streams.state.segment import (
    PIECE_BYTES_MAX,
    Segment,
    SegmentRows,
    encode_pieces,
    read_piece,
    scalars_segment,
)
from tests.join_cases import World, settings_of, stage_of_alpha
from tests.judge_cases import randoms
from tests.unit.state.decoded import decode_pieces


def rows_of(bodies: list[bytes], rng: random.Random) -> SegmentRows:
    """Return rows with these bodies and anything else."""
    n = len(bodies)
    return SegmentRows(
        np.array([[rng.getrandbits(64), rng.getrandbits(64)] for _ in range(n)], np.uint64).reshape(
            n, 2
        ),
        np.array([rng.randrange(256) for _ in range(n)], np.uint8),
        np.array([rng.randrange(1 << 62) for _ in range(n)], np.int64),
        np.array([rng.random() < 0.5 for _ in range(n)], np.bool_),
        np.array([rng.random() < 0.5 for _ in range(n)], np.bool_),
        Bodies.of(bodies),
    )


def with_rows(rows: SegmentRows, **fields: Any) -> Segment:
    """Return a segment of these rows and nothing else that is not given."""
    none = scalars_segment({})
    return Segment(rows, fields.get("removed", []), none.closed, [], fields.get("scalars", {}))


def there_and_back(segment: Segment) -> Segment:
    """Return what is read of what is written; every piece is small enough."""
    pieces = encode_pieces(segment, 7, 3)
    assert max(map(len, pieces)) <= PIECE_BYTES_MAX
    read = [read_piece(piece) for piece in pieces]
    assert [(p.generation, p.number, p.index, p.count) for p in read] == [
        (7, 3, i, len(pieces)) for i in range(len(pieces))
    ]
    return decode_pieces([p.payload for p in read])


@settings(max_examples=40)
@given(randoms)
def test_a_segment_is_read_as_it_was_written(rng: random.Random) -> None:
    """Rows, removed traces and scalars of any content come back in their order."""
    bodies = [rng.randbytes(rng.choice((0, 1, 90, 4_000))) for _ in range(rng.randrange(40))]
    removed = [rng.randbytes(16) for _ in range(rng.randrange(5))]
    scalars = {"a": [1, 2, {"b": -1}], "c": {"d": "\u00e9"}}
    segment = with_rows(rows_of(bodies, rng), removed=removed, scalars=scalars)
    back = there_and_back(segment)
    assert (back.removed, back.scalars) == (removed, scalars)
    for name in SegmentRows.__slots__:
        found, wanted = getattr(back.rows, name), getattr(segment.rows, name)
        if name == "body":
            assert list(found) == list(wanted)
        else:
            assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("size", "count"),
    [(512 << 10, 7), (350_000, 9), (100, 30_000), (0, 60_000), (175_000, 12)],
)
def test_pieces_stay_small_where_nothing_compresses(size: int, count: int) -> None:
    """The largest event allowed, many small ones, and none at all: no piece is refused."""
    noise = np.random.default_rng(1).bytes(size + count)
    bodies = [noise[i : i + size] for i in range(count)]
    back = there_and_back(with_rows(rows_of(bodies, random.Random(1))))
    assert list(back.rows.body) == bodies


def test_large_scalars_and_removals_are_spread_over_pieces() -> None:
    """2 MB of incompressible scalars and 100,000 removed traces come back whole."""
    rng = random.Random(2)
    scalars = {"noise": [rng.randrange(1 << 62) for _ in range(200_000)]}
    removed = [rng.randbytes(16) for _ in range(100_000)]
    back = there_and_back(with_rows(rows_of([], rng), removed=removed, scalars=scalars))
    assert back.scalars == scalars
    assert back.removed == removed


def test_what_changes_after_the_cut_is_not_in_the_segment() -> None:
    """Counters go on while a segment waits to be written; it says what was true at the cut."""
    world = World(EMPTY, settings_of())
    world.feed([stage_of_alpha(1, 5)])
    state = world.task.state
    segment = state.segment(full=True)
    state.sealed()
    world.feed([stage_of_alpha(2, 6), stage_of_alpha(3, 7)])
    scalars = there_and_back(segment).scalars
    assert scalars["positions"] == {"input": 1}
    assert scalars["accounts"]["accepted"] == 1
    events = [c for *_, scopes in scalars["counts"]["windows"] for _, c, _ in scopes]
    assert events
    assert all(counters["events"] == 1 for counters in events)


@pytest.mark.parametrize("at", [0, 5, 23, 26, -1])
def test_a_piece_with_a_flipped_bit_is_refused(at: int) -> None:
    """Magic, format, checksum and payload are checked."""
    piece = bytearray(encode_pieces(scalars_segment({"n": 1}), 1, 0)[0])
    piece[at] ^= 1
    with pytest.raises(StateError, match="Operator action"):
        read_piece(bytes(piece))


@pytest.mark.parametrize("size", [0, 5, 25])
def test_a_piece_that_is_cut_short_is_refused(size: int) -> None:
    """Less than a header, or less than the payload that was written."""
    piece = encode_pieces(scalars_segment({"n": 1}), 1, 0)[0]
    with pytest.raises(StateError, match="cut short"):
        read_piece(piece[:size])
    with pytest.raises(StateError, match="checksum"):
        read_piece(piece[:-1])
