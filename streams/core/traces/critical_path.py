"""The critical path of a trace: the spans that its length hangs on, and how much each adds.

Owns the rule. A span's path goes back from its end: the child that ended last is on it, then the
child that ended last before that one began, and so on; between them is the span's own time. What a
child says outside its parent's time is cut, and a child wholly outside it is left out: its clock
differs, or its parent did not wait for it. Clocks differ a little, so a child may also end after
the next one began: by less than 1 % of the parent's length, when nothing else begins or ends there.
Invariant: the own times on the path of a root add up to the root's length.

Source: Zhang et al., "CRISP: Critical Path Analysis of Large-Scale Microservice Architectures",
USENIX ATC 2022, sections 3.1 and 3.3.
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


def critical_path(parent: I64, start_us: TimesUs, duration_us: I64) -> CriticalPath:
    """Return what each tree's length hangs on.

    Args:
        parent: (n,) row of each span's parent, -1 for none; a forest (`shape.shape_of`).
        start_us: (n,) starts, Unix microseconds.
        duration_us: (n,) lengths, >= 0.
    """
    start: list[int] = start_us.tolist()
    end: list[int] = (start_us + duration_us).tolist()
    children: list[list[int]] = [[] for _ in start]
    work = []
    for row, above in enumerate(parent.tolist()):
        if above < 0:
            work.append(row)
        else:
            children[above].append(row)
    is_on = np.zeros(len(start), np.bool_)
    own_us = np.zeros(len(start), np.int64)
    while work:
        row = work.pop()
        inside = _fitted(row, children[row], start, end)
        chain = _chain(row, inside, start, end)
        _settle(row, chain, start, end)
        is_on[row] = True
        own_us[row] = end[row] - start[row] - sum(end[one] - start[one] for one in chain)
        work += chain
    return CriticalPath(is_on, own_us, np.array(start, np.int64), np.array(end, np.int64))


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
