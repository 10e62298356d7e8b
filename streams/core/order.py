"""Sorting small numbers: rows by slot, by owner, by group.

numpy sorts 16-bit numbers by their digits, ten times faster than any comparison; larger ones are
sorted so in two passes. The order of equal rows stays.
"""

import numpy as np

from streams.units import I32, I64

_DIGIT: int = 1 << 16


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
