"""Puts a join task's state together again from its segments, oldest first.

Invariant: what was accepted stays accepted. Bounds were checked when the events came; a restored
event is never refused, or the accounts would not balance.
"""

from collections.abc import Callable

import numpy as np

from streams.core.columns import EventColumns
from streams.core.traces.closedtraces import ClosedBatch
from streams.core.traces.idmap import first_of_each, halves
from streams.engine.join_state import REOPENED_COLUMNS, JoinState
from streams.state.segment import Segment, SegmentClosed, SegmentRows
from streams.units import I32, U64

Decode = Callable[[SegmentRows], EventColumns]
Bits = Callable[[EventColumns], tuple[U64, I32]]


def apply_segment(state: JoinState, segment: Segment, decode: Decode, bits_of: Bits) -> None:
    """Put one segment on top of the state; a full one goes onto an empty state.

    Args:
        state: the state so far.
        segment: the next segment.
        decode: decodes the segment's events, all of which were accepted once.
        bits_of: the plan's bits of each event, and the flow it enters.
    """
    open_ = state.open
    found = open_.find(*halves(segment.removed))
    slots = found[found >= 0]
    rows, _ = open_.gather(slots)
    state.forget(slots, rows)
    _apply_closed(state, segment.closed)
    for key, *values, known in segment.reopened:
        if state.closed.find(key):
            state.closed.reopen(key)
        slot = open_.slot(key)
        slot = open_.open(key) if slot < 0 else slot
        for name, value in zip(REOPENED_COLUMNS, values, strict=True):
            open_.slots[name][slot] = value
        open_.know(slot, np.array(known, np.uint64))
        if open_.slots["revision"][slot] > 0:
            open_.reopened.add(slot)
    if len(segment.rows):
        _apply_rows(state, segment.rows, decode(segment.rows), bits_of)
    state.rejected.add(segment.rejected)
    if segment.scalars:  # a restore hands the rows out in steps, and the rest with the first
        state.restore_scalars(segment.scalars)
    state.sealed()


def _apply_rows(state: JoinState, rows: SegmentRows, events: EventColumns, bits_of: Bits) -> None:
    open_ = state.open
    hi, lo = rows.trace_id[:, 0], rows.trace_id[:, 1]
    first = first_of_each(hi, lo)
    ones = np.flatnonzero(first == np.arange(len(first)))
    slot = open_.find(hi, lo)
    new = ones[slot[ones] < 0]
    if len(new):
        slot[new] = open_.open_new(hi[new], lo[new])
    slot = slot[first]
    bits, entry = bits_of(events)
    late, recalled = rows.is_late, rows.is_recalled
    open_.add(events, slot, bits, entry, late=late, recalled=recalled, bounded=False)
    state.recalled_rows += int(recalled.sum())


def _apply_closed(state: JoinState, closed: SegmentClosed) -> None:
    if not len(closed.trace_id):
        return
    starts = np.flatnonzero(np.r_[True, np.diff(closed.cut_ms) != 0]).tolist()
    offset = np.r_[0, np.cumsum(closed.size)]
    for start, end in zip(starts, [*starts[1:], len(closed.trace_id)], strict=True):
        state.closed.add(
            ClosedBatch(
                closed_us=closed.closed_us[start:end],
                cut_ms=int(closed.cut_ms[start]),
                cut=state.open.cut,
                trace_id=closed.trace_id[start:end],
                revision=closed.revision[start:end],
                is_truncated=closed.is_truncated[start:end],
                known=closed.known[start:end],
                offset=offset[start : end + 1] - offset[start],
                events=closed.events[offset[start] : offset[end]],
            )
        )
