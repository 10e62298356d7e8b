"""Questions about traces that may still be open, answered from their masks alone.

Owns the reading of (T, W) masks against the plan: which flow, may it close, which modules are
still awaited. Called once a chunk for thousands of traces, so nothing here looks at a span twice.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from streams.core.columns import Operations
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.tables import plan_tables
from streams.units import I32, U64, Mask

ANY_MODULE: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONE: Final = np.uint64(1)


def stage_bits(
    operation: I32,
    dimension: Mapping[str, U64],
    plan: Plan,
    operations: Operations,
    condition_hashes: Mapping[int, U64],
) -> U64:
    """Return the bits that each event row sets: its stage, and the conditions it meets.

    The caller clears the rows that are no spans: this function does not know the event type.

    Args:
        operation: (n,) code in `operations`.
        dimension: per dimension that a condition names, (n,) 64-bit hash of the value, 0 absent.
        plan: the compiled contract.
        operations: the names behind the codes.
        condition_hashes: per condition bit, the hashes of the values that meet it.

    Returns:
        (n, W) uint64.

    Raises:
        KeyError: a condition's dimension or hashes were not given.
    """
    out = np.zeros((len(operation), plan.words), np.uint64)
    if not plan.stage_operation:
        return out
    code = plan_tables(plan).stage_code(operations)[operation]
    rows = np.flatnonzero(code >= 0)
    found = code[rows]
    out[rows, found // 64] = _ONE << (found % 64).astype(np.uint64)
    for condition in plan.conditions:
        at_stage = np.flatnonzero(code == condition.code)
        value = dimension[condition.dimension][at_stage]
        met = at_stage[np.isin(value, condition_hashes[condition.bit])]
        out[met, condition.bit // 64] |= _ONE << np.uint64(condition.bit % 64)
    return out


def has_bit(mask: U64, bit: int) -> Mask:
    """Return (T,) whether a bit is set in each row of a (T, W) mask."""
    is_set: Mask = (mask[:, bit // 64] >> np.uint64(bit % 64)) & _ONE != 0
    return is_set


def entry_flows(operation: I32, plan: Plan, operations: Operations) -> I32:
    """Return (n,) the first flow whose entry stage each operation is, -1 for none.

    Meant for root spans: a trace's entry flow is that of its earliest root that enters one.
    """
    if not plan.flows:
        return np.full(len(operation), -1, np.int32)
    tables = plan_tables(plan)
    code = tables.stage_code(operations)[operation]
    return np.where(code >= 0, tables.entry_flow[code], -1).astype(np.int32)


def flow_of_mask(mask: U64, entry_flow: I32, plan: Plan) -> I32:
    """Return the flow of each trace, -1 where it cannot be told.

    A root at an entry stage decides. Flows that share this entry are told apart by the stages
    seen: the first that holds them all, else the first. Without such a root it is the only flow
    that holds all stages seen, when at least one was seen.

    Args:
        mask: (T, W) stages seen.
        entry_flow: (T,) flow of the root as `entry_flows` gives it, -1 for none.
        plan: the compiled contract.

    Returns:
        (T,) int32, index into `plan.flows`.
    """
    flow = entry_flow.astype(np.int32, copy=True)
    if not plan.flows:
        return flow
    tables = plan_tables(plan)
    is_shared = tables.same_entry.sum(axis=1) > 1
    open_rows = np.flatnonzero((entry_flow < 0) | is_shared[entry_flow])
    if not len(open_rows):
        return flow
    seen = mask[open_rows] & tables.all_stages
    holds = np.ones((len(open_rows), len(plan.flows)), np.bool_)
    for word in range(plan.words):
        holds &= seen[:, word, None] & ~tables.flow_stages[None, :, word] == 0
    entry = entry_flow[open_rows]
    with_entry = holds & tables.same_entry[entry]
    by_entry = np.where(with_entry.any(axis=1), with_entry.argmax(axis=1), entry)
    is_only = (holds.sum(axis=1) == 1) & (seen != 0).any(axis=1)
    by_stages = np.where(is_only, holds.argmax(axis=1), -1)
    flow[open_rows] = np.where(entry >= 0, by_entry, by_stages)
    return flow


def closable(mask: U64, flow: I32, plan: Plan, *, enough: U64 | None = None) -> Mask:
    """Return (T,) whether every stage that the trace requires is in.

    A trace without a flow, or whose flow requires nothing, is never closable: nothing says that
    it is whole.

    Args:
        mask: (T, W) stages seen and conditions met.
        flow: (T,) index into `plan.flows`, -1 for none.
        plan: the compiled contract.
        enough: (T, W) stages seen as often as their flow needs; looked at only for stages that
            need more than one span. Without it such a stage never counts as in.
    """
    out = np.zeros(len(flow), np.bool_)
    if not plan.flows:
        return out
    tables = plan_tables(plan)
    for index in np.unique(flow[flow >= 0]).tolist():
        of_flow = tables.flows[index]
        if not of_flow.may_be_required.any():
            continue
        rows = np.flatnonzero(flow == index)
        seen = mask[rows]
        in_full = seen & ~of_flow.many
        if enough is not None:
            in_full |= seen & of_flow.many & enough[rows]
        is_in = (~in_full & of_flow.required == 0).all(axis=1)
        for stage in np.flatnonzero(of_flow.flow.required_bit >= 0).tolist():
            code = int(of_flow.flow.stage_code[stage])
            is_met = has_bit(seen, int(of_flow.flow.required_bit[stage]))
            is_in &= ~is_met | has_bit(in_full, code)
        out[rows] = is_in
    return out


def missing_modules_mask(mask: U64, flow: I32, plan: Plan, *, enough: U64 | None = None) -> U64:
    """Return (T,) the modules whose stages a trace still lacks, as bits.

    Bit i stands for `plan.modules[i]`; bit 63 for every module from the 64th on, and for one that
    the plan does not name. A trace without a flow awaits any module: all bits are set.

    Args:
        mask: (T, W) stages seen and conditions met.
        flow: (T,) index into `plan.flows`, -1 for none.
        plan: the compiled contract.
        enough: as for `closable`.
    """
    out = np.full(len(flow), ANY_MODULE, np.uint64)
    if not plan.flows:
        return out
    tables = plan_tables(plan)
    for index in np.unique(flow[flow >= 0]).tolist():
        of_flow = tables.flows[index]
        rows = np.flatnonzero(flow == index)
        seen = mask[rows]
        in_full = seen & ~of_flow.many
        if enough is not None:
            in_full |= seen & of_flow.many & enough[rows]
        awaited = np.zeros(len(rows), np.uint64)
        for stage in np.flatnonzero(of_flow.may_be_required).tolist():
            code = int(of_flow.flow.stage_code[stage])
            is_lacking = ~has_bit(in_full, code)
            if not of_flow.flow.is_required[stage]:
                is_lacking &= has_bit(seen, int(of_flow.flow.required_bit[stage]))
            awaited |= np.where(is_lacking, tables.module_bit[code], np.uint64(0))
        out[rows] = awaited
    return out
