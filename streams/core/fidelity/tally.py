"""What a batch of judged traces adds to the counters, as sums by window and scope.

Owns the definition of each counter of kinds total, flow, edge and stage; adds nothing up over
batches itself. Invariant: each counter is a sum over traces, so batches may be cut anywhere, and
a trace counts in one window only, that of its start.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity import missing
from streams.core.fidelity.judge import (
    BROKEN,
    COMPLETE,
    INCOMPLETE,
    NO_FLOW,
    TRUNCATED,
    Judgement,
)
from streams.core.fidelity.losses import operation_label
from streams.core.fidelity.tables import PlanTables
from streams.core.fidelity.windows import TOTAL, Scope
from streams.core.order import distinct, sums_by
from streams.units import I64, U8, Mask

# A clock that is off by more than this says nothing about a hop; the sums of any number of such
# gaps that fits into memory stay within 64 bits.
TIME_LIMIT_US: Final = 1 << 44
_CAUSES: Final = len(missing.CAUSES)

Values = Mapping[str, I64 | Mask]
Sums = Iterator[tuple[int, Scope, dict[str, int]]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows that may serve as samples of one kind of scope, all arrays of one length.

    Attributes:
        scopes: the scopes that `scope` points into.
        counters: the counters that `counter` points into.
        trace, scope, counter: per row the trace, where it counts and what it proves.
        row: per row the span in the batch that proves it.
    """

    scopes: list[Scope]
    counters: tuple[str, ...]
    trace: I64
    scope: I64
    counter: I64
    row: I64


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one batch of judged traces.

    Attributes:
        batch, judgement, tables: what is counted.
        status: (T,) code as on the wire, the caller's TRUNCATED included.
        revision: (T,) from 1.
        window: (T,) index of the trace's window, -1 for a trace that is not counted.
        windows: how many windows there are.
    """

    batch: SpanBatch
    judgement: Judgement
    tables: PlanTables
    status: U8
    revision: I64
    window: I64
    windows: int

    @property
    def is_in_flight(self) -> Mask:
        """(T,) some of the trace was still on its way, and the trace is not sampled out."""
        out = np.zeros(len(self.status), np.bool_)
        lost = self.judgement.missing
        out[lost.trace[lost.cause == missing.IN_FLIGHT]] = True
        return out & ~self.judgement.is_sampled_out

    def totals(self) -> Sums:
        """Sum kind total; each trace is in exactly one of the six states, `traces` is their sum."""
        sampled_out, in_flight = self.judgement.is_sampled_out, self.is_in_flight
        counts = ~sampled_out & ~in_flight
        late = np.bincount(self.batch.trace[self.batch.is_late], minlength=len(self.status)).astype(
            np.int64
        )
        values: dict[str, I64 | Mask] = {
            "traces": np.ones(len(self.status), np.bool_),
            "complete": counts & (self.status == COMPLETE),
            "incomplete": counts & (self.status == INCOMPLETE),
            "broken": counts & (self.status == BROKEN),
            "truncated": counts & (self.status == TRUNCATED),
            "sampled_out": sampled_out,
            "in_flight": in_flight,
            "late": late,
            "revisions": self.revision - 1,
        }
        trace = np.arange(len(self.status))
        return self._sums([TOTAL], trace, np.zeros(len(trace), np.int64), values)

    def flows(self) -> Sums:
        """Sum kind flow: the share of its traces that have all required stages.

        A trace that goes on with a record of another trace is the same record: it counts in
        `continued`, and the record is judged by the trace in which it began.
        """
        trace = np.flatnonzero(self.judgement.flow != NO_FLOW)
        sampled_out = self.judgement.is_sampled_out[trace]
        in_flight = self.is_in_flight[trace]
        expected = ~sampled_out & ~in_flight
        values: dict[str, I64 | Mask] = {
            "sampled_out": sampled_out,
            "in_flight": in_flight,
        }
        if self.judgement.is_continuation is not None:
            values["continued"] = expected & self.judgement.is_continuation[trace]
            expected = expected & ~self.judgement.is_continuation[trace]
        values["expected"] = expected
        values["observed"] = expected & self.judgement.has_all_required[trace]
        scopes = [Scope("flow", flow.name) for flow in self.tables.plan.flows]
        return self._sums(scopes, trace, self.judgement.flow[trace].astype(np.int64), values)

    def edges(self) -> Sums:
        """Sum kind edge: of the traces that had to cross it, how many did, and why not the rest."""
        edges = self.judgement.edges
        sampled_out, in_flight, counts = self._edge_states()
        observed = counts & edges.is_observed
        gap_us = np.clip(edges.gap_us, -TIME_LIMIT_US, TIME_LIMIT_US)
        values: dict[str, I64 | Mask] = {
            "expected": counts,
            "observed": observed,
            "late": counts & edges.is_late,
            "sampled_out": sampled_out,
            "in_flight": in_flight,
            "gap_count": observed,
            "gap_sum_us": np.where(observed, gap_us, 0),
            "gap_negative": observed & (gap_us < 0),
        }
        lost = counts & ~edges.is_observed
        for cause in np.unique(edges.cause[lost]).tolist():
            values[f"missing.{missing.CAUSES[cause]}"] = lost & (edges.cause == cause)
        trace = edges.trace.astype(np.int64)
        return self._sums(self.edge_scopes(), trace, self._edge_scope(), values)

    def stages(self) -> Sums:
        """Sum kind stage: what was seen there, sampled or not."""
        stages = self.judgement.stages
        values: dict[str, I64 | Mask] = {
            "spans": stages.count,
            "errors": stages.errors,
            "deadline_missed": stages.is_deadline_missed,
            "duration_sum_us": np.clip(stages.duration_us, 0, TIME_LIMIT_US),
        }
        trace = stages.trace.astype(np.int64)
        return self._sums(self.stage_scopes(), trace, self._stage_scope(), values)

    def calls(self, operations: Operations) -> Sums:
        """Sum kind edge of the traces without a flow that learned rules judged.

        Near and far end are the parent's and the child's operation. Every call that was seen is
        expected and observed; a missing one that names its edge is expected.
        """
        if not self.judgement.has_rules:
            return
        parent = self.judgement.structure.parent_row
        child = np.flatnonzero((parent >= 0) & self._is_ruled()[self.batch.trace])
        pair = self.batch.operation[parent[child]].astype(np.int64) * len(operations)
        pairs, which = distinct(pair + self.batch.operation[child])
        scopes = [
            _call_scope(
                operation_label(operations, one // len(operations)),
                operation_label(operations, one % len(operations)),
                operations[one % len(operations)].module,
            )
            for one in pairs.tolist()
        ]
        seen = np.ones(len(child), np.bool_)
        trace = self.batch.trace[child].astype(np.int64)
        yield from self._sums(scopes, trace, which, {"expected": seen, "observed": seen})
        yield from self._lost_calls(operations)

    def _lost_calls(self, operations: Operations) -> Sums:
        lost = self.judgement.missing
        is_edge = (lost.from_label != missing.NO_LABEL) & (lost.cause != missing.IN_FLIGHT)
        lost = lost.take(is_edge & self._is_ruled()[lost.trace])
        names: dict[Scope, int] = {}
        which = [
            names.setdefault(
                _call_scope(
                    lost.labels[near],
                    lost.labels[far],
                    operations[code].module if code >= 0 else lost.labels[far].partition(":")[0],
                ),
                len(names),
            )
            for near, far, code in zip(
                lost.from_label.tolist(),
                lost.to_label.tolist(),
                lost.operation.tolist(),
                strict=True,
            )
        ]
        values = {"expected": np.ones(len(lost), np.bool_)}
        for cause in np.unique(lost.cause).tolist():
            values[f"missing.{missing.CAUSES[cause]}"] = lost.cause == cause
        trace = lost.trace.astype(np.int64)
        return self._sums(list(names), trace, np.array(which, np.int64), values)

    def edge_evidence(self) -> Evidence:
        """Return the near spans of edges that were not crossed, or crossed backwards in time."""
        edges = self.judgement.edges
        _, _, counts = self._edge_states()
        is_lost = counts & ~edges.is_observed
        is_backwards = counts & edges.is_observed & (edges.gap_us < 0)
        rows = np.flatnonzero(is_lost | is_backwards)
        return Evidence(
            scopes=self.edge_scopes(),
            counters=(*(f"missing.{cause}" for cause in missing.CAUSES), "gap_negative"),
            trace=edges.trace[rows].astype(np.int64),
            scope=self._edge_scope()[rows],
            counter=np.where(is_lost, edges.cause, _CAUSES)[rows].astype(np.int64),
            row=edges.near_row[rows],
        )

    def stage_evidence(self) -> Evidence:
        """Return the spans of stages with errors, and of those that missed their deadline."""
        stages = self.judgement.stages
        errors = np.flatnonzero(stages.errors > 0)
        missed = np.flatnonzero(stages.is_deadline_missed)
        rows = np.concatenate([errors, missed])
        return Evidence(
            scopes=self.stage_scopes(),
            counters=("errors", "deadline_missed"),
            trace=stages.trace[rows].astype(np.int64),
            scope=self._stage_scope()[rows],
            counter=np.repeat(np.array([0, 1]), [len(errors), len(missed)]),
            row=stages.row[rows],
        )

    def edge_scopes(self) -> list[Scope]:
        """Return the scope of each edge of the plan, flow by flow."""
        return [
            Scope(
                "edge",
                tables.flow.name,
                tables.flow.stage_id[near],
                tables.flow.stage_id[far],
                self.tables.plan.stage_operation[int(tables.flow.stage_code[far])].module,
            )
            for tables in self.tables.flows
            for near, far in zip(tables.near.tolist(), tables.far.tolist(), strict=True)
        ]

    def stage_scopes(self) -> list[Scope]:
        """Return the scope of each stage of the plan, flow by flow."""
        return [
            Scope("stage", flow.name, "", name, self.tables.plan.stage_operation[int(code)].module)
            for flow in self.tables.plan.flows
            for name, code in zip(flow.stage_id, flow.stage_code, strict=True)
        ]

    def _edge_states(self) -> tuple[Mask, Mask, Mask]:
        """Return per edge row: sampled out, in flight, counts."""
        edges = self.judgement.edges
        sampled_out = self.judgement.is_sampled_out.take(edges.trace)
        in_flight = ~sampled_out & ~edges.is_observed & (edges.cause == missing.IN_FLIGHT)
        return sampled_out, in_flight, ~sampled_out & ~in_flight

    def _edge_scope(self) -> I64:
        edges = self.judgement.edges
        return np.asarray(self.tables.edge_base.take(edges.flow) + edges.edge)

    def _stage_scope(self) -> I64:
        stages = self.judgement.stages
        return np.asarray(self.tables.stage_base.take(stages.flow) + stages.stage)

    def _is_ruled(self) -> Mask:
        """(T,) judged by learned rules and inside fidelity."""
        is_ruled: Mask = (self.judgement.flow == NO_FLOW) & ~self.judgement.is_sampled_out
        return is_ruled

    def _sums(self, scopes: list[Scope], trace: I64, scope: I64, values: Values) -> Sums:
        """Yield (window, scope, the sums that are not 0) over rows of one length."""
        window = self.window.take(trace)
        rows = np.flatnonzero(window >= 0)
        if not len(rows):
            return
        key, which = distinct(window.take(rows) * len(scopes) + scope.take(rows))
        names = list(values)
        sums = np.zeros((len(names), len(key)), np.int64)
        for index, name in enumerate(names):
            value = values[name].take(rows)
            if value.dtype == np.bool_:
                sums[index] = np.bincount(which.compress(value), minlength=len(key))
            else:
                sums[index] = sums_by(which, value.astype(np.int64), len(key))
        for index, one in enumerate(key.tolist()):
            counts = {name: n for name, n in zip(names, sums[:, index].tolist(), strict=True) if n}
            if counts:
                yield one // len(scopes), scopes[one % len(scopes)], counts


def _call_scope(near: str, far: str, module: str) -> Scope:
    return Scope("edge", "", near, far, module)
