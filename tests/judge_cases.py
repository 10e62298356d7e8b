"""Random plans and random traces for the tests of judging and counting."""

import random
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from streams.core.columns import STATUS_ERROR, STATUS_OK, Operation, Operations, SpanBatch
from streams.core.fidelity.masks import stage_bits
from streams.core.fidelity.plan import Condition, FlowPlan, Plan
from tests.oracle_judge import OracleSpan

MODULES = ("ALPHA", "BETA", "GAMMA")
STAGE_NAMES = ("a", "b", "c", "d", "e", "f", "g")
TIERS = ("gold", "iron")

# A seed for each example: the cases are built of hundreds of draws, which is too much to steer.
randoms = st.randoms(use_true_random=True)


def plan_of(
    stages: str,
    edges: str,
    *,
    optional: str = "",
    min_count: dict[str, int] | None = None,
    deadline_us: dict[str, int] | None = None,
    when: dict[str, tuple[str, str]] | None = None,
) -> Plan:
    """Return a plan of one flow "f"; each stage is a letter, in module <letter in capitals>.

    Args:
        stages: the letters in topological order, the entry first.
        edges: "ab bc" for a before b before c.
        optional: letters of the stages that are not required.
        min_count: spans needed, by letter.
        deadline_us: deadlines, by letter.
        when: letter -> (stage, tier): required when that stage has this tier.
    """
    when = when or {}
    conditions = tuple(
        Condition(len(stages) + i, stages.index(source), "tier", (tier,))
        for i, (source, tier) in enumerate(when.values())
    )
    bit = {letter: len(stages) + i for i, letter in enumerate(when)}
    pairs = [(stages.index(e[0]), stages.index(e[1])) for e in edges.split()]
    flow = FlowPlan(
        name="f",
        stage_code=np.arange(len(stages)),
        stage_id=tuple(stages),
        entry=0,
        is_required=np.array([s not in optional and s not in bit for s in stages]),
        required_bit=np.array([bit.get(s, -1) for s in stages], np.int64),
        min_count=np.array([(min_count or {}).get(s, 1) for s in stages], np.int64),
        deadline_us=np.array([(deadline_us or {}).get(s, 0) for s in stages], np.int64),
        edges=np.array(pairs, np.int64).reshape(-1, 2),
        wait_us=1_000,
        settle_us=10,
    )
    operations = tuple(Operation(s.upper(), "main", s) for s in stages)
    modules = tuple(s.upper() for s in stages)
    return Plan("1", operations, conditions, (flow,), modules, ("tier",))


def span(
    name: str,
    span_id: int,
    parent_id: int = 0,
    start_us: int | None = None,
    *,
    duration_us: int = 1,
    is_error: bool = False,
    is_sampled: bool = True,
    is_late: bool = False,
    dimension: dict[str, str] | None = None,
) -> OracleSpan:
    """Return a span of the stage `name`, which starts at its id x 10 unless told."""
    return OracleSpan(
        span_id=span_id,
        parent_id=parent_id,
        start_us=10 * span_id if start_us is None else start_us,
        duration_us=duration_us,
        operation=Operation(name.upper(), "main", name),
        is_error=is_error,
        is_sampled=is_sampled,
        is_late=is_late,
        dimension=dimension or {},
    )


def random_plan(rng: random.Random) -> Plan:
    """Return one to three flows over seven stages that they share, with everything a flow has."""
    pool = tuple(
        Operation(MODULES[i % 3], "" if i == 2 else "main", name)
        for i, name in enumerate(STAGE_NAMES)
    )
    first_bit = len(pool)
    conditions = (
        Condition(first_bit, rng.randrange(len(pool)), "tier", ("gold",)),
        Condition(first_bit + 1, rng.randrange(len(pool)), "tier", TIERS),
    )
    flows = tuple(_random_flow(rng, f"flow{i}", len(pool)) for i in range(rng.randint(1, 3)))
    return Plan("7", pool, conditions, flows, MODULES, ("tier",))


def _random_flow(rng: random.Random, name: str, pool: int) -> FlowPlan:
    size = rng.randint(1, 5)
    codes = rng.sample(range(pool), size)
    edges = [(n, f) for f in range(size) for n in range(f) if rng.random() < 0.5]
    bits = [pool + rng.randrange(2) if rng.random() < 0.25 else -1 for _ in range(size)]
    required = [bit < 0 and rng.random() < 0.8 for bit in bits]
    return FlowPlan(
        name=name,
        stage_code=np.array(codes, np.int64),
        stage_id=tuple(f"{name}.{STAGE_NAMES[c]}" for c in codes),
        entry=0,
        is_required=np.array(required, np.bool_),
        required_bit=np.array(bits, np.int64),
        min_count=np.array([rng.choice((1, 1, 1, 2)) for _ in range(size)], np.int64),
        deadline_us=np.array([rng.choice((0, 3, 8)) for _ in range(size)], np.int64),
        edges=np.array(edges, np.int64).reshape(-1, 2),
        wait_us=100,
        settle_us=10,
    )


def random_trace(rng: random.Random, plan: Plan) -> list[OracleSpan]:
    """Return up to seven spans; parents may be absent, unseen, later in time, or in a circle."""
    operations = [Operation(o.module, o.component or "any", o.name) for o in plan.stage_operation]
    operations.append(Operation("DELTA", "x", "other"))
    ids = rng.sample(range(1, 12), rng.randint(0, 7))
    is_sampled = rng.random() < 0.85
    spans = []
    for i, span_id in enumerate(ids):
        parent = 0 if rng.random() < 0.2 else rng.choice((*ids[: i or 1], *ids, 50, 51))
        if i == 0 and rng.random() < 0.7:
            parent = 0
        spans.append(
            OracleSpan(
                span_id=span_id,
                parent_id=parent,
                start_us=rng.randrange(25),
                duration_us=rng.randrange(10),
                operation=rng.choice(operations),
                is_error=rng.random() < 0.2,
                is_sampled=is_sampled and rng.random() < 0.9,
                is_late=rng.random() < 0.2,
                dimension={"tier": rng.choice(TIERS)} if rng.random() < 0.5 else {},
            )
        )
    return spans


def likely_trace(rng: random.Random, plan: Plan) -> list[OracleSpan]:
    """Return a trace of a flow, each span hanging on a predecessor, less some of the spans."""
    flow = rng.choice(plan.flows)
    spans: list[OracleSpan] = []
    span_of: dict[int, int] = {}
    next_id = 1
    for stage in range(len(flow.stage_code)):
        before = [n for n, f in flow.edges.tolist() if f == stage]
        parents = [span_of[n] for n in before] or ([span_of[0]] if stage else [0])
        named = plan.stage_operation[int(flow.stage_code[stage])]
        for _ in range(rng.randint(1, 2)):
            spans.append(
                OracleSpan(
                    span_id=next_id,
                    parent_id=rng.choice(parents),
                    start_us=3 * stage + rng.randrange(4),
                    duration_us=rng.randrange(6),
                    operation=Operation(named.module, named.component or "any", named.name),
                    is_error=rng.random() < 0.1,
                    is_late=rng.random() < 0.1,
                    dimension={"tier": rng.choice(TIERS)},
                )
            )
            span_of[stage] = next_id
            next_id += 1
    return [s for s in spans if rng.random() < 0.8]


def random_traces(rng: random.Random, plan: Plan, most: int = 6) -> list[list[OracleSpan]]:
    """Return some traces, likely and unlikely ones."""
    makers = (random_trace, likely_trace)
    return [rng.choice(makers)(rng, plan) for _ in range(rng.randint(1, most))]


def value_hash(value: str) -> int:
    """Stand in for the codec's hash of a dimension's value; 0 for absent."""
    return {"": 0, "gold": 11, "iron": 12}[value]


def batch_of(
    traces: Sequence[Sequence[OracleSpan]], plan: Plan, operations: Operations
) -> SpanBatch:
    """Return the traces as columns, sorted as the engine sorts them."""
    rows = [
        (trace, span)
        for trace, spans in enumerate(traces)
        for span in sorted(spans, key=lambda s: (s.start_us, s.span_id))
    ]
    spans = [span for _, span in rows]
    operation = np.array([operations.code(s.operation) for s in spans], np.int32)
    tier = np.array([value_hash(s.dimension.get("tier", "")) for s in spans], np.uint64)
    hashes = {
        c.bit: np.array([value_hash(value) for value in c.values], np.uint64)
        for c in plan.conditions
    }
    return SpanBatch(
        trace=np.array([trace for trace, _ in rows], np.int32),
        traces=len(traces),
        span_id=np.array([s.span_id for s in spans], np.uint64),
        parent_span_id=np.array([s.parent_id for s in spans], np.uint64),
        timestamp_us=np.array([s.start_us for s in spans], np.int64),
        duration_us=np.array([s.duration_us for s in spans], np.int64),
        operation=operation,
        status=np.array([STATUS_ERROR if s.is_error else STATUS_OK for s in spans], np.uint8),
        trace_flags=np.array([s.is_sampled for s in spans], np.uint8),
        topic=np.zeros(len(spans), np.uint8),
        is_late=np.array([s.is_late for s in spans], np.bool_),
        stage_bits=stage_bits(operation, {"tier": tier}, plan, operations, hashes),
    )
