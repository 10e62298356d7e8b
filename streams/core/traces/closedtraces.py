"""The traces that were closed not long ago: enough to know a duplicate from a late span.

Owns, per closed trace, its last revision, the identities of its events and the cut that
published it; never the events themselves, which are read back from the output topic when a late
span asks for them. Entries live in batches that expire in the order they were closed.

Invariant: a trace is in `_where` at most once, and then in the batch that closed it last.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.core.traces.idmap import TraceIdMap, halves
from streams.core.traces.progress import NEVER
from streams.core.traces.slab import Slab
from streams.units import I64, U64, Mask

_ENTRY_BITS: Final = 24
"""An entry is found by the number of its batch and its place in it: batches are smaller."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


def fold_key(hi: U64, lo: U64) -> U64:
    """Fold event identities to 64 bits: exact for spans (hi 0), a hash for annotations."""
    return np.asarray(lo ^ (hi * _MIX))


@dataclass(slots=True)
class ClosedBatch:
    """Traces closed by one step.

    Attributes:
        closed_us: (k,) stream time at which each was due, or its last event if that is later.
        cut_ms: Kafka timestamp of the outputs of the cut that published them; 0 until the cut.
        cut: number of the cut whose changelog carries the batch.
        trace_id: (k, 2) high and low halves of the trace ids.
        revision: (k,) the revision published.
        is_truncated: (k,) the trace reached its bounds: what comes later is evicted.
        known: (k, 5) what was known when the trace was judged; see `core.fidelity.causes`.
        offset: (k + 1,) where each trace's identities lie in `events`.
        events: (m,) folded identities of all events of the revision.
    """

    closed_us: I64
    cut_ms: int
    cut: int
    trace_id: U64
    revision: I64
    is_truncated: Mask
    known: U64
    offset: I64
    events: U64


class ClosedTraces:
    """The closed set of a partition."""

    def __init__(self, limit: int) -> None:
        self._batches: deque[ClosedBatch] = deque()
        self._numbered: dict[int, ClosedBatch] = {}
        self._first = 0
        self._where = TraceIdMap()
        self._slab = Slab()
        self._limit = limit
        self.expired_early = 0
        """Entries dropped because of the bound, before their time."""
        self.forgotten_us = NEVER
        """Whether traces closed that began before this is forgotten: see `expired_early`."""

    def __len__(self) -> int:
        return len(self._where)

    def add(self, batch: ClosedBatch) -> None:
        """Take in the traces that a step closed; drop the oldest beyond the bound."""
        number = self._first + len(self._batches)
        self._lay(batch)
        self._batches.append(batch)
        self._numbered[number] = batch
        hi, lo = batch.trace_id[:, 0], batch.trace_id[:, 1]
        self._where.remove(hi, lo)  # restoring may close again what an earlier segment closed
        self._where.put(hi, lo, (number << _ENTRY_BITS) + np.arange(len(hi)))
        while len(self._where) > self._limit and len(self._batches) > 1:
            self.forgotten_us = max(self.forgotten_us, int(self._batches[0].closed_us.max()))
            self.expired_early += self._drop()

    def _lay(self, batch: ClosedBatch) -> None:
        """Let a batch's columns lie with those of its neighbours, which go when it goes."""
        batch.known = _thin(batch.known)
        laid = self._slab.laid
        batch.closed_us, batch.trace_id = laid(batch.closed_us), laid(batch.trace_id)
        batch.revision, batch.is_truncated = laid(batch.revision), laid(batch.is_truncated)
        batch.offset, batch.events = laid(batch.offset), laid(batch.events)

    def entries(self, hi: U64, lo: U64) -> I64:
        """Return what `at` takes for each trace id, -1 for those that are not closed; (n,)."""
        return self._where.find(hi, lo)

    def at(self, entry: int) -> tuple[ClosedBatch, int]:
        """Return the batch of an entry and its place in it."""
        return self._numbered[entry >> _ENTRY_BITS], entry & ((1 << _ENTRY_BITS) - 1)

    def find(self, key: bytes) -> tuple[ClosedBatch, int] | None:
        """Return the batch and position of a closed trace, None when it is not known."""
        entry = self._where.find_one(key)
        return self.at(entry) if entry >= 0 else None

    def holds_event(self, batch: ClosedBatch, at: int, folded: int) -> bool:
        """Return whether the closed trace already holds the event with this folded identity."""
        events = batch.events[batch.offset[at] : batch.offset[at + 1]]
        return bool((events == np.uint64(folded)).any())

    def reopen(self, key: bytes) -> None:
        """Forget a trace that is open again; its next closing puts it back."""
        self._where.remove(*halves([key]))

    def expire(self, before_us: int) -> int:
        """Drop the batches closed before a stream time and return how many traces went."""
        gone = 0
        while self._batches and self._batches[0].closed_us.max() < before_us:
            gone += self._drop()
        return gone

    def _drop(self) -> int:
        mine = self._is_at(self._first)
        batch = self._batches.popleft()
        self._where.remove(batch.trace_id[mine, 0], batch.trace_id[mine, 1])
        del self._numbered[self._first]
        self._first += 1
        return int(mine.sum())

    def _is_at(self, number: int) -> Mask:
        batch = self._numbered[number]
        found = self._where.find(batch.trace_id[:, 0], batch.trace_id[:, 1])
        return np.asarray(found == (number << _ENTRY_BITS) + np.arange(len(found)))

    def batches(self) -> Sequence[ClosedBatch]:
        """Return the live batches, oldest first."""
        return tuple(self._batches)

    def live(self, cut: int | None) -> list[tuple[ClosedBatch, Mask]]:
        """Return the batches of one cut, or all, oldest first, and which traces each still closes.

        Args:
            cut: number of the cut; None for all batches.
        """
        out = []
        for number in range(self._first + len(self._batches) - 1, self._first - 1, -1):
            batch = self._numbered[number]
            if cut is not None and batch.cut != cut:
                break  # batches are in the order of their cuts
            out.append((batch, self._is_at(number)))
        return out[::-1]


def _thin(known: U64) -> U64:
    """Return rows that are all equal as one row seen as many; others as they are.

    Mostly nothing unusual was known: those rows were a quarter of the closed set.
    """
    if not len(known) or (known != known[0]).any():
        return known
    return np.broadcast_to(known[0].copy(), known.shape)
