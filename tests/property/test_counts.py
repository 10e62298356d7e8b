"""Counts do not depend on how the traces were batched, and equal a plain count of verdicts."""

import json
import random
from collections import Counter, defaultdict
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings

from streams.core.columns import Operations
from streams.core.fidelity.counts import WindowCounts
from streams.core.fidelity.judge import judge
from streams.core.fidelity.plan import Plan
from streams.units import I64
from tests.judge_cases import batch_of, random_plan, random_traces, randoms
from tests.oracle_judge import OracleSpan, Verdict, judge_trace

WINDOW_US = 10
ANY_WATERMARK_US = 0
Traces = list[list[OracleSpan]]
Key = tuple[int, str, str, str, str, str]


def trace_id(number: int) -> bytes:
    """Give high and low half different orders, so that both count when ids are compared."""
    return ((number * 7) % 5).to_bytes(8, "big") + number.to_bytes(8, "big")


def add(
    counts: WindowCounts,
    traces: Traces,
    plan: Plan,
    operations: Operations,
    *,
    first: int = 0,
    sign: int = 1,
    revision: I64 | None = None,
) -> None:
    """Judge the traces, numbered from `first` on, and add them."""
    batch = batch_of(traces, plan, operations)
    counts.add_traces(
        batch,
        judge(batch, plan, operations),
        plan,
        operations,
        [trace_id(first + i) for i in range(len(traces))],
        lambda row: (f"r{batch.span_id[row]}", ""),
        sign=sign,
        revision=revision,
    )


def taken(counts: WindowCounts) -> list[dict[str, Any]]:
    """Return all windows that count something."""
    return [part for part in counts.take_changed(ANY_WATERMARK_US) if part["scopes"]]


def counted_plainly(traces: Traces, plan: Plan) -> dict[Key, Counter[str]]:
    """Count verdict by verdict, by the definitions of the counters."""
    out: dict[Key, Counter[str]] = defaultdict(Counter)
    for spans in traces:
        if not spans:
            continue
        verdict = judge_trace(spans, plan)
        window = min(s.start_us for s in spans) // WINDOW_US * WINDOW_US
        total = out[window, "total", "", "", "", ""]
        total["traces"] += 1
        total["sampled_out" if verdict.is_sampled_out else verdict.status.lower()] += 1
        total["late"] += sum(s.is_late for s in spans)
        for s in spans:
            module = (s.start_us // WINDOW_US * WINDOW_US, "module", "", "", "", s.operation.module)
            out[module]["late"] += s.is_late
        if verdict.flow >= 0:
            _count_flow(out, window, verdict, plan)
    kept = {key: Counter({k: n for k, n in c.items() if n}) for key, c in out.items()}
    return {key: c for key, c in kept.items() if c}


def _count_flow(out: dict[Key, Counter[str]], window: int, verdict: Verdict, plan: Plan) -> None:
    flow = plan.flows[verdict.flow]
    is_out = verdict.is_sampled_out
    of_flow = out[window, "flow", flow.name, "", "", ""]
    of_flow["sampled_out"] += is_out
    of_flow["expected"] += not is_out
    of_flow["observed"] += not is_out and verdict.has_all_required
    module = [plan.stage_operation[int(c)].module for c in flow.stage_code]
    for index, is_observed, cause, gap_us, is_late in verdict.edges:
        near, far = flow.edges[index].tolist()
        edge = out[window, "edge", flow.name, flow.stage_id[near], flow.stage_id[far], module[far]]
        if is_out:
            edge["sampled_out"] += 1
            continue
        edge["expected"] += 1
        edge["late"] += is_late
        if is_observed:
            edge["observed"] += 1
            edge["gap_count"] += 1
            edge["gap_sum_us"] += gap_us
            edge["gap_negative"] += gap_us < 0
        else:
            edge[f"missing.{cause}"] += 1
    for stage, _, duration_us, count, errors, is_missed in verdict.stages:
        of_stage = out[window, "stage", flow.name, "", flow.stage_id[stage], module[stage]]
        of_stage["spans"] += count
        of_stage["errors"] += errors
        of_stage["deadline_missed"] += is_missed
        of_stage["duration_sum_us"] += duration_us


@settings(max_examples=60)
@given(randoms)
def test_windows_hold_what_a_plain_count_of_verdicts_gives(rng: random.Random) -> None:
    """Every counter of every scope equals the sum over the slow judge's verdicts."""
    plan, operations = random_plan(rng), Operations()
    traces = random_traces(rng, plan, most=10)
    counts = WindowCounts(WINDOW_US, plan.version)
    add(counts, traces, plan, operations)
    found = {
        (part["window_start"], *(scope[name] for name in NAMES)): Counter(scope["counters"])
        for part in taken(counts)
        for scope in part["scopes"]
    }
    assert found == counted_plainly(traces, plan)


NAMES = ("kind", "flow", "from_stage", "to_stage", "module")


@settings(max_examples=60)
@given(randoms)
def test_cutting_a_batch_changes_no_count_and_no_sample(rng: random.Random) -> None:
    """Traces added in two batches, in either order, give what one batch gives."""
    plan, operations = random_plan(rng), Operations()
    traces = random_traces(rng, plan, most=5) * 4  # more proofs of one loss than are kept
    cut = rng.randint(0, len(traces))
    whole, forth, back = (WindowCounts(WINDOW_US, plan.version) for _ in range(3))
    add(whole, traces, plan, operations)
    add(forth, traces[:cut], plan, operations)
    add(forth, traces[cut:], plan, operations, first=cut)
    add(back, traces[cut:], plan, operations, first=cut)
    add(back, traces[:cut], plan, operations)
    expected = taken(whole)
    assert taken(forth) == expected
    assert taken(back) == expected


@settings(max_examples=60)
@given(randoms)
def test_taking_back_what_was_added_leaves_nothing(rng: random.Random) -> None:
    """After a batch is taken back its windows are reported with zeros: no scope is no news."""
    plan, operations = random_plan(rng), Operations()
    traces = random_traces(rng, plan)
    revision = np.array([rng.randint(1, 4) for _ in traces], np.int64)
    counts = WindowCounts(WINDOW_US, plan.version)
    add(counts, traces, plan, operations, revision=revision)
    windows = [part["window_start"] for part in counts.take_changed(ANY_WATERMARK_US)]
    add(counts, traces, plan, operations, sign=-1, revision=revision)
    emptied = counts.take_changed(ANY_WATERMARK_US)
    assert [part["window_start"] for part in emptied] == windows
    scopes = [scope for part in emptied for scope in part["scopes"]]
    assert all(part["scopes"] for part in emptied)
    assert all(n == 0 for scope in scopes for n in scope["counters"].values())


@settings(max_examples=40)
@given(randoms)
def test_a_restart_in_between_changes_nothing(rng: random.Random) -> None:
    """Counts restored from a snapshot that went through JSON go on as if never stopped."""
    plan, operations = random_plan(rng), Operations()
    traces = random_traces(rng, plan, most=10)
    cut = rng.randint(0, len(traces))
    whole = WindowCounts(WINDOW_US, plan.version)
    add(whole, traces[:cut], plan, operations)
    if rng.random() < 0.5:
        whole.take_changed(rng.randrange(30))
    restored = WindowCounts.restore(json.loads(json.dumps(whole.snapshot())))
    for counts in (whole, restored):
        add(counts, traces[cut:], plan, operations, first=cut)
    assert restored.snapshot() == whole.snapshot()
    watermark_us = rng.randrange(60)
    assert restored.take_changed(watermark_us) == whole.take_changed(watermark_us)


@settings(max_examples=40)
@given(randoms)
def test_a_packed_window_is_the_window_it_was(rng: random.Random) -> None:
    """Windows that are packed between any two steps tell and save what others do."""
    plan, operations = random_plan(rng), Operations()
    packed, plain = (WindowCounts(WINDOW_US, plan.version) for _ in range(2))
    was_packed = 0
    for first in range(0, 12, 4):
        traces = random_traces(rng, plan, most=4)
        signs = [1, -1] if rng.random() < 0.3 else [1]
        watermark_us = rng.randrange(60)
        for counts in (packed, plain):
            for sign in signs:
                add(counts, traces, plan, operations, first=first, sign=sign)
            counts.expire(0)  # turns both, but only one of them within the bound
        assert packed.take_changed(watermark_us) == plain.take_changed(watermark_us)
        assert packed.snapshot(full=False) == plain.snapshot(full=False)
        with patch("streams.core.fidelity.windows.IDLE_TURNS", 1):
            packed.expire(0)
        was_packed += sum(window.is_packed for _, window in packed._windows.items())
        assert not any(window.is_packed for _, window in plain._windows.items())
    assert was_packed
    assert packed.bounds_met["idle_window"] >= 1
    assert plain.bounds_met == {"idle_window": 0}
    assert packed.snapshot() == plain.snapshot()
