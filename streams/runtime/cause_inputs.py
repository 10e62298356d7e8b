"""What a join task hands to the causes task: a sample of the closed traces, and changes.

Owns the sample. Invariants: it is bounded by cut, whatever the rate; which traces are in it depends
on their ids alone, so that it leans towards no kind of trace but away from very large ones.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from streams.codec import wire
from streams.core.causes.changes import CHANGE_EVENT
from streams.core.columns import AUDIT, EventColumns, Operations
from streams.engine.effects import AssembledBatch
from streams.runtime.commit import OutRecord
from streams.units import U64

VALUE_BYTES_MAX: Final = 64 << 10
"""Larger traces are left out of the sample, and counted: some hundred spans."""
CHANGES_PER_CUT: Final = 100
TRACE_SIZE: Final = "cause_trace_too_large"
CHANGES_BOUND: Final = "cause_changes_over_bound"
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""Fibonacci hashing. Source: Knuth, "The Art of Computer Programming", volume 3, section 6.4."""


class CauseInputs:
    """Gathers between two cuts.

    Args:
        topic: where they go; "" for nowhere.
        traces_max: so many traces a cut at most.
        operations: names the events.
        event_id: schema id of events.
    """

    def __init__(self, topic: str, traces_max: int, operations: Operations, event_id: int) -> None:
        self._topic = topic
        self._traces_max = traces_max if topic else 0
        self._operations = operations
        self._header = wire.header(event_id)
        self._traces: list[tuple[int, OutRecord]] = []
        self._changes: list[OutRecord] = []
        self._is_change: dict[int, bool] = {}
        self.left_out: Counter[str] = Counter()

    def take_traces(self, batch: AssembledBatch, records: Sequence[OutRecord]) -> None:
        """Sample the traces of a batch; `records` begins with theirs, in their order."""
        if not self._traces_max:
            return
        ids = np.frombuffer(b"".join(batch.keys), np.uint64)
        rank: U64 = ((ids[0::2] ^ ids[1::2]) * _SPREAD) >> np.uint64(16)
        rows = np.flatnonzero(batch.revision == 1)
        if len(rows) > self._traces_max:
            rows = rows[np.argpartition(rank[rows], self._traces_max)[: self._traces_max]]
        for row in rows.tolist():
            if len(records[row].value or b"") <= VALUE_BYTES_MAX:
                self._traces.append((int(rank[row]), records[row]))
            else:
                self.left_out[TRACE_SIZE] += 1
        self._traces.sort(key=lambda ranked: ranked[0])
        del self._traces[self._traces_max :]

    def take_events(self, events: EventColumns) -> None:
        """Take the changes among the good events of a chunk."""
        if not self._topic:
            return
        rows = np.flatnonzero(events.event_type == AUDIT)
        codes = events.operation[rows].tolist()
        for row, code in zip(rows.tolist(), codes, strict=True):
            is_change = self._is_change.get(code)
            if is_change is None:
                is_change = self._is_change[code] = self._operations[code].name == CHANGE_EVENT
            if is_change and len(self._changes) < CHANGES_PER_CUT:
                value = self._header + events.body[row]
                self._changes.append(OutRecord(self._topic, 0, None, value))
            elif is_change:
                self.left_out[CHANGES_BOUND] += 1

    def collect(self) -> list[OutRecord]:
        """Return what was gathered, and begin anew."""
        found = [OutRecord(self._topic, 0, one.key, one.value) for _, one in self._traces]
        found += self._changes
        self._traces, self._changes = [], []
        return found
