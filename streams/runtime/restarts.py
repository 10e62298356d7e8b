"""How often a task was restarted lately."""

from collections import deque


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
