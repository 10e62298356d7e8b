"""The critical path: the spans that a length hangs on, and how much each adds.

Owns two rules, of which the second is made of the first.

A tree's (`critical_path`): what its root waited for. A span's path goes back from its end: the
child that ended last is on it, then the child that ended last before that one began, and so on;
between them is the span's own time. What a child says outside its parent's time is cut, and a child
wholly outside it is left out: its clock differs, or its parent did not wait for it. Clocks differ
a little, so a child may also end after the next one began: by less than 1 % of the parent's
length, when nothing else begins or ends there.
Invariant: the own times on the path of a root add up to the root's length.

A trace's (`trace_path`): what its end waited for. Where work is handed on, a child begins when its
parent is over, and no root waits for the end. The path goes back from the span that ended last
to its root: each span on that line counts until the next one on it began, with those of its
children that were over by then, each by its tree's rule. Between the end of one and the begin
of the next the record waited. Where a root ends last, both rules are one.
Invariant: own times and waits on the path add up from the line's first begin to the trace's end.

Source of the tree's rule: Zhang et al., "CRISP: Critical Path Analysis of Large-Scale
Microservice Architectures", USENIX ATC 2022, sections 3.1 and 3.3.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from streams.units import I64, Mask, TimesUs

OVERLAP_RATIO_MAX: Final = 0.01
"""Of the parent's length: so much may two children overlap and still be one after the other."""


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The critical paths of the trees of a forest of n spans.

    Attributes:
        is_on: (n,) the span is on its tree's path.
        own_us: (n,) time on the path that is the span's own, >= 0; 0 off the path.
        start_us, end_us: (n,) the span's time within its ancestors', as the path sees it.
    """

    is_on: Mask
    own_us: I64
    start_us: TimesUs
    end_us: TimesUs


@dataclass(frozen=True, slots=True)
class TracePath(CriticalPath):
    """The critical path of a trace of n spans.

    Attributes:
        waited_us: (n,) how long before the span began all that it follows on the path was over,
            >= 0; 0 off the path, and where nothing was handed on.
    """

    waited_us: I64


def critical_path(parent: I64, start_us: TimesUs, duration_us: I64) -> CriticalPath:
    """Return what each tree's length hangs on.

    Args:
        parent: (n,) row of each span's parent, -1 for none; a forest (`shape.shape_of`).
        start_us: (n,) starts, Unix microseconds.
        duration_us: (n,) lengths, >= 0.
    """
    trees = _Trees(parent, start_us, duration_us)
    own_us = np.zeros(len(parent), np.int64)
    is_on = np.zeros(len(parent), np.bool_)
    trees.walk(np.flatnonzero(parent < 0).tolist(), is_on, own_us)
    return CriticalPath(is_on, own_us, *trees.times())


def trace_path(parent: I64, start_us: TimesUs, duration_us: I64) -> TracePath:
    """Return what the end of the last span hangs on, through all that handed work on to it.

    Of several trees only the one in which the last span lies has a path.

    Args:
        parent: (n,) row of each span's parent, -1 for none; a forest (`shape.shape_of`).
        start_us: (n,) starts, Unix microseconds.
        duration_us: (n,) lengths, >= 0.
    """
    count = len(parent)
    trees = _Trees(parent, start_us, duration_us)
    is_on = np.zeros(count, np.bool_)
    own_us, waited_us = np.zeros(count, np.int64), np.zeros(count, np.int64)
    begun = []
    reached, after = 0, -1
    at = trees.last_to_end()
    while at >= 0:
        if after < 0:
            reached = trees.end[at]
        low, high = min(trees.start[at], reached), min(trees.end[at], reached)
        if after >= 0:
            waited_us[after] = reached - high
        trees.start[at], trees.end[at] = low, high
        # What was not over by then is not what the next one waited for.
        over = [one for one in trees.children[at] if one != after and trees.end[one] <= high]
        begun += trees.enter(at, over, is_on, own_us)
        reached, after, at = low, at, int(parent[at])
    trees.walk(begun, is_on, own_us)
    return TracePath(is_on, own_us, *trees.times(), waited_us)


class _Trees:
    """Spans with their children, and their times, which are cut as a path is followed."""

    def __init__(self, parent: I64, start_us: TimesUs, duration_us: I64) -> None:
        self.start: list[int] = start_us.tolist()
        self.end: list[int] = (start_us + duration_us).tolist()
        self.children: list[list[int]] = [[] for _ in self.start]
        self._roots: list[int] = []
        for row, above in enumerate(parent.tolist()):
            (self.children[above] if above >= 0 else self._roots).append(row)

    def times(self) -> tuple[TimesUs, TimesUs]:
        """Return starts and ends as they were cut."""
        return np.array(self.start, np.int64), np.array(self.end, np.int64)

    def last_to_end(self) -> int:
        """Return the row that ends last, of equals the one nearest a root; -1 for no rows."""
        last_us = max(self.end, default=0)
        level = self._roots
        while level:
            found = [row for row in level if self.end[row] == last_us]
            if found:
                return min(found, key=lambda row: (self.start[row], row))
            level = [child for row in level for child in self.children[row]]
        return -1

    def walk(self, work: list[int], is_on: Mask, own_us: I64) -> None:
        """Follow the paths of some spans, whose times are cut already."""
        work = list(work)
        while work:
            row = work.pop()
            work += self.enter(row, self.children[row], is_on, own_us)

    def enter(self, row: int, children: list[int], is_on: Mask, own_us: I64) -> list[int]:
        """Put a span on the path and return those of some children that it goes on with."""
        start, end = self.start, self.end
        chain = _chain(row, _fitted(row, children, start, end), start, end)
        _settle(row, chain, start, end)
        is_on[row] = True
        own_us[row] = end[row] - start[row] - sum(end[one] - start[one] for one in chain)
        return chain


def _fitted(row: int, children: list[int], start: list[int], end: list[int]) -> list[int]:
    """Cut children to their parent's time and return those that have any in it, last end first."""
    low, high = start[row], end[row]
    inside = []
    for one in children:
        begins, ends = max(start[one], low), min(end[one], high)
        # One that has no length may lie on either edge.
        if begins < ends or (begins == ends and start[one] == end[one]):
            start[one], end[one] = begins, ends
            inside.append(one)
    # Of children that end together the longest: the others ran beside it.
    inside.sort(key=lambda one: (-end[one], start[one], one))
    return inside


def _chain(row: int, inside: list[int], start: list[int], end: list[int]) -> list[int]:
    """Return the children on the path, the last first."""
    allowed_us = OVERLAP_RATIO_MAX * (end[row] - start[row])
    chain: list[int] = []
    for one in inside:
        if not chain:
            chain.append(one)
            continue
        later = chain[-1]
        overlap_us = end[one] - start[later]
        if overlap_us <= 0:
            chain.append(one)
        elif overlap_us < allowed_us and start[one] < start[later] and end[one] < end[later]:
            low, high = start[later], end[one]
            edges = sum(
                (low <= start[other] <= high) + (low <= end[other] <= high) for other in inside
            )
            if edges == 2:  # its own end and the later one's start
                chain.append(one)
    return chain


def _settle(row: int, chain: list[int], start: list[int], end: list[int]) -> None:
    """Cut overlaps as far as the children's lengths add up to more than their parent's."""
    too_much_us = sum(end[one] - start[one] for one in chain) - (end[row] - start[row])
    for later, one in pairwise(chain):
        cut_us = min(max(0, end[one] - start[later]), max(0, too_much_us))
        end[one] -= cut_us
        too_much_us -= cut_us
