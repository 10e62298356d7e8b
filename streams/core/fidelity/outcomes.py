"""What became of each stage and each edge of a trace's flow.

Owns the (traces, stages) view of one flow and the rows read from it. Invariant: an edge has a row
only when the trace had to cross it, a stage only when the trace was seen there.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from streams.core.columns import STATUS_ERROR, SpanBatch
from streams.core.fidelity.masks import has_bit
from streams.core.fidelity.tables import FlowTables
from streams.core.order import stable_order
from streams.units import I32, I64, U8, U64, Mask, TimesUs

NO_ROW: Final = -1
_TABLE_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class EdgeOutcomes:
    """One row per (trace, edge that it must cross), by trace, then edge; all of one length.

    Attributes:
        trace: ordinal in the batch.
        flow: index into `plan.flows`.
        edge: position in the flow's `edges`.
        is_observed: the far stage was seen as often as the flow needs.
        missing_row: row of the far stage in the missing columns, -1 when observed.
        cause: cause of that row; 0 when observed.
        gap_us: start of the far stage less start of the near stage; 0 when not observed.
        is_late: observed, but not by the spans that came in time alone.
        near_row: the near stage's earliest span in the batch: the evidence.
    """

    trace: I32
    flow: I32
    edge: I32
    is_observed: Mask
    missing_row: I32
    cause: U8
    gap_us: I64
    is_late: Mask
    near_row: I64

    def __len__(self) -> int:
        return len(self.trace)

    @classmethod
    def empty(cls) -> Self:
        """Return zero rows."""
        i32, i64, claim = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return cls(i32, i32, i32, claim, i32, np.zeros(0, np.uint8), i64, claim, i64)


@dataclass(frozen=True, slots=True)
class StageOutcomes:
    """One row per (trace, stage of its flow that was seen), by trace, then stage.

    Attributes:
        trace: ordinal in the batch.
        flow: index into `plan.flows`.
        stage: position in the flow's stages.
        start_us: earliest start.
        duration_us: latest end less earliest start.
        count: distinct spans.
        errors: spans with status ERROR.
        is_deadline_missed: it ended later than its deadline allows.
        row: the stage's earliest span in the batch.
    """

    trace: I32
    flow: I32
    stage: I32
    start_us: TimesUs
    duration_us: I64
    count: I64
    errors: I64
    is_deadline_missed: Mask
    row: I64

    def __len__(self) -> int:
        return len(self.trace)

    @classmethod
    def empty(cls) -> Self:
        """Return zero rows."""
        i32, i64, claim = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return cls(i32, i32, i32, i64, i64, i64, i64, claim, i64)


@dataclass(frozen=True, slots=True)
class StageSpans:
    """The spans of a batch grouped by (trace, stage code), ascending by `key`.

    Attributes:
        key: (g,) trace * codes + stage code.
        row: (g,) earliest span.
        start_us: (g,) its start.
        end_us: (g,) latest end.
        count: (g,) spans.
        errors: (g,) of them with status ERROR.
        on_time: (g,) of them not late.
    """

    key: I64
    row: I64
    start_us: TimesUs
    end_us: TimesUs
    count: I64
    errors: I64
    on_time: I64

    @classmethod
    def of(cls, batch: SpanBatch, stage_code: I32, codes: int) -> Self:
        """Group the rows whose stage code is not -1; within a group rows stay in batch order."""
        rows = np.flatnonzero(stage_code >= 0)
        key = batch.trace[rows].astype(np.int64) * codes + stage_code[rows]
        order = (
            stable_order(key) if batch.traces * codes < 1 << 32 else np.argsort(key, kind="stable")
        )
        rows = rows[order]
        key = key.take(order)
        is_new = np.ones(len(key), np.bool_)
        np.not_equal(key[1:], key[:-1], out=is_new[1:])
        starts = np.flatnonzero(is_new)
        first = rows[starts]
        if not len(starts):  # reduceat refuses to group nothing
            return cls(key, first, *(np.zeros(0, np.int64) for _ in range(5)))
        end_us = batch.timestamp_us[rows] + batch.duration_us[rows]
        is_error = (batch.status[rows] == STATUS_ERROR).astype(np.int64)
        return cls(
            key=key[starts],
            row=first,
            start_us=batch.timestamp_us[first],
            end_us=np.maximum.reduceat(end_us, starts),
            count=np.diff(starts, append=len(key)),
            errors=np.add.reduceat(is_error, starts),
            on_time=np.add.reduceat((~batch.is_late[rows]).astype(np.int64), starts),
        )

    def find(self, wanted: I64) -> I64:
        """Return the position in `key` of each wanted key, -1 where it is not there."""
        if not len(self.key):
            return np.full(wanted.shape, -1)
        last = int(self.key[-1])
        if last < _TABLE_MAX:  # a look-up costs a tenth of a search
            place = np.full(last + 2, -1)
            place[self.key] = np.arange(len(self.key))
            return place[np.minimum(wanted, last + 1)]
        group = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        return np.where(self.key[group] == wanted, group, -1)


@dataclass(frozen=True, slots=True)
class FlowView:
    """The k traces of one flow against its S stages; the arrays without a note are (k, S).

    Attributes:
        index: index into `plan.flows`.
        tables: what follows from the flow.
        trace: (k,) ordinals of the traces, ascending.
        spans: the groups that `group` points into.
        group: row in `spans`, 0 where the stage was not seen.
        count: distinct spans of the stage.
        is_required: the trace requires the stage.
        is_lacking: it requires the stage and has too few spans of it.
    """

    index: int
    tables: FlowTables
    trace: I64
    spans: StageSpans
    group: I64
    count: I64
    is_required: Mask
    is_lacking: Mask

    @classmethod
    def of(
        cls,
        index: int,
        tables: FlowTables,
        trace: I64,
        spans: StageSpans,
        codes: int,
        mask: U64,
    ) -> Self:
        """Look up the stages of the traces; `mask` (T, W) says which conditions are met."""
        flow = tables.flow
        wanted = trace[:, None] * codes + flow.stage_code[None, :]
        group = spans.find(wanted)
        if len(spans.key):
            count = np.where(group >= 0, spans.count[group], 0)
            group[group < 0] = 0
        else:
            group, count = np.zeros_like(wanted), np.zeros(wanted.shape, np.int64)
        is_required = np.repeat(np.asarray(flow.is_required, np.bool_)[None, :], len(trace), 0)
        for stage in np.flatnonzero(flow.required_bit >= 0).tolist():
            is_required[:, stage] |= has_bit(mask[trace], int(flow.required_bit[stage]))
        is_lacking = is_required & (count < flow.min_count)
        return cls(index, tables, trace, spans, group, count, is_required, is_lacking)

    def edges(self, missing_row: I32) -> EdgeOutcomes:
        """Return the edges that the traces must cross: near stage seen, far stage required.

        Args:
            missing_row: (k, S) row of each lacking stage in the missing columns, else -1.
        """
        near, far = self.tables.near, self.tables.far
        at, edge = np.nonzero((self.count[:, near] > 0) & self.is_required[:, far])
        near_group = self.group[at, near[edge]]
        far_group = self.group[at, far[edge]]
        is_observed = ~self.is_lacking[at, far[edge]]
        spans = self.spans
        gap_us = spans.start_us[far_group] - spans.start_us[near_group]
        is_enough = spans.on_time[far_group] >= self.tables.flow.min_count[far[edge]]
        return EdgeOutcomes(
            trace=self.trace[at].astype(np.int32),
            flow=np.full(len(at), self.index, np.int32),
            edge=edge.astype(np.int32),
            is_observed=is_observed,
            missing_row=missing_row[at, far[edge]],
            cause=np.zeros(len(at), np.uint8),
            gap_us=np.where(is_observed, gap_us, 0),
            is_late=is_observed & ~is_enough,
            near_row=spans.row[near_group],
        )

    def stages(self) -> StageOutcomes:
        """Return the stages that were seen, with their times and whether they kept the deadline."""
        at, stage = np.nonzero(self.count)
        group = self.group[at, stage]
        spans = self.spans
        return StageOutcomes(
            trace=self.trace[at].astype(np.int32),
            flow=np.full(len(at), self.index, np.int32),
            stage=stage.astype(np.int32),
            start_us=spans.start_us[group],
            duration_us=spans.end_us[group] - spans.start_us[group],
            count=spans.count[group],
            errors=spans.errors[group],
            is_deadline_missed=self._deadline_missed()[at, stage],
            row=spans.row[group],
        )

    def _deadline_missed(self) -> Mask:
        """(k, S) the stage ended too long after its latest predecessor seen.

        A stage without predecessors counts from its own start; one whose predecessors were not
        seen cannot be judged and has missed nothing.
        """
        out = np.zeros(self.count.shape, np.bool_)
        spans = self.spans
        for stage in np.flatnonzero(self.tables.flow.deadline_us > 0).tolist():
            at = np.flatnonzero(self.count[:, stage])
            group = self.group[at, stage]
            before = self.tables.predecessors[stage]
            if before:
                from_us = np.full(len(at), _NEVER_US, np.int64)
                for near in before:
                    near_end_us = spans.end_us[self.group[at, near]]
                    is_seen = self.count[at, near] > 0
                    np.maximum(from_us, np.where(is_seen, near_end_us, _NEVER_US), out=from_us)
            else:
                from_us = spans.start_us[group]
            limit_us = from_us + self.tables.flow.deadline_us[stage]
            out[at, stage] = (from_us > _NEVER_US) & (spans.end_us[group] > limit_us)
        return out


# Earlier than any time an event can carry, and far enough from the edge of int64 to add to.
_NEVER_US: Final = -(2**62)
