"""Judges closed traces against the plan: flow, status, what is missing, how each edge fared.

Owns the order of the rules; each rule lives beside it (`structure`, `masks`, `outcomes`,
`losses`). Invariant: a trace is judged from its own spans alone, so that a batch may be cut or
merged anywhere; what only the topics know comes in later, by `reclassify_traces`.
"""

from dataclasses import dataclass, fields, replace
from typing import Final, TypeVar

import numpy as np

from streams.core.columns import SAMPLED, Operations, SpanBatch
from streams.core.fidelity import missing
from streams.core.fidelity.call_mix import CallMix
from streams.core.fidelity.losses import flow_losses, loose_losses, unseen_parents
from streams.core.fidelity.masks import flow_of_mask
from streams.core.fidelity.missing import MissingColumns
from streams.core.fidelity.outcomes import (
    NO_ROW,
    EdgeOutcomes,
    FlowView,
    StageOutcomes,
    StageSpans,
)
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.rule_table import RuleTable
from streams.core.fidelity.rules import evaluate
from streams.core.fidelity.structure import NO_PARENT, Structure, earliest_rows, structure_of
from streams.core.fidelity.tables import PlanTables, plan_tables
from streams.units import I32, I64, U8, U64, Mask

# Symbol order of TraceStatus in schemas/assembled_trace.v1.avsc: the codes below are the wire's.
COMPLETE, INCOMPLETE, BROKEN, TRUNCATED = range(4)
TRACE_STATUSES: Final = ("COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED")
NO_FLOW: Final = -1

_Outcomes = TypeVar("_Outcomes", EdgeOutcomes, StageOutcomes)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts on the T traces of a batch.

    Attributes:
        structure: roots, orphans, parents, start and end.
        mask: (T, W) stages seen and conditions met.
        flow: (T,) index into `plan.flows`, -1 when judged by structure (and rules) alone.
        has_all_required: (T,) the flow is known and all its required stages were seen.
        is_sampled_out: (T,) no span has the sampled bit, or where there is none, no event: outside
            fidelity, whatever was seen.
        status: (T,) code as on the wire, see `TRACE_STATUSES`; never TRUNCATED, which the caller
            sets, who knows the bounds.
        missing: what is missing, by trace.
        edges: the edges that had to be crossed, by trace, then edge.
        stages: the stages seen, by trace, then stage.
        has_rules: learned rules judged the traces without a flow.
        is_continuation: (T,) the trace goes on with a record that began in another one; None when
            none does.
    """

    structure: Structure
    mask: U64
    flow: I32
    has_all_required: Mask
    is_sampled_out: Mask
    status: U8
    missing: MissingColumns
    edges: EdgeOutcomes
    stages: StageOutcomes
    has_rules: bool = False
    is_continuation: Mask | None = None

    def __len__(self) -> int:
        return len(self.flow)


def judge(
    batch: SpanBatch,
    plan: Plan,
    operations: Operations,
    *,
    rules: RuleTable | None = None,
    lately: CallMix | None = None,
) -> Judgement:
    """Judge the traces of a batch.

    COMPLETE: one tree and nothing missing. INCOMPLETE: something is missing, one tree. BROKEN:
    several roots, orphans, a circle of parents, or no root at all. The worse wins. A trace that is
    sampled out is never BROKEN: what it lacks was left out on purpose.

    Args:
        batch: the spans of closed traces; `stage_bits` as `masks.stage_bits` gives them.
        plan: the compiled contract, `plan.EMPTY` for none.
        operations: the names behind the operation codes; those of the plan's stages are added.
        rules: learned rules, which judge the traces that have no flow; without them such traces
            are judged by structure, and each unseen parent is a missing row.
        lately: the calls of many traces around these, for the rules; see `rules.evaluate`.
    """
    tables = plan_tables(plan)
    stage_code = tables.stage_code(operations).take(batch.operation)
    structure = structure_of(batch)
    mask = _or_by_trace(batch.stage_bits, structure)
    flow = flow_of_mask(mask, _entry_flow(batch, structure, stage_code, tables), plan)
    lost, edges, stages, is_lacking = _judge_flows(
        batch, structure, tables, operations, stage_code, mask, flow, has_rules=rules is not None
    )
    if rules is not None and (flow == NO_FLOW).any():
        by_rule = evaluate(batch, rules, operations, lately)
        lost = missing.concat([lost, by_rule.take(flow[by_rule.trace] == NO_FLOW)])
    order = np.argsort(lost.trace, kind="stable")
    lost = lost.take(order)
    is_sampled_out = _is_sampled_out(batch, structure)
    cause = np.where(is_sampled_out[lost.trace], missing.SAMPLED_OUT, lost.cause)
    status = np.full(batch.traces, COMPLETE, np.uint8)
    status[lost.trace] = INCOMPLETE
    # Where spans were left out on purpose, it proves nothing that they do not hang together.
    status[~structure.is_tree] = np.where(is_sampled_out[~structure.is_tree], INCOMPLETE, BROKEN)
    place = np.empty(len(order) + 1, np.int32)
    place[order] = np.arange(len(order))
    place[NO_ROW] = NO_ROW
    judgement = Judgement(
        structure=structure,
        mask=mask,
        flow=flow,
        has_all_required=(flow != NO_FLOW) & ~is_lacking,
        is_sampled_out=is_sampled_out,
        status=status,
        missing=lost,
        edges=replace(edges, missing_row=place[edges.missing_row]),
        stages=stages,
        has_rules=rules is not None,
    )
    return with_causes(judgement, cause)


def _is_sampled_out(batch: SpanBatch, structure: Structure) -> Mask:
    is_sampled = np.zeros(batch.traces, np.bool_)
    is_sampled[batch.trace[batch.trace_flags & SAMPLED != 0]] = True
    has_spans = structure.first[1:] > structure.first[:-1]
    # Audit entries and log lines come of traces whose spans are not sent.
    told = np.zeros(batch.traces, np.bool_) if batch.is_unsampled is None else batch.is_unsampled
    return np.asarray(np.where(has_spans, ~is_sampled, told))


def with_causes(judgement: Judgement, cause: U8 | I64) -> Judgement:
    """Return the judgement with the given causes of its missing rows, edges included.

    Args:
        judgement: what to change.
        cause: one code per row of `judgement.missing`.
    """
    codes = cause.astype(np.uint8)
    by_row = np.append(codes, np.uint8(0))  # row -1: observed, no cause
    return replace(
        judgement,
        missing=replace(judgement.missing, cause=codes),
        edges=replace(judgement.edges, cause=by_row[judgement.edges.missing_row]),
    )


def reclassify_traces(
    judgement: Judgement,
    plan: Plan,
    operations: Operations,
    *,
    silent: U64 | None = None,
    late: U64 | None = None,
    mispartitioned: U64 | None = None,
) -> Judgement:
    """Return the judgement with NEVER_ARRIVED made more exact by what was known trace by trace.

    Where a module is in several masks, MISPARTITIONED goes before LATE_SOURCE before
    MODULE_SILENT: the fault that can be named best. Traces are judged at different times: one that
    is counted again must first be taken back with the causes it had, which the caller kept as
    these masks.

    Args:
        judgement: what to change; only rows with cause NEVER_ARRIVED do.
        plan: names the modules; bits as in `masks.missing_modules_mask`.
        operations: the names behind the operation codes.
        silent: (T,) modules from which nothing at all arrives; none without it.
        late: (T,) modules whose topic is read to its end, yet hours behind; none without it.
        mispartitioned: (T,) modules whose records lie in other partitions than their traces; none
            without it.
    """
    lost = judgement.missing
    rows = np.flatnonzero(
        (lost.cause == missing.NEVER_ARRIVED) & (lost.operation != missing.NO_OPERATION)
    )
    codes, which = np.unique(lost.operation[rows], return_inverse=True)
    place = {name: min(index, 63) for index, name in enumerate(plan.modules)}
    bits = [1 << place.get(operations[code].module, 63) for code in codes.tolist()]
    bit = np.array(bits, np.uint64)[which]
    cause = lost.cause.copy()
    for modules, code in (
        (silent, missing.MODULE_SILENT),
        (late, missing.LATE_SOURCE),
        (mispartitioned, missing.MISPARTITIONED),
    ):
        if modules is not None:
            cause[rows[modules[lost.trace[rows]] & bit != 0]] = code
    return with_causes(judgement, cause)


def _or_by_trace(bits: U64, structure: Structure) -> U64:
    """Return (T, W) the bits of each trace's rows together; 0 for a trace without spans."""
    out = np.zeros((len(structure.root_row), bits.shape[1]), np.uint64)
    has_spans = structure.first[1:] > structure.first[:-1]
    if has_spans.any():
        out[has_spans] = np.bitwise_or.reduceat(bits, structure.first[:-1][has_spans], axis=0)
    return out


def _entry_flow(batch: SpanBatch, structure: Structure, stage_code: I32, tables: PlanTables) -> I32:
    """Return (T,) the flow that the earliest root at an entry stage enters, -1 for none."""
    if not tables.flows:
        return np.full(batch.traces, NO_FLOW, np.int32)
    roots = np.flatnonzero((structure.parent_row == NO_PARENT) & (stage_code >= 0))
    entered = tables.entry_flow[stage_code[roots]]
    row = earliest_rows(batch.trace, roots[entered != NO_FLOW], batch.traces)
    flow = np.full(batch.traces, NO_FLOW, np.int32)
    flow[row >= 0] = tables.entry_flow[stage_code[row[row >= 0]]]
    return flow


def _judge_flows(
    batch: SpanBatch,
    structure: Structure,
    tables: PlanTables,
    operations: Operations,
    stage_code: I32,
    mask: U64,
    flow: I32,
    *,
    has_rules: bool,
) -> tuple[MissingColumns, EdgeOutcomes, StageOutcomes, Mask]:
    """Return what each flow's traces lack, their edges and stages, and (T,) whether they lack."""
    parents, labels = unseen_parents(batch, structure, stage_code, operations, tables.labels)
    stage_operation = tables.stage_operation(operations)
    spans = StageSpans.of(batch, stage_code, tables.codes)
    is_lacking = np.zeros(batch.traces, np.bool_)
    losses: list[MissingColumns] = []
    edges: list[EdgeOutcomes] = []
    stages: list[StageOutcomes] = []
    base = 0
    for index in np.unique(flow[flow != NO_FLOW]).tolist():
        is_mine = flow == index
        trace = np.flatnonzero(is_mine)
        view = FlowView.of(index, tables.flows[index], trace, spans, tables.codes, mask)
        lost, row_of = flow_losses(view, parents.of_traces(is_mine), stage_operation, labels)
        edges.append(view.edges(np.where(row_of == NO_ROW, NO_ROW, row_of + base)))
        stages.append(view.stages())
        losses.append(lost)
        base += len(lost)
        is_lacking[trace] = view.is_lacking.any(axis=1)
    if not has_rules:
        losses.append(loose_losses(parents.of_traces(flow == NO_FLOW), labels))
    return (
        missing.concat(losses),
        _by_trace(edges or [EdgeOutcomes.empty()]),
        _by_trace(stages or [StageOutcomes.empty()]),
        is_lacking,
    )


def _by_trace(parts: list[_Outcomes]) -> _Outcomes:
    """Return the rows of all parts, ordered by trace; each part is in order already."""
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([part.trace for part in parts]), kind="stable")
    columns = {
        one.name: np.concatenate([getattr(part, one.name) for part in parts])[order]
        for one in fields(parts[0])
    }
    return replace(parts[0], **columns)
