"""The judge of columns says of every trace what the slow judge of single traces says."""

import random

import numpy as np
from hypothesis import given, settings

from streams.core.columns import Operations
from streams.core.fidelity.judge import TRACE_STATUSES, Judgement, judge
from streams.core.fidelity.masks import closable, has_bit, missing_modules_mask
from streams.core.fidelity.missing import CAUSES
from streams.core.fidelity.plan import Plan
from tests.judge_cases import batch_of, random_plan, random_traces, randoms
from tests.oracle_judge import Verdict, judge_trace


def verdict_of(judgement: Judgement, trace: int, plan: Plan, operations: Operations) -> Verdict:
    """Read one trace's rows out of the columns."""
    structure, lost = judgement.structure, judgement.missing
    edges, stages = judgement.edges, judgement.stages
    first, last = structure.first[trace : trace + 2].tolist()
    parents = [p if p < 0 else p - first for p in structure.parent_row[first:last].tolist()]
    stage_operations = {operations.code(o): o for o in plan.stage_operation}
    return Verdict(
        flow=int(judgement.flow[trace]),
        status=TRACE_STATUSES[judgement.status[trace]],
        has_all_required=bool(judgement.has_all_required[trace]),
        is_sampled_out=bool(judgement.is_sampled_out[trace]),
        roots=int(structure.root_count[trace]),
        orphans=int(structure.orphan_count[trace]),
        has_cycle=bool(structure.has_cycle[trace]),
        root_id=int(structure.root_row[trace]),
        parents=parents,
        missing=[
            (
                int(lost.span_id[i]),
                stage_operations.get(int(lost.operation[i])),
                lost.labels[lost.from_label[i]],
                lost.labels[lost.to_label[i]],
                CAUSES[lost.cause[i]],
            )
            for i in np.flatnonzero(lost.trace == trace).tolist()
        ],
        edges=[
            (
                int(edges.edge[i]),
                bool(edges.is_observed[i]),
                "" if edges.is_observed[i] else CAUSES[edges.cause[i]],
                int(edges.gap_us[i]),
                bool(edges.is_late[i]),
            )
            for i in np.flatnonzero(edges.trace == trace).tolist()
        ],
        stages=[
            (
                int(stages.stage[i]),
                int(stages.start_us[i]),
                int(stages.duration_us[i]),
                int(stages.count[i]),
                int(stages.errors[i]),
                bool(stages.is_deadline_missed[i]),
            )
            for i in np.flatnonzero(stages.trace == trace).tolist()
        ],
    )


@settings(max_examples=200)
@given(randoms)
def test_columns_are_judged_as_each_trace_alone(rng: random.Random) -> None:
    """Every verdict of a batch equals that of the slow judge on the trace alone."""
    plan, operations = random_plan(rng), Operations()
    traces = random_traces(rng, plan)
    batch = batch_of(traces, plan, operations)
    judgement = judge(batch, plan, operations)
    for trace, spans in enumerate(traces):
        expected = judge_trace(spans, plan)
        found = verdict_of(judgement, trace, plan, operations)
        found.root_id = int(batch.span_id[found.root_id]) if found.root_id >= 0 else 0
        assert found == expected


@settings(max_examples=100)
@given(randoms)
def test_a_trace_may_close_early_exactly_when_it_lacks_nothing(rng: random.Random) -> None:
    """The masks alone give the same answer as the spans, and name the modules still awaited."""
    plan, operations = random_plan(rng), Operations()
    batch = batch_of(random_traces(rng, plan), plan, operations)
    judgement = judge(batch, plan, operations)
    enough = np.zeros_like(judgement.mask)
    stages = judgement.stages
    for i in range(len(stages)):
        flow = plan.flows[stages.flow[i]]
        code = int(flow.stage_code[stages.stage[i]])
        if stages.count[i] >= flow.min_count[stages.stage[i]]:
            enough[stages.trace[i]] |= plan.mask([code])
    may_close = closable(judgement.mask, judgement.flow, plan, enough=enough)
    awaited = missing_modules_mask(judgement.mask, judgement.flow, plan, enough=enough)
    asks = np.array(
        [bool((f.is_required | (f.required_bit >= 0)).any()) for f in plan.flows], np.bool_
    )
    known = judgement.flow >= 0
    assert (may_close == (judgement.has_all_required & known & asks[judgement.flow])).all()
    assert ((awaited == 0) == judgement.has_all_required)[known].all()
    for trace in np.flatnonzero(known).tolist():
        rows = np.flatnonzero(judgement.missing.trace == trace)
        codes = judgement.missing.operation[rows]
        modules = {operations[code].module for code in codes.tolist() if code >= 0}
        bits = awaited[trace : trace + 1, None]
        assert modules == {m for i, m in enumerate(plan.modules) if has_bit(bits, i)[0]}
