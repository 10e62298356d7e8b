"""What a partition had of a kind since its last file: rows in memory."""

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import pyarrow as pa

from streams.console.archive.files import Segment
from streams.console.archive.kinds import Kind

SLICES_MAX: Final = 16
"""A partition that little comes of keeps no more batches in memory, each of 5,000 records."""


class Look(NamedTuple):
    """One kind as of now: its files, and the tails as one table."""

    files: list[Segment]
    tail: pa.Table


@dataclass(slots=True)
class Tail:
    """What a partition had of a kind since its last file.

    Attributes:
        first, next: offsets [first, next) of it.
        hour, hour_end_us: of its first record. Earlier ones may follow, for clocks differ; later
            ones do not.
        since: when it had its first row; infinite while it has none.
        parts: its rows; the last ones are slices that keep the rows of other partitions alive.
        slices: how many those are.
    """

    kind: Kind
    first: int
    next: int
    hour: str
    hour_end_us: float
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

    def as_table(self) -> pa.Table:
        """Return it as a table; what was many parts is one from then on."""
        if len(self.parts) > 1:
            self.parts = [pa.concat_tables(self.parts).combine_chunks()]
            self.slices = 0
        return self.parts[0] if self.parts else self.kind.schema.empty_table()
