"""Closing traces: gather their events, drop the duplicates, judge them, count them, let them go.

Invariant: each accepted event of a closed trace is counted once: as joined when it is published,
as duplicate when another event has its identity, and never again in a later revision.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from streams.core.columns import SAMPLED, STATUS_ERROR, TRACE, Operations, SpanBatch
from streams.core.fidelity.causes import explain
from streams.core.fidelity.judge import Judgement, judge
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.rule_table import RuleTable
from streams.core.order import run_starts, stable_order
from streams.core.traces.closedtraces import ClosedBatch
from streams.core.traces.idmap import first_of_each
from streams.core.traces.links import Told
from streams.core.traces.table import Table
from streams.engine.effects import TRUNCATED, AssembledBatch, JoinEffects
from streams.engine.fragment_rule import FragmentRule
from streams.engine.join_state import JoinState
from streams.engine.knowledge import Knowledge
from streams.engine.link_rule import LinkRows, LinkRule
from streams.units import I64, U8, U64, Mask

Describe = Callable[[bytes], tuple[str, str]]
"""Reads (record id, batch id) from an event's bytes."""
_SPAN_COLUMNS: Final = (
    "parent_span_id",
    "timestamp_us",
    "duration_us",
    "operation",
    "status",
    "trace_flags",
    "topic",
    "is_late",
)


class Closer:
    """Turns slots that are due into published traces, counts and entries of the closed set."""

    def __init__(
        self,
        plan: Plan,
        operations: Operations,
        knowledge: Knowledge,
        rules: RuleTable | None,
        describe: Describe,
        links: LinkRule,
    ) -> None:
        self._plan = plan
        self._operations = operations
        self._knowledge = knowledge
        self._rules = rules
        self._describe = describe
        self._fragments = FragmentRule(plan)
        self._links = links

    def close(
        self, state: JoinState, slots: I64, by: U8, closed_us: I64, effects: JoinEffects
    ) -> None:
        """Close the traces in `slots`; (k,) live slots, none waiting for a recall."""
        if len(slots) == 0:
            return
        rows, owner = state.open.gather(slots)
        kept, owner, repeats = self._distinct(state, rows, owner)
        self._count_duplicates(state, repeats)
        kept, owner, links = self._settle_links(state, kept, owner)
        kept, owner = self._within_bounds(state, slots, kept, owner)
        fresh = kept[~state.open.rows["is_recalled"][kept]]
        state.count_events("joined", state.open.rows["topic"][fresh])
        batch, span_rows = self._batch(state, kept, owner, len(slots))
        keys = state.open.keys(slots)
        known = self._knowledge.of(state, slots, keys, by)
        judgement = self._links.apply(self._judge(batch, known), links.now)
        again = state.open.slots["revision"][slots] > 0
        self._recount(state, slots, kept, owner, again, links.before)
        assembled = self._assemble(state, slots, by, kept, owner, keys, batch, judgement)

        def describe(row: int) -> tuple[str, str]:
            return self._describe(state.open.body(span_rows[row]))

        state.counts.add_traces(
            batch,
            judgement,
            self._plan,
            self._operations,
            keys,
            describe,
            status=assembled.status,
            revision=assembled.revision,
            start_us=assembled.start_us,
        )
        effects.traces.append(assembled)
        effects.fragments += self._fragments.of(batch, judgement, assembled, describe)
        self._remember(state, slots, kept, assembled, known, closed_us)
        first = ~again
        state.wait.learn((assembled.end_us - assembled.start_us)[first])
        state.forget(slots, rows)

    def _distinct(self, state: JoinState, rows: I64, owner: I64) -> tuple[I64, I64, I64]:
        """Keep one row for each identity: a recalled one, else the first that arrived.

        Returns:
            The rows kept and their owners, sorted by (owner, event time, identity); and the rows
            that are not kept.
        """
        table = state.open.rows
        first = first_of_each(table["key"][rows], owner.view(np.uint64))
        links = np.flatnonzero(self._links.among(table, rows))
        first[links] = links  # which link holds is for `settle`
        if table["is_recalled"][rows].any():
            order = np.lexsort((rows, ~table["is_recalled"][rows], first))
            is_kept = np.zeros(len(rows), np.bool_)
            is_kept[order[run_starts(first[order])]] = True
        else:
            is_kept = first == np.arange(len(first))
        kept = np.flatnonzero(is_kept)
        kept = kept[self._by_time(table, rows[kept], owner[kept])]
        return rows[kept], owner[kept], rows[~is_kept]

    @staticmethod
    def _by_time(table: Table, rows: I64, owner: I64) -> I64:
        """Return the order of rows by owner, event time, identity; owners do not decrease."""
        if not len(rows):
            return rows
        at_us = table["timestamp_us"][rows]
        start = run_starts(owner)
        since = at_us - np.repeat(
            np.minimum.reduceat(at_us, start), np.diff(np.concatenate([start, [len(rows)]]))
        )
        if int(since.max()) >= 1 << 32:
            return np.lexsort((table["key"][rows], at_us, owner))
        order = stable_order(since)
        order = order[stable_order(owner[order])]
        same = (since[order][1:] == since[order][:-1]) & (owner[order][1:] == owner[order][:-1])
        if same.any():
            tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
            some = order[tied]
            order[tied] = some[np.lexsort((table["key"][rows[some]], at_us[some], owner[some]))]
        return order

    def _within_bounds(
        self, state: JoinState, slots: I64, kept: I64, owner: I64
    ) -> tuple[I64, I64]:
        """Evict the late events that do not fit beside the recalled ones of their trace."""
        table, s, bounds = state.open.rows, state.open.slots, state.open.bounds
        crowded = (s["rows"][slots] > bounds.rows_max) | (s["bytes"][slots] > bounds.bytes_max)
        crowded &= s["revision"][slots] > 0
        fits = np.ones(len(kept), np.bool_)
        for trace in np.flatnonzero(crowded).tolist():
            mine = np.flatnonzero(owner == trace)
            mine = mine[np.lexsort((kept[mine], ~table["is_recalled"][kept[mine]]))]
            size = np.cumsum(table["size"][kept[mine]])
            over = (np.arange(len(mine)) >= bounds.rows_max) | (size > bounds.bytes_max)
            fits[mine] = table["is_recalled"][kept[mine]] | ~over
            s["evicted"][slots[trace]] += int((~fits[mine]).sum())
        state.count_events("evicted", table["topic"][kept[~fits]], "trace_too_large")
        return kept[fits], owner[fits]

    def _count_duplicates(self, state: JoinState, dropped: I64) -> None:
        if not len(dropped):
            return
        table = state.open.rows
        state.count_events("duplicate", table["topic"][dropped], "while_open")
        state.counts.add_duplicates(
            table["operation"][dropped],
            table["timestamp_us"][dropped],
            self._operations,
            trace_ids=state.open.keys(table["slot"][dropped]),
            describe=lambda row: self._describe(state.open.body(dropped[row])),
        )

    def _batch(self, state: JoinState, kept: I64, owner: I64, traces: int) -> tuple[SpanBatch, I64]:
        """Return the spans among the rows as a batch, and the row of each span."""
        table = state.open.rows
        is_link = self._links.among(table, kept)
        spans = np.flatnonzero((table["event_type"].take(kept) == TRACE) & ~is_link)
        rows = kept[spans]
        columns = {name: table[name].take(rows, axis=0) for name in _SPAN_COLUMNS}
        is_unsampled = np.ones(traces, np.bool_)
        is_unsampled[owner[table["trace_flags"].take(kept) & SAMPLED != 0]] = False
        batch = SpanBatch(
            trace=owner[spans].astype(np.int32),
            traces=traces,
            span_id=table["key"].take(rows),
            stage_bits=table["bits"].take(rows, axis=0),
            is_unsampled=is_unsampled,
            **columns,
        )
        return batch, rows

    def _judge(self, batch: SpanBatch, known: U64) -> Judgement:
        judgement = judge(batch, self._plan, self._operations, rules=self._rules)
        return explain(judgement, self._plan, self._operations, known)

    def _settle_links(self, state: JoinState, kept: I64, owner: I64) -> tuple[I64, I64, LinkRows]:
        """Let go of the synthetic spans that another one replaced or took back."""
        table = state.open.rows
        links = self._links.settle(state.open, kept, owner)
        if links.kept.all():
            return kept, owner, links
        gone = kept[~links.kept]
        replaced = gone[~table["is_recalled"][gone]]  # a recalled one was joined before
        state.count_events("duplicate", table["topic"][replaced], "link_replaced")
        return kept[links.kept], owner[links.kept], links

    def _recount(
        self,
        state: JoinState,
        slots: I64,
        kept: I64,
        owner: I64,
        again: Mask,
        links: list[tuple[int, Told]],
    ) -> None:
        """Take back what the last revision of reopened traces added to the windows."""
        if not again.any():
            return
        table, reopened = state.open.rows, slots[again]
        mine = table["is_recalled"][kept] & again[owner]
        place = np.cumsum(again) - 1
        kept, owner = kept[mine], place[owner[mine]]
        batch, _ = self._batch(state, kept, owner, len(reopened))
        # Judged as it was then: with the causes, the links, the bounds and the start counted.
        before = self._judge(batch, state.open.known(reopened))
        before = self._links.apply(before, [(int(place[trace]), told) for trace, told in links])
        first = np.searchsorted(owner, np.arange(len(reopened)))
        state.counts.add_traces(
            batch,
            before,
            self._plan,
            self._operations,
            state.open.keys(reopened),
            lambda _: ("", ""),
            sign=-1,
            revision=state.open.slots["revision"][reopened].astype(np.int64),
            start_us=table["timestamp_us"][kept[first]],
        )

    def _assemble(
        self,
        state: JoinState,
        slots: I64,
        by: U8,
        kept: I64,
        owner: I64,
        keys: list[bytes],
        batch: SpanBatch,
        judgement: Judgement,
    ) -> AssembledBatch:
        table, s = state.open.rows, state.open.slots
        k = len(slots)
        offset = np.searchsorted(owner, np.arange(k + 1))
        evicted = s["evicted"][slots].astype(np.int64)
        ends = table["timestamp_us"].take(kept) + table["duration_us"].take(kept)
        spans = np.bincount(batch.trace, minlength=k)
        links = np.bincount(owner[self._links.among(table, kept)], minlength=k)
        errors = np.bincount(batch.trace[batch.status == STATUS_ERROR], minlength=k)
        root = judgement.structure.root_row
        root_id = np.where(root >= 0, batch.span_id[root], 0) if len(batch) else np.zeros(k)
        return AssembledBatch(
            keys=keys,
            revision=s["revision"][slots].astype(np.int64) + 1,
            status=np.where(evicted > 0, TRUNCATED, judgement.status).astype(np.uint8),
            closed_by=by,
            judgement=judgement,
            span_count=spans,
            annotation_count=np.diff(offset) - spans - links,
            error_count=errors,
            evicted_count=evicted,
            root_span_id=root_id.astype(np.uint64),
            start_us=table["timestamp_us"][kept[offset[:-1]]],
            end_us=np.maximum.reduceat(ends, offset[:-1]),
            offset=offset,
            body=state.open.bodies(kept),
            timestamp_us=table["timestamp_us"][kept],
            mask=s["mask"][slots].copy(),
        )

    def _remember(
        self,
        state: JoinState,
        slots: I64,
        kept: I64,
        assembled: AssembledBatch,
        known: U64,
        closed_us: I64,
    ) -> None:
        table, s = state.open.rows, state.open.slots
        trace_id = np.stack([s["hi"][slots], s["lo"][slots]], axis=1)
        state.closed.add(
            ClosedBatch(
                closed_us=closed_us,
                cut_ms=0,
                cut=state.open.cut,
                trace_id=trace_id,
                revision=assembled.revision,
                is_truncated=assembled.evicted_count > 0,
                known=known,
                offset=assembled.offset,
                events=table["key"][kept],
            )
        )
