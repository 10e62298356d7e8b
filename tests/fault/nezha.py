"""What a Nezha recording holds, counted from its tables alone: the truth that the join is held to."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from streams.codec.nezha import read_nezha

RECORDING = "nezha-trainticket-0129"


@dataclass(frozen=True)
class Recording:
    """A recording and what is in it.

    Attributes:
        folder: what `spanloom replay nezha` is given.
        rows: rows of all tables, repeated ones included.
        spans: span ids by trace id.
    """

    folder: Path
    rows: int
    spans: dict[str, set[str]]

    @property
    def distinct(self) -> int:
        """Return how many different spans there are."""
        return sum(map(len, self.spans.values()))


def read_recording(data_dir: Path) -> Recording:
    """Return the recording; the test skips, naming the folder, when it is missing."""
    folder = data_dir / RECORDING
    if not folder.is_dir():
        pytest.skip(f"no {RECORDING} in {data_dir}")
    frames = [frame.select("trace_id", "span_id") for frame in read_nezha(folder)]
    rows = pl.concat(frames)
    spans: dict[str, set[str]] = defaultdict(set)
    for trace_id, span_id in rows.iter_rows():
        spans[trace_id].add(span_id)
    return Recording(folder, len(rows), dict(spans))
