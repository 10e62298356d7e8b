"""The shape of traces: who is whose parent, and the chain of operations above a span.

Owns nothing but arithmetic on ids. A *chain* of depth d is a span's own operation and those of
its d nearest ancestors; it stands as one 64-bit hash, so that a rule's condition is one look-up.
Invariant: a chain that a lost span interrupts has no hash (0) from there on, so no rule that
needs the lost part can hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.units import I32, I64, U64, Mask

NO_ROW: Final = -1
UNKNOWN: Final = -1

_MIX_A: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_B: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_C: Final = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class Tree:
    """Spans as a forest; every array has the same length n.

    Attributes:
        trace: (n,) ordinal of the trace.
        code: (n,) the span's operation in the rules' numbering, `UNKNOWN` for none.
        parent_row: (n,) row of the parent, `NO_ROW` for a root or an unseen parent.
        is_orphan: (n,) the span names a parent that is not among the rows.
    """

    trace: I32
    code: I64
    parent_row: I64
    is_orphan: Mask

    def __len__(self) -> int:
        return len(self.trace)


def parent_rows(trace: I32, span_id: U64, parent_span_id: U64) -> tuple[I64, Mask]:
    """Find the row of each span's parent within its trace.

    Args:
        trace: (n,) ordinal of the trace, >= 0.
        span_id: (n,) distinct within a trace.
        parent_span_id: (n,) 0 for a root.

    Returns:
        (n,) row of the parent, -1 when there is none or the span names itself; (n,) bool, True
        where a parent is named and unseen.
    """
    rows = len(trace)
    if rows == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    ids, dense = np.unique(np.concatenate([span_id, parent_span_id]), return_inverse=True)
    # (trace, dense id) in one integer: exact, unlike a hash, and one sort instead of a lexsort.
    base = trace.astype(np.int64) * len(ids)
    own, wanted = base + dense[:rows], base + dense[rows:]
    order = np.argsort(own, kind="stable")
    sorted_own = own[order]
    place = np.minimum(np.searchsorted(sorted_own, wanted), rows - 1)
    is_child = parent_span_id != 0
    is_found = is_child & (sorted_own[place] == wanted)
    parent_row = np.where(is_found, order[place], NO_ROW)
    parent_row[parent_row == np.arange(rows)] = NO_ROW
    return parent_row, is_child & ~is_found


def chains(code: I64, parent_row: I64, depth: int) -> U64:
    """Hash the chain of every span at every depth.

    Args:
        code: (n,) operation of each span, `UNKNOWN` (-1) for one that no rule names.
        parent_row: (n,) row of the parent, -1 for none.
        depth: The deepest chain asked for, >= 0.

    Returns:
        (depth + 1, n) hashes; 0 where the chain is shorter, interrupted, or holds `UNKNOWN`.
    """
    out = np.zeros((depth + 1, len(code)), np.uint64)
    out[0] = np.where(code >= 0, _mix(code.astype(np.uint64) + np.uint64(1)), np.uint64(0))
    has_parent = parent_row >= 0
    for level in range(1, depth + 1):
        above = np.where(has_parent, out[level - 1][parent_row], np.uint64(0))
        out[level] = np.where((above != 0) & (out[0] != 0), _join(out[0], above), np.uint64(0))
    return out


def chain_hash(codes: Sequence[int]) -> int:
    """Hash one chain: an operation, then its ancestors' from the nearest on; as `chains` does."""
    own = _mix(np.array(codes, np.int64).astype(np.uint64) + np.uint64(1))
    above = own[-1:]
    for level in range(len(codes) - 2, -1, -1):
        above = _join(own[level : level + 1], above)
    return int(above[0])


def shapes(code: I64, parent_row: I64) -> U64:
    """Hash each span's operation with the multiset of its children's.

    Returns:
        (n,) hashes; spans of one operation with the same children, in any order, have the same.
    """
    rows = np.flatnonzero(parent_row >= 0)
    total = np.zeros(len(code), np.uint64)
    # Sums wrap around and do not care for order; + 2, so that an unknown child counts as well.
    np.add.at(total, parent_row[rows], _mix((code[rows] + 2).astype(np.uint64)))
    return _join(_mix((code + 2).astype(np.uint64)), total)


def shape_hash(code: int, children: Sequence[int]) -> int:
    """Hash one operation with its children's, as `shapes` does."""
    rows = np.zeros(len(children), np.int64)
    return int(shapes(np.array([code, *children]), np.append(NO_ROW, rows))[0])


def keyed(row: I64, value: U64) -> U64:
    """Hash pairs of a row and a hash, so that pairs can be looked up."""
    return _join(_mix(row.astype(np.uint64)), value)


def _mix(value: U64) -> U64:
    """Spread the bits of each value. Source: SplitMix64."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_B
    value = (value ^ (value >> np.uint64(27))) * _MIX_C
    return value ^ (value >> np.uint64(31))


def _join(own: U64, above: U64) -> U64:
    return _mix(own * _MIX_A + above)
