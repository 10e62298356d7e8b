"""What can be said of a trace that may still be open."""

from dataclasses import replace

import numpy as np
import pytest

from streams.core.columns import Operation, Operations
from streams.core.fidelity.masks import (
    ANY_MODULE,
    closable,
    entry_flows,
    flow_of_mask,
    missing_modules_mask,
    stage_bits,
)
from streams.core.fidelity.plan import EMPTY, Plan
from streams.units import U64
from tests.judge_cases import plan_of

NO_FLOW = np.array([-1], np.int32)


def mask(plan: Plan, *rows: list[int]) -> U64:
    return np.array([plan.mask(bits) for bits in rows], np.uint64)


def test_a_row_sets_its_stage_and_the_conditions_it_meets() -> None:
    """Stage b is bit 1, its condition bit 3; another value or another stage does not meet it."""
    plan, operations = plan_of("abc", "ab bc", when={"c": ("b", "gold")}), Operations()
    codes = [operations.code(Operation(s.upper(), "main", s)) for s in "abbx"]
    tier = np.array([11, 11, 12, 11], np.uint64)
    gold = {3: np.array([11], np.uint64)}
    bits = stage_bits(np.array(codes, np.int32), {"tier": tier}, plan, operations, gold)
    assert bits[:, 0].tolist() == [0b0001, 0b1010, 0b0010, 0b0000]


def test_a_stage_without_component_matches_any() -> None:
    """The contract left the component open: each component's span is the stage."""
    plan, operations = plan_of("ab", "ab"), Operations()
    plan = replace(plan, stage_operation=(Operation("A", "", "a"), Operation("B", "main", "b")))
    codes = np.array([operations.code(Operation("A", c, "a")) for c in ("x", "y")], np.int32)
    assert stage_bits(codes, {}, plan, operations, {})[:, 0].tolist() == [1, 1]


def test_operations_that_come_later_have_stages_too() -> None:
    """The tables grow with the operations; the codes given out before stay right."""
    plan, operations = plan_of("ab", "ab"), Operations()
    first = operations.code(Operation("X", "main", "x"))
    assert stage_bits(np.array([first], np.int32), {}, plan, operations, {}).tolist() == [[0]]
    later = operations.code(Operation("B", "main", "b"))
    both = np.array([first, later], np.int32)
    assert stage_bits(both, {}, plan, operations, {}).tolist() == [[0], [2]]


def test_bits_beyond_the_first_word_are_set_in_the_next() -> None:
    """Stage 70 is bit 6 of word 1."""
    plan, operations = plan_of("ab", "ab"), Operations()
    stages = tuple(Operation("A", "main", str(i)) for i in range(80))
    plan = replace(plan, stage_operation=stages)
    code = operations.code(stages[70])
    bits = stage_bits(np.array([code], np.int32), {}, plan, operations, {})
    assert bits.tolist() == [[0, 1 << 6]]


def test_only_the_entry_stage_enters_a_flow() -> None:
    """A root that is another stage, or none, tells nothing."""
    plan, operations = plan_of("ab", "ab"), Operations()
    codes = [operations.code(Operation(s.upper(), "main", s)) for s in "abx"]
    assert entry_flows(np.array(codes, np.int32), plan, operations).tolist() == [0, -1, -1]
    assert entry_flows(np.array(codes, np.int32), EMPTY, operations).tolist() == [-1, -1, -1]


def test_the_root_decides_before_the_stages() -> None:
    """Flow g holds the stages seen, but the root entered f."""
    plan = two_flows()
    entered = flow_of_mask(mask(plan, [1, 2]), np.array([0], np.int32), plan)
    assert entered.tolist() == [0]


def two_flows() -> Plan:
    """Flow f has stages a and b, flow g has b and c; the entries are a and b."""
    plan = plan_of("abc", "ab")
    two = {
        "is_required": np.array([True, True]),
        "required_bit": np.array([-1, -1]),
        "min_count": np.array([1, 1]),
        "deadline_us": np.array([0, 0]),
    }
    f = replace(plan.flows[0], stage_code=np.array([0, 1]), stage_id=("a", "b"), **two)
    g = replace(f, name="g", stage_code=np.array([1, 2]), stage_id=("b", "c"))
    return replace(plan, flows=(f, g))


@pytest.mark.parametrize(
    ("bits", "flow"),
    [
        pytest.param([0], 0, id="a is in f alone"),
        pytest.param([1], -1, id="b is in both"),
        pytest.param([1, 2], 1, id="b and c are in g alone"),
        pytest.param([0, 2], -1, id="no flow has a and c"),
        pytest.param([], -1, id="nothing seen"),
    ],
)
def test_without_a_root_the_only_flow_that_holds_all_stages_is_it(
    bits: list[int], flow: int
) -> None:
    """One candidate is an answer; none or several are not."""
    plan = two_flows()
    assert flow_of_mask(mask(plan, bits), NO_FLOW, plan).tolist() == [flow]


def test_a_trace_may_close_when_all_it_owes_is_in() -> None:
    """Stage c is owed only once its condition (bit 3) is met; an unknown flow never closes."""
    plan = plan_of("abc", "ab bc", when={"c": ("a", "gold")})
    rows = mask(plan, [0], [0, 1], [0, 1, 3], [0, 1, 2, 3], [0, 1, 2])
    flow = np.array([0, 0, 0, 0, -1], np.int32)
    assert closable(rows, flow, plan).tolist() == [False, True, False, True, False]


def test_a_stage_that_needs_many_is_in_only_when_told() -> None:
    """The mask alone cannot tell one span from two."""
    plan = plan_of("ab", "ab", min_count={"b": 2})
    rows, flow = mask(plan, [0, 1]), np.array([0], np.int32)
    assert closable(rows, flow, plan).tolist() == [False]
    assert closable(rows, flow, plan, enough=mask(plan, [1])).tolist() == [True]
    assert missing_modules_mask(rows, flow, plan).tolist() == [0b10]
    assert missing_modules_mask(rows, flow, plan, enough=mask(plan, [1])).tolist() == [0]


def test_awaited_modules_are_those_of_the_stages_owed() -> None:
    """With a in, b and (gold) c are owed; a trace without a flow awaits any module."""
    plan = plan_of("abc", "ab bc", when={"c": ("a", "gold")})
    rows = mask(plan, [0], [0, 3], [0, 1], [])
    flow = np.array([0, 0, 0, -1], np.int32)
    assert missing_modules_mask(rows, flow, plan).tolist() == [0b10, 0b110, 0, int(ANY_MODULE)]


def test_a_module_the_plan_does_not_name_has_the_last_bit() -> None:
    """Its records come by the topic for all others."""
    plan = replace(plan_of("ab", "ab"), modules=("A",))
    rows, flow = mask(plan, [0]), np.array([0], np.int32)
    assert missing_modules_mask(rows, flow, plan).tolist() == [1 << 63]


def test_without_a_contract_nothing_closes_early() -> None:
    """No flow, nothing owed, any module may still send."""
    rows = np.zeros((1, 1), np.uint64)
    assert flow_of_mask(rows, NO_FLOW, EMPTY).tolist() == [-1]
    assert closable(rows, NO_FLOW, EMPTY).tolist() == [False]
    assert missing_modules_mask(rows, NO_FLOW, EMPTY).tolist() == [int(ANY_MODULE)]
