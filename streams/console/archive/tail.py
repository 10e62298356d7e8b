"""What a partition had of a kind since its last file: rows in memory, and how many there may be."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import pyarrow as pa

from streams.console.archive.files import Segment
from streams.console.archive.kinds import Kind

SLICES_MAX: Final = 16
"""A partition that little comes of keeps no more batches in memory, each of 5,000 records."""

_GOLDEN_RATIO: Final = (5**0.5 - 1) / 2


def shares() -> Iterator[float]:
    """Yield at which shares of the limits tails are full that begin at about the same time.

    Partitions grow alike, so that all their files would be due together, and whoever reads would
    wait for them; those after the first keep their distance. Multiples of the golden ratio lie
    far apart, however many they are.
    """
    return (1.0 - 0.75 * (n * _GOLDEN_RATIO % 1.0) for n in itertools.count())


class Look(NamedTuple):
    """One kind as of now: its files, and the tails as one table."""

    files: list[Segment]
    tail: pa.Table


@dataclass(frozen=True, slots=True)
class Limits:
    """When a file is written, and when several become one.

    Attributes:
        rows: at so many records of a partition ...
        size_bytes: ... or so many bytes of them ...
        seconds: ... or so long after the first of them, whichever is first; or in a later hour.
        merge_files: so many of about one size become one. More would be opened by each question;
            fewer would be written again and again.
    """

    rows: int = 20_000
    size_bytes: int = 64 << 20
    seconds: float = 60.0
    merge_files: int = 12


@dataclass(slots=True)
class Tail:
    """What a partition had of a kind since its last file.

    Attributes:
        first, next: offsets [first, next) of it.
        hour, hour_end_us: of its first record. Earlier ones may follow, for clocks differ; later
            ones do not.
        share: of the limits' rows and bytes, at which it is full.
        since: when it had its first row; infinite while it has none.
        parts: its rows; the last ones are slices that keep the rows of other partitions alive.
        slices: how many those are.
    """

    kind: Kind
    first: int
    next: int
    hour: str
    hour_end_us: float
    share: float = 1.0
    since: float = math.inf
    parts: list[pa.Table] = field(default_factory=list)
    slices: int = 0
    rows: int = 0
    size_bytes: int = 0

    def add(self, part: pa.Table) -> None:
        """Add rows, a slice of what was decoded together."""
        self.parts.append(part)
        self.slices += 1
        self.rows += len(part)
        self.size_bytes += part.nbytes
        if self.slices == SLICES_MAX:
            self.parts[-SLICES_MAX:] = [pa.concat_tables(self.parts[-SLICES_MAX:]).combine_chunks()]
            self.slices = 0

    def is_full(self, limits: Limits) -> bool:
        """Whether a file is to be written of it, however old it is."""
        rows, size_bytes = limits.rows * self.share, limits.size_bytes * self.share
        return self.rows >= rows or self.size_bytes >= size_bytes

    def as_table(self) -> pa.Table:
        """Return it as a table; what was many parts is one from then on."""
        if len(self.parts) > 1:
            self.parts = [pa.concat_tables(self.parts).combine_chunks()]
            self.slices = 0
        return self.parts[0] if self.parts else self.kind.schema.empty_table()
