"""The traces that are still open in one partition, as columns.

Owns every event of an open trace (the *rows*) and one *slot* per trace with what decides about
its closing. Rows are appended chunk by chunk, sorted by slot; the rows of one slot are a linked
list of runs, so gathering a trace touches its own rows only. Duplicates are not looked for here:
stage masks are idempotent, so duplicates matter only when a trace closes.

Invariant: a row belongs to exactly one live slot, or is dead (slot -1) and waits for compaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streams.core.columns import TRACE, EventColumns
from streams.core.fidelity.causes import KNOWN_NAMES
from streams.core.traces.progress import FUTURE_US, NEVER
from streams.core.traces.table import Table
from streams.units import I32, I64, U64, Mask

RECALL_NONE, RECALL_WANTED, RECALL_DONE = range(3)
"""Whether a reopened trace still waits for the events of its last revision."""

_ROW_COLUMNS: Final[dict[str, Any]] = {
    "slot": np.int32,
    "key_hi": np.uint64,
    "key_lo": np.uint64,
    "span_id": np.uint64,
    "parent_span_id": np.uint64,
    "timestamp_us": np.int64,
    "duration_us": np.int64,
    "operation": np.int32,
    "event_type": np.uint8,
    "status": np.uint8,
    "trace_flags": np.uint8,
    "topic": np.uint8,
    "is_late": np.bool_,
    "is_recalled": np.bool_,
    "record_hash": np.uint64,
    "batch_hash": np.uint64,
    "kafka_us": np.int64,
    "cut": np.int64,
    "body": np.object_,
}
_SLOT_COLUMNS: Final[dict[str, Any]] = {
    "hi": np.uint64,
    "lo": np.uint64,
    "is_live": np.bool_,
    "first_us": np.int64,
    "last_us": np.int64,
    "entry_flow": np.int32,
    "entry_us": np.int64,
    "entry_id": np.uint64,
    "rows": np.int64,
    "bytes": np.int64,
    "evicted": np.int64,
    "head": np.int64,
    "revision": np.int64,
    "cut_ms": np.int64,
    "recall": np.uint8,
    "born_cut": np.int64,
    "meta_cut": np.int64,
}
_SLOT_FILL: Final[dict[str, Any]] = {"entry_flow": -1, "head": -1}
COMPACT_MIN_ROWS: Final = 16_384


@dataclass(frozen=True, slots=True)
class TraceBounds:
    """How large one trace may become; what is beyond is evicted and counted."""

    rows_max: int = 20_000
    bytes_max: int = 4 << 20


class OpenTraces:
    """The open traces of a partition; see the module's docstring."""

    def __init__(self, words: int, bounds: TraceBounds) -> None:
        self.bounds = bounds
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            n: (d, ()) for n, d in _ROW_COLUMNS.items()
        }
        shapes["bits"] = (np.uint64, (words,))
        self.rows = Table(shapes, {"slot": -1})
        slots: dict[str, tuple[Any, tuple[int, ...]]] = {
            n: (d, ()) for n, d in _SLOT_COLUMNS.items()
        }
        slots["mask"] = (np.uint64, (words,))
        slots["known"] = (np.uint64, (len(KNOWN_NAMES),))
        self.slots = Table(slots, _SLOT_FILL)
        self.runs = Table(
            {"start": (np.int64, ()), "count": (np.int64, ()), "previous": (np.int64, ())}, {}
        )
        self.slot_of: dict[bytes, int] = {}
        self._free: list[int] = []
        self.live_rows = 0
        self.live_bytes = 0
        self.cut = 0
        """Number of the cut in the making; stamped on slots for the changelog."""

    def __len__(self) -> int:
        return len(self.slot_of)

    def open(self, key: bytes, revision: int = 0, cut_ms: int = 0, known: U64 | None = None) -> int:
        """Open a slot for a trace; a revision > 0 reopens a closed one, whose events are recalled.

        Args:
            key: the trace id.
            revision: the last one published, 0 for none.
            cut_ms: the cut that published it.
            known: (5,) what was known when it was judged.
        """
        if self._free:
            slot = self._free.pop()
        else:
            self.slots.reserve(1)
            slot = self.slots.used
            self.slots.used += 1
        s = self.slots
        s["hi"][slot] = int.from_bytes(key[:8], "big")
        s["lo"][slot] = int.from_bytes(key[8:], "big")
        s["is_live"][slot] = True
        s["first_us"][slot] = -NEVER
        s["last_us"][slot] = NEVER
        s["entry_flow"][slot] = -1
        s["head"][slot] = -1
        s["revision"][slot] = revision
        s["cut_ms"][slot] = cut_ms
        s["known"][slot] = 0 if known is None else known
        s["recall"][slot] = RECALL_WANTED if revision else RECALL_NONE
        s["born_cut"][slot] = s["meta_cut"][slot] = self.cut
        self.slot_of[key] = slot
        return slot

    def open_new(self, keys: Sequence[bytes]) -> None:
        """Open slots for traces that were never seen before, each key once; as `open` for each."""
        again = self._free[-len(keys) :][::-1] if keys else []
        if again:
            del self._free[-len(again) :]
        more = len(keys) - len(again)
        self.slots.reserve(more)
        s, used = self.slots, self.slots.used
        slot = np.array([*again, *range(used, used + more)], np.int64)
        s.used += more
        halves = np.frombuffer(b"".join(keys), ">u8").reshape(-1, 2)
        s["hi"][slot] = halves[:, 0]
        s["lo"][slot] = halves[:, 1]
        s["is_live"][slot] = True
        s["first_us"][slot] = -NEVER
        s["last_us"][slot] = NEVER
        s["entry_flow"][slot] = -1
        s["head"][slot] = -1
        for name in ("revision", "cut_ms", "known"):
            s[name][slot] = 0
        s["recall"][slot] = RECALL_NONE
        s["born_cut"][slot] = s["meta_cut"][slot] = self.cut
        self.slot_of.update(zip(keys, slot.tolist(), strict=True))

    def keys(self, slots: I64 | I32) -> list[bytes]:
        """Return the 16 bytes of each slot's trace id."""
        s = self.slots
        halves = np.stack([s["hi"][slots], s["lo"][slots]], axis=1).astype(">u8")
        out: list[bytes] = halves.view("V16").ravel().tolist()
        return out

    def key(self, slot: int) -> bytes:
        """Return the 16 bytes of a slot's trace id."""
        s = self.slots
        return int(s["hi"][slot]).to_bytes(8, "big") + int(s["lo"][slot]).to_bytes(8, "big")

    def add(
        self,
        events: EventColumns,
        slot: I32,
        bits: U64,
        entry_flow: I32,
        *,
        late: bool | Mask,
        recalled: bool | Mask = False,
        bounded: bool = True,
    ) -> tuple[I64, Mask]:
        """Append events to their slots.

        Args:
            events: n events, all with a trace.
            slot: (n,) their slots.
            bits: (n, W) the plan's bits each of them sets.
            entry_flow: (n,) the flow whose entry stage the event is, -1 for none.
            late: whether events of reopened traces count as late; (n,) while state is restored.
            recalled: the events are those of an earlier revision; (n,) while state is restored.
            bounded: evict what is beyond the bounds of its trace; not what was accepted before.

        Returns:
            The slots touched, (k,), and which rows were evicted by a bound, (n,) bool.
        """
        n = len(events)
        evicted = np.zeros(n, np.bool_)
        if n == 0:
            return np.zeros(0, np.int64), evicted
        sizes = np.fromiter(map(len, events.body), np.int64, n)
        order = np.argsort(slot, kind="stable")
        if bounded:
            evicted = self._beyond_bounds(slot, sizes, order)
            if evicted.any():
                np.add.at(self.slots["evicted"], slot[evicted], 1)
                self.slots["meta_cut"][slot[evicted]] = self.cut
                order = order[~evicted[order]]
                n = len(order)
        ordered_slot = slot[order]
        if n:
            self._append(events, order, ordered_slot, bits, late=late, recalled=recalled)
            self._summarise(events, order, ordered_slot, bits, sizes, recalled=recalled)
        roots = np.flatnonzero((entry_flow >= 0) & ~evicted)
        if len(roots):
            self._enter(events, roots, slot, entry_flow)
        return np.unique(slot).astype(np.int64), evicted

    def _beyond_bounds(self, slot: I32, sizes: I64, order: I64) -> Mask:
        """Mark the rows that do not fit into their trace; (n,) bool."""
        out = np.zeros(len(slot), np.bool_)
        s, bounds = self.slots, self.bounds
        counts = np.bincount(slot, minlength=s.used)
        weights = np.bincount(slot, weights=sizes, minlength=s.used)
        used = s.used
        full = (s["rows"][:used] + counts > bounds.rows_max) | (
            s["bytes"][:used] + weights > bounds.bytes_max
        )
        for crowded in np.flatnonzero(full & (counts > 0)).tolist():
            rows = order[slot[order] == crowded]
            nth = s["rows"][crowded] + np.arange(1, len(rows) + 1)
            size = s["bytes"][crowded] + np.cumsum(sizes[rows])
            # The first event always fits: a trace without any could neither be due nor be closed.
            out[rows] = (nth > 1) & ((nth > bounds.rows_max) | (size > bounds.bytes_max))
        return out

    def _append(
        self,
        events: EventColumns,
        order: I64,
        slot: I32,
        bits: U64,
        *,
        late: bool | Mask,
        recalled: bool | Mask,
    ) -> None:
        body = np.empty(len(events.body), np.object_)
        body[:] = events.body
        reopened = self.slots["revision"][slot] > 0
        values: dict[str, Any] = {
            name: getattr(events, name)[order]
            for name in _ROW_COLUMNS
            if name not in ("slot", "key_hi", "key_lo", "is_late", "is_recalled", "cut", "body")
        }
        values |= {
            "slot": slot,
            "key_hi": events.event_key[order, 0],
            "key_lo": events.event_key[order, 1],
            "is_late": reopened & np.broadcast_to(late, len(events))[order],
            "is_recalled": np.broadcast_to(recalled, len(events))[order],
            "cut": np.full(len(order), self.cut),
            "body": body[order],
            "bits": bits[order],
        }
        first = self.rows.append(values, len(order))
        starts = np.flatnonzero(np.r_[True, slot[1:] != slot[:-1]])
        counts = np.diff(np.r_[starts, len(order)])
        owners = slot[starts]
        run = self.runs.append(
            {"start": first + starts, "count": counts, "previous": self.slots["head"][owners]},
            len(starts),
        )
        self.slots["head"][owners] = run + np.arange(len(starts))

    def _summarise(
        self,
        events: EventColumns,
        order: I64,
        slot: I32,
        bits: U64,
        sizes: I64,
        *,
        recalled: bool | Mask,
    ) -> None:
        starts = np.flatnonzero(np.r_[True, slot[1:] != slot[:-1]])
        owners = slot[starts]
        times = waiting_times(events, order)
        s = self.slots
        s["first_us"][owners] = np.minimum(
            s["first_us"][owners], np.minimum.reduceat(times, starts)
        )
        # A revision that was published is over: only what came since is waited for.
        late = np.where(np.broadcast_to(recalled, len(events))[order], NEVER, times)
        s["last_us"][owners] = np.maximum(s["last_us"][owners], np.maximum.reduceat(late, starts))
        s["mask"][owners] |= np.bitwise_or.reduceat(bits[order], starts, axis=0)
        s["rows"][owners] += np.diff(np.r_[starts, len(order)])
        s["bytes"][owners] += np.add.reduceat(sizes[order], starts)
        self.live_rows += len(order)
        self.live_bytes += int(sizes[order].sum())

    def _enter(self, events: EventColumns, roots: I64, slot: I32, entry_flow: I32) -> None:
        """Let the earliest root that enters a flow name the flow, whenever it came."""
        s, at_us, span_id = self.slots, events.timestamp_us, events.span_id
        order = roots[np.lexsort((span_id[roots], at_us[roots], slot[roots]))]
        owners, first = np.unique(slot[order], return_index=True)
        row = order[first]
        is_earlier = (s["entry_flow"][owners] < 0) | (at_us[row] < s["entry_us"][owners])
        same_time = at_us[row] == s["entry_us"][owners]
        is_earlier |= same_time & (span_id[row] < s["entry_id"][owners])
        owners, row = owners[is_earlier], row[is_earlier]
        s["entry_flow"][owners] = entry_flow[row]
        s["entry_us"][owners] = at_us[row]
        s["entry_id"][owners] = span_id[row]

    def gather(self, slots: I64) -> tuple[I64, I64]:
        """Return the rows of some slots.

        Args:
            slots: (k,) live slots.

        Returns:
            (m,) row positions, and (m,) for each the index into `slots` it belongs to; rows of one
            slot in order of arrival.
        """
        starts, counts, owners = [], [], []
        owner = np.arange(len(slots))
        run = self.slots["head"][slots]
        while len(run):
            has = run >= 0
            owner, run = owner[has], run[has]
            starts.append(self.runs["start"][run])
            counts.append(self.runs["count"][run])
            owners.append(owner)
            run = self.runs["previous"][run]
        if not starts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        start, count, belongs = (np.concatenate(x) for x in (starts, counts, owners))
        order = np.lexsort((start, belongs))  # arrival order is position order
        start, count, belongs = start[order], count[order], belongs[order]
        offset = np.repeat(start - np.r_[0, np.cumsum(count)[:-1]], count)
        return offset + np.arange(int(count.sum())), np.repeat(belongs, count)

    def close(self, slots: I64, rows: I64) -> None:
        """Forget some slots and all their rows."""
        for key in self.keys(slots):
            del self.slot_of[key]
        self._free.extend(slots.tolist())
        s = self.slots
        self.live_rows -= len(rows)
        self.live_bytes -= int(s["bytes"][slots].sum())
        for name in ("rows", "bytes", "evicted"):
            s[name][slots] = 0
        s["mask"][slots] = 0
        s["is_live"][slots] = False
        self.rows["slot"][rows] = -1
        self.rows["body"][rows] = None
        dead = self.rows.used - self.live_rows
        if dead > COMPACT_MIN_ROWS and dead > self.rows.used // 2:
            self.compact()

    def compact(self) -> None:
        """Drop the dead rows; each trace becomes one run."""
        used = self.rows.used
        alive = np.flatnonzero(self.rows["slot"][:used] >= 0)
        slot = self.rows["slot"][alive]
        order = np.argsort(slot, kind="stable")
        self.rows.keep(alive[order])
        slot = slot[order]
        self.runs.used = 0
        if len(slot) == 0:
            return
        starts = np.flatnonzero(np.r_[True, slot[1:] != slot[:-1]])
        owners = slot[starts]
        self.runs.append(
            {
                "start": starts,
                "count": np.diff(np.r_[starts, len(slot)]),
                "previous": np.full(len(starts), -1),
            },
            len(starts),
        )
        self.slots["head"][owners] = np.arange(len(starts))

    def live_slots(self) -> I64:
        """Return all live slots, (k,)."""
        return np.flatnonzero(self.slots["is_live"][: self.slots.used])


def waiting_times(events: EventColumns, rows: I64) -> I64:
    """Return (n,) event times of some rows, as far as waits go by them.

    A clock that runs ahead must not keep its trace open: no time is more than `FUTURE_US` after
    the record's.
    """
    return np.minimum(events.timestamp_us[rows], events.kafka_us[rows] + FUTURE_US)


def is_span(event_type: Any) -> Mask:
    """Return which events are spans; the others are annotations of their trace."""
    return np.asarray(event_type == TRACE)
