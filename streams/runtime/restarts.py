"""How often a task was restarted lately, and how often a supervisor has restarted a worker."""

from collections import deque
from collections.abc import Mapping


class Restarts:
    """Remembers restarts for a while; told the time, in seconds.

    Args:
        window_seconds: for how long.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._at: deque[float] = deque()

    def note(self, now: float) -> int:
        """Remember one; return how many there were lately, this one included."""
        self._at.append(now)
        return self.recent(now)

    def recent(self, now: float) -> int:
        """Return how many there were lately."""
        while self._at and self._at[0] < now - self._window_seconds:
            self._at.popleft()
        return len(self._at)


def restarts_text(counts: Mapping[str, int]) -> str:
    """Return counts by reason as a supervisor tells them: REASON=COUNT,..."""
    return ",".join(f"{reason}={count}" for reason, count in counts.items())


def restarts_told(text: str) -> dict[str, int]:
    """Return the counts by reason that a supervisor told; {} where there is none."""
    pairs = (pair.split("=") for pair in text.split(",") if pair)
    return {reason: int(count) for reason, count in pairs}
