"""The join: one partition's events, chunk by chunk, become traces.

`JoinTask.step` takes the events of a chunk and says what follows. It never reads a clock and does
no I/O, so a run can be repeated exactly. The order of its stages: account for what has no trace;
find or open each event's trace; let stream time advance row by row and close what is due before
a row that comes too late for it; add the rest; close what is due at the end.

Invariant: accepted = joined + duplicate + late + untraced + rejected + evicted + open.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from streams.core.columns import TRACE, EventColumns, Operations
from streams.core.fidelity.causes import nothing_known
from streams.core.fidelity.masks import entry_flows, stage_bits
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.rule_table import RuleTable
from streams.core.signals.series import SeriesBook
from streams.core.traces.arena import Shelve
from streams.core.traces.closedtraces import ClosedBatch, fold_key
from streams.core.traces.idmap import first_of_each, halves, key_bytes
from streams.core.traces.links import ReadLink, tells_nothing
from streams.core.traces.opentraces import RECALL_DONE, RECALL_WANTED
from streams.core.traces.partitioners import KeyOf, PartitionerWatch
from streams.core.traces.progress import NEVER
from streams.engine.closing import Closer, Describe
from streams.engine.due import Deadlines, DueRule
from streams.engine.effects import (
    CLOSED_BY_BOUND,
    CLOSED_BY_CLOCK,
    CLOSED_BY_CONTRACT,
    CLOSED_BY_WATERMARK,
    JoinEffects,
)
from streams.engine.join_state import JoinSettings, JoinState
from streams.engine.knowledge import Knowledge
from streams.engine.link_rule import LinkRule
from streams.engine.restoring import apply_segment
from streams.engine.within_chunk import Arrivals, WithinChunk
from streams.state.segment import Segment, SegmentRows
from streams.units import I32, I64, U8, U64

_GONE: Final = -1  # row is accounted for and goes no further
_NOBODY: Final = np.zeros(0, np.int64)
_REPEATED: Final = -2  # row is a repeat of one in a published revision, and not yet counted


class JoinTask:
    """Joins the events of one partition of all telemetry topics.

    Args:
        plan: the compiled contract, or `plan.EMPTY`.
        operations: the codec's interned names.
        topics: names of the topics read, in the order of `EventColumns.topic`.
        topic_of_module: topic index by module name.
        other: topic index of modules that the contract does not name.
        settings: bounds and waits.
        describe: reads record and batch id from an event's bytes; called for samples only.
        condition_hashes: per condition bit of the plan the value hashes that set it.
        rules: learned rules of the contract, if it has any.
        silent: topics that no trace waits for: those of synthetic spans.
        shared: topics that carry spans of any module, besides its own.
        parts: by index of a rekeyed topic the further ones under which its events come: one for
            each of its partitions, for each has its own pace.
        placed_anew: topics whose keys no producer placed.
        read_link: reads what a synthetic span tells from its bytes.
        partition, partitions: which partition is read of the topics, and how many they have.
        series: the codec's interned series; None where it gives none.
        shelve: lays events that stay long where they take no memory; None keeps all in memory.
    """

    def __init__(
        self,
        plan: Plan,
        operations: Operations,
        topics: Sequence[str],
        topic_of_module: Mapping[str, int],
        *,
        other: int,
        settings: JoinSettings,
        describe: Describe,
        condition_hashes: Mapping[int, U64] | None = None,
        rules: RuleTable | None = None,
        silent: Sequence[int] = (),
        shared: Sequence[int] = (),
        parts: Mapping[int, Sequence[int]] | None = None,
        placed_anew: Sequence[int] = (),
        read_link: ReadLink = tells_nothing,
        partition: int = 0,
        partitions: int = 1,
        series: SeriesBook | None = None,
        shelve: Shelve | None = None,
    ) -> None:
        self.plan = plan
        self.settings = settings
        watch = PartitionerWatch(topics, partition, partitions, ignored=[*silent, *placed_anew])
        self.state = JoinState(plan, topics, settings, watch, silent, shelve)
        self._operations = operations
        self._series = SeriesBook() if series is None else series
        self._conditions = condition_hashes or {}
        self._due = DueRule(
            plan,
            topics,
            topic_of_module,
            other=other,
            silent=silent,
            shared=shared,
            parts=parts,
            fixed_wait_us=settings.fixed_wait_us,
        )
        self._wait_us = 0
        self._within = WithinChunk(plan, self._due, settings.fixed_wait_us)
        self._describe = describe
        knowledge = Knowledge(plan, topic_of_module, other, shared, parts)
        self.own_module = knowledge.own_module
        self._links = LinkRule(plan, operations, read_link)
        self._closer = Closer(plan, operations, knowledge, rules, describe, self._links)

    def step(
        self,
        events: EventColumns,
        positions: Mapping[str, int],
        *,
        rejected: Mapping[str, int],
        caught_up_us: Sequence[int],
        rejected_us: I64 | None = None,
        rejected_from: Sequence[tuple[str, str, str]] = (),
        rejected_traces: Sequence[tuple[bytes, str]] = (),
        key_of: KeyOf | None = None,
    ) -> JoinEffects:
        """Take in a chunk and close what is due.

        Args:
            events: the good events of the chunk, in arrival order; may be empty.
            positions: next offset per topic after this chunk.
            rejected: how many events of the chunk were rejected, by reason.
            caught_up_us: per topic the latest time at which it was known to be read to its end,
                0 while it is behind.
            rejected_us: when each of the rejected events came, by the broker.
            rejected_from: module, topic and reason of each of them.
            rejected_traces: trace and module of rejected spans, where they can be told.
            key_of: gives the key of a record of the chunk by its position, as in `events.row`.

        Returns:
            What is to be published and whom to hold.
        """
        state = self.state
        effects = JoinEffects()
        state.positions.update(positions)
        state.count_events("accepted", events.topic)
        state.signals.add_events(events, self._series)
        if rejected_from and rejected_us is not None:
            state.signals.add_rejected(rejected_from, rejected_us)
        self._account_rejected(rejected, rejected_us, rejected_traces)
        state.partitioners.observe(events.topic, events.trace_id, events.row, key_of)
        floor_us = self._floor_us()
        progress = state.progress.advance(events.topic, events.timestamp_us, events.kafka_us)
        if len(events):
            floors = np.r_[floor_us, progress[self._due.awaited].min(axis=0)[:-1]]
            self._admit_all(events, progress, floors, effects)
        state.progress.tick(caught_up_us)
        self._close_due(effects)
        self._close_beyond_bounds(effects)
        state.closed.expire(self._floor_us() - self.settings.closed_retention_us)
        ahead_us = self.settings.hold_ahead_us
        if ahead_us is None:
            ahead_us = 2 * max(self._due.longest_wait_us, state.wait.wait_us)
        effects.held_topics = state.progress.held_topics(caught_up_us, ahead_us)
        return effects

    def _account_rejected(
        self,
        rejected: Mapping[str, int],
        rejected_us: I64 | None,
        rejected_traces: Sequence[tuple[bytes, str]],
    ) -> None:
        state = self.state
        for reason, n in rejected.items():
            state.count("accepted", n)
            state.count("rejected", n, reason)
        if rejected_us is None:
            state.counts.add_rejected(sum(rejected.values()))
        else:
            window = rejected_us // self.settings.window_us
            for at, n in zip(*np.unique(window, return_counts=True), strict=True):
                state.counts.add_rejected(int(n), int(at) * self.settings.window_us)
        forgotten = state.rejected.add(rejected_traces)
        if forgotten:
            name = "rejected_traces_max"
            state.reasons[name] = state.reasons.get(name, 0) + forgotten

    def signal_watermark_us(self) -> int:
        """Return the time that all topics of modules have passed."""
        return max(0, self._floor_us())

    def watermark_us(self) -> int:
        """Return the time before which no open trace starts, as far as the stream has come."""
        slots = self.state.open.slots
        live = self.state.open.live_slots()
        oldest = int(slots["first_us"][live].min()) if len(live) else -NEVER
        return max(0, min(self._floor_us(), oldest))

    def _floor_us(self) -> int:
        """Return the progress of the slowest topic: all of the stream has come this far."""
        return int(self.state.progress.progress_us()[self._due.awaited].min())

    # --- taking events in

    def _admit_all(
        self, events: EventColumns, progress: I64, floor_us: I64, effects: JoinEffects
    ) -> None:
        state = self.state
        traced = (events.trace_id != 0).any(axis=1)
        state.count_events("untraced", events.topic[~traced])
        of_modules = ~state.is_link_topic[events.topic]
        if of_modules.all():
            state.counts.add_events(events, traced, self._operations)
        else:  # a module says nothing by what the worker says of it
            sent = events.take(of_modules)
            state.counts.add_events(sent, traced[of_modules], self._operations)
        for topic, misplaced in state.partitioners.misplaced().items():
            rows = np.flatnonzero(traced & (events.topic == topic))
            state.counts.add_misplaced(
                events, rows, misplaced.counter, self._operations, self._describe
            )
        pending = np.flatnonzero(traced)
        while len(pending):
            chunk = events if len(pending) == len(events) else events.take(pending)
            later = self._admit(chunk, pending, progress, floor_us, effects)
            pending = pending[later]

    def _admit(
        self, events: EventColumns, index: I64, progress: I64, floor_us: I64, effects: JoinEffects
    ) -> I64:
        """Add events up to where their trace closes within the chunk; return the rows after that.

        Args:
            events: traced events.
            index: (n,) their rows in the whole chunk, which is what `progress` has columns for.
            progress: (topics, rows) progress after each row of the whole chunk.
            floor_us: (rows,) progress of the slowest topic before each row of the whole chunk.
            effects: takes the traces that close.
        """
        state = self.state
        slot = self._slots(events, floor_us[index])
        bits, entry = self._bits(events)
        here = np.flatnonzero(slot != _GONE)
        rows = Arrivals(events, slot, bits, entry, index, progress)
        later = self._within.after_closing(state.open, rows, state.wait.wait_us)
        now = here[~later[here]]
        part = events if len(now) == len(events) else events.take(now)
        _, evicted = state.open.add(part, slot[now], bits[now], entry[now], late=True)
        state.count_events("evicted", part.topic[evicted], "trace_too_large")
        if later.any():
            # With them go all that are due after the chunk, of which no row is left: to close costs
            # some milliseconds, however few traces there are.
            self._close_due(effects, np.unique(slot[later]).astype(np.int64))
        return np.flatnonzero(later)

    def _bits(self, events: EventColumns) -> tuple[U64, I32]:
        """Return the plan's bits that each event sets, (n, W), and the flow it enters, (n,)."""
        self._links.note(events.operation)
        bits = stage_bits(
            events.operation, events.dimension, self.plan, self._operations, self._conditions
        )
        spans = events.event_type == TRACE
        bits[~spans] = 0
        entry = np.full(len(events), -1, np.int32)
        roots = spans & (events.parent_span_id == 0)
        entry[roots] = entry_flows(events.operation[roots], self.plan, self._operations)
        return bits, entry

    def _slots(self, events: EventColumns, floor_us: I64) -> I64:
        """Return each event's slot, opening and reopening traces; -1 where the event ends here."""
        state = self.state
        hi, lo = events.trace_id[:, 0], events.trace_id[:, 1]
        first = first_of_each(hi, lo)
        ones = np.flatnonzero(first == np.arange(len(first)))  # a row of each trace
        slot = np.full(len(first), _GONE, np.int64)
        slot[ones] = state.open.find(hi[ones], lo[ones])
        misses = ones[slot[ones] < 0]
        if not len(misses):
            return slot[first]
        # What closed before this is forgotten, at the row where it is, not when memory is swept.
        kept_us = np.where(floor_us > NEVER, floor_us - self.settings.closed_retention_us, NEVER)
        oldest_us = np.maximum(kept_us, state.closed.forgotten_us)
        # Where a trace was closed, or may have been, the order of its events decides: one by one.
        closed_at = np.full(len(first), -1, np.int64)
        closed_at[misses] = state.closed.entries(hi[misses], lo[misses])
        is_odd = closed_at >= 0
        is_odd[first[events.timestamp_us <= oldest_us]] = True
        # A link opens no trace: there would be nothing in it to wait for or to judge.
        is_odd[first[state.is_link_topic[events.topic]]] = True
        fresh = misses[~is_odd[misses]]
        if len(fresh):
            slot[fresh] = state.open.open_new(hi[fresh], lo[fresh])
        out = slot[first]
        rest = np.flatnonzero(out < 0)
        if len(rest):
            keys = key_bytes(hi[rest], lo[rest])
            entries = closed_at.take(first.take(rest)).tolist()
            repeated: list[int] = []
            opened: dict[bytes, int] = {}  # none was open before, or it would have a slot
            for at, (i, key, entry) in enumerate(zip(rest.tolist(), keys, entries, strict=True)):
                found = opened.get(key, _GONE)
                if found == _GONE:
                    times = int(kept_us[i]), int(oldest_us[i])
                    found = self._slot_of_old(events, i, key, entry, *times)
                if found == _REPEATED:
                    repeated.append(at)
                elif found != _GONE:
                    opened[key] = found
                out[i] = max(found, _GONE)
            self._count_repeated(events, rest[repeated], [keys[at] for at in repeated])
        return out

    def _slot_of_old(
        self, events: EventColumns, i: int, key: bytes, entry: int, kept_us: int, oldest_us: int
    ) -> int:
        """Return the slot of an event whose trace is not open: it was closed, or may have been.

        -1 when it goes no further, -2 when a published revision holds it already.
        """
        state = self.state
        closed = state.closed.at(entry) if entry >= 0 else None
        if closed is not None and closed[0].closed_us[closed[1]] >= kept_us:
            folded = fold_key(events.event_key[i : i + 1, 0], events.event_key[i : i + 1, 1])
            if state.closed.holds_event(*closed, int(folded[0])):
                return _REPEATED
            return self._reopen(key, *closed, events.topic[i : i + 1])
        if state.is_link_topic[events.topic[i]]:
            state.count_events("late", events.topic[i : i + 1])
            return _GONE
        if events.timestamp_us[i] <= oldest_us:
            is_old = events.timestamp_us[i] <= kept_us
            state.count("late", 1, "after_closed_retention" if is_old else "closed_max")
            state.counts.add_late(events, i, self._operations)
            return _GONE
        return state.open.open(key)

    def _count_repeated(self, events: EventColumns, rows: I64, keys: list[bytes]) -> None:
        """Count events that a published revision holds, in the windows too.

        The windows count a duplicate the same whether its trace was still open when it came; of
        synthetic spans they know nothing.
        """
        if not len(rows):
            return
        state = self.state
        state.count_events("duplicate", events.topic[rows], "after_closing")
        told = np.flatnonzero(~state.is_link_topic[events.topic[rows]])
        if not len(told):
            return
        rows = rows[told]
        state.counts.add_duplicates(
            events.operation[rows],
            events.timestamp_us[rows],
            self._operations,
            trace_ids=[keys[at] for at in told.tolist()],
            describe=lambda row: self._describe(events.body[int(rows[row])]),
        )

    def _reopen(self, key: bytes, batch: ClosedBatch, at: int, topic: U8) -> int:
        state = self.state
        if batch.is_truncated[at]:
            state.count_events("evicted", topic, "trace_too_large")
            return _GONE
        slot = state.open.open(key, int(batch.revision[at]), batch.cut_ms, batch.known[at])
        state.closed.reopen(key)
        return slot

    # --- closing

    def _close_due(self, effects: JoinEffects, overdue: I64 = _NOBODY) -> None:
        """Close what is due as far as the stream has come.

        Args:
            effects: takes the traces.
            overdue: (k,) slots that were due within the chunk, before a row that is still to come.
        """
        state = self.state
        s = state.open.slots
        if state.wait.wait_us != self._wait_us:  # what was worked out with another wait is void
            self._wait_us = state.wait.wait_us
            s["due_us"][state.open.live_slots()] = NEVER
        front_us = int(state.progress.progress_us()[self._due.awaited].max())
        live = state.open.may_be_due(front_us)
        if len(overdue):
            live = np.union1d(live, overdue)
        live = live[s["recall"][live] != RECALL_WANTED]
        if len(live) == 0:
            return
        deadlines = self._deadlines_of(live)
        by_events = deadlines.passed(state.progress.event_us) | np.isin(live, overdue)
        due = by_events | deadlines.passed(state.progress.progress_us())
        # Stream time must come this far before the trace is worth another look, unless it waits
        # for no topic at all, or something comes.
        is_held = deadlines.waits_for.any(axis=1)
        s["due_us"][live] = np.where(is_held, deadlines.deadline_us, NEVER)
        by = np.where(by_events, CLOSED_BY_WATERMARK, CLOSED_BY_CLOCK)
        by = np.where(deadlines.is_met, CLOSED_BY_CONTRACT, by).astype(np.uint8)
        if due.any():
            self._close(live[due], effects, by=by[due], deadline_us=deadlines.deadline_us[due])

    def _close_beyond_bounds(self, effects: JoinEffects) -> None:
        """Close the oldest traces early while there are more than the memory is meant for."""
        state, settings = self.state, self.settings
        excess = len(state.open) - settings.open_traces_max
        crowded = state.open.live_bytes > settings.open_bytes_max
        if excess <= 0 and not crowded:
            return
        live = state.open.live_slots()
        live = live[state.open.slots["recall"][live] != RECALL_WANTED]
        oldest = live[np.argsort(state.open.slots["first_us"][live], kind="stable")]
        count = max(excess, 0)
        if crowded:
            held = np.cumsum(state.open.slots["bytes"][oldest])
            surplus = state.open.live_bytes - settings.open_bytes_max
            count = max(count, int(np.searchsorted(held, surplus)) + 1)
        early = oldest[:count]
        reason = "open_bytes_max" if crowded else "open_traces_max"
        state.reasons[reason] = state.reasons.get(reason, 0) + len(early)
        by = np.full(len(early), CLOSED_BY_BOUND, np.uint8)
        self._close(early, effects, by=by, deadline_us=self._deadlines_of(early).deadline_us)

    def _close(self, slots: I64, effects: JoinEffects, *, by: U8, deadline_us: I64) -> None:
        state = self.state
        # The moment in stream time, whichever row or chunk the closing was done at.
        closed_us = np.maximum(deadline_us, state.open.slots["last_us"][slots])
        self._closer.close(state, slots, by, closed_us, effects)

    def _deadlines_of(self, slots: I64) -> Deadlines:
        s = self.state.open.slots
        return self._due.deadlines(
            s["mask"][slots],
            s["entry_flow"][slots],
            s["first_us"][slots],
            s["last_us"][slots],
            self.state.wait.wait_us,
        )

    # --- events of an earlier revision, read back by the shell

    def recalled(self, key: bytes, events: EventColumns) -> None:
        """Give a reopened trace the events of its last revision."""
        state = self.state
        slot = state.open.slot(key)
        if slot < 0 or state.open.slots["recall"][slot] != RECALL_WANTED:
            return
        bits, entry = self._bits(events)
        rows = np.full(len(events), slot, np.int32)
        state.open.add(events, rows, bits, entry, late=False, recalled=True, bounded=False)
        state.recalled_rows += len(events)
        state.open.slots["recall"][slot] = RECALL_DONE
        state.open.slots["meta_cut"][slot] = state.open.cut

    def recall_failed(self, key: bytes) -> None:
        """Count a reopened trace's events as late: its last revision cannot be read any more."""
        state = self.state
        slot = state.open.slot(key)
        if slot < 0 or state.open.slots["recall"][slot] != RECALL_WANTED:
            return
        slots = np.array([slot], np.int64)
        rows, _ = state.open.gather(slots)
        table = state.open.rows
        state.count_events("late", table["topic"][rows], "recall_failed")
        events = np.unique(table["key"][rows])
        state.closed.add(
            ClosedBatch(
                closed_us=np.maximum(state.open.slots["last_us"][slots], self._floor_us()),
                cut_ms=int(state.open.slots["cut_ms"][slot]),
                cut=state.open.cut,
                trace_id=np.stack(halves([key]), axis=1),
                revision=state.open.slots["revision"][slots].astype(np.int64),
                is_truncated=np.ones(1, np.bool_),  # nothing can amend it any more
                known=nothing_known(1),
                offset=np.array([0, len(events)]),
                events=events,
            )
        )
        state.forget(slots, rows)

    # --- restoring

    def apply(self, segment: Segment, decode: Callable[[SegmentRows], EventColumns]) -> None:
        """Put one segment on top of the state; a full one goes onto an empty task.

        Args:
            segment: the next segment, oldest first.
            decode: decodes the segment's events, all of which were accepted once.
        """
        apply_segment(self.state, segment, decode, self._bits)
