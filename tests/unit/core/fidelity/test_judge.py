"""What is missing, where it was lost, and how a trace is called, on traces small enough to read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from streams.core.columns import Operations
from streams.core.fidelity import missing
from streams.core.fidelity.judge import (
    TRACE_STATUSES,
    Judgement,
    judge,
    reclassify_traces,
    with_causes,
)
from streams.core.fidelity.plan import EMPTY, Plan
from tests.judge_cases import batch_of, plan_of, span
from tests.oracle_judge import OracleSpan

ROOT = Path(__file__).resolve().parents[4]
CHAIN = plan_of("abcd", "ab bc cd")


def mask(plan: Plan, module: str) -> np.ndarray:
    """Return the bit of one module, for one trace."""
    return np.array([1 << plan.modules.index(module)], np.uint64)


def verdict(
    *traces: list[OracleSpan], plan: Plan = CHAIN, operations: Operations | None = None
) -> Judgement:
    operations = Operations() if operations is None else operations
    return judge(batch_of(traces, plan, operations), plan, operations)


def losses(found: Judgement) -> list[tuple[int, str, str, str]]:
    lost = found.missing
    return [
        (span_id, lost.labels[near], lost.labels[far], missing.CAUSES[cause])
        for span_id, near, far, cause in zip(
            lost.span_id.tolist(),
            lost.from_label.tolist(),
            lost.to_label.tolist(),
            lost.cause.tolist(),
            strict=True,
        )
    ]


def status(found: Judgement) -> list[str]:
    return [TRACE_STATUSES[code] for code in found.status]


def test_status_codes_are_those_of_the_wire() -> None:
    """The names and their order equal the enum of the assembled trace's schema."""
    schema = json.loads((ROOT / "schemas" / "assembled_trace.v1.avsc").read_text())
    field = next(f for f in schema["fields"] if f["name"] == "status")
    assert list(TRACE_STATUSES) == field["type"]["symbols"]


def test_a_whole_chain_is_complete() -> None:
    """All stages, one tree: nothing is missing and every edge was crossed."""
    found = verdict([span("a", 1), span("b", 2, 1), span("c", 3, 2), span("d", 4, 3)])
    assert status(found) == ["COMPLETE"]
    assert losses(found) == []
    assert found.has_all_required.tolist() == [True]
    assert found.edges.is_observed.tolist() == [True, True, True]
    assert found.edges.gap_us.tolist() == [10, 10, 10]


def test_a_lost_tail_names_the_edge_where_the_context_was_lost() -> None:
    """With c and d gone both rows point to the edge from b to c, and only that edge had to hold."""
    found = verdict([span("a", 1), span("b", 2, 1)])
    assert status(found) == ["INCOMPLETE"]
    assert losses(found) == [(0, "b", "c", "NEVER_ARRIVED"), (0, "b", "c", "NEVER_ARRIVED")]
    assert found.edges.is_observed.tolist() == [True, False]
    silent = with_causes(found, np.full(2, missing.MODULE_SILENT))
    assert silent.edges.cause.tolist() == [0, missing.MODULE_SILENT]
    assert found.edges.missing_row.tolist() == [-1, 0]


def test_the_orphan_of_a_lost_stage_names_its_span() -> None:
    """Stage c hangs on an unseen span; b is lost just before it: one row, with the span's id."""
    found = verdict([span("a", 1), span("c", 3, 77), span("d", 4, 3)])
    assert status(found) == ["BROKEN"]
    assert losses(found) == [(77, "a", "b", "NEVER_ARRIVED")]


def test_of_two_unseen_parents_the_first_names_the_lost_stage() -> None:
    """Both children of b are orphans of different spans: one is b, the other is told apart."""
    found = verdict([span("a", 1), span("c", 3, 88), span("c", 5, 77), span("d", 6, 3)])
    assert losses(found) == [(88, "a", "b", "NEVER_ARRIVED"), (77, "a", "c", "ORPHANED")]


def test_an_unseen_parent_that_no_stage_explains_is_reported_once() -> None:
    """Two children of one unseen span give one row, on the edge of the first child."""
    whole = [span("a", 1), span("b", 2, 1), span("c", 3, 99), span("c", 5, 99), span("d", 6, 3)]
    found = verdict(whole)
    assert status(found) == ["BROKEN"]
    assert losses(found) == [(99, "b", "c", "ORPHANED")]
    assert found.has_all_required.tolist() == [True]


def test_the_nearest_context_wins_and_of_equals_the_latest() -> None:
    """Stage e is fed by b and c, both seen, one hop away: the edge from c, the later, lost it."""
    plan = plan_of("abce", "ab ac be ce ae")
    found = verdict([span("a", 1), span("b", 2, 1), span("c", 3, 1)], plan=plan)
    assert losses(found) == [(0, "c", "e", "NEVER_ARRIVED")]


def test_an_optional_stage_is_stepped_over() -> None:
    """Stage b may be absent; when c is missing too the edge named is from a to c."""
    plan = plan_of("abc", "ab bc", optional="b")
    found = verdict([span("a", 1)], plan=plan)
    assert losses(found) == [(0, "a", "c", "NEVER_ARRIVED")]
    assert len(found.edges) == 0


def test_a_trace_without_its_entry_has_no_near_end() -> None:
    """Only d came: the stage alone tells the flow, and a is the first without context."""
    found = verdict([span("d", 4, 3)])
    assert found.flow.tolist() == [0]
    assert losses(found) == [
        (0, "", "a", "NEVER_ARRIVED"),
        (0, "", "a", "NEVER_ARRIVED"),
        (3, "", "a", "NEVER_ARRIVED"),
    ]


def test_a_condition_makes_a_stage_required() -> None:
    """Stage c is owed only by traces whose a says gold."""
    plan = plan_of("abc", "ab bc", when={"c": ("a", "gold")})
    gold = [span("a", 1, dimension={"tier": "gold"}), span("b", 2, 1)]
    iron = [span("a", 1, dimension={"tier": "iron"}), span("b", 2, 1)]
    found = verdict(gold, iron, plan=plan)
    assert status(found) == ["INCOMPLETE", "COMPLETE"]
    assert found.edges.trace.tolist() == [0, 0, 1]


def test_a_stage_that_needs_two_spans_lacks_the_second() -> None:
    """One of two deliveries is not enough, two are."""
    plan = plan_of("ab", "ab", min_count={"b": 2})
    once = [span("a", 1), span("b", 2, 1)]
    found = verdict(once, [*once, span("b", 3, 1)], plan=plan)
    assert status(found) == ["INCOMPLETE", "COMPLETE"]
    assert found.edges.is_observed.tolist() == [False, True]


def test_an_edge_is_late_when_it_needed_a_late_span() -> None:
    """A late repeat of a stage that was there in time makes nothing late."""
    late_only = [span("a", 1), span("b", 2, 1, is_late=True)]
    and_again = [span("a", 1), span("b", 2, 1), span("b", 3, 1, is_late=True)]
    found = verdict(late_only, and_again, plan=plan_of("ab", "ab"))
    assert found.edges.is_late.tolist() == [True, False]


def test_a_trace_without_the_sampled_bit_was_sampled_out() -> None:
    """One sampled span is enough to expect the others; none means they were dropped on purpose."""
    unsampled = [span("a", 1, is_sampled=False)]
    mixed = [span("a", 1), span("b", 2, 1, is_sampled=False)]
    found = verdict(unsampled, mixed, plan=plan_of("abc", "ab bc"))
    assert found.is_sampled_out.tolist() == [True, False]
    causes = [missing.CAUSES[c] for c in found.missing.cause]
    assert causes == ["SAMPLED_OUT", "SAMPLED_OUT", "NEVER_ARRIVED"]
    assert missing.CAUSES[found.edges.cause[0]] == "SAMPLED_OUT"


def test_a_deadline_counts_from_the_latest_predecessor() -> None:
    """Stage c ends 12 after a but 2 after b: a deadline of 5 is kept; without b it is missed."""
    plan = plan_of("abc", "ab ac bc", optional="b", deadline_us={"c": 5})
    a, c = span("a", 1, start_us=0), span("c", 3, 1, start_us=12)
    b = span("b", 2, 1, start_us=10)
    found = verdict([a, b, c], [a, c], plan=plan)
    assert found.stages.is_deadline_missed.tolist() == [False, False, False, False, True]


def test_an_entrys_deadline_counts_from_its_own_start() -> None:
    """Nothing comes before the entry: it may take as long as its deadline, to the microsecond."""
    plan = plan_of("a", "", deadline_us={"a": 5})
    kept, broken = span("a", 1, duration_us=5), span("a", 1, duration_us=6)
    found = verdict([kept], [broken], plan=plan)
    assert found.stages.is_deadline_missed.tolist() == [False, True]


def test_without_a_contract_structure_decides() -> None:
    """No flow is known; an unseen parent is named with the child's operation."""
    sound, broken = [span("a", 1), span("b", 2, 1)], [span("a", 1), span("b", 2, 9)]
    found = verdict(sound, broken, plan=EMPTY)
    assert status(found) == ["COMPLETE", "BROKEN"]
    assert losses(found) == [(9, "", "B:b", "ORPHANED")]
    assert found.flow.tolist() == [-1, -1]


def test_no_traces_are_judged_without_ado() -> None:
    """The empty batch gives empty columns."""
    found = verdict()
    assert len(found) == len(found.missing) == len(found.edges) == len(found.stages) == 0


def test_a_silent_module_is_the_cause_of_its_own_stages_only() -> None:
    """NEVER_ARRIVED becomes MODULE_SILENT for C, on the row and on the edge; D stays as it was."""
    operations = Operations()
    found = verdict([span("a", 1), span("b", 2, 1)], operations=operations)
    exact = reclassify_traces(found, CHAIN, operations, silent=mask(CHAIN, "C"))
    assert [missing.CAUSES[c] for c in exact.missing.cause] == ["MODULE_SILENT", "NEVER_ARRIVED"]
    assert [missing.CAUSES[c] for c in exact.edges.cause][1] == "MODULE_SILENT"
    assert exact.status.tolist() == found.status.tolist()


def test_the_cause_that_can_be_named_best_wins() -> None:
    """A module that is silent, late and mispartitioned is called mispartitioned."""
    plan, operations = plan_of("ab", "ab"), Operations()
    found = verdict([span("a", 1)], plan=plan, operations=operations)
    of_b = mask(plan, "B")
    late = reclassify_traces(found, plan, operations, silent=of_b, late=of_b)
    worst = reclassify_traces(found, plan, operations, silent=of_b, late=of_b, mispartitioned=of_b)
    assert missing.CAUSES[late.missing.cause[0]] == "LATE_SOURCE"
    assert missing.CAUSES[worst.missing.cause[0]] == "MISPARTITIONED"


def test_each_trace_keeps_the_causes_of_its_own_time() -> None:
    """B was late when the first trace closed, and silent and late when the third did."""
    plan, operations = plan_of("ab", "ab"), Operations()
    found = verdict(
        [span("a", 1)], [span("a", 1)], [span("a", 1)], plan=plan, operations=operations
    )
    exact = reclassify_traces(
        found,
        plan,
        operations,
        silent=np.array([0b01, 0b10, 0b10], np.uint64),
        late=np.array([0b10, 0b00, 0b10], np.uint64),
    )
    causes = ["LATE_SOURCE", "MODULE_SILENT", "LATE_SOURCE"]
    assert [missing.CAUSES[c] for c in exact.missing.cause] == causes
    assert exact.edges.cause.tolist() == exact.missing.cause.tolist()


def test_only_losses_without_a_cause_get_a_better_one() -> None:
    """What is known to be in flight is not called silent."""
    plan, operations = plan_of("ab", "ab"), Operations()
    found = verdict([span("a", 1)], plan=plan, operations=operations)
    in_flight = with_causes(found, np.full(len(found.missing), missing.IN_FLIGHT))
    exact = reclassify_traces(in_flight, plan, operations, silent=mask(plan, "B"))
    assert [missing.CAUSES[c] for c in exact.missing.cause] == ["IN_FLIGHT"]


def test_flows_with_one_entry_are_told_apart_by_their_stages() -> None:
    """Both flows begin at a; a trace with c belongs to the one that has c, else to the first."""
    one, two = plan_of("abc", "ab"), plan_of("abc", "ac")
    first = replace(
        one.flows[0],
        stage_code=np.array([0, 1]),
        stage_id=("a", "b"),
        is_required=np.array([True, True]),
        required_bit=np.array([-1, -1]),
        min_count=np.array([1, 1]),
        deadline_us=np.array([0, 0]),
    )
    second = replace(first, name="g", stage_code=np.array([0, 2]), stage_id=("a", "c"))
    plan = replace(two, flows=(first, second))
    found = verdict([span("a", 1), span("c", 2, 1)], [span("a", 1)], plan=plan)
    assert found.flow.tolist() == [1, 0]
