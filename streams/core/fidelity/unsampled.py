"""What was never sent because it was not sampled: the points by which modules tell it.

Owns which metric points those are, and which of them are believed. Where sampling is decided at a
trace's begin, whole traces are absent, and nothing in the stream says that they were: the SDK of
each process tells how many, each time the change since it last did, so that sums over time and
processes are right.
"""

from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from streams.core.columns import METRIC, EventColumns, Operation, Operations
from streams.units import I64, U8, Mask

SPANS_UNSAMPLED: Final = "spans_unsampled"
TRACES_UNSAMPLED: Final = "traces_unsampled"
REFUSED: Final = "unsampled_refused"
"""Counter of points that cannot be a number of spans or traces."""
COUNTERS: Final = (SPANS_UNSAMPLED, TRACES_UNSAMPLED)
COUNT_MAX: Final = 1 << 40
"""Of one point: more than a process leaves out in a day. Sums of a window stay within 64 bits."""
_OTHER: Final = len(COUNTERS)


class UnsampledPoints:
    """Finds the points among events; looks at each name once."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Operations, U8] = WeakKeyDictionary()

    def counted(
        self, events: EventColumns, operations: Operations
    ) -> tuple[I64, dict[str, Mask], dict[str, I64]]:
        """Return the points among some events, and what they say.

        Args:
            events: n events.
            operations: the names behind the operation codes.

        Returns:
            (r,) the rows of the points; by counter, (r,) the points that count in it; by counter,
            (r,) how much, >= 0.
        """
        which = self._which(operations).take(events.operation)
        rows = np.flatnonzero((which != _OTHER) & (events.event_type == METRIC))
        value, kind = events.value[rows], which[rows]
        with np.errstate(invalid="ignore"):
            is_count = (value >= 0) & (value <= COUNT_MAX) & (value == np.floor(value))
        amount = np.where(is_count, value, 0).astype(np.int64)
        marks = {name: is_count & (kind == n) for n, name in enumerate(COUNTERS)}
        amounts = dict.fromkeys(COUNTERS, amount)
        return (
            rows,
            marks | {REFUSED: ~is_count},
            amounts | {REFUSED: np.ones(len(rows), np.int64)},
        )

    def _which(self, operations: Operations) -> U8:
        """Return by operation code the index in `COUNTERS`, or `_OTHER`."""
        known = self._known.get(operations)
        known = np.zeros(0, np.uint8) if known is None else known
        if len(known) < len(operations):
            new = [_counter_of(one) for one in operations.since(len(known))]
            known = self._known[operations] = np.concatenate([known, np.array(new, np.uint8)])
        return known


def _counter_of(operation: Operation) -> int:
    head, _, name = operation.name.rpartition(".")
    if name not in COUNTERS or head != f"pipeline.{operation.module.lower()}.telemetry.histogram":
        return _OTHER
    return COUNTERS.index(name)
