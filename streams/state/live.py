"""Which pieces of a changelog make up a state: a base, and the segments after it, without a gap.

Every cut adds one segment; its number is one more than the last. In the background the oldest
segments are folded into a *base*, whose pieces are spread over some cuts; its *manifest*, in the
last of them, says up to which number it reaches and how many pieces it has, and makes it valid.
What a base replaces is deleted by the cut after. A segment that is whole needs nothing before it.

The first piece of a segment is written last: a segment is there when its first piece is.

Each holder of a task writes a *generation* of its own. From its first number on a generation
replaces the lower ones: what a holder that lost its task may still have written is not the state.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streams.errors import StateError
from streams.state.fold import Fold
from streams.state.segment import Piece, Segment, encode_piece, read_piece

MANIFEST: Final = b"m"
_WHOLE: Final = b"w"


@dataclass(frozen=True, slots=True)
class Base:
    """All segments up to `number` as one, of `count` pieces; the first piece is the youngest."""

    generation: int
    number: int
    count: int

    def piece_keys(self) -> list[bytes]:
        """Return the changelog keys of its pieces, the youngest first."""
        return [base_key(self.generation, self.number, i) for i in range(self.count)]

    @property
    def manifest_key(self) -> bytes:
        """The changelog key of its manifest."""
        return manifest_key(self.generation, self.number)


@dataclass(frozen=True, slots=True)
class Delta:
    """One segment, of `count` pieces."""

    generation: int
    number: int
    count: int

    def piece_keys(self) -> list[bytes]:
        """Return the changelog keys of its pieces, in order."""
        return [piece_key(self.generation, self.number, i) for i in range(self.count)]


@dataclass(frozen=True, slots=True)
class Line:
    """The segments that make up a state, oldest first."""

    base: Base | None
    deltas: list[Delta]

    def all_keys(self) -> set[bytes]:
        """Return all keys of the state."""
        keys = {key for delta in self.deltas for key in delta.piece_keys()}
        if self.base is not None:
            keys |= {*self.base.piece_keys(), self.base.manifest_key}
        return keys


def piece_key(generation: int, number: int, index: int) -> bytes:
    """Return the changelog key of a piece of a segment."""
    return f"{generation}/{number}/{index}".encode()


def base_key(generation: int, number: int, index: int) -> bytes:
    """Return the changelog key of a piece of a base."""
    return f"{generation}/{number}b/{index}".encode()


def manifest_key(generation: int, number: int) -> bytes:
    """Return the changelog key of a base's manifest."""
    return f"{generation}/{number}m".encode()


def encode_manifest(base: Base) -> tuple[bytes, bytes]:
    """Return key and value of the record that makes a base valid."""
    payload = MANIFEST + json.dumps({"pieces": base.count}).encode()
    return base.manifest_key, encode_piece(payload, base.generation, base.number, 0, 1)


class LiveSegments:
    """A changelog as compaction leaves it: the last value of each key."""

    def __init__(self) -> None:
        self._pieces: dict[bytes, Piece] = {}

    def add(self, values: Iterable[bytes]) -> None:
        """Take in pieces as bytes, in changelog order.

        Raises:
            StateError: a piece is damaged or of another format.
        """
        for value in values:
            piece = read_piece(value)
            self._pieces[_key_of(piece)] = piece

    def drop(self, key: bytes) -> None:
        """Take in that a key was deleted."""
        self._pieces.pop(key, None)

    def line(self) -> Line:
        """Return what makes up the state.

        Raises:
            StateError: a segment or a piece is missing.
        """
        generation_of = self._generations()
        base = self._base(generation_of)
        floor = base.number if base is not None else -1
        deltas = []
        for number in range(max(generation_of, default=floor), floor, -1):
            generation = generation_of.get(number)
            delta = self._delta(generation, number) if generation is not None else None
            if delta is None:
                raise StateError(
                    f"segment {number} is incomplete in the changelog. Operator action: restore "
                    "the changelog topic, or start a new group and read the telemetry again."
                )
            deltas.append(delta)
            if self._pieces[delta.piece_keys()[0]].kind == _WHOLE:
                return Line(None, deltas[::-1])
        return Line(base, deltas[::-1])

    def _generations(self) -> dict[int, int]:
        """Return of which generation the segment of each number is."""
        numbers: dict[int, set[int]] = {}
        for piece in self._pieces.values():
            if piece.count and piece.index == 0 and piece.kind != MANIFEST:
                numbers.setdefault(piece.generation, set()).add(piece.number)
        found: dict[int, int] = {}
        ceiling = 1 << 32
        for generation in sorted(numbers, reverse=True):
            found |= {n: generation for n in numbers[generation] if n < ceiling}
            ceiling = min(ceiling, *numbers[generation])
        return found

    def _base(self, generation_of: dict[int, int]) -> Base | None:
        """Return the valid base, None when there is none.

        Raises:
            StateError: one of its pieces is missing.
        """
        bases = [
            Base(p.generation, p.number, json.loads(p.payload[1:])["pieces"])
            for p in self._pieces.values()
            if p.kind == MANIFEST
        ]
        # A lower generation's base that reaches into a higher one holds what that one replaced.
        valid = [
            b
            for b in bases
            if all(b.number < n for n, g in generation_of.items() if g > b.generation)
        ]
        if not valid:
            return None
        base = max(valid, key=lambda b: (b.number, b.generation))
        if any(key not in self._pieces for key in base.piece_keys()):
            raise StateError(
                f"the base of all segments up to {base.number} is incomplete in the changelog. "
                "Operator action: restore the changelog topic, or start a new group and read the "
                "telemetry again."
            )
        return base

    def _delta(self, generation: int, number: int) -> Delta | None:
        first = self._pieces.get(piece_key(generation, number, 0))
        if first is None:
            return None
        delta = Delta(generation, number, first.count)
        return delta if all(key in self._pieces for key in delta.piece_keys()) else None

    def segments(self) -> list[Segment]:
        """Return the state as segments, to be applied in order; none when there is no state yet.

        Raises:
            StateError: a segment or a piece is missing.
        """
        line = self.line()
        if line.base is None and not line.deltas:
            return []
        fold = Fold()
        for delta in reversed(line.deltas):
            fold.add([self._pieces[key].payload for key in delta.piece_keys()])
        if line.base is not None:
            for key in line.base.piece_keys():
                fold.add_base_piece(self._pieces[key].payload)
            fold.end_base()
        return fold.segments()

    def values(self) -> dict[bytes, bytes]:
        """Return all pieces by key, those that are not of the state too."""
        return {key: piece.value for key, piece in self._pieces.items()}

    def size_bytes(self, keys: Iterable[bytes]) -> int:
        """Return how large some pieces are."""
        return sum(len(self._pieces[key].value) for key in keys)

    @property
    def generation(self) -> int:
        """The highest generation; 0 when there are no pieces."""
        return max((piece.generation for piece in self._pieces.values()), default=0)


def _key_of(piece: Piece) -> bytes:
    if piece.kind == MANIFEST:
        return manifest_key(piece.generation, piece.number)
    key = piece_key if piece.count else base_key
    return key(piece.generation, piece.number, piece.index)
