"""Stages that another trace of the record holds are restarted, not lost."""

import numpy as np

from streams.core.columns import Operation, Operations
from streams.core.fidelity.judge import Judgement, judge
from streams.core.fidelity.missing import CAUSES
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.restarts import with_restarts
from streams.core.fidelity.tables import plan_tables
from streams.core.fidelity.tally import Tally
from tests.judge_cases import batch_of, plan_of
from tests.oracle_judge import OracleSpan

PLAN = plan_of("abcd", "ab bc cd")


def judged(*traces: str, sampled: bool = True) -> tuple[Judgement, Tally, Operations]:
    """Return the verdicts on traces given by the stages that they have."""
    operations = Operations()
    spans = [
        [
            OracleSpan(
                span_id=n + 1,
                parent_id=n,
                start_us=n,
                duration_us=1,
                operation=PLAN.stage_operation["abcd".index(stage)],
                is_sampled=sampled,
            )
            for n, stage in enumerate(stages)
        ]
        for stages in traces
    ]
    batch = batch_of(spans, PLAN, operations)
    judgement = judge(batch, PLAN, operations)
    return judgement, tally_of(judgement, batch), operations


def tally_of(judgement: Judgement, batch: object) -> Tally:
    traces = len(judgement)
    return Tally(
        batch=batch,  # type: ignore[arg-type]
        judgement=judgement,
        tables=plan_tables(PLAN),
        status=judgement.status,
        revision=np.ones(traces, np.int64),
        window=np.zeros(traces, np.int64),
        windows=1,
    )


def causes(judgement: Judgement, operations: Operations, plan: Plan = PLAN) -> dict[str, str]:
    lost = judgement.missing
    return {
        operations[code].name: CAUSES[cause]
        for code, cause in zip(lost.operation.tolist(), lost.cause.tolist(), strict=True)
    }


def test_only_what_is_held_is_restarted() -> None:
    """The other trace has c: b stays lost, and so does d, which nobody has."""
    judgement, _, operations = judged("a")
    assert set(causes(judgement, operations).values()) == {"NEVER_ARRIVED"}
    known = with_restarts(judgement, PLAN, operations, {0: frozenset("c")}, np.zeros(1, np.bool_))
    assert causes(known, operations) == {
        "b": "NEVER_ARRIVED",
        "c": "CONTEXT_RESTARTED",
        "d": "NEVER_ARRIVED",
    }


def test_an_edge_is_lost_for_one_reason() -> None:
    """The edge a > b counts as expected once, with the one cause that its stage has."""
    judgement, tally, operations = judged("a")
    known = with_restarts(judgement, PLAN, operations, {0: frozenset("bcd")}, np.zeros(1, np.bool_))
    (counts,) = (counts for _, _, counts in tally_of(known, tally.batch).edges())
    assert counts == {"expected": 1, "missing.CONTEXT_RESTARTED": 1}


def test_a_continuation_is_no_further_record_of_its_flow() -> None:
    """Two halves of one record: the first is judged, the second counts as continued."""
    judgement, tally, operations = judged("ab", "cd")
    (before,) = (counts for _, _, counts in tally.flows())
    assert before == {"expected": 2}
    held = {0: frozenset("cd"), 1: frozenset("ab")}
    known = with_restarts(judgement, PLAN, operations, held, np.array([False, True]))
    (after,) = (counts for _, _, counts in tally_of(known, tally.batch).flows())
    assert after == {"expected": 1, "continued": 1}


def test_sampled_out_stays_sampled_out() -> None:
    """A trace that was not to be recorded lost nothing, wherever its record went on."""
    judgement, _, operations = judged("ab", sampled=False)
    known = with_restarts(judgement, PLAN, operations, {0: frozenset("cd")}, np.zeros(1, np.bool_))
    assert set(causes(known, operations).values()) == {"SAMPLED_OUT"}


def test_without_a_flow_no_stage_has_a_name() -> None:
    """A trace of no flow keeps its causes; without any link the verdicts are the same object."""
    operations = Operations()
    stranger = OracleSpan(1, 9, 0, 1, Operation("X", "x", "y"))
    judgement = judge(batch_of([[stranger]], PLAN, operations), PLAN, operations)
    held = {0: frozenset("abcd")}
    known = with_restarts(judgement, PLAN, operations, held, np.zeros(1, np.bool_))
    assert known.missing.cause.tolist() == judgement.missing.cause.tolist()
    assert with_restarts(judgement, PLAN, operations, {}, np.zeros(1, np.bool_)) is judgement
