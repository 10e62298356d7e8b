"""The traces that were closed not long ago: enough to know a duplicate from a late span.

Owns, per closed trace, its last revision, the identities of its events and the cut that
published it; never the events themselves, which are read back from the output topic when a late
span asks for them. Entries live in batches that expire in the order they were closed.

Invariant: a trace is in `_where` at most once, and then in the batch that closed it last.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.core.traces.progress import NEVER
from streams.units import I64, U64, Mask

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
        keys: k trace ids of 16 bytes.
        revision: (k,) the revision published.
        is_truncated: (k,) the trace reached its bounds: what comes later is evicted.
        known: (k, 5) what was known when the trace was judged; see `core.fidelity.causes`.
        offset: (k + 1,) where each trace's identities lie in `events`.
        events: (m,) folded identities of all events of the revision.
    """

    closed_us: I64
    cut_ms: int
    cut: int
    keys: Sequence[bytes]
    revision: I64
    is_truncated: Mask
    known: U64
    offset: I64
    events: U64


class ClosedTraces:
    """The closed set of a partition."""

    def __init__(self, limit: int) -> None:
        self._batches: deque[ClosedBatch] = deque()
        self._where: dict[bytes, tuple[ClosedBatch, int]] = {}
        self._limit = limit
        self.expired_early = 0
        """Entries dropped because of the bound, before their time."""
        self.forgotten_us = NEVER
        """Whether traces closed that began before this is forgotten: see `expired_early`."""

    def __len__(self) -> int:
        return len(self._where)

    def add(self, batch: ClosedBatch) -> None:
        """Take in the traces that a step closed; drop the oldest beyond the bound."""
        self._batches.append(batch)
        self._where.update((key, (batch, i)) for i, key in enumerate(batch.keys))
        while len(self._where) > self._limit and len(self._batches) > 1:
            self.forgotten_us = max(self.forgotten_us, int(self._batches[0].closed_us.max()))
            self.expired_early += self._drop()

    def knows(self, keys: Sequence[bytes]) -> Mask:
        """Return which of the keys are those of closed traces; (n,) bool."""
        return np.fromiter(map(self._where.__contains__, keys), np.bool_, len(keys))

    def find(self, key: bytes) -> tuple[ClosedBatch, int] | None:
        """Return the batch and position of a closed trace, None when it is not known."""
        return self._where.get(key)

    def holds_event(self, batch: ClosedBatch, at: int, folded: int) -> bool:
        """Return whether the closed trace already holds the event with this folded identity."""
        events = batch.events[batch.offset[at] : batch.offset[at + 1]]
        return bool((events == np.uint64(folded)).any())

    def reopen(self, key: bytes) -> None:
        """Forget a trace that is open again; its next closing puts it back."""
        del self._where[key]

    def expire(self, before_us: int) -> int:
        """Drop the batches closed before a stream time and return how many traces went."""
        gone = 0
        while self._batches and self._batches[0].closed_us.max() < before_us:
            gone += self._drop()
        return gone

    def _drop(self) -> int:
        batch = self._batches.popleft()
        gone = 0
        for key in batch.keys:
            if self._is_at(key, batch):
                del self._where[key]
                gone += 1
        return gone

    def _is_at(self, key: bytes, batch: ClosedBatch) -> bool:
        known = self._where.get(key)
        return known is not None and known[0] is batch

    def batches(self) -> Sequence[ClosedBatch]:
        """Return the live batches, oldest first."""
        return tuple(self._batches)

    def live_in(self, batch: ClosedBatch) -> Mask:
        """Return which traces of a batch are still closed by it; (k,) bool."""
        return np.fromiter((self._is_at(k, batch) for k in batch.keys), np.bool_, len(batch.keys))
