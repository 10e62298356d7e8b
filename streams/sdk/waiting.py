"""When to tell that events wait for the broker: now and then, for as long as it takes none.

Invariant: of a wait that was told the end is told too, once, when the broker has taken an event.
"""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """What is to be told.

    Attributes:
        seconds: for how long nothing became of the events; of a wait that is over: for how long the
            broker took none.
        events: that wait; of a wait that is over: the most that waited at a time.
        is_over: whether the broker takes events again.
    """

    seconds: float
    events: int
    is_over: bool


class LongWait:
    """Watches whether anything becomes of events that wait; told the time, in seconds.

    A wait ends with whatever becomes of an event: those that wait now came later. One that was told
    is over when the broker has taken an event, and not where events were only dropped.

    Args:
        first_seconds: after so long a wait is told.
        again_seconds: after so long it is told again.
        now: of a clock that only goes forward.
    """

    def __init__(self, first_seconds: float, again_seconds: float, now: float) -> None:
        self._first_seconds = first_seconds
        self._again_seconds = again_seconds
        self._since = now
        self._settled = 0
        self._next = now + first_seconds
        self._told_since: float | None = None
        self._sent = 0
        self._most = 0

    def look(self, waiting: int, sent: int, lost: int, now: float) -> Told | None:
        """Return what is to be told; None for nothing.

        Args:
            waiting: events that wait.
            sent: how many the broker has taken; grows.
            lost: how many were given up after they had been taken from the queue; grows.
            now: of the same clock as before.
        """
        self._most = max(self._most, waiting)
        is_taken, self._sent = sent > self._sent, sent
        if not waiting or sent + lost != self._settled:
            self._since, self._settled = now, sent + lost
            self._next = now + self._first_seconds
        if is_taken and self._told_since is not None:
            begun, self._told_since = self._told_since, None
            return Told(now - begun, self._most, is_over=True)
        if now < self._next:
            return None
        self._next = now + self._again_seconds
        if self._told_since is None:
            self._told_since, self._most = self._since, waiting
        return Told(now - self._since, waiting, is_over=False)
