"""What modules say they did not send: which points are believed, and where they count."""

import math
import random
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from streams.core.columns import LOG, METRIC, EventColumns, Operation, Operations
from streams.core.fidelity.counts import WindowCounts
from streams.core.fidelity.unsampled import COUNT_MAX
from tests.judge_cases import randoms
from tests.unit.core.fidelity.test_counts import WINDOW_US, events, new, only

Point = tuple[str, str, int, float]
"""Module, what is told, time, value."""


def points(operations: Operations, told: list[Point]) -> EventColumns:
    found = events(operations, *((module, at_us, METRIC, 0) for module, _, at_us, _ in told))
    codes = [
        operations.code(Operation(m, "any", f"pipeline.{m.lower()}.telemetry.histogram.{name}"))
        for m, name, *_ in told
    ]
    values = np.array([value for *_, value in told], np.float64)
    return replace(found, operation=np.array(codes, np.int32), value=values)


def add(counts: WindowCounts, found: EventColumns, operations: Operations) -> None:
    counts.add_events(found, np.zeros(len(found), np.bool_), operations)


def test_what_was_not_sampled_is_told_by_module_and_in_total() -> None:
    """Points of several processes and components add up; other metrics say nothing of it."""
    operations, counts = Operations(), new()
    told = [
        ("ALPHA", "spans_unsampled", 5, 30.0),
        ("ALPHA", "spans_unsampled", 9, 12.0),
        ("ALPHA", "traces_unsampled", 9, 7.0),
        ("BETA", "spans_unsampled", 9, 1.0),
        ("BETA", "events_sent", 9, 400.0),
    ]
    add(counts, points(operations, told), operations)
    found = only(counts)
    assert found["module", "", "ALPHA"]["spans_unsampled"] == 42
    assert found["module", "", "ALPHA"]["traces_unsampled"] == 7
    assert found["module", "", "BETA"]["spans_unsampled"] == 1
    assert "traces_unsampled" not in found["module", "", "BETA"]
    total = found["total", "", ""]
    assert (total["spans_unsampled"], total["traces_unsampled"], total["events"]) == (43, 7, 5)


@pytest.mark.parametrize("value", [-1.0, 0.5, math.nan, math.inf, -math.inf, COUNT_MAX + 1.0])
def test_what_is_no_number_of_spans_is_refused(value: float) -> None:
    """It is counted as refused, and adds nothing."""
    operations, counts = Operations(), new()
    told = [("ALPHA", "spans_unsampled", 5, value), ("ALPHA", "spans_unsampled", 5, 2.0)]
    add(counts, points(operations, told), operations)
    found = only(counts)["module", "", "ALPHA"]
    assert (found["unsampled_refused"], found["spans_unsampled"]) == (1, 2)


def test_only_a_metric_of_the_module_itself_counts() -> None:
    """Neither another type of event nor another module's name is taken for a point."""
    operations, counts = Operations(), new()
    found = points(operations, [("ALPHA", "spans_unsampled", 5, 9.0)] * 2)
    other = Operation("BETA", "x", "pipeline.alpha.telemetry.histogram.spans_unsampled")
    found = replace(
        found,
        event_type=np.array([LOG, METRIC], np.uint8),
        operation=np.array([found.operation[0], operations.code(other)], np.int32),
    )
    add(counts, found, operations)
    assert all("spans_unsampled" not in counted for counted in only(counts).values())


@given(randoms)
def test_sums_are_those_of_a_plain_count(rng: random.Random) -> None:
    """Whatever the batches, and through a restart: what was told in a window, by module."""
    told = [
        (
            rng.choice(("ALPHA", "BETA", "DELTA")),
            rng.choice(("spans_unsampled", "traces_unsampled", "values_cut")),
            rng.randrange(3 * WINDOW_US),
            rng.choice((0.0, 1.0, float(rng.randrange(1, 10**6)), float(COUNT_MAX), -1.0, 0.25)),
        )
        for _ in range(rng.randrange(1, 25))
    ]
    operations, counts = Operations(), new()
    cut = rng.randrange(len(told) + 1)
    for part in (told[:cut], told[cut:]):
        add(counts, points(operations, part), operations)
        counts = WindowCounts.restore(counts.snapshot())
    plain: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for module, name, at_us, value in told:
        if name == "values_cut":
            continue
        is_count = 0 <= value <= COUNT_MAX and value == int(value)
        for place in (module, ""):
            at = at_us // WINDOW_US * WINDOW_US, place
            plain[at][name if is_count else "unsampled_refused"] += int(value) if is_count else 1
    found = {
        (part["window_start"], scope["module"]): Counter(
            {k: n for k, n in scope["counters"].items() if "unsampled" in k}
        )
        for part in counts.take_changed(0)
        for scope in part["scopes"]
    }
    kept = {at: Counter({k: n for k, n in c.items() if n}) for at, c in plain.items()}
    assert {at: c for at, c in found.items() if c} == {at: c for at, c in kept.items() if c}
