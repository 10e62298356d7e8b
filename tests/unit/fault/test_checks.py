"""Every kind of fault in what was published is found, counted under its name, and put in words."""

from collections.abc import Callable
from typing import Any

import pytest

from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.simulate import Simulation
from tests.fault.checks import (
    Verdict,
    check_accounts,
    check_rejected,
    check_traces,
    check_versions,
    compare_windows,
)
from tests.fault.harness import Message
from tests.fault.oracle import WINDOW_US, Truth, truth_of

START_US = 1_700_000_000_000_000
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def truth() -> Truth:
    """Return the truth of three simulated seconds and one bad record."""
    simulation = Simulation(load_contract("seed"), 1, START_US, 3, 10.0)
    records = [
        Message(e.topic, 0, n, 0, None, encode("telemetry_event", e.event))
        for n, e in enumerate(simulation.drain())
    ]
    return truth_of([*records, Message("telemetry.other.v1", 3, 9, 0, None, None)], 0)


def published(truth: Truth) -> Rows:
    """Return first revisions that say just what the oracle says."""
    names = ("span_id", "module", "component", "name", "from_stage", "to_stage")
    return [
        {
            "trace_id": trace_id,
            "revision": 1,
            "flow": trace.flow,
            "status": trace.status,
            "closed_by": "contract",
            "span_count": sum(is_span for is_span, _ in trace.identities),
            "missing": [dict(zip(names, row, strict=True)) for row in trace.missing],
            "spans": list(truth.events[trace_id].values()),
        }
        for trace_id, trace in truth.traces.items()
    ]


def counted(truth: Truth, traces: Rows) -> tuple[int, int, int]:
    verdict = Verdict()
    check_traces(verdict, traces, truth)
    kinds = {problem.partition(":")[0] for problem in verdict.problems}
    assert kinds >= {k for k in ("lost", "repeated", "wrong") if getattr(verdict, k)}
    return verdict.lost, verdict.repeated, verdict.wrong


def test_what_the_oracle_says_is_good(truth: Truth) -> None:
    """No finding where there is none."""
    assert counted(truth, published(truth)) == (0, 0, 0)


def _without_a_span(trace: dict[str, Any]) -> Rows:
    return [{**trace, "spans": trace["spans"][1:]}]


def _with_a_span_twice(trace: dict[str, Any]) -> Rows:
    return [{**trace, "spans": [*trace["spans"], trace["spans"][0]]}]


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Rows], tuple[int, int, int]]] = {
    "trace lost": (lambda t: [], (1, 0, 0)),
    "span lost": (_without_a_span, (1, 0, 0)),
    "span twice": (_with_a_span_twice, (0, 0, 1)),
    "revision twice": (lambda t: [t, t], (0, 1, 0)),
    "revision left out": (lambda t: [t, {**t, "revision": 3}], (0, 1, 0)),
    "trace invented": (lambda t: [t, {**t, "trace_id": "f" * 32}], (0, 0, 1)),
    "other status": (lambda t: [{**t, "status": "BROKEN"}], (0, 0, 1)),
    "other flow": (lambda t: [{**t, "flow": "elsewhere"}], (0, 0, 1)),
    "other count": (lambda t: [{**t, "span_count": 1_000}], (0, 0, 1)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_trace_is_one_finding(truth: Truth, name: str) -> None:
    """Each fault counts where it belongs, and once."""
    make, findings = FAULTS[name]
    first, *others = published(truth)
    assert counted(truth, [*make(first), *others]) == findings


def test_only_the_highest_revision_must_be_right(truth: Truth) -> None:
    """An earlier revision may hold less."""
    first, *others = published(truth)
    early = {**first, "spans": first["spans"][1:], "status": "INCOMPLETE"}
    assert counted(truth, [early, {**first, "revision": 2}, *others]) == (0, 0, 0)


def windows(truth: Truth) -> Rows:
    names = ("kind", "flow", "from_stage", "to_stage", "module")
    return [
        {
            "window_us": WINDOW_US,
            "window_start": start_us,
            "revision": 1,
            "expected": first,
            "observed": second,
            "counters": {"events": first, "untraced": second},
            **dict(zip(names, scope, strict=True)),
        }
        for start_us, window in truth.windows.items()
        for scope, (first, second) in window.items()
    ]


def test_windows_are_recounted(truth: Truth) -> None:
    """A window that was not told is missing, another count is wrong, a later revision counts."""
    rows = windows(truth)
    assert {row["kind"] for row in rows} == {"total", "flow", "edge", "module"}
    assert compare_windows(rows, truth, 0) == ([], [], len(rows))
    missing, wrong, _ = compare_windows(rows[1:], truth, 0)
    assert (len(missing), len(wrong)) == (1, 0)
    other = {**rows[0], "revision": 2, "expected": 99, "counters": {"events": 99}}
    missing, wrong, _ = compare_windows([*rows, other], truth, 0)
    assert (len(missing), len(wrong)) == (0, 1)
    invented = {**rows[0], "window_start": rows[0]["window_start"] + 100 * WINDOW_US}
    missing, wrong, _ = compare_windows([*rows, invented], truth, 0)
    assert (len(missing), len(wrong)) == (0, 1)


def test_versions_count_from_one_without_gaps() -> None:
    """Alerts and incidents are held to the law of revisions."""
    verdict = Verdict()
    rows = [{"id": name, "version": n} for name, n in [("a", 1), ("a", 2), ("a", 2), ("b", 2)]]
    check_versions(verdict, "alert", rows, ("id",), "version")
    assert (verdict.lost, verdict.repeated, verdict.wrong) == (0, 2, 0)


def test_rejected_records_are_those_the_oracle_refuses(truth: Truth) -> None:
    """One refused record, told twice, told for another reason, or not told."""
    right = {
        "topic": "telemetry.other.v1",
        "partition": 3,
        "offset": 9,
        "reason": "empty_value",
    }
    cases = [
        ([right], (0, 0, 0)),
        ([], (1, 0, 0)),
        ([right, right], (0, 1, 0)),
        ([{**right, "reason": "bad_magic"}], (0, 0, 1)),
        ([right, {**right, "offset": 10}], (0, 0, 1)),
    ]
    for rows, findings in cases:
        verdict = Verdict()
        check_rejected(verdict, rows, truth)
        assert (verdict.lost, verdict.repeated, verdict.wrong) == findings


def test_accounts_are_compared_and_must_balance(truth: Truth) -> None:
    """Another number is wrong, and so is a sum that leaves something over."""
    right = {**truth.accounting}
    verdict = Verdict()
    check_accounts(verdict, right, truth)
    assert verdict.is_good
    check_accounts(verdict, {**right, "joined": right["joined"] - 1}, truth)
    assert verdict.wrong == 2
