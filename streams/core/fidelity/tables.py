"""The plan turned into look-up tables, built once for a plan and kept while it is in use.

Owns what follows from a `Plan` alone (and which stage an operation is). Invariant: tables are a
pure function of plan and operations; the memo only saves building them again.
"""

from collections import OrderedDict
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from streams.core.columns import Operations
from streams.core.fidelity.plan import FlowPlan, Plan
from streams.units import I32, I64, U64, Mask

# Plans in use at once: the active contract, the one it replaces, a candidate in rehearsal.
_PLANS_KEPT: Final = 8
_plans: OrderedDict[int, "PlanTables"] = OrderedDict()


def plan_tables(plan: Plan) -> "PlanTables":
    """Return the tables of a plan, the same object for the same plan while it is in use."""
    known = _plans.get(id(plan))
    if known is not None and known.plan is plan:
        return known
    tables = PlanTables(plan)
    _plans[id(plan)] = tables  # the tables hold the plan, so its id is not given away
    while len(_plans) > _PLANS_KEPT:
        _plans.popitem(last=False)
    return tables


class FlowTables:
    """What follows from one flow of the plan; S stages, E edges."""

    def __init__(self, plan: Plan, flow: FlowPlan, label_by_name: dict[str, int]) -> None:
        size = len(flow.stage_code)
        self.flow = flow
        self.size = size
        self.near: I64 = flow.edges[:, 0].astype(np.int64) if len(flow.edges) else _NONE
        self.far: I64 = flow.edges[:, 1].astype(np.int64) if len(flow.edges) else _NONE
        self.predecessors: tuple[tuple[int, ...], ...] = tuple(
            tuple(sorted(int(near) for near in self.near[self.far == stage]))
            for stage in range(size)
        )
        self.label: I32 = np.array([label_by_name[name] for name in flow.stage_id], np.int32)
        self.position: I64 = np.full(len(plan.stage_operation), -1, np.int64)
        for stage in reversed(range(size)):
            self.position[flow.stage_code[stage]] = stage
        self.required: U64 = plan.mask(
            [int(c) for c in flow.stage_code[np.asarray(flow.is_required, np.bool_)]]
        )
        self.may_be_required: Mask = np.asarray(flow.is_required, np.bool_) | (
            flow.required_bit >= 0
        )
        needs_many = self.may_be_required & (flow.min_count > 1)
        self.many: U64 = plan.mask([int(c) for c in flow.stage_code[needs_many]])


_NONE: Final = np.zeros(0, np.int64)


class PlanTables:
    """What follows from a plan: masks per flow, entries, labels, the stage of each operation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.codes = len(plan.stage_operation)
        names = dict.fromkeys(["", *(name for flow in plan.flows for name in flow.stage_id)])
        self.labels: tuple[str, ...] = tuple(names)
        self.label_by_name = {name: index for index, name in enumerate(self.labels)}
        self.flows = tuple(FlowTables(plan, flow, self.label_by_name) for flow in plan.flows)
        self.edge_base: I64 = np.cumsum([0, *(len(t.near) for t in self.flows)])
        self.stage_base: I64 = np.cumsum([0, *(t.size for t in self.flows)])
        self._stage_code: WeakKeyDictionary[Operations, I32] = WeakKeyDictionary()
        self._stage_operation: WeakKeyDictionary[Operations, I32] = WeakKeyDictionary()

    def stage_code(self, operations: Operations) -> I32:
        """Return (operations,) the stage code of each operation, -1 for none."""
        known = self._stage_code.get(operations)
        if known is None:
            known = np.zeros(0, np.int32)
        if len(known) < len(operations):
            new = [self.plan.code(operation) for operation in operations.since(len(known))]
            known = np.concatenate([known, np.array(new, np.int32)])
            self._stage_code[operations] = known
        return known

    def stage_operation(self, operations: Operations) -> I32:
        """Return (C,) the operation code of each stage code; new operations are interned."""
        known = self._stage_operation.get(operations)
        if known is None:
            known = np.array([operations.code(o) for o in self.plan.stage_operation], np.int32)
            self._stage_operation[operations] = known
        return known

    @cached_property
    def entry_flow(self) -> I32:
        """(C,) the first flow that a stage code enters, -1 for none."""
        out = np.full(self.codes, -1, np.int32)
        for index in reversed(range(len(self.flows))):
            flow = self.plan.flows[index]
            out[flow.stage_code[flow.entry]] = index
        return out

    @cached_property
    def same_entry(self) -> Mask:
        """(F, F) the two flows have the same entry stage."""
        entry = np.array([flow.stage_code[flow.entry] for flow in self.plan.flows], np.int64)
        return np.asarray(entry[:, None] == entry[None, :])

    @cached_property
    def flow_stages(self) -> U64:
        """(F, W) the stages of each flow as a mask."""
        masks = [self.plan.mask([int(c) for c in f.stage_code]) for f in self.plan.flows]
        return np.array(masks, np.uint64).reshape(len(masks), self.plan.words)

    @cached_property
    def all_stages(self) -> U64:
        """(W,) the bits that stand for stages, not for conditions."""
        return self.plan.mask(list(range(self.codes)))

    @cached_property
    def required(self) -> U64:
        """(F, W) the stages each flow requires without a condition."""
        masks = [tables.required for tables in self.flows]
        return np.array(masks, np.uint64).reshape(len(masks), self.plan.words)

    @cached_property
    def module_bit(self) -> U64:
        """(C,) the module of each stage code as one bit; from module 63 on they share the last."""
        place = {name: min(index, 63) for index, name in enumerate(self.plan.modules)}
        bits = [1 << place.get(o.module, 63) for o in self.plan.stage_operation]
        return np.array(bits, np.uint64)
