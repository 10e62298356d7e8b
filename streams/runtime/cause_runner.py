"""The runner of the causes task: it cuts when a stretch of time is over, not when something came.

Its state is some megabytes where pipelines are large, and what it says comes once a stretch: what
came since is read again after a restart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from streams.runtime.chunk import Chunk
from streams.runtime.stage_runner import StageRunner


class CauseRunner(StageRunner):
    """Runs the causes task; see `StageRunner`."""

    task: Any  # a CausesTask; the base class knows it as a StageTask only

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Step the task; what it takes in alone asks for no cut."""
        was_dirty, stretches = self.is_dirty, self.task.stretches
        super().step(chunks, caught_up_us, now_us)
        self.is_dirty = was_dirty or self.task.stretches > stretches
