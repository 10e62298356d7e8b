"""The bytes of events, left where they came: a buffer, and where in it each body lies.

No event has an object of its own between the broker and the output: a body is cut out when its
trace is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from mmap import mmap
from typing import Final

import numpy as np

from streams.compiled.loops import Loops, loops
from streams.units import I64, Mask

_WIDTH_BYTES: Final = 128
"""Pieces are copied in units of this many bytes: one or two for most events."""
_WASTE_FACTOR: Final = 6
_WASTE_BYTES: Final = 1 << 16

Buffer = bytes | mmap
"""Bytes in memory, or in a file that is mapped."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """n encoded bodies, without the wire header, in one buffer.

    Attributes:
        data: the buffer; may hold other bytes between and around the bodies.
        start: (n,) where each begins.
        size: (n,) how many bytes each has.
    """

    data: bytes
    start: I64
    size: I64

    @staticmethod
    def of(bodies: Sequence[bytes], after: bytes = b"") -> "Bodies":
        """Return the bodies of a list, laid one after the other, with some bytes behind them."""
        size = np.fromiter(map(len, bodies), np.int64, len(bodies))
        return Bodies(b"".join((*bodies, after)), np.cumsum(size) - size, size)

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, row: int) -> bytes:
        begin = int(self.start[row])
        return self.data[begin : begin + int(self.size[row])]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        ends = (self.start + self.size).tolist()
        return (data[a:b] for a, b in zip(self.start.tolist(), ends, strict=True))

    def take(self, index: I64 | Mask | slice) -> "Bodies":
        """Return the bodies at `index`, in that order; the buffer is shared."""
        return Bodies(self.data, self.start[index], self.size[index])

    def runs(self) -> Iterator[bytes]:
        """Return the same bytes in their order; bodies that lie side by side are one piece."""
        data, end = self.data, self.start + self.size
        cut = np.flatnonzero(self.start[1:] != end[:-1])
        begins = [*self.start[:1].tolist(), *self.start[cut + 1].tolist()]
        ends = [*end[cut].tolist(), *end[-1:].tolist()]
        return (data[a:b] for a, b in zip(begins, ends, strict=True))

    @staticmethod
    def concat(parts: "Sequence[Bodies]") -> "Bodies":
        """Return the bodies of all parts, in order, in a buffer of their own; one part or more."""
        if len(parts) == 1:
            return parts[0]
        sizes = np.cumsum([0, *(len(part.data) for part in parts[:-1])]).tolist()
        return Bodies(
            b"".join(part.data for part in parts),
            np.concatenate([part.start + at for part, at in zip(parts, sizes, strict=True)]),
            np.concatenate([part.size for part in parts]),
        )


NOTHING = Bodies(b"", np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Scattered:
    """n byte strings in several buffers.

    Attributes:
        sources: the buffers.
        source: (n,) which of them each string lies in.
        start: (n,) where in it.
        size: (n,) how many bytes.
    """

    sources: Sequence[Buffer]
    source: I64
    start: I64
    size: I64

    def __len__(self) -> int:
        return len(self.start)

    @property
    def is_dense(self) -> bool:
        """Whether the strings are most of their buffers, so that those may be copied whole."""
        held_bytes = sum(map(len, self.sources))
        return held_bytes <= _WASTE_FACTOR * int(self.size.sum()) + _WASTE_BYTES

    def part(self, rows: slice) -> Iterator[bytes]:
        """Return some of the strings, each of its own."""
        places = (self.source[rows], self.start[rows], self.size[rows])
        for i, begin, size in zip(*(column.tolist() for column in places), strict=True):
            yield self.sources[i][begin : begin + size]

    def packed(self) -> Bodies:
        """Return the strings one after the other, in a buffer of their own."""
        return Bodies(self.joined(), np.cumsum(self.size) - self.size, self.size)

    def joined(self) -> bytes:
        """Return the strings as one."""
        if (made := loops()) is not None:
            return self._gathered(made)
        if not self.is_dense:
            ends = (self.start + self.size).tolist()
            places = zip(self.source.tolist(), self.start.tolist(), ends, strict=True)
            return b"".join([self.sources[i][a:b] for i, a, b in places])
        begin = np.cumsum([0, *map(len, self.sources)])[:-1]
        data = b"".join((*self.sources, bytes(_WIDTH_BYTES)))
        return _copied(data, self.start + begin[self.source], self.size)

    def _gathered(self, made: Loops) -> bytes:
        """Return the strings as one, each copied from where it lies."""
        order = np.argsort(self.source, kind="stable")
        cuts = np.searchsorted(self.source[order], np.arange(len(self.sources) + 1))
        to = np.cumsum(self.size) - self.size
        out = np.empty(int(self.size.sum()), np.uint8)
        # Of another layout the loop would be compiled once more, amid a step.
        start, size = np.ascontiguousarray(self.start), np.ascontiguousarray(self.size)
        for source, (first, last) in zip(self.sources, pairwise(cuts.tolist()), strict=True):
            if first < last:
                octets = np.frombuffer(source, np.uint8)
                made.gather(octets, order[first:last], start, size, to, out)
        return out.tobytes()


def _copied(data: bytes, start: I64, size: I64) -> bytes:
    """Return pieces of `data` as one, copied in units: six times faster than cut and joined.

    A unit may carry bytes beyond the end of its piece; the next one, written later, covers them.

    Args:
        data: the source, with `_WIDTH_BYTES` after the last piece.
        start: (n,) where each piece begins.
        size: (n,) its length.
    """
    total = int(size.sum())
    units = -(-size // _WIDTH_BYTES)
    nth = np.arange(int(units.sum())) - np.repeat(np.cumsum(units) - units, units)
    from_at = np.repeat(start, units) + _WIDTH_BYTES * nth
    to_at = np.repeat(np.cumsum(size) - size, units) + _WIDTH_BYTES * nth
    out = np.empty(total + _WIDTH_BYTES, np.uint8)
    unit = f"V{_WIDTH_BYTES}"
    source = np.ndarray((len(data) - _WIDTH_BYTES + 1,), unit, data, strides=(1,))
    target = np.ndarray((total + 1,), unit, out, strides=(1,))
    target[to_at] = source[from_at]
    return out[:total].tobytes()
