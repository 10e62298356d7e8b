"""Counts by scope, and their sums over the windows of the last stretch of event time.

Owns the vocabulary of the global stage (scope, counts, changes). Invariant: a rolling sum equals
the sum, computed anew, over the windows it spans; counters that reach 0 are gone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

Counts = dict[str, int]
"""Counter name -> count."""


class Scope(NamedTuple):
    """What a count is about; the fields are those of schemas/fidelity_partial.v1.avsc."""

    kind: str
    flow: str
    from_stage: str
    to_stage: str
    module: str


Changes = dict[Scope, Counts]
"""By how much each counter changed; negative where it fell."""


def change(
    total: dict[Scope, Counts], scope: Scope, delta: Mapping[str, int], *, keep_empty: bool = False
) -> None:
    """Add `delta` to a scope's counts in place; counters that become 0 are removed.

    Args:
        total: the counts to change.
        scope: whose.
        delta: what to add, negative to take away.
        keep_empty: whether a scope without counters stays.
    """
    counts = total.setdefault(scope, {})
    for name, n in delta.items():
        new = counts.get(name, 0) + n
        if new:
            counts[name] = new
        else:
            counts.pop(name, None)
    if not counts and not keep_empty:
        del total[scope]


class RollingSum:
    """The counts of the windows that start in [end - width, end), added up by scope."""

    def __init__(self, width_us: int, counters: frozenset[str] | None = None) -> None:
        self.width_us = width_us
        self.counters = counters
        self.end_us = 0
        self.total: dict[Scope, Counts] = {}

    def advance(
        self, end_us: int, window_us: int, counts_at: Callable[[int], Mapping[Scope, Counts]]
    ) -> None:
        """Move the end on by one window: take the newest in, let the oldest go."""
        assert end_us == self.end_us + window_us, (end_us, self.end_us)
        self.end_us = end_us
        self._add(counts_at(end_us - window_us), 1)
        self._add(counts_at(end_us - window_us - self.width_us), -1)

    def amend(self, start_us: int, changes: Changes) -> None:
        """Follow a correction of one window, if the sum spans it."""
        if self.end_us - self.width_us <= start_us < self.end_us:
            self._add(changes, 1)

    def rebuild(
        self, end_us: int, starts: Iterable[int], counts_at: Callable[[int], Mapping[Scope, Counts]]
    ) -> None:
        """Compute the sum anew from the windows held."""
        self.end_us = end_us
        self.total = {}
        for start_us in starts:
            if end_us - self.width_us <= start_us < end_us:
                self._add(counts_at(start_us), 1)

    def _add(self, counts: Mapping[Scope, Counts], sign: int) -> None:
        for scope, of_scope in counts.items():
            delta = {
                name: sign * n
                for name, n in of_scope.items()
                if self.counters is None or name in self.counters
            }
            if delta:
                change(self.total, scope, delta)
