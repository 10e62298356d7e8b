"""The contract as the engine judges by it: flows to bit masks.

Invariant: what a compiled flow asks of a trace is what the contract says, no more and no less; the
stage codes, the condition bits and the order of stages depend on the contract alone, so two workers
with one contract have one plan.
"""

from collections.abc import Iterator

import numpy as np

from streams.contract.graph import topological_order
from streams.contract.model import Contract, Flow, Stage
from streams.core.columns import Operation
from streams.core.fidelity.plan import Condition, FlowPlan, Plan
from streams.units import I64

US_PER_MS = 1_000

_ConditionKey = tuple[int, str, tuple[str, ...]]


def compile_plan(contract: Contract) -> Plan:
    """Return the plan of a contract; stages of each flow in topological order.

    An operation has one stage code however many flows it is a stage of; equal conditions have one
    bit, after the bits of all stage codes. `Plan.dimensions` lists the dimension keys that the
    conditions read, each once.
    """
    orders = {flow_id: ordered_stages(flow) for flow_id, flow in contract.flows.items()}
    code: dict[Operation, int] = {}
    for stages in orders.values():
        for stage in stages:
            code.setdefault(operation_of(stage), len(code))
    bit: dict[_ConditionKey, int] = {}
    for flow_id, stages in orders.items():
        for key in _condition_keys(contract.flows[flow_id], stages, code):
            if key is not None:
                bit.setdefault(key, len(code) + len(bit))
    conditions = tuple(Condition(b, *key) for key, b in bit.items())
    flows = tuple(
        _flow_plan(flow_id, contract.flows[flow_id], stages, code, bit)
        for flow_id, stages in orders.items()
    )
    return Plan(
        version=contract.version,
        stage_operation=tuple(code),
        conditions=conditions,
        flows=flows,
        modules=tuple(contract.modules),
        dimensions=tuple(dict.fromkeys(c.dimension for c in conditions)),
    )


def operation_of(stage: Stage) -> Operation:
    """Return the operation whose span is this stage."""
    return Operation(stage.module, stage.component, stage.name)


def ordered_stages(flow: Flow) -> tuple[Stage, ...]:
    """Return the flow's stages in topological order, else in the order of the file."""
    by_id = {stage.id: stage for stage in flow.stages}
    order = topological_order({stage.id: stage.after for stage in flow.stages})
    assert len(order) == len(flow.stages), "a Contract has no cycles"
    return tuple(by_id[stage_id] for stage_id in order)


def _condition_keys(
    flow: Flow, stages: tuple[Stage, ...], code: dict[Operation, int]
) -> Iterator[_ConditionKey | None]:
    for stage in stages:
        if stage.when is None:
            yield None
        else:
            source = code[operation_of(flow.stage(stage.when.stage))]
            # Sorted: [async, batch] and [batch, async] are one condition.
            yield source, stage.when.dimension, tuple(sorted(set(stage.when.values)))


def _flow_plan(
    flow_id: str,
    flow: Flow,
    stages: tuple[Stage, ...],
    code: dict[Operation, int],
    bit: dict[_ConditionKey, int],
) -> FlowPlan:
    position = {stage.id: i for i, stage in enumerate(stages)}
    keys = _condition_keys(flow, stages, code)
    edges = [(position[near], i) for i, stage in enumerate(stages) for near in stage.after]
    return FlowPlan(
        name=flow_id,
        stage_code=_column([code[operation_of(stage)] for stage in stages]),
        stage_id=tuple(stage.id for stage in stages),
        entry=position[flow.entry],
        is_required=np.array([s.required and s.when is None for s in stages], np.bool_),
        required_bit=_column([-1 if key is None else bit[key] for key in keys]),
        min_count=_column([stage.min_count for stage in stages]),
        deadline_us=_column([(stage.deadline_ms or 0) * US_PER_MS for stage in stages]),
        edges=_column(edges).reshape(-1, 2),
        wait_us=flow.wait_ms * US_PER_MS,
        settle_us=flow.settle_ms * US_PER_MS,
    )


def _column(values: list[int] | list[tuple[int, int]]) -> I64:
    return np.array(values, np.int64)
