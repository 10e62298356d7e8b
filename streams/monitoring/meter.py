"""What a task's host measures of its own work, for the scraper: plain sums, nothing per record."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

BoundsMet = dict[str, Counter[str]]
"""How often bounds acted on memory and work, by task and name; "" is the process. Each task's is
written by whoever works for it, and read by another thread."""
HEAP_BOUND: Final = "heap_free_bytes_max"
"""Name of the process's bound."""


def no_bounds() -> BoundsMet:
    """Return counts in which no bound was met."""
    return defaultdict(Counter)


@dataclass(slots=True)
class Sample:
    """A measured quantity: how often, in all, and the largest."""

    count: int = 0
    sum: float = 0.0
    max: float = 0.0

    def add(self, value: float) -> None:
        """Take in one measurement."""
        self.count += 1
        self.sum += value
        self.max = max(self.max, value)


class Published(Protocol):
    """A record that a cut publishes."""

    @property
    def value(self) -> bytes | None:
        """Its bytes; None deletes its key."""


class Meter:
    """The measurements of one task since this worker took it over.

    Attributes:
        cut_seconds: from collecting the state of a cut to its being committed and copied.
        cut_bytes: values published by a cut, outputs and state.
        restore_seconds: reading the state back.
        restarts: refused commits.
        given_up: those of them whose client never came back.
    """

    def __init__(self) -> None:
        self.cut_seconds = Sample()
        self.cut_bytes = Sample()
        self.restore_seconds = Sample()
        self.restarts = 0
        self.given_up = 0

    def cut(self, seconds: float, outputs: Iterable[Published], state: Iterable[Published]) -> None:
        """Take in a cut that went through."""
        self.cut_seconds.add(seconds)
        self.cut_bytes.add(sum(len(record.value or b"") for record in chain(outputs, state)))
