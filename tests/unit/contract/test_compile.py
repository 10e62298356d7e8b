"""The compiled plan asks of a trace what the contract says: by hand and against an oracle."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from streams.contract.compile import compile_plan
from streams.contract.model import Contract, Flow
from streams.core.columns import Operation
from streams.core.fidelity.plan import Condition, Plan
from tests.tiers import tried


def contract_of(flows: dict[str, Any]) -> Contract:
    """Return a contract of modules A and B with the given flows."""
    tree = {"version": "7", "name": "t", "modules": {"A": {}, "B": {}}, "flows": flows}
    return Contract.model_validate(tree)


TWO_FLOWS = {
    "first": {
        "entry": "start",
        "wait_ms": 900,
        "settle_ms": 20,
        "stages": [
            # Written before what it comes after: the plan must turn them round.
            {"id": "end", "module": "B", "name": "end", "after": ["mid"], "min_count": 2},
            {"id": "start", "module": "A", "component": "c", "name": "start", "deadline_ms": 5},
            {
                "id": "mid",
                "module": "A",
                "name": "mid",
                "after": ["start"],
                "when": {"stage": "start", "dimension": "mode", "in": ["y", "x"]},
            },
        ],
    },
    "second": {
        "entry": "go",
        "stages": [
            {"id": "go", "module": "A", "name": "go"},
            {"id": "finish", "module": "B", "name": "end", "after": ["go"], "required": False},
        ],
    },
}


def test_a_plan_by_hand() -> None:
    """Topological order, shared codes, condition bits behind all codes, microseconds."""
    plan = compile_plan(contract_of(TWO_FLOWS))
    assert plan.version == "7"
    assert plan.modules == ("A", "B")
    assert plan.stage_operation == (
        Operation("A", "c", "start"),
        Operation("A", "", "mid"),
        Operation("B", "", "end"),
        Operation("A", "", "go"),
    )
    assert plan.conditions == (Condition(bit=4, code=0, dimension="mode", values=("x", "y")),)
    assert plan.dimensions == ("mode",)
    first, second = plan.flows
    assert first.stage_id == ("start", "mid", "end")
    assert first.stage_code.tolist() == [0, 1, 2]
    assert first.entry == 0
    assert first.is_required.tolist() == [True, False, True]
    assert first.required_bit.tolist() == [-1, 4, -1]
    assert first.min_count.tolist() == [1, 1, 2]
    assert first.deadline_us.tolist() == [5_000, 0, 0]
    assert first.edges.tolist() == [[0, 1], [1, 2]]
    assert (first.wait_us, first.settle_us) == (900_000, 20_000)
    assert second.stage_code.tolist() == [3, 2]
    assert second.is_required.tolist() == [True, False]


def test_equal_conditions_share_one_bit() -> None:
    """The order of the values does not matter."""
    flows = {
        "f": {
            "entry": "a",
            "stages": [
                {"id": "a", "module": "A", "name": "a"},
                *(
                    {
                        "id": name,
                        "module": "A",
                        "name": name,
                        "after": ["a"],
                        "when": {"stage": "a", "dimension": "d", "in": values},
                    }
                    for name, values in (("b", ["x", "y"]), ("c", ["y", "x"]), ("d", ["x"]))
                ),
            ],
        }
    }
    plan = compile_plan(contract_of(flows))
    assert plan.flows[0].required_bit.tolist() == [-1, 4, 4, 5]


def test_a_contract_without_flows_has_an_empty_plan() -> None:
    """It still names its modules."""
    plan = compile_plan(contract_of({}))
    assert (plan.flows, plan.stage_operation, plan.words) == ((), (), 1)


def test_a_flow_of_one_stage_has_no_edges_but_their_shape() -> None:
    """Array code may index the columns."""
    flows = {"f": {"entry": "a", "stages": [{"id": "a", "module": "A", "name": "a"}]}}
    assert compile_plan(contract_of(flows)).flows[0].edges.shape == (0, 2)


@st.composite
def flow_trees(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a flow of up to 70 stages (masks of two words), shuffled, with conditions."""
    count = draw(st.integers(1, 8) | st.integers(60, 70))
    stages: list[dict[str, Any]] = []
    for i in range(count):
        stage: dict[str, Any] = {"id": f"s{i}", "module": "A", "name": f"n{i}"}
        if i:
            near = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2, unique=True))
            stage["after"] = [f"s{n}" for n in near]
            kind = draw(st.sampled_from(["required", "optional", "when"]))
            if kind == "optional":
                stage["required"] = False
            elif kind == "when":
                values = draw(st.lists(st.sampled_from("xyz"), min_size=1, unique=True))
                stage["when"] = {"stage": f"s{near[0]}", "dimension": "d", "in": values}
        stages.append(stage)
    return {"entry": "s0", "stages": draw(st.permutations(stages))}


def naive_missing(flow: Flow, seen: dict[str, str]) -> set[str]:
    """Read the flow as a person would: which stages a trace lacks; `seen` is stage id -> d."""
    missing = set()
    for stage in flow.stages:
        needed = stage.required
        if stage.when is not None:
            needed = seen.get(stage.when.stage) in stage.when.values
        if needed and stage.id not in seen:
            missing.add(stage.id)
    return missing


def missing_by_masks(plan: Plan, seen: dict[str, str]) -> set[str]:
    """Ask the compiled masks which stages of flow 0 a trace lacks."""
    flow = plan.flows[0]
    bits = []
    for position, stage_id in enumerate(flow.stage_id):
        if stage_id in seen:
            code = int(flow.stage_code[position])
            bits.append(code)
            bits += [
                c.bit for c in plan.conditions if c.code == code and seen[stage_id] in c.values
            ]
    mask = plan.mask(bits)

    def has(bit: int) -> bool:
        return bool(mask[bit // 64] >> np.uint64(bit % 64) & np.uint64(1))

    return {
        stage_id
        for position, stage_id in enumerate(flow.stage_id)
        if (
            flow.is_required[position]
            or (flow.required_bit[position] >= 0 and has(int(flow.required_bit[position])))
        )
        and not has(int(flow.stage_code[position]))
    }


@tried(flow_trees(), st.data(), few=25, many=100)
def test_masks_agree_with_a_naive_reading(tree: dict[str, Any], data: st.DataObject) -> None:
    """For any flow and any set of stages seen, the plan lacks the stages that a person would."""
    contract = contract_of({"f": tree})
    plan = compile_plan(contract)
    flow = contract.flows["f"]
    ids = [stage.id for stage in flow.stages]
    dimension = data.draw(st.lists(st.sampled_from(" xyz"), min_size=len(ids), max_size=len(ids)))
    # " " stands for a stage not seen.
    seen = {stage: value for stage, value in zip(ids, dimension, strict=True) if value != " "}
    assert missing_by_masks(plan, seen) == naive_missing(flow, seen)
    compiled = plan.flows[0]
    edges = {(compiled.stage_id[near], compiled.stage_id[far]) for near, far in compiled.edges}
    assert edges == set(flow.edges)
    assert all(near < far for near, far in compiled.edges)
    assert compiled.stage_id[compiled.entry] == "s0"
