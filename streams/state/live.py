"""Which pieces make up a state: the highest generation, its segments without a gap.

A full segment starts a generation; the segments after it add to it. Segment n of every
generation has the same changelog keys, so compaction drops earlier generations by itself.
"""

from collections.abc import Iterable

from streams.errors import StateError
from streams.state.segment import Piece, Segment, decode_pieces, read_piece


def piece_key(number: int, index: int) -> bytes:
    """Return the changelog key of a piece."""
    return f"{number}/{index}".encode()


class LiveSegments:
    """Collects pieces in changelog order and keeps those of the highest generation."""

    def __init__(self) -> None:
        self.generation = 0
        self._pieces: dict[tuple[int, int], Piece] = {}
        self._values: dict[tuple[int, int], bytes] = {}

    def add(self, values: Iterable[bytes]) -> None:
        """Take in pieces as bytes.

        Raises:
            StateError: a piece is damaged.
        """
        for value in values:
            piece = read_piece(value)
            if piece.generation > self.generation:
                self.generation = piece.generation
                self._pieces.clear()
                self._values.clear()
            if piece.generation == self.generation:
                self._pieces[piece.number, piece.index] = piece
                self._values[piece.number, piece.index] = value

    def segments(self) -> list[Segment]:
        """Return the segments, oldest first; none when there is no state yet.

        Raises:
            StateError: a segment or a piece is missing.
        """
        out = []
        for number in range(1 + max((n for n, _ in self._pieces), default=-1)):
            first = self._pieces.get((number, 0))
            count = first.count if first else 0
            pieces = [self._pieces.get((number, i)) for i in range(count)]
            if not count or None in pieces:
                raise StateError(
                    f"segment {number} of generation {self.generation} is incomplete in the "
                    "changelog. Operator action: restore the changelog topic, or start a new group "
                    "and read the telemetry again."
                )
            out.append(decode_pieces([p.payload for p in pieces if p is not None]))
        return out

    def encoded(self) -> list[tuple[bytes, Piece]]:
        """Return the live pieces with their changelog keys."""
        return [(piece_key(*at), piece) for at, piece in sorted(self._pieces.items())]

    def values(self) -> list[tuple[bytes, bytes]]:
        """Return the live pieces as bytes, with their changelog keys."""
        return [(piece_key(*at), value) for at, value in sorted(self._values.items())]

    @property
    def next_number(self) -> int:
        """Number of the next segment of this generation."""
        return 1 + max((n for n, _ in self._pieces), default=-1)
