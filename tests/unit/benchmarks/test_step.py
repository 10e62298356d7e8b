"""The case `step` takes all of its load, tells what is wrong, and tells versions apart."""

import argparse
from dataclasses import replace

import pytest

from benchmarks.cases.load import Load
from benchmarks.cases.step import BASE_US, Chunk, Cost, Pass, chunks, least, records_of, run, take

LOAD = Load(5, BASE_US, 300)


@pytest.fixture(scope="module")
def parts() -> list[list[Chunk]]:
    return [chunks(part, p, 250) for p, part in enumerate(records_of(LOAD))]


@pytest.fixture(scope="module")
def whole_pass(parts: list[list[Chunk]]) -> Pass:
    return take(LOAD, parts)


def test_the_load_comes_out_whole_and_the_same_each_time(
    parts: list[list[Chunk]], whole_pass: Pass
) -> None:
    """Each trace once, with all its spans; so the same bytes, in traces and in state."""
    again = take(LOAD, parts, is_counted=True)
    assert whole_pass.faults == again.faults == []
    assert whole_pass.digest == again.digest
    assert [c.records for c in whole_pass.costs] == [c.rows for part in parts for c in part]
    assert len(again.calls) == len(again.costs)
    assert min(again.calls) > 1_000


def test_a_lost_span_is_a_fault_and_another_digest(
    parts: list[list[Chunk]], whole_pass: Pass
) -> None:
    """What is missing from the input is missing from a trace."""
    head, *rest = parts[0]
    short = chunks(head.records[:-1], 0, 250)[0]
    lost = take(LOAD, [[replace(head, batches=short.batches), *rest], *parts[1:]])
    assert lost.faults
    assert lost.digest != whole_pass.digest


def test_of_each_step_the_least_counts() -> None:
    """A round that was disturbed in one step still tells of the others."""
    rounds = [[Cost(10, 0.5, 0.25), Cost(9, 4.0, 0.5)], [Cost(10, 1.0, 0.125), Cost(9, 2.0, 0.5)]]
    assert least(rounds) == [Cost(10, 0.5, 0.125), Cost(9, 2.0, 0.5)]


def test_the_report_has_the_line_through_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run names cost a span, fixed cost, calls and digests."""
    for name in ("bound_heap", "collect_seldom"):  # this process is not the case's own
        monkeypatch.setattr(f"benchmarks.cases.step.{name}", lambda *_: None)
    options = argparse.Namespace(spans=2_400, rows=400, few=100, rounds=1, seed=5)
    report = run(None, options)
    figures = report.figures
    assert report.faults == []
    assert figures["spans"] > 2_350
    assert figures["calls_a_step"] > 1_000
    assert len(set(figures["digests"])) == 2
    assert {"slope_us_a_span", "fixed_ms_a_step", "slope_us_a_span_cut"} <= figures.keys()
