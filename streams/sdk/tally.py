"""A number that a signal handler may add to amid another addition: each is one step.

`+=` reads and writes, and a handler that runs in between has its addition overwritten. `next` of a
count is a single step. It has no other way to be read than to be moved on, so that looks are
counted as well.
"""

from itertools import count


class Tally:
    """Starts at 0; safe in threads and in signal handlers."""

    __slots__ = ("_added", "_looks")

    def __init__(self) -> None:
        self._added, self._looks = count(), count()

    def add(self) -> None:
        """Add one."""
        next(self._added)

    def value(self) -> int:
        """Return how often one was added; by one caller at a time."""
        return next(self._added) - next(self._looks)
