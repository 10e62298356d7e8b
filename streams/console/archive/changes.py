"""What may be done to rows that are archived: a file's rows are replaced, or they stay."""

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from streams.console.archive.counts import Fit
from streams.console.archive.files import Segment
from streams.console.archive.kinds import Kind


class Changed(NamedTuple):
    """Rows that come in the place of a file's rows, and what became of the texts in them."""

    rows: pa.Table
    fit: Fit


Change = Callable[[Segment, Kind, pa.Table], Changed | None]
"""Returns what comes in the place of a file's rows, None where they stay."""
