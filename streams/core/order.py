"""Sorting small numbers: rows by slot, by owner, by group.

numpy sorts 16-bit numbers by their digits, ten times faster than any comparison; larger ones are
sorted so in two passes. The order of equal rows stays.
"""

from typing import Final

import numpy as np

from streams.units import I32, I64

_DIGIT: Final = 1 << 16
_CLOSE: Final = 4_096


def stable_order(number: I32 | I64) -> I64:
    """Return the positions of (n,) numbers from 0 to 2**32 - 1 in ascending order, stable."""
    if len(number) == 0:
        return np.zeros(0, np.int64)
    order = np.argsort((number & (_DIGIT - 1)).astype(np.uint16), kind="stable")
    if int(number.max()) < _DIGIT:
        return order
    high = (number >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def run_starts(ordered: I32 | I64) -> I64:
    """Return where each run of equal numbers begins; (runs,)."""
    if len(ordered) == 0:
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def distinct(number: I64) -> tuple[I64, I64]:
    """Return the distinct numbers in ascending order, and (n,) which of them each is.

    As `numpy.unique` with its inverse; numbers that lie close together are counted, not sorted.
    """
    if len(number) == 0:
        none = np.zeros(0, np.int64)
        return none, none
    low = int(number.min())
    width = int(number.max()) - low + 1
    if width > 2 * len(number) + _CLOSE:
        values, which = np.unique(number, return_inverse=True)
        return values, which
    since = number - low
    is_there = np.zeros(width, np.bool_)
    is_there[since] = True
    place = np.cumsum(is_there) - 1
    return np.flatnonzero(is_there) + low, place.take(since)


def sums_by(which: I64, value: I64, groups: int) -> I64:
    """Return (groups,) sums of (n,) whole numbers by group, exact to 64 bits."""
    out = np.zeros(groups, np.int64)
    order = stable_order(which)
    if len(order):
        start = run_starts(which.take(order))
        out[which[order[start]]] = np.add.reduceat(value.take(order), start)
    return out
