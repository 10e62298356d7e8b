"""When to tell that events wait for the broker: now and then, for as long as it takes none."""

from __future__ import annotations

from typing import Final

LONG_SECONDS: Final = 30.0
"""A broker that is restarted, or a partition without a leader, is back sooner."""
AGAIN_SECONDS: Final = 60.0


class LongWait:
    """Watches whether anything becomes of events that wait; told the time, in seconds.

    Args:
        now: of a clock that only goes forward.
    """

    def __init__(self, now: float) -> None:
        self._since = now
        self._settled = 0
        self._next = now + LONG_SECONDS

    def told(self, waiting: int, settled: int, now: float) -> float | None:
        """Return for how many seconds nothing became of events; None where nothing is to be told.

        Args:
            waiting: events that wait.
            settled: of how many it is known what became of them; grows.
            now: of the same clock as before.
        """
        if not waiting or settled != self._settled:
            self._since, self._settled = now, settled
            self._next = now + LONG_SECONDS
        if now < self._next:
            return None
        self._next = now + AGAIN_SECONDS
        return now - self._since
