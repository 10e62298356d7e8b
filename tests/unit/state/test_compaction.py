"""A base is made in steps as large as the cuts that drive them, of what is committed."""

import pytest

from streams.state.compaction import (
    FACTOR,
    FLOOR_BYTES,
    FOLD_BYTES_MAX,
    SEGMENTS_MAX,
    STEP_BYTES,
    Compaction,
    is_due,
    step_bytes,
)
from streams.state.live import Base, LiveSegments, encode_manifest
from streams.state.segment import encode_pieces, read_piece
from tests.unit.state.state_cases import number_of, with_events

SIZE_BYTES = 200_000
MB = 1 << 20


def changelog(count: int) -> LiveSegments:
    """Return a changelog of segments with one open event of 200 kB each."""
    live = LiveSegments()
    for number in range(count):
        segment = with_events(number, [bytes([number]) * 16], size_bytes=SIZE_BYTES)
        live.add(encode_pieces(segment, 1, number))
    return live


@pytest.mark.parametrize(
    ("cut_bytes", "folded_bytes", "is_bounded"),
    [
        (0, STEP_BYTES, False),
        (MB // 2, 6 * MB, False),
        (MB, FOLD_BYTES_MAX, False),
        (3 * MB, FOLD_BYTES_MAX, True),
        (20 * MB, 30 * MB, True),
    ],
)
def test_a_step_grows_with_its_cut_up_to_a_bound(
    cut_bytes: int, folded_bytes: int, is_bounded: bool
) -> None:
    """Beyond the bound it is as large as its cut needs: a base must end before as much has come."""
    assert step_bytes(cut_bytes) == (folded_bytes, is_bounded)


def test_the_bound_of_a_step_may_be_chosen() -> None:
    """A lower one holds for idle tasks too; what a cut needs is folded whatever it is."""
    assert step_bytes(0, MB) == (MB, True)
    assert step_bytes(3 * MB, MB) == (int(4.5 * MB), True)
    assert step_bytes(3 * MB, 64 * MB) == (16 * MB, False)


@pytest.mark.parametrize("cut_bytes", [1_000, 100_000, 8 * MB, 40 * MB])
@pytest.mark.parametrize("base_bytes", [0, FLOOR_BYTES, 100 * MB, 900 * MB])
@pytest.mark.parametrize("bytes_max", [MB, FOLD_BYTES_MAX, 1 << 30])
def test_what_is_folded_does_not_grow(cut_bytes: int, base_bytes: int, bytes_max: int) -> None:
    """As much lives after each base as before: what each has to fold stays bounded."""
    segments, deltas, sizes = 0, 0, []
    for _ in range(20):
        while not is_due(base_bytes, deltas, segments):
            segments, deltas = segments + 1, deltas + cut_bytes
        sizes.append(base_bytes + deltas)
        step, _ = step_bytes(cut_bytes, bytes_max)
        segments = -(-sizes[-1] // step)  # what comes while this is folded
        deltas = segments * cut_bytes
    assert max(sizes) <= sizes[0] + cut_bytes


@pytest.mark.parametrize(
    ("base_bytes", "delta_bytes", "segments", "due"),
    [
        (0, FLOOR_BYTES, 5, False),
        (0, FLOOR_BYTES + 1, 5, True),
        (FLOOR_BYTES, FACTOR * FLOOR_BYTES, 5, False),
        (FLOOR_BYTES, FACTOR * FLOOR_BYTES + 1, 5, True),
        (FLOOR_BYTES, 10, SEGMENTS_MAX, False),
        (FLOOR_BYTES, 10, SEGMENTS_MAX + 1, True),
    ],
)
def test_bytes_and_number_of_segments_are_bounded(
    base_bytes: int, delta_bytes: int, segments: int, due: bool
) -> None:
    """A base is due when what came since is some times as large, or is in too many parts."""
    assert is_due(base_bytes, delta_bytes, segments) == due


def test_a_step_does_what_it_is_paid_for() -> None:
    """Ten segments of 200 kB take five steps of 400 kB; what is ready goes out meanwhile."""
    live = changelog(10)
    made = Compaction(live.line(), 2, live.values().__getitem__)
    steps = []
    while made.base is None:
        steps.append(made.step(2 * SIZE_BYTES))
    assert len(steps) in (5, 6)
    assert sum(map(bool, steps)) >= 4
    assert made.base == Base(2, 9, sum(map(len, steps)))
    keys = [key for step in steps for key, _ in step]
    assert keys == made.base.piece_keys() == made.published()


def test_a_base_can_be_folded_again() -> None:
    """The next base replaces the one before with what came since, and the same state is read."""
    live = changelog(6)
    for _ in range(2):
        line = live.line()
        made = Compaction(line, 1, live.values().__getitem__)
        ready = made.step(1 << 30)
        assert made.base is not None
        live.add(value for _, value in [*ready, encode_manifest(made.base)])
        for key in line.all_keys():
            live.drop(key)
        number = made.base.number + 1
        live.add(encode_pieces(with_events(number, [b"n" * 16], removed=[bytes(16)]), 1, number))
    assert number_of(live) == 7
    rows = [at for s in live.segments() for at in s.rows.kafka_us.tolist()]
    assert rows == [1, 2, 3, 4, 5, 6, 7], "the event of 0 was removed"
    assert live.line().all_keys() == live.values().keys(), "nothing is left over"


def test_pieces_of_a_base_know_their_place() -> None:
    """Their headers say which base, and that only the manifest knows how many there are."""
    live = changelog(3)
    made = Compaction(live.line(), 4, live.values().__getitem__)
    for i, (_, value) in enumerate(made.step(1 << 30)):
        piece = read_piece(value)
        assert (piece.generation, piece.number, piece.index, piece.count) == (4, 2, i, 0)
