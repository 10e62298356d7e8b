"""Where the seconds of a rebalance go, from the first word of it to the flow of what stays.

Owns the times of one rebalance and the line that the log gets of it.
"""

import time

import structlog

log = structlog.get_logger()


class Rebalance:
    """The stages of the rebalance that goes on; all is None or 0 while there is none."""

    def __init__(self) -> None:
        self._revoked_at: float | None = None
        self._cut_seconds = 0.0
        self._left_at: float | None = None
        self._joined_at = 0.0

    def revoked(self) -> None:
        """Note that the group rebalances and that our partitions pause."""
        self._revoked_at = time.monotonic()

    def cut(self) -> None:
        """Note that what was done is committed, and that we join the group again."""
        self._left_at = time.monotonic()
        self._cut_seconds = self._left_at - (self._revoked_at or self._left_at)

    def joined(self) -> None:
        """Note that the assignment is there."""
        self._joined_at = time.monotonic()

    def assigned(self, kept: int, taken: int, lost: int) -> None:
        """Say where the time went; the flow resumes.

        Args:
            kept: tasks that stayed.
            taken: tasks whose restore begins.
            lost: tasks that went to other workers.
        """
        now = time.monotonic()
        log.info(
            "rebalanced",
            kept=kept,
            taken=taken,
            lost=lost,
            cut_seconds=round(self._cut_seconds, 3),
            group_seconds=round(self._joined_at - (self._left_at or self._joined_at), 3),
            assign_seconds=round(now - self._joined_at, 3),
            seconds=round(now - (self._revoked_at or self._joined_at), 3),
        )
        self._revoked_at, self._cut_seconds, self._left_at = None, 0.0, None
