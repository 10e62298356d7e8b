"""What a Nezha recording holds, counted from its tables alone: the truth the join is held to."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from streams.codec.nezha import nezha_events, read_nezha
from tests.fault.harness import Event

RECORDING = "nezha-trainticket-0129"
TOPIC = "telemetry.other.v1"


@dataclass(frozen=True)
class Recording:
    """A recording, or its first rows, and what is in it.

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

    @property
    def accounting(self) -> dict[str, int]:
        """Return what a worker must have counted when it took all of it in, and all is closed."""
        nothing = dict.fromkeys(("late", "untraced", "rejected", "evicted", "open"), 0)
        repeated = self.rows - self.distinct
        return {
            "accepted": self.rows,
            "joined": self.distinct,
            "duplicate": repeated,
            **nothing,
        }

    def events(self) -> Iterator[tuple[str, Event]]:
        """Yield (topic, event) in the order of the recording."""
        return ((TOPIC, event) for event in islice(nezha_events(self.folder), self.rows))


def read_recording(data_dir: Path, rows_max: int | None = None) -> Recording:
    """Return the recording or its first rows; the test skips when the folder is missing."""
    folder = data_dir / RECORDING
    if not folder.is_dir():
        pytest.skip(f"no {RECORDING} in {data_dir}")
    spans: dict[str, set[str]] = defaultdict(set)
    rows = 0
    for frame in read_nezha(folder):
        taken = frame.head(rows_max - rows) if rows_max is not None else frame
        for trace_id, span_id in taken.select("trace_id", "span_id").iter_rows():
            spans[trace_id].add(span_id)
        rows += len(taken)
        if rows == rows_max:
            break
    return Recording(folder, rows, dict(spans))
