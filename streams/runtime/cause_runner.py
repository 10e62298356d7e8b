"""The runner of the causes task: it cuts when a stretch of time is over, not when something came.

Its state is some megabytes where pipelines are large, and what it says comes once a stretch: what
came since is read again after a restart.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.stage_runner import StageRunner
from streams.state.segment import Segment

ROWS_MAX: Final = 20_000
"""After so many records it is cut all the same: what is read again has an end."""


class CauseRunner(StageRunner):
    """Runs the causes task; see `StageRunner`."""

    task: Any  # a CausesTask; the base class knows it as a StageTask only
    _cut_rows = 0

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Step the task; what it takes in alone asks for no cut."""
        was_dirty, stretches = self.is_dirty, self.task.stretches
        super().step(chunks, caught_up_us, now_us)
        has_ended = self.task.stretches > stretches
        self.is_dirty = was_dirty or has_ended or self.rows - self._cut_rows >= ROWS_MAX

    def collect(self, cut_ms: int) -> tuple[list[OutRecord], Segment]:
        """End the cut; the segment holds the whole state."""
        self._cut_rows = self.rows
        return super().collect(cut_ms)
