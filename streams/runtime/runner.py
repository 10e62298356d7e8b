"""What a task host needs of a task: records in, records and a segment out.

A runner is the seam between bytes and a pure engine task: it decodes what comes, steps the
engine, and encodes what follows. It has no thread, no clock and no broker.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.state.segment import Segment


class Runner(Protocol):
    """One task: a partition of the join, or a task of the global stage."""

    positions: dict[str, int]
    """Next offset per source topic: up to here everything is in the state."""
    topic_ids: dict[str, str]
    """The broker's ids of the source topics that `positions` speaks of, where it gives them."""
    is_dirty: bool
    """Whether there is something to cut."""
    held: frozenset[str]
    """Source topics that must not be read further for now."""
    rows: int
    """Records taken in since the task was made, for the operator."""

    @property
    def last_cut_ms(self) -> int:
        """Kafka timestamp of the last cut, as the state remembers it; 0 for none."""

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Take in chunks, and the passing of time; what follows waits for the next cut.

        Args:
            chunks: records in arrival order, contiguous with `positions`; may be empty.
            caught_up_us: per source topic, the latest time it was known to be read to its end, 0
                while it is behind.
            now_us: the wall clock.
        """

    def collect(self, cut_ms: int) -> tuple[list[OutRecord], Segment]:
        """End the cut in the making: return its outputs and what it adds to the state.

        Args:
            cut_ms: the Kafka timestamp of the cut; grows from cut to cut.
        """

    def load(self, segments: Sequence[Segment]) -> None:
        """Put the restored segments together, in order, on a fresh runner."""

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, JSON-able."""
