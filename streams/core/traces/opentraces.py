"""The traces that are still open in one partition, as columns.

Owns every event of an open trace (the *rows*) and one *slot* per trace with what decides about
its closing. Rows are appended chunk by chunk, sorted by slot; the rows of one slot are a linked
list of runs, so gathering a trace touches its own rows only. Duplicates are not looked for here:
stage masks are idempotent, so duplicates matter only when a trace closes.

Invariant: a row belongs to exactly one live slot, or is dead (slot -1) and waits for compaction.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streams.core.bodies import Scattered
from streams.core.columns import EventColumns
from streams.core.fidelity.causes import KNOWN_NAMES
from streams.core.order import run_starts, stable_order
from streams.core.traces.arena import RAW_BUFFERS, RAW_BYTES, Arena
from streams.core.traces.closedtraces import fold_key
from streams.core.traces.idmap import TraceIdMap, key_bytes
from streams.core.traces.opencolumns import OWN_COLUMNS, ROW_COLUMNS, SLOT_COLUMNS, SLOT_FILL
from streams.core.traces.progress import FUTURE_US, NEVER
from streams.core.traces.table import Table
from streams.units import I32, I64, U64, Mask

RECALL_NONE, RECALL_WANTED, RECALL_DONE = range(3)
"""Whether a reopened trace still waits for the events of its last revision."""

COMPACT_MIN_ROWS: Final = 16_384
_PACKED_BYTES: Final = 4 << 20
"""Bodies are packed in pieces of this size: a piece is given back with its last row, so larger ones
are held for longer, and of smaller ones each gather has more."""
_LARGE_ROWS: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class TraceBounds:
    """How large one trace may become; what is beyond is evicted and counted."""

    rows_max: int = 20_000
    bytes_max: int = 4 << 20


@dataclass(frozen=True, slots=True)
class _Runs:
    """Rows in the order of their slots: run i has `count[i]` rows of `owner[i]` at `start[i]`."""

    start: I64
    count: I64
    owner: I64

    @staticmethod
    def of(slot: I32 | I64) -> "_Runs":
        """Return the runs of slots in ascending order."""
        start = run_starts(slot)
        count = np.diff(np.concatenate([start, [len(slot)]])) if len(start) else start
        return _Runs(start, count, slot[start].astype(np.int64))


class OpenTraces:
    """The open traces of a partition; see the module's docstring.

    Args:
        words: how many words of bits a mask has.
        bounds: of one trace.
        arena: empty; holds the bodies from now on. None keeps all of them in memory.
    """

    def __init__(self, words: int, bounds: TraceBounds, arena: Arena | None = None) -> None:
        self.bounds = bounds
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            n: (d, ()) for n, d in ROW_COLUMNS.items()
        }
        shapes["bits"] = (np.uint64, (words,))
        self.rows = Table(shapes, {"slot": -1})
        slots: dict[str, tuple[Any, tuple[int, ...]]] = {
            n: (d, ()) for n, d in SLOT_COLUMNS.items()
        }
        slots["mask"] = (np.uint64, (words,))
        self.slots = Table(slots, SLOT_FILL)
        self.runs = _no_runs()
        self._slots = TraceIdMap(lambda at: (self.slots["hi"].take(at), self.slots["lo"].take(at)))
        self._bodies = arena or Arena()
        self._free: list[int] = []
        self.live_rows = 0
        self.live_bytes = 0
        self._known: dict[int, U64] = {}
        self.reopened: set[int] = set()
        """Slots of traces that have a revision already."""
        self.cut = 0
        """Number of the cut in the making; stamped on slots for the changelog."""
        self.bounds_met = {RAW_BYTES: 0, RAW_BUFFERS: 0}
        """How often the older half of the chunks as they came was packed, by the bound."""

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, hi: U64, lo: U64) -> I64:
        """Return the slot of each trace id, -1 for those that are not open; (n,)."""
        return self._slots.find(hi, lo)

    def slot(self, key: bytes) -> int:
        """Return the slot of a trace id of 16 bytes, -1 when it is not open."""
        return self._slots.find_one(key)

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
        if known is not None:
            self.know(slot, known)
        s["recall"][slot] = RECALL_WANTED if revision else RECALL_NONE
        s["due_us"][slot] = NEVER
        if revision:
            self.reopened.add(slot)
        s["born_cut"][slot] = s["meta_cut"][slot] = self.cut
        self._slots.put(s["hi"][[slot]], s["lo"][[slot]], np.array([slot]))
        return slot

    def open_new(self, hi: U64, lo: U64) -> I64:
        """Open slots for distinct traces that are not open; as `open` for each.

        Returns:
            (n,) the slot of each trace.
        """
        slot = self._free_slots(len(hi))
        s = self.slots
        s["hi"][slot] = hi
        s["lo"][slot] = lo
        s["is_live"][slot] = True
        s["first_us"][slot] = -NEVER
        s["last_us"][slot] = NEVER
        s["entry_flow"][slot] = -1
        s["head"][slot] = -1
        for name in ("revision", "cut_ms"):
            s[name][slot] = 0
        s["recall"][slot] = RECALL_NONE
        s["due_us"][slot] = NEVER
        s["born_cut"][slot] = s["meta_cut"][slot] = self.cut
        self._slots.put(hi, lo, slot)
        return slot

    def _free_slots(self, count: int) -> I64:
        """Take so many slots: those of closed traces first, then new ones."""
        again = self._free[-count:][::-1] if count else []
        if again:
            del self._free[-len(again) :]
        more = count - len(again)
        self.slots.reserve(more)
        used = self.slots.used
        self.slots.used += more
        return np.array([*again, *range(used, used + more)], np.int64)

    def know(self, slot: int, known: U64) -> None:
        """Keep what was known when a trace was last judged; (5,), see `core.fidelity.causes`."""
        self._known.pop(slot, None)
        if known.any():
            self._known[slot] = known.copy()

    def known(self, slots: I64) -> U64:
        """Return what was known when the traces of some slots were last judged; (k, 5)."""
        out = np.zeros((len(slots), len(KNOWN_NAMES)), np.uint64)
        if self._known:
            for i, slot in enumerate(slots.tolist()):
                out[i] = self._known.get(slot, 0)
        return out

    def keys(self, slots: I64 | I32) -> list[bytes]:
        """Return the 16 bytes of each slot's trace id."""
        s = self.slots
        return key_bytes(s["hi"][slots], s["lo"][slots])

    def key(self, slot: int) -> bytes:
        """Return the 16 bytes of a slot's trace id."""
        s = self.slots
        return int(s["hi"][slot]).to_bytes(8, "big") + int(s["lo"][slot]).to_bytes(8, "big")

    def add(
        self,
        events: EventColumns,
        slot: I32 | I64,
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
        evicted = np.zeros(len(events), np.bool_)
        if not len(events):
            return np.zeros(0, np.int64), evicted
        order = stable_order(slot)
        runs = _Runs.of(slot[order])
        touched = runs.owner
        self.slots["due_us"][touched] = NEVER
        sizes = events.body.size
        if bounded:
            evicted = self._beyond_bounds(sizes, order, runs)
            if evicted.any():
                np.add.at(self.slots["evicted"], slot[evicted], 1)
                self.slots["meta_cut"][slot[evicted]] = self.cut
                order = order[~evicted[order]]
                runs = _Runs.of(slot[order])
        if len(order):
            self._append(events, order, runs, bits, late=late, recalled=recalled)
            self._summarise(events, order, runs, bits, sizes, recalled=recalled)
        roots = np.flatnonzero((entry_flow >= 0) & ~evicted)
        if len(roots):
            self._enter(events, roots, slot, entry_flow)
        return touched, evicted

    def _beyond_bounds(self, sizes: I64, order: I64, runs: "_Runs") -> Mask:
        """Mark the rows that do not fit into their trace; (n,) bool."""
        out = np.zeros(len(order), np.bool_)
        s, bounds = self.slots, self.bounds
        more_bytes = np.add.reduceat(sizes[order], runs.start)
        full = (s["rows"][runs.owner] + runs.count > bounds.rows_max) | (
            s["bytes"][runs.owner] + more_bytes > bounds.bytes_max
        )
        for run in np.flatnonzero(full).tolist():
            crowded, start = runs.owner[run], runs.start[run]
            rows = order[start : start + runs.count[run]]
            nth = s["rows"][crowded] + np.arange(1, len(rows) + 1)
            size = s["bytes"][crowded] + np.cumsum(sizes[rows])
            # The first event always fits: a trace without any could neither be due nor be closed.
            out[rows] = (nth > 1) & ((nth > bounds.rows_max) | (size > bounds.bytes_max))
        return out

    def _append(
        self,
        events: EventColumns,
        order: I64,
        runs: "_Runs",
        bits: U64,
        *,
        late: bool | Mask,
        recalled: bool | Mask,
    ) -> None:
        slot = np.repeat(runs.owner, runs.count)
        reopened = self.slots["revision"].take(slot) > 0
        values: dict[str, Any] = {
            name: getattr(events, name).take(order, axis=0)
            for name in ROW_COLUMNS
            if name not in OWN_COLUMNS
        }
        values |= {
            "slot": slot,
            "key": fold_key(*events.event_key.take(order, axis=0).T),
            "is_late": reopened & _of_rows(late, order),
            "is_recalled": _of_rows(recalled, order),
            "cut": np.full(len(order), self.cut),
            "buffer": np.full(len(order), self._bodies.add(events.body.data, len(order))),
            "start": events.body.start.take(order),
            "size": events.body.size.take(order),
            "bits": bits.take(order, axis=0),
        }
        first = self.rows.append(values, len(order))
        if bound := self._bodies.crowded_by:
            self.bounds_met[bound] += 1
            self._move_bodies(self._bodies.oldest())
        previous = self.slots["head"][runs.owner]
        run = self.runs.append(
            {"start": first + runs.start, "count": runs.count, "previous": previous},
            len(runs.start),
        )
        self.slots["head"][runs.owner] = run + np.arange(len(runs.start))

    def _summarise(
        self,
        events: EventColumns,
        order: I64,
        runs: "_Runs",
        bits: U64,
        sizes: I64,
        *,
        recalled: bool | Mask,
    ) -> None:
        starts, owners = runs.start, runs.owner
        times = waiting_times(events, order)
        s = self.slots
        s["first_us"][owners] = np.minimum(
            s["first_us"][owners], np.minimum.reduceat(times, starts)
        )
        # A revision that was published is over: only what came since is waited for.
        late = np.where(_of_rows(recalled, order), NEVER, times)
        s["last_us"][owners] = np.maximum(s["last_us"][owners], np.maximum.reduceat(late, starts))
        s["mask"][owners] |= np.bitwise_or.reduceat(bits.take(order, axis=0), starts, axis=0)
        s["rows"][owners] += runs.count
        in_order = sizes.take(order)
        s["bytes"][owners] += np.add.reduceat(in_order, starts)
        self.live_rows += len(order)
        self.live_bytes += int(in_order.sum())

    def _enter(self, events: EventColumns, roots: I64, slot: I32 | I64, entry_flow: I32) -> None:
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
        s = self.slots
        self._slots.remove(s["hi"][slots], s["lo"][slots])
        self._free.extend(slots.tolist())
        self.live_rows -= len(rows)
        self.live_bytes -= int(s["bytes"][slots].sum())
        for name in ("rows", "bytes", "evicted"):
            s[name][slots] = 0
        s["mask"][slots] = 0
        s["is_live"][slots] = False
        s["due_us"][slots] = -NEVER
        self.reopened.difference_update(slots.tolist() if self.reopened else ())
        for slot in slots.tolist() if self._known else ():
            self._known.pop(slot, None)
        self.rows["slot"][rows] = -1
        self._bodies.release(self.rows["buffer"][rows])
        if self._bodies.is_sparse(self.live_bytes):
            self._move_bodies(None)
        dead = self.rows.used - self.live_rows
        if dead > COMPACT_MIN_ROWS and dead > self.rows.used // _dead_parts(self.rows.used):
            self.compact()

    def compact(self) -> None:
        """Drop the dead rows; each trace becomes one run."""
        used = self.rows.used
        alive = np.flatnonzero(self.rows["slot"][:used] >= 0)
        slot = self.rows["slot"][alive]
        order = stable_order(slot)
        self.rows.keep(alive[order])
        runs = _Runs.of(slot[order])
        self.runs = _no_runs()
        none = np.full(len(runs.start), -1)
        values = {"start": runs.start, "count": runs.count, "previous": none}
        self.runs.append(values, len(runs.start))
        self.slots["head"][runs.owner] = np.arange(len(runs.start))

    def bodies(self, rows: I64) -> Scattered:
        """Return the bytes of the events in some rows."""
        r = self.rows
        return self._bodies.at(*(r[name].take(rows) for name in ("buffer", "start", "size")))

    def body(self, row: int) -> bytes:
        """Return the bytes of the event in one row."""
        r = self.rows
        return self._bodies.one(int(r["buffer"][row]), int(r["start"][row]), int(r["size"][row]))

    def _move_bodies(self, buffers: I64 | None) -> None:
        """Lay the bodies that lie in some buffers, or in all, into others, and give those back.

        In steps, from buffer to buffer: all of them at once would be there three times meanwhile.
        """
        used = self.rows.used
        is_moved = self.rows["slot"][:used] >= 0
        if buffers is not None:
            is_moved &= np.isin(self.rows["buffer"][:used], buffers)
        rows = np.flatnonzero(is_moved)
        rows = rows[stable_order(self.rows["buffer"][rows])]
        step = np.cumsum(self.rows["size"][rows], dtype=np.int64) // _PACKED_BYTES
        for some in np.split(rows, run_starts(step)[1:]):
            moved = self.bodies(some).packed()
            self._bodies.release(self.rows["buffer"][some])
            if len(some):
                self.rows["buffer"][some] = self._bodies.add(moved.data, len(some), packed=True)
                self.rows["start"][some] = moved.start

    @property
    def shelved_bytes(self) -> int:
        """How many bytes of buffers are on the shelf, where they take no memory."""
        return self._bodies.shelved_bytes

    def rest(self) -> None:
        """Let go of the memory that reading shelved bodies took; after a step's outputs."""
        self._bodies.rest()

    def may_be_due(self, front_us: int) -> I64:
        """Return the slots whose deadline is unknown, or before a time; (k,), ascending."""
        return np.flatnonzero(self.slots["due_us"][: self.slots.used] < front_us)

    def live_slots(self) -> I64:
        """Return all live slots, (k,)."""
        return np.flatnonzero(self.slots["is_live"][: self.slots.used])


def waiting_times(events: EventColumns, rows: I64) -> I64:
    """Return (n,) event times of some rows, as far as waits go by them.

    A clock that runs ahead must not keep its trace open: no time is more than `FUTURE_US` after
    the record's.
    """
    kafka_us = events.kafka_us.take(rows)
    return np.minimum(events.timestamp_us.take(rows), kafka_us + FUTURE_US)


def _of_rows(flag: bool | Mask, rows: I64) -> bool | Mask:
    """Return what is so of some rows: one word for all, or the word of each."""
    return flag if isinstance(flag, bool) else flag.take(rows)


def _no_runs() -> Table:
    return Table(dict.fromkeys(("start", "count", "previous"), (np.int32, ())), {})


def _dead_parts(rows: int) -> int:
    """Return of how many parts one may be dead: of a large table more, since they are memory."""
    return 2 if rows < _LARGE_ROWS else 4
