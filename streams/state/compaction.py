"""Folds the oldest segments of a changelog into a base, a few pieces at a time.

Owns when a base is due, and the walk over the segments that it replaces, from the youngest back to
the base before. The walk reads what is committed and touches nothing of the task's memory; it is
driven by the cuts, each of which takes so much of it as its own size allows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from streams.state.fold import Fold
from streams.state.live import Base, Delta, Line, base_key
from streams.state.segment import encode_piece, read_piece

FACTOR: Final = 4
"""A base is due when the segments after the last one are this many times as large."""
FLOOR_BYTES: Final = 1 << 20
"""Below this much of segments no base is worth it ..."""
SEGMENTS_MAX: Final = 1_000
"""... unless there are so many that a restart is slow."""
STEP_BYTES: Final = 4 << 20
"""How much one cut folds at least, ..."""
STEP_FACTOR: Final = 4
"""... and how much of its own size: a base is finished before as much again has come."""
FOLD_BYTES_MAX: Final = 8 << 20
"""By default, a larger step only for a larger cut: what a step made is in memory once more in the
client, in the batch and in the write buffer of the local copy, of each task."""
FOLD_BOUND: Final = "fold_bytes_max"
"""Name of that bound."""
STEP_FACTOR_MIN: Final = 1.5
"""What is due is 1 + 1 / `FACTOR` times what comes until the next base is: with less of a large
cut's size than that, what each base has to fold would grow without an end."""


def is_due(base_bytes: int, delta_bytes: int, segments: int) -> bool:
    """Return whether the segments after a base should be folded into the next one."""
    return segments > SEGMENTS_MAX or delta_bytes > max(FLOOR_BYTES, FACTOR * base_bytes)


def step_bytes(cut_bytes: int, bytes_max: int = FOLD_BYTES_MAX) -> tuple[int, bool]:
    """Return how much a cut of some size folds, and whether it would have folded more.

    Args:
        cut_bytes: of the cut's own segment.
        bytes_max: no more than this for a cut that is not itself as large.
    """
    wanted = STEP_BYTES + STEP_FACTOR * cut_bytes
    return max(min(wanted, bytes_max), int(STEP_FACTOR_MIN * cut_bytes)), wanted > bytes_max


class Compaction:
    """One base in the making.

    Args:
        line: what it replaces, at least one delta.
        generation: whose base it will be.
        read: returns a committed piece by its changelog key.
    """

    def __init__(self, line: Line, generation: int, read: Callable[[bytes], bytes]) -> None:
        assert line.deltas, "without a later segment there is nothing to fold"
        self.replaced = line
        self._generation = generation
        self._number = line.deltas[-1].number
        self._read = read
        self._fold = Fold()
        self._count = 0
        self._walk = self._walked()
        self.base: Base | None = None
        """What was made, once all of it was returned by `step`."""

    def step(self, size_bytes: int) -> list[tuple[bytes, bytes]]:
        """Fold the next pieces, about so many bytes, and return keys and values that are ready."""
        left = size_bytes
        for folded in self._walk:
            left -= folded
            if left <= 0:
                return self._numbered(self._fold.taken())
        ready = self._numbered(self._fold.finished())
        self.base = Base(self._generation, self._number, self._count)
        return ready

    def published(self) -> list[bytes]:
        """Return the keys of what was made so far."""
        return [base_key(self._generation, self._number, i) for i in range(self._count)]

    def _walked(self) -> Iterator[int]:
        """Fold all that is replaced, youngest first, yielding how many bytes each part had."""
        for delta in reversed(self.replaced.deltas):
            yield self._fold_delta(delta)
        if self.replaced.base is not None:
            yield from self._fold_base(self.replaced.base)

    def _fold_delta(self, delta: Delta) -> int:
        values = [self._read(key) for key in delta.piece_keys()]
        self._fold.add([read_piece(value).payload for value in values])
        return sum(map(len, values))

    def _fold_base(self, base: Base) -> Iterator[int]:
        for key in base.piece_keys():
            payload = read_piece(self._read(key)).payload
            self._fold.add_base_piece(payload)
            yield len(payload)
        self._fold.end_base()

    def _numbered(self, payloads: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        ready = []
        for payload in payloads:
            key = base_key(self._generation, self._number, self._count)
            value = encode_piece(payload, self._generation, self._number, self._count, 0)
            ready.append((key, value))
            self._count += 1
        return ready
