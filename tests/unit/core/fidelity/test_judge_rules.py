"""Learned rules judge the traces that no flow claims, and their calls count as edges."""

from typing import Any

import pytest

from streams.contract.operations import OperationRules, compile_rules
from streams.core.columns import Operations
from streams.core.fidelity import missing
from streams.core.fidelity.counts import WindowCounts
from streams.core.fidelity.judge import INCOMPLETE, TRACE_STATUSES, judge
from streams.core.fidelity.plan import EMPTY, Plan
from streams.core.fidelity.rule_table import RuleTable
from tests.judge_cases import batch_of, plan_of, span
from tests.oracle_judge import OracleSpan

HALF = [span("x", 1)]
WHOLE = [span("x", 1), span("y", 2, 1)]


@pytest.fixture
def rules() -> RuleTable:
    """Return the rule that X:x always has a child Y:y."""
    y = {"module": "Y", "component": "main", "name": "y", "support": 900, "ratio": 1.0}
    x = {"module": "X", "component": "main", "name": "x", "support": 900, "children": [y]}
    return compile_rules(OperationRules.model_validate({"parents": [x]}))


def test_a_rule_finds_what_structure_cannot(rules: RuleTable) -> None:
    """The lone root is a sound tree, and yet its child is missing."""
    operations = Operations()
    batch = batch_of([HALF, WHOLE], EMPTY, operations)
    found = judge(batch, EMPTY, operations, rules=rules)
    lost = found.missing
    assert [TRACE_STATUSES[code] for code in found.status] == ["INCOMPLETE", "COMPLETE"]
    assert lost.trace.tolist() == [0]
    assert lost.labels[lost.from_label[0]] == "X:x"
    assert lost.labels[lost.to_label[0]] == "Y:y"
    assert missing.CAUSES[lost.cause[0]] == "NEVER_ARRIVED"


def test_a_trace_with_a_flow_is_judged_by_its_flow_alone(rules: RuleTable) -> None:
    """The flow requires x and nothing else: the rule is not asked."""
    plan, operations = plan_of("x", ""), Operations()
    batch = batch_of([HALF], plan, operations)
    assert len(judge(batch, plan, operations, rules=rules).missing) == 0


def test_an_orphan_is_told_once_whoever_judges(rules: RuleTable) -> None:
    """With rules the rules name the unseen parent; the judge adds no second row."""
    operations = Operations()
    batch = batch_of([[span("x", 1), span("y", 2, 1), span("z", 3, 9)]], EMPTY, operations)
    found = judge(batch, EMPTY, operations, rules=rules)
    assert found.missing.span_id.tolist() == [9]
    assert found.status.tolist() != [INCOMPLETE]


def counted(*traces: list[OracleSpan], plan: Plan, rules: RuleTable | None) -> dict[str, Any]:
    operations, counts = Operations(), WindowCounts(100, "1")
    batch = batch_of(traces, plan, operations)
    counts.add_traces(
        batch,
        judge(batch, plan, operations, rules=rules),
        plan,
        operations,
        [bytes([i]) * 16 for i in range(len(traces))],
        lambda _: ("", ""),
    )
    (part,) = counts.take_changed(0)
    return {
        f"{scope['from_stage']}>{scope['to_stage']}@{scope['module']}": scope["counters"]
        for scope in part["scopes"]
        if scope["kind"] == "edge"
    }


def test_calls_count_as_edges_without_a_flow(rules: RuleTable) -> None:
    """One call seen, one missing: two expected; its module is the callee's."""
    edges = counted(HALF, WHOLE, plan=EMPTY, rules=rules)
    assert edges == {"X:x>Y:y@Y": {"expected": 2, "observed": 1, "missing.NEVER_ARRIVED": 1}}


def test_without_rules_calls_are_not_counted() -> None:
    """Nobody promised them."""
    assert counted(HALF, WHOLE, plan=EMPTY, rules=None) == {}
