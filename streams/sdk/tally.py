"""A number that a signal handler may add to amid another addition: each is one step.

`+=` reads and writes, and a handler that runs in between has its addition overwritten. `next` of a
count is a single step, and so is its text, by which it is read without being moved on: a look in
two steps would be wrong by one where a handler looks in between.
"""

from itertools import count
from typing import Final

_BEFORE: Final = len("count(")


class Tally:
    """Starts at 0; safe in threads and in signal handlers."""

    __slots__ = ("_added",)

    def __init__(self) -> None:
        self._added = count()

    def add(self) -> None:
        """Add one."""
        next(self._added)

    def value(self) -> int:
        """Return how often one was added."""
        return int(repr(self._added)[_BEFORE:-1])
