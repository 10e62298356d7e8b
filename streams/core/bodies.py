"""The bytes of events, left where they came: a buffer, and where in it each body lies.

No event has an object of its own between the broker and the output: a body is cut out when its
trace is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streams.units import I64, Mask


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
    def of(bodies: Sequence[bytes]) -> "Bodies":
        """Return the bodies of a list, laid one after the other."""
        size = np.fromiter(map(len, bodies), np.int64, len(bodies))
        return Bodies(b"".join(bodies), np.cumsum(size) - size, size)

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, row: int) -> bytes:
        begin = int(self.start[row])
        return self.data[begin : begin + int(self.size[row])]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        ends = (self.start + self.size).tolist()
        return (data[a:b] for a, b in zip(self.start.tolist(), ends, strict=True))

    def take(self, index: I64 | Mask) -> "Bodies":
        """Return the bodies at `index`, in that order; the buffer is shared."""
        return Bodies(self.data, self.start[index], self.size[index])

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
