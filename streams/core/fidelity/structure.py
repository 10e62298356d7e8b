"""The shape of traces by parent pointers alone: parents, roots, orphans, cycles, start and end.

Owns no contract knowledge. Invariant: every answer is exact (ids are ranked, never hashed), and a
trace whose parents run in a circle ends the search like any other.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.core.columns import SpanBatch
from streams.units import I32, I64, U64, Mask, TimesUs

NO_PARENT: Final = -1
UNSEEN_PARENT: Final = -2
_NEAR: Final = 3


@dataclass(frozen=True, slots=True)
class Structure:
    """The shape of the T traces of a batch of n spans.

    Attributes:
        first: (T + 1,) the rows of trace t are `first[t]` up to, not including, `first[t + 1]`.
        parent_row: (n,) row of the parent; -1 for a root, -2 when the parent was not seen.
        root_count: (T,) spans without a parent.
        orphan_count: (T,) spans whose parent was not seen.
        root_row: (T,) row of the earliest root, -1 when there is none.
        start_us: (T,) earliest start; 0 for a trace without spans.
        end_us: (T,) latest end (start + duration); 0 for a trace without spans.
        has_cycle: (T,) some spans are their own ancestors, so that no root explains them.
    """

    first: I64
    parent_row: I64
    root_count: I32
    orphan_count: I32
    root_row: I64
    start_us: TimesUs
    end_us: TimesUs
    has_cycle: Mask

    @property
    def is_tree(self) -> Mask:
        """(T,) exactly one root, and every span hangs on it."""
        is_tree: Mask = (self.root_count == 1) & (self.orphan_count == 0) & ~self.has_cycle
        return is_tree


def structure_of(batch: SpanBatch) -> Structure:
    """Return the shape of each trace; a trace without spans has no root and times of 0.

    Args:
        batch: distinct spans sorted by (trace, timestamp, span id).
    """
    traces = batch.traces
    first = np.zeros(traces + 1, np.int64)
    np.cumsum(np.bincount(batch.trace, minlength=traces), out=first[1:])
    parent_row = parent_rows(batch.trace, batch.span_id, batch.parent_span_id, first)
    root_rows = np.flatnonzero(parent_row == NO_PARENT)
    orphan_rows = np.flatnonzero(parent_row == UNSEEN_PARENT)
    has_spans = first[1:] > first[:-1]
    starts = first[:-1][has_spans]
    start_us = np.zeros(traces, np.int64)
    end_us = np.zeros(traces, np.int64)
    if len(starts):
        start_us[has_spans] = batch.timestamp_us[starts]
        end_us[has_spans] = np.maximum.reduceat(batch.timestamp_us + batch.duration_us, starts)
    return Structure(
        first=first,
        parent_row=parent_row,
        root_count=np.bincount(batch.trace[root_rows], minlength=traces).astype(np.int32),
        orphan_count=np.bincount(batch.trace[orphan_rows], minlength=traces).astype(np.int32),
        root_row=earliest_rows(batch.trace, root_rows, traces),
        start_us=start_us,
        end_us=end_us,
        has_cycle=_has_cycle(batch.trace, parent_row, first),
    )


def earliest_rows(trace: I32, rows: I64, traces: int) -> I64:
    """Return for each trace the first of the given ascending rows that is its own, -1 for none."""
    earliest = np.full(traces, -1, np.int64)
    # Of repeated positions the last assignment stays, so that going backwards keeps the first row.
    earliest[trace[rows[::-1]]] = rows[::-1]
    return earliest


def parent_rows(trace: I32, span_id: U64, parent_span_id: U64, first: I64) -> I64:
    """Return the row of each span's parent within its own trace.

    Most parents are the trace's first span, or began just before: those are looked at before any
    search.

    Args:
        trace: (n,) ordinal of the trace, not decreasing.
        span_id: (n,) distinct within a trace; the same id may occur in several traces.
        parent_span_id: (n,) 0 for a root.
        first: (T + 1,) where the rows of each trace begin.

    Returns:
        (n,) row; -1 where there is no parent, -2 where the parent is not among the spans.
    """
    count = len(trace)
    if count == 0:
        return np.zeros(0, np.int64)
    out = np.where(parent_span_id == 0, NO_PARENT, UNSEEN_PARENT)
    rows = np.flatnonzero(out == UNSEEN_PARENT)
    for back in (*range(1, _NEAR + 1), 0):
        begin = first[trace[rows]]
        near = np.maximum(rows - back, begin) if back else begin
        is_parent = span_id[near] == parent_span_id[rows]
        out[rows[is_parent]] = near[is_parent]
        rows = rows[~is_parent]
    if len(rows):
        is_mine = np.zeros(len(first) - 1, np.bool_)
        is_mine[trace[rows]] = True
        some = np.flatnonzero(is_mine[trace])
        found = _searched_parents(trace[some], span_id[some], parent_span_id[some])
        is_row = found >= 0
        out[some[is_row]] = some[found[is_row]]
    return out


def _searched_parents(trace: I32, span_id: U64, parent_span_id: U64) -> I64:
    """Return what `parent_rows` does, by search; -2 for roots too."""
    count = len(trace)
    order = np.argsort(span_id, kind="stable")
    sorted_id = span_id[order]
    is_new = np.ones(count, np.bool_)
    np.not_equal(sorted_id[1:], sorted_id[:-1], out=is_new[1:])
    if is_new.all():  # the usual case: an id names one row, whatever its trace
        place = np.minimum(np.searchsorted(sorted_id, parent_span_id), count - 1)
        row = order[place]
        is_found = (sorted_id[place] == parent_span_id) & (trace[row] == trace)
    else:
        ids = sorted_id[is_new]
        rank = np.empty(count, np.int64)
        rank[order] = np.cumsum(is_new) - 1
        place = np.minimum(np.searchsorted(ids, parent_span_id), len(ids) - 1)
        base = trace.astype(np.int64) * len(ids)
        key = base + rank
        by_key = np.argsort(key, kind="stable")
        wanted = base + place
        slot = np.minimum(np.searchsorted(key[by_key], wanted), count - 1)
        row = by_key[slot]
        is_found = (ids[place] == parent_span_id) & (key[row] == wanted)
    return np.where(is_found, row, UNSEEN_PARENT)


def _has_cycle(trace: I32, parent_row: I64, first: I64) -> Mask:
    """Mark the traces in which following the parents never ends.

    Rows are sorted by start, so a circle must step forward somewhere; only traces with such a step
    are walked, by doubling the step until it is longer than the trace.
    """
    has_cycle = np.zeros(len(first) - 1, np.bool_)
    is_forward = parent_row >= np.arange(len(parent_row))
    if not is_forward.any():
        return has_cycle
    is_suspect = np.zeros(len(has_cycle), np.bool_)
    is_suspect[trace[is_forward]] = True
    rows = np.flatnonzero(is_suspect[trace])
    local = np.full(len(parent_row) + 1, len(rows), np.int64)  # the end of every walk
    local[rows] = np.arange(len(rows))
    parent = parent_row[rows]
    step = np.append(local[np.where(parent < 0, len(parent_row), parent)], len(rows))
    longest = int(np.diff(first)[is_suspect].max())
    for _ in range(longest.bit_length()):
        step = step[step]
    has_cycle[trace[rows[step[:-1] < len(rows)]]] = True
    return has_cycle
