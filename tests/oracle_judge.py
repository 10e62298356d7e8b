"""The slow, obvious judge: one trace at a time, with lists and dictionaries, from the rules' text.

It shares no code with `streams.core.fidelity` and reads nothing but the plan's own fields.
"""

from collections import deque
from dataclasses import dataclass, field

from streams.core.columns import Operation
from streams.core.fidelity.plan import FlowPlan, Plan

COMPLETE, INCOMPLETE, BROKEN = "COMPLETE", "INCOMPLETE", "BROKEN"


@dataclass(frozen=True)
class OracleSpan:
    span_id: int
    parent_id: int
    start_us: int
    duration_us: int
    operation: Operation
    is_error: bool = False
    is_sampled: bool = True
    is_late: bool = False
    dimension: dict[str, str] = field(default_factory=dict)

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us


@dataclass
class Verdict:
    flow: int = -1
    status: str = COMPLETE
    has_all_required: bool = False
    is_sampled_out: bool = False
    roots: int = 0
    orphans: int = 0
    has_cycle: bool = False
    root_id: int = 0
    parents: list[int] = field(default_factory=list)
    # (span id, operation or None, from label, to label, cause)
    missing: list[tuple[int, Operation | None, str, str, str]] = field(default_factory=list)
    # (edge, observed, cause, gap, late)
    edges: list[tuple[int, bool, str, int, bool]] = field(default_factory=list)
    # (stage, start, duration, count, errors, deadline missed)
    stages: list[tuple[int, int, int, int, int, bool]] = field(default_factory=list)


def judge_trace(spans: list[OracleSpan], plan: Plan, *, is_unsampled: bool = False) -> Verdict:
    """Judge a trace by its spans; `is_unsampled` says that none of its events was sampled."""
    spans = sorted(spans, key=lambda s: (s.start_us, s.span_id))
    verdict = Verdict()
    _structure(spans, verdict)
    seen = {code for s in spans if (code := _stage(plan, s.operation)) is not None}
    verdict.flow = _flow(spans, plan, seen)
    verdict.is_sampled_out = not any(s.is_sampled for s in spans) if spans else is_unsampled
    if verdict.flow >= 0:
        _judge_flow(spans, plan, plan.flows[verdict.flow], verdict)
    else:
        for parent_id, children in _unseen(spans).items():
            label = _label(children[0].operation)
            verdict.missing.append((parent_id, None, "", label, "ORPHANED"))
    if verdict.is_sampled_out:
        verdict.missing = [(*row[:4], "SAMPLED_OUT") for row in verdict.missing]
        verdict.edges = [
            (edge, seen_, cause if seen_ else "SAMPLED_OUT", gap, late)
            for edge, seen_, cause, gap, late in verdict.edges
        ]
    if verdict.roots != 1 or verdict.orphans or verdict.has_cycle:
        verdict.status = INCOMPLETE if verdict.is_sampled_out else BROKEN
    elif verdict.missing:
        verdict.status = INCOMPLETE
    return verdict


def _structure(spans: list[OracleSpan], verdict: Verdict) -> None:
    row = {s.span_id: i for i, s in enumerate(spans)}
    for s in spans:
        if s.parent_id == 0:
            verdict.parents.append(-1)
            verdict.roots += 1
            verdict.root_id = verdict.root_id or s.span_id
        else:
            verdict.parents.append(row.get(s.parent_id, -2))
            verdict.orphans += s.parent_id not in row
    for start in range(len(spans)):
        at, steps = start, 0
        while at >= 0 and steps <= len(spans):
            at, steps = verdict.parents[at], steps + 1
        verdict.has_cycle |= at >= 0


def _stage(plan: Plan, operation: Operation) -> int | None:
    for any_component in (False, True):
        for code, stage in enumerate(plan.stage_operation):
            component = "" if any_component else operation.component
            if stage == Operation(operation.module, component, operation.name):
                return code
    return None


def _flow(spans: list[OracleSpan], plan: Plan, seen: set[int]) -> int:
    entries = [int(flow.stage_code[flow.entry]) for flow in plan.flows]
    holds = [seen <= {int(c) for c in flow.stage_code} for flow in plan.flows]
    for s in spans:
        code = _stage(plan, s.operation)
        if s.parent_id == 0 and code in entries:
            entered = [i for i, entry in enumerate(entries) if entry == code]
            return next((i for i in entered if holds[i]), entered[0])
    if seen and sum(holds) == 1:
        return holds.index(True)
    return -1


def _unseen(spans: list[OracleSpan]) -> dict[int, list[OracleSpan]]:
    ids = {s.span_id for s in spans}
    unseen: dict[int, list[OracleSpan]] = {}
    for s in spans:
        if s.parent_id and s.parent_id not in ids:
            unseen.setdefault(s.parent_id, []).append(s)
    return unseen


def _label(operation: Operation) -> str:
    return f"{operation.module}:{operation.name}"


def _judge_flow(spans: list[OracleSpan], plan: Plan, flow: FlowPlan, verdict: Verdict) -> None:
    codes = [int(c) for c in flow.stage_code]
    size = len(codes)
    at = {i: [s for s in spans if _stage(plan, s.operation) == codes[i]] for i in range(size)}
    before = {i: sorted(int(n) for n, f in flow.edges if f == i) for i in range(size)}
    met = {
        condition.bit
        for condition in plan.conditions
        for s in spans
        if _stage(plan, s.operation) == condition.code
        and s.dimension.get(condition.dimension) in condition.values
    }
    required = [bool(flow.is_required[i]) or int(flow.required_bit[i]) in met for i in range(size)]
    lacking = [required[i] and len(at[i]) < flow.min_count[i] for i in range(size)]
    verdict.has_all_required = not any(lacking)
    named: dict[int, int] = {}
    orphaned = []
    for parent_id, children in _unseen(spans).items():
        stages = [codes.index(c) for s in children if (c := _stage(plan, s.operation)) in codes]
        choice = max((n for i in stages for n in before[i] if lacking[n]), default=None)
        if choice is not None and choice not in named:
            named[choice] = parent_id
            continue
        code = _stage(plan, children[0].operation)
        if code in codes:
            child = codes.index(code)
            near, _ = _losing_edge(child, before, at, lacking)
            from_label = flow.stage_id[near] if near is not None else ""
            row = (parent_id, None, from_label, flow.stage_id[child], "ORPHANED")
        else:
            row = (parent_id, None, "", _label(children[0].operation), "ORPHANED")
        orphaned.append(row)
    for i in range(size):
        if lacking[i]:
            near, first = _losing_edge(i, before, at, lacking)
            from_label = flow.stage_id[near] if near is not None else ""
            operation = plan.stage_operation[codes[i]]
            to_label = flow.stage_id[first]
            row = (named.get(i, 0), operation, from_label, to_label, "NEVER_ARRIVED")
            verdict.missing.append(row)
    verdict.missing += orphaned
    _edges(flow, at, required, lacking, verdict)
    _stages(flow, at, before, verdict)


def _losing_edge(
    stage: int, before: dict[int, list[int]], at: dict[int, list[OracleSpan]], lacking: list[bool]
) -> tuple[int | None, int]:
    """Search upwards, hop by hop; return the nearest seen ancestor and the first lacking stage."""
    level: deque[list[int]] = deque([[stage]])  # paths from the stage up, through unseen stages
    while level:
        hits = [(p, path) for path in level for p in before[path[-1]] if at[p]]
        if hits:
            near = max(p for p, _ in hits)
            path = max((path[::-1] for p, path in hits if p == near), key=_downwards)
            return near, _first_lacking(path, lacking)
        above = [[*path, p] for path in level for p in before[path[-1]]]
        if not above:
            break
        level = deque(above)
    # No context at all: walk up by the latest predecessor, as far as it goes.
    path = [stage]
    while before[path[-1]]:
        path.append(before[path[-1]][-1])
    return None, _first_lacking(path[::-1], lacking)


def _downwards(path: list[int]) -> list[int]:
    """Paths are compared from the stage upwards: the latest predecessor wins."""
    return path[::-1]


def _first_lacking(path: list[int], lacking: list[bool]) -> int:
    return next((i for i in path if lacking[i]), path[-1])


def _edges(
    flow: FlowPlan,
    at: dict[int, list[OracleSpan]],
    required: list[bool],
    lacking: list[bool],
    verdict: Verdict,
) -> None:
    for index, (near, far) in enumerate(flow.edges.tolist()):
        if not at[near] or not required[far]:
            continue
        if lacking[far]:
            verdict.edges.append((index, False, "NEVER_ARRIVED", 0, False))
        else:
            gap = at[far][0].start_us - at[near][0].start_us
            on_time = sum(not s.is_late for s in at[far])
            verdict.edges.append((index, True, "", gap, on_time < flow.min_count[far]))


def _stages(
    flow: FlowPlan, at: dict[int, list[OracleSpan]], before: dict[int, list[int]], verdict: Verdict
) -> None:
    for i, spans in at.items():
        if not spans:
            continue
        start, end = spans[0].start_us, max(s.end_us for s in spans)
        ends = [max(s.end_us for s in at[p]) for p in before[i] if at[p]]
        limit = int(flow.deadline_us[i])
        is_missed = False
        if limit and not before[i]:
            is_missed = end - start > limit
        elif limit and ends:
            is_missed = end - max(ends) > limit
        errors = sum(s.is_error for s in spans)
        verdict.stages.append((i, start, end - start, len(spans), errors, is_missed))
