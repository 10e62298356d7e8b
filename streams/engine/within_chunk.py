"""Which rows of a chunk come after their trace has closed within that same chunk.

Stream time is compared row by row, so where a trace closes does not depend on how the stream was
cut into chunks. In a live stream hardly a trace can close before its last row of a chunk; while a
worker catches up most can, so all of them are walked at once, as columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streams.core.columns import EventColumns
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.tables import plan_tables
from streams.core.order import stable_order
from streams.core.traces.opentraces import RECALL_WANTED, OpenTraces, waiting_times
from streams.core.traces.progress import NEVER
from streams.engine.due import DueRule
from streams.units import I32, I64, U64, Mask

ROWS_MAX: Final = 1_000
"""A trace with more rows in one chunk is cut by its bounds, not by the row."""
_NO_ROOT: Final = np.iinfo(np.int64).max

Column = npt.NDArray[Any]
Columns = tuple[Column, ...]
Merge = Callable[[Columns, Columns], Columns]
"""Combines what is known of earlier rows with what is known of later ones; associative."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Rows of a chunk that have a trace, all arrays of length n.

    Attributes:
        events: the events.
        slot: their slots, -1 for rows that go no further.
        bits: (n, W) the plan's bits each of them sets.
        entry: the flow each enters, -1 for none.
        index: their rows in the whole chunk.
        progress: (topics, rows of the whole chunk) progress after each row.
    """

    events: EventColumns
    slot: I64
    bits: U64
    entry: I32
    index: I64
    progress: I64


@dataclass(frozen=True, slots=True)
class _Runs:
    """Rows in the order of their slots: `order[start[i]:end[i]]` are those of `owner[i]`."""

    order: I64
    start: I64
    end: I64
    owner: I64


class WithinChunk:
    """Finds the rows that come after their trace has closed.

    Args:
        plan: the compiled contract.
        due: when a trace is due.
        fixed_wait_us: the wait that the settings name, None to learn it.
    """

    def __init__(self, plan: Plan, due: DueRule, fixed_wait_us: int | None) -> None:
        self._plan = plan
        self._due = due
        self._fixed_wait_us = fixed_wait_us

    def after_closing(self, open_: OpenTraces, rows: Arrivals, wait_us: int) -> Mask:
        """Return which rows come after their trace closed; (n,) bool.

        Args:
            open_: the open traces, before the rows are added.
            rows: the rows.
            wait_us: the learned wait.
        """
        later = np.zeros(len(rows.slot), np.bool_)
        here = np.flatnonzero(rows.slot >= 0)
        order = here[stable_order(rows.slot[here])]
        if not len(order):
            return later
        slots = rows.slot[order]
        start = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
        runs = _Runs(order, start, np.r_[start[1:], len(slots)], slots[start])
        # Progress before a trace's last row here: the latest moment at which it could have closed.
        last_row = rows.index[order[runs.end - 1]]
        ahead = rows.progress.max(axis=0)[np.maximum(last_row - 1, 0)]
        may = ahead > self._soonest_us(open_, rows, runs, wait_us)
        may &= open_.slots["recall"][runs.owner] != RECALL_WANTED
        may &= runs.end - runs.start <= ROWS_MAX
        if may.any():
            size = (runs.end - runs.start)[may]
            end = np.cumsum(size)
            order = order[np.repeat(may, runs.end - runs.start)]
            walked = _Runs(order, end - size, end, runs.owner[may])
            later[order] = self._walk(open_, rows, walked, wait_us)
        return later

    def _soonest_us(self, open_: OpenTraces, rows: Arrivals, runs: _Runs, wait_us: int) -> I64:
        """Return (k,) times that stream time must pass for a trace to close before its end."""
        s = open_.slots
        times = waiting_times(rows.events, runs.order)
        first = np.minimum(s["first_us"][runs.owner], np.minimum.reduceat(times, runs.start))
        waits = [self._fixed_wait_us or wait_us, *(flow.wait_us for flow in self._plan.flows)]
        soonest = first + min(waits)
        if not self._plan.flows:
            return soonest
        # What is seen only grows, so a flow whose unconditional stages are not all in before the
        # last row was never met; which flow it is, and what a condition asks, may still change.
        earlier = rows.bits.take(runs.order, axis=0)
        earlier[runs.end - 1] = 0
        mask = np.asarray(np.bitwise_or.reduceat(earlier, runs.start, axis=0), np.uint64)
        mask |= s["mask"][runs.owner]
        required = plan_tables(self._plan).required
        is_met = (required[None] & ~mask[:, None] == 0).all(axis=2).any(axis=1)
        settle_us = min(f.settle_us for f in self._plan.flows)
        settled = first + settle_us if settle_us else np.full(len(first), NEVER)
        return np.where(is_met, np.minimum(soonest, settled), soonest)

    def _walk(self, open_: OpenTraces, rows: Arrivals, runs: _Runs, wait_us: int) -> Mask:
        """Return which rows of the runs come after a row before which their trace was due."""
        s, owner, order = open_.slots, runs.owner, runs.order
        size = runs.end - runs.start
        position = np.arange(len(order)) - np.repeat(runs.start, size)
        times = waiting_times(rows.events, order)

        def known_before(column: Column, at_start: Column, merge: Merge) -> Column:
            (out,) = _before((column,), (at_start[owner],), runs.start, position, merge)
            return out

        mask = known_before(rows.bits[order], s["mask"], _each(np.bitwise_or))
        first = known_before(times, s["first_us"], _each(np.minimum))
        last = known_before(times, s["last_us"], _each(np.maximum))
        flow = self._entered_before(open_, rows, runs, position)
        deadlines = self._due.deadlines(mask, flow, first, last, wait_us)
        index = rows.index[order]
        due = deadlines.passed(rows.progress[:, np.maximum(index - 1, 0)]) & (index > 0)
        due[runs.start[s["rows"][owner] == 0]] = False  # nothing of it was there to close
        first_due = np.minimum.reduceat(np.where(due, position, len(order)), runs.start)
        return np.asarray(position >= np.repeat(first_due, size))

    def _entered_before(self, open_: OpenTraces, rows: Arrivals, runs: _Runs, position: I64) -> I32:
        """Return the flow that the earliest root seen before each row names; -1 for none."""
        s, order = open_.slots, runs.order
        entry = rows.entry[order]
        is_root = entry >= 0
        roots = (
            np.where(is_root, rows.events.timestamp_us[order], _NO_ROOT),
            rows.events.span_id[order],
            entry,
        )
        flow = s["entry_flow"][runs.owner]
        since_us = np.where(flow >= 0, s["entry_us"][runs.owner], _NO_ROOT)
        known = (since_us, s["entry_id"][runs.owner], flow)
        return _before(roots, known, runs.start, position, _earlier_root)[2]


def _before(
    columns: Columns, at_start: Columns, start: I64, position: I64, merge: Merge
) -> Columns:
    """Return what is known before each row: what was at its run's start, merged row by row.

    Args:
        columns: per row what it adds.
        at_start: per run what was known before its first row.
        start: (k,) where each run starts.
        position: (n,) each row's place in its run.
        merge: see `Merge`.
    """
    out = []
    for column, initial in zip(columns, at_start, strict=True):
        shifted = np.empty_like(column)
        shifted[1:] = column[:-1]
        shifted[start] = initial
        out.append(shifted)
    # Each round doubles how many rows back a row has seen: log2 of the longest run, not its length.
    step, longest = 1, int(position.max()) + 1
    while step < longest:
        rows = np.flatnonzero(position >= step)
        merged = merge(tuple(c[rows - step] for c in out), tuple(c[rows] for c in out))
        for column, values in zip(out, merged, strict=True):
            column[rows] = values
        step *= 2
    return tuple(out)


def _each(ufunc: np.ufunc) -> Merge:
    return lambda earlier, later: (ufunc(earlier[0], later[0]),)


def _earlier_root(earlier: Columns, later: Columns) -> Columns:
    """Keep the root that began first, by time, then span id; of equal ones the first to come."""
    at_us, span_id, _ = earlier
    wins = (later[0] < at_us) | ((later[0] == at_us) & (later[1] < span_id))
    wins &= later[0] != _NO_ROOT
    return tuple(np.where(wins, b, a) for a, b in zip(earlier, later, strict=True))
