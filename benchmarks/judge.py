"""What does it cost to judge a chunk of closed traces and to count them?

`python -m benchmarks.judge [--traces 625] [--rounds 200]` prints CPU milliseconds a batch of
traces of 8 spans each (median and 95th percentile over the rounds), seed fixed. The first half
of the rows has nothing missing; then 2 % of the spans are lost.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from streams.core.columns import Operation, Operations, SpanBatch
from streams.core.fidelity.counts import WindowCounts
from streams.core.fidelity.judge import judge
from streams.core.fidelity.masks import stage_bits
from streams.core.fidelity.plan import FlowPlan, Plan
from streams.units import SECOND_US

SEED = 20_260_101
STAGES = ("receive", "parse", "validate", "enrich", "transform", "lookup", "render", "deliver")
MODULES = ("ALPHA", "ALPHA", "ALPHA", "BETA", "BETA", "EPSILON", "GAMMA", "GAMMA")
START_US = 1_700_000_000 * SECOND_US


def chain_plan() -> Plan:
    """Return one flow of eight required stages, one after the other."""
    size = len(STAGES)
    flow = FlowPlan(
        name="orders",
        stage_code=np.arange(size),
        stage_id=STAGES,
        entry=0,
        is_required=np.ones(size, np.bool_),
        required_bit=np.full(size, -1),
        min_count=np.ones(size, np.int64),
        deadline_us=np.full(size, 5 * SECOND_US),
        edges=np.stack([np.arange(size - 1), np.arange(1, size)], axis=1),
        wait_us=30 * SECOND_US,
        settle_us=SECOND_US // 5,
    )
    operations = tuple(Operation(m, "service", s) for m, s in zip(MODULES, STAGES, strict=True))
    return Plan("1", operations, (), (flow,), tuple(dict.fromkeys(MODULES)))


def chain_batch(traces: int, lost_ratio: float, plan: Plan, operations: Operations) -> SpanBatch:
    """Return traces of eight spans, each the parent of the next, less the lost ones."""
    random = np.random.default_rng(SEED)
    size = len(STAGES)
    trace = np.repeat(np.arange(traces, dtype=np.int32), size)
    stage = np.tile(np.arange(size), traces)
    span_id = random.integers(1, 2**63, traces * size).astype(np.uint64)
    parent = np.where(stage > 0, np.roll(span_id, 1), 0).astype(np.uint64)
    start_us = START_US + random.integers(0, 20 * SECOND_US, traces)[trace] + stage * 1_000
    codes = np.array([operations.code(o) for o in plan.stage_operation], np.int32)
    keep = random.random(len(trace)) >= lost_ratio
    operation = codes[stage[keep]]
    count = len(operation)
    return SpanBatch(
        trace=trace[keep],
        traces=traces,
        span_id=span_id[keep],
        parent_span_id=parent[keep],
        timestamp_us=start_us[keep],
        duration_us=np.full(count, 900, np.int64),
        operation=operation,
        status=np.ones(count, np.uint8),
        trace_flags=np.ones(count, np.uint8),
        topic=np.zeros(count, np.uint8),
        is_late=np.zeros(count, np.bool_),
        stage_bits=stage_bits(operation, {}, plan, operations, {}),
    )


def cpu_ms(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return median and 95th percentile of the CPU milliseconds of one call."""
    times = []
    for _ in range(rounds):
        before_ns = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - before_ns) / 1e6)
    return float(np.median(times)), float(np.quantile(times, 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=625)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    plan, operations = chain_plan(), Operations()
    trace_ids = [n.to_bytes(16, "big") for n in range(1, arguments.traces + 1)]
    for lost_ratio in (0.0, 0.02):
        batch = chain_batch(arguments.traces, lost_ratio, plan, operations)
        verdict = judge(batch, plan, operations)
        counts = WindowCounts(10 * SECOND_US, plan.version)

        count = partial(
            counts.add_traces, batch, verdict, plan, operations, trace_ids, lambda _: ("", "")
        )
        for name, work in (("judge", partial(judge, batch, plan, operations)), ("count", count)):
            median, high = cpu_ms(work, arguments.rounds)
            print(
                f"{name}: {len(batch):,} spans, {arguments.traces:,} traces, "
                f"{lost_ratio:.0%} lost: {median:.2f} ms (p95 {high:.2f} ms)"
            )


if __name__ == "__main__":
    main()
