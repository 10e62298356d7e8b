"""A fold keeps what lives, in order, in frames that a broker accepts."""

import pytest

from streams.state.fold import Fold
from streams.state.segment import (
    PIECE_BYTES_MAX,
    Segment,
    encode_piece,
    encode_pieces,
    read_piece,
)
from tests.unit.state.decoded import decode_pieces
from tests.unit.state.state_cases import delta, keys_of, with_closed, with_events

A, B, C = (bytes([i]) * 16 for i in range(3))


def payloads(segment: Segment) -> list[bytes]:
    """Return a segment as it is read back."""
    return [read_piece(piece).payload for piece in encode_pieces(segment, 1, 0)]


def folded(*segments: Segment) -> Fold:
    """Return the fold of some segments, given oldest first."""
    fold = Fold()
    for segment in reversed(segments):
        fold.add(payloads(segment))
    return fold


def as_one(fold: Fold) -> Segment:
    """Return a fold through the bytes that a base has: they come youngest first."""
    youngest_first = fold.taken() + fold.finished()
    return decode_pieces(youngest_first[::-1])


def test_rows_of_removed_traces_are_gone_and_the_others_in_order() -> None:
    """A later removal reaches back; what the same trace brings after it stays."""
    one = as_one(
        folded(
            with_events(0, [A, B, C]), with_events(1, [A, C]), with_events(2, [B], removed=[B, C])
        )
    )
    got = list(zip(keys_of(one.rows.trace_id), one.rows.kafka_us.tolist(), strict=True))
    assert got == [(A, 0), (A, 1), (B, 2)]
    assert one.removed == [], "nothing is before a fold"
    assert one.is_whole


def test_the_newest_scalars_count() -> None:
    """Positions and accounts are absolute: the last ones are true."""
    assert as_one(folded(delta(3), delta(4), delta(9))).scalars == {"n": 9}


def test_expired_entries_of_the_closed_set_are_gone() -> None:
    """What the newest segment says has expired is not carried on."""
    one = as_one(folded(with_closed(5, [A]), with_closed(6, [B]), with_closed(9, [C], 6)))
    assert keys_of(one.closed.trace_id) == [B, C]


def test_a_trace_that_was_opened_again_is_not_closed_by_what_was_before() -> None:
    """Whatever became of it since: only a later entry can say that it is closed."""
    none = delta(1)
    meta = (A, 1, 5, 0, 0, [0] * 5)
    again = Segment(none.rows, [], none.closed, [meta], {"n": 6})
    gone = Segment(none.rows, [A], none.closed, [], {"n": 7})
    assert keys_of(as_one(folded(with_closed(5, [A, B]), again)).closed.trace_id) == [B]
    one = as_one(folded(with_closed(5, [A, B]), again, gone))
    assert (keys_of(one.closed.trace_id), one.reopened) == ([B], [])
    one = as_one(folded(with_closed(5, [A, B]), again, gone, with_closed(8, [A])))
    assert keys_of(one.closed.trace_id) == [B, A]


def test_counted_windows_add_up_and_the_later_one_counts() -> None:
    """A segment holds the windows that changed: the others come from before."""

    def counted(floor_us: int | None, *windows: tuple[int, str]) -> Segment:
        segment = delta(0)
        counts = {"window_us": 10, "floor_us": floor_us, "windows": [[*w, []] for w in windows]}
        return Segment(segment.rows, [], segment.closed, [], {"counts": counts})

    one = as_one(
        folded(
            counted(None, (0, "a"), (10, "a")),
            counted(None, (20, "b"), (10, "b")),
            counted(10, (30, "c")),
        )
    )
    assert [w[:2] for w in one.scalars["counts"]["windows"]] == [[10, "b"], [20, "b"], [30, "c"]]


def test_counts_of_another_window_length_are_not_mixed() -> None:
    """After a change of the window the earlier counts are over."""
    before, after = (
        {"counts": {"window_us": us, "floor_us": None, "windows": [[us, "a", []]]}}
        for us in (10, 20)
    )
    none = delta(0)
    one = as_one(
        folded(
            Segment(none.rows, [], none.closed, [], before),
            Segment(none.rows, [], none.closed, [], after),
        )
    )
    assert [w[0] for w in one.scalars["counts"]["windows"]] == [20]


@pytest.mark.parametrize("size_bytes", [100, 60_000, 340_000, 512 << 10])
def test_folded_frames_fit_into_a_record(size_bytes: int) -> None:
    """Small frames are gathered, and never more of them than a record may hold."""
    segments = [with_events(i, [bytes([i]) * 16], size_bytes=size_bytes) for i in range(40)]
    fold = folded(*segments)
    parts = fold.taken() + fold.finished()
    sizes = [len(encode_piece(part, 1, 0, i, 0)) for i, part in enumerate(parts)]
    assert max(sizes) <= PIECE_BYTES_MAX
    assert len(decode_pieces(parts[::-1]).rows) == 40
    assert len(parts) <= 2 + 40 * size_bytes // 200_000


def test_a_state_is_handed_out_in_steps() -> None:
    """All but the rows comes first, the rows in order after it; nothing is in two of them."""
    segments = [with_events(i, [bytes([i]) * 16], size_bytes=340_000) for i in range(100)]
    first, *steps = folded(*segments).segments()
    assert (first.scalars, len(first.rows)) == ({"n": 99}, 0)
    assert len(steps) == 2
    assert [at for step in steps for at in step.rows.kafka_us.tolist()] == list(range(100))
    assert all(step.scalars == {} for step in steps)
