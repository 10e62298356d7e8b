"""The causes task: windows, sampled traces and changes in; what is unusual, out."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from streams.core.causes.parameters import PARAMETERS
from streams.engine import causes
from streams.engine.causes import CauseSettings, CausesTask
from streams.engine.incidents import IncidentTask
from streams.errors import StateError
from tests.signal_cases import SECOND, T0, cell, partial, series
from tests.synthetic_pipeline import INCIDENTS, TOPOLOGY
from tests.unit.codec.codec_cases import event
from tests.unit.core.incidents.alerts import alert

STEP = 10 * SECOND
SETTINGS = CauseSettings(contract_version="7")
ERRORS = "pipeline.alpha.parser.counter.parse_errors_total"
LATENCY = "pipeline.alpha.parser.histogram.parse_duration_seconds"


def window(at: int, **values: float) -> list[dict[str, Any]]:
    """Return the records of one ended window: a latency, or a counter's total so far."""
    start = T0 + at * STEP
    cells = {}
    if "latency" in values:
        cells[series(LATENCY, unit="s")] = cell(values["latency"], at_us=start)
    if "errors" in values:
        cells[series(ERRORS)] = cell(values["errors"], at_us=start)
    if "lines" in values:
        cells[series("done", kind="LOG", severity="INFO")] = cell(*[0.0] * 20, at_us=start)
        if values["lines"]:
            boom = series("boom <*>", kind="LOG", severity="ERROR")
            cells[boom] = cell(*[0.0] * int(values["lines"]), at_us=start)
    told = [partial(start, start, cells)] if cells else []
    return [*told, partial(start, start + STEP, {})]


def trace(number: int, at: int, own_us: int = 1_000, **of_child: Any) -> dict[str, Any]:
    """Return a sampled trace: ALPHA calls BETA."""
    trace_id, start = f"{number:032x}", T0 + at * STEP
    root = event(
        trace_id=trace_id, span_id=f"{1:016x}", module="ALPHA", component="parser", name="parse",
        timestamp=start, duration_us=2_000 + own_us,
    )  # fmt: skip
    child = event(
        trace_id=trace_id, span_id=f"{2:016x}", parent_span_id=f"{1:016x}", module="BETA",
        name="enrich", timestamp=start + 500, duration_us=own_us, **of_child,
    )  # fmt: skip
    return {"trace_id": trace_id, "spans": [root, child]}


def change(at: int, **fields: Any) -> dict[str, Any]:
    """Return an event that tells of a change."""
    given = {
        "event_type": "AUDIT", "name": "change_applied", "module": "ALPHA", "component": "parser",
        "operation": "DEPLOY", "correlation_id": "deploy-17", "timestamp": T0 + at * STEP,
        "trace_id": "", "span_id": "", "dimensions": {},
    }  # fmt: skip
    return event(**{**given, **fields})


def told(task: CausesTask, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    outputs = task.step(list(records), 0, True)
    assert {output.topic_kind for output in outputs} <= {"evidence"}
    return [output.record for output in outputs]


def calm(task: CausesTask, windows: int, **values: float) -> None:
    """Let the task learn what is usual; nothing of it is news."""
    for at in range(windows):
        jitter = 1 + 0.01 * (at % 3)
        given = {name: value * jitter for name, value in values.items()}
        if "errors" in given:
            given["errors"] = float(at)
        assert told(task, window(at, **given)) == []


def sentences(record: dict[str, Any]) -> list[str]:
    return [item["sentence"] for item in record["evidence"]]


def test_a_metric_far_from_its_past_is_told_with_figures() -> None:
    """And that it is over is told once."""
    task = CausesTask(SETTINGS)
    calm(task, 20, latency=0.05)
    (found,) = told(task, window(20, latency=0.8))
    (item,) = found["evidence"]
    assert (item["kind"], item["module"], item["component"]) == ("METRIC_SHIFT", "ALPHA", "parser")
    assert item["sentence"].startswith("ALPHA parse_duration_seconds: 0.8, usually 0.05")
    assert (found["at"], found["series"]) == (T0 + 21 * STEP, 1)
    after = [record for at in range(21, 26) for record in told(task, window(at, latency=0.05))]
    assert after[-1]["evidence"] == []
    assert told(task, window(26, latency=0.05)) == []


def test_a_counter_counts_by_its_rise_and_scatters_by_chance() -> None:
    """One error more than none is no news, thirty are."""
    task = CausesTask(SETTINGS)
    calm(task, 20, errors=1)
    assert told(task, window(20, errors=21)) == []
    (found,) = told(task, window(21, errors=71))
    assert sentences(found)[0].startswith("ALPHA parse_errors_total: 50, usually 1,")


def test_a_new_log_line_is_told() -> None:
    """A template that was never seen, among lines of its module."""
    task = CausesTask(SETTINGS)
    for at in range(20):
        told(task, window(at, lines=0))
    found = [record for at in (20, 21) for record in told(task, window(at, lines=20))]
    assert "LOG_NEW" in [item["kind"] for item in found[-1]["evidence"]]
    assert any("log ERROR:boom <*> in " in sentence for sentence in sentences(found[-1]))


def test_traces_tell_errors_and_time() -> None:
    """Of a sample; the operation is the visit of a trace in a module."""
    task = CausesTask(SETTINGS)
    for at in range(20):
        told(task, [*(trace(at * 10 + n, at) for n in range(10)), *window(at)])
    for at in (20, 21):
        slow = [trace(50 * at + n, at, own_us=400_000, status="ERROR") for n in range(10)]
        (found,) = told(task, [*slow, *window(at)])
    assert found["traces"] == 10
    kinds = {(item["kind"], item["module"]) for item in found["evidence"]}
    assert {("TRACE_ERRORS", "BETA"), ("TRACE_SLOW", "BETA")} <= kinds
    assert "BETA" in found["alarms"]


def test_a_change_speaks_only_beside_other_evidence() -> None:
    """Most changes are harmless; one that follows the trouble did not bring it about."""
    task = CausesTask(SETTINGS)
    told(task, [change(19)])
    calm(task, 20, latency=0.05)
    (found,) = told(task, [change(22, correlation_id="later"), *window(20, latency=0.8)])
    (item,) = [item for item in found["evidence"] if item["kind"] == "CHANGE"]
    assert item["name"] == "deploy-17"
    assert item["sentence"] == "DEPLOY deploy-17 of ALPHA 20 s before the onset"


def test_a_restart_at_any_record_changes_nothing() -> None:
    """What is told is the same, however often the state is written and read back."""
    records = [change(3)]
    for at in range(16):
        lines = 12 if at > 12 else 0
        errors = 5.0 * at + (300 if at > 12 else 0)
        slow = 90_000 if at > 12 else 1_000
        records += [trace(at * 8 + n, at, own_us=slow + 37 * n) for n in range(6)]
        records += window(at, latency=0.05 + 0.001 * (at % 4), errors=errors, lines=lines)
    whole = told(CausesTask(SETTINGS), records)
    assert whole[-1]["evidence"]
    task, found = CausesTask(SETTINGS), []
    for record in records:
        found += told(task, [record])
        task = CausesTask.restore(SETTINGS, json.loads(json.dumps(task.snapshot())))
    assert found == whole


def test_bounds_leave_out_and_count() -> None:
    """Series, operations and traces; those that are known stay."""
    tight = CauseSettings(series_max=1, operations_max=1, traces_max=2)
    task = CausesTask(tight)
    for at in range(30):
        records = [trace(at * 3 + n, at) for n in range(3)]
        told(task, [*records, *window(at, latency=0.05, errors=float(at))])
    assert task.counters() == {
        causes.SERIES_BOUND: 30,
        causes.OPERATIONS_BOUND: 30,
        causes.TRACES_BOUND: 30,
    }
    assert list(task.watch.traces.operations) == [("ALPHA", "parse")]
    assert not task.watch.calls


def test_spans_are_bounded_too() -> None:
    """A few traces may have as many spans as thousands of others."""
    task = CausesTask(CauseSettings(spans_max=5))
    told(task, [trace(n, 0) for n in range(4)])
    assert task.counters() == {causes.SPANS_BOUND: 2}


def test_what_is_told_of_a_stretch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strongest signs, with names and sentences of a bounded length."""
    monkeypatch.setattr(causes, "EVIDENCE_MAX", 1)
    monkeypatch.setattr(causes, "SENTENCE_MAX", 12)
    task = CausesTask(SETTINGS)
    calm(task, 20, latency=0.05, errors=1)
    (found,) = told(task, window(20, latency=0.8, errors=900))
    assert [len(sentence) for sentence in sentences(found)] == [12]
    assert task.counters() == {causes.EVIDENCE_BOUND: 1}


def test_a_silent_operation_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a day; its calls go with it."""
    monkeypatch.setattr(causes, "FORGET_US", 50 * STEP)
    task = CausesTask(CauseSettings(operations_max=2))
    for at in range(20):
        told(task, [trace(at * 9 + n, at) for n in range(9)] + window(at))
    assert len(task.watch.traces.operations) == 2
    for at in range(20, 90):
        renamed = [trace(at * 9 + n, at, component="x") for n in range(9)]
        for one in renamed:
            one["spans"][1]["name"] = "enrich_2"
        told(task, renamed + window(at))
    assert ("BETA", "enrich_2") in task.watch.traces.operations
    assert ("BETA", "enrich") not in task.watch.traces.operations


def test_a_window_told_twice_counts_once() -> None:
    """As a worker without transactions may repeat it: a counter would seem to begin anew."""
    task = CausesTask(SETTINGS)
    calm(task, 20, errors=1)
    again = [record for at in range(14, 20) for record in window(at, errors=float(at))]
    assert told(task, again) == []
    assert task.counters() == {causes.TOO_LATE: 6}
    assert told(task, window(20, errors=20.0)) == []


def test_a_counter_that_was_silent_did_not_rise_at_once() -> None:
    """What came meanwhile came at a time that nobody knows."""
    task = CausesTask(SETTINGS)
    for at in range(20):
        assert told(task, window(at, errors=1_000.0 * at)) == []
    assert told(task, window(80, errors=80_000.0)) == []
    assert told(task, window(81, errors=81_000.0)) == []


def test_a_change_in_the_far_future_is_none_yet() -> None:
    """It would displace those that happened."""
    task = CausesTask(SETTINGS)
    calm(task, 2, latency=0.05)
    told(task, [change(3), change(10_000)])
    assert task.counters() == {causes.TOO_EARLY: 1}


def test_traces_alone_are_looked_at_too() -> None:
    """Without metrics and logs there is no window while a partition is silent."""
    task = CausesTask(SETTINGS)
    for at in range(40):
        slow = 300_000 if at > 35 else 1_000
        found = told(task, [trace(at * 9 + n, at, own_us=slow + n) for n in range(9)])
    assert task.stretches > 20
    assert any(item["kind"] == "TRACE_SLOW" for item in found[-1]["evidence"])


def test_windows_that_come_late_are_looked_at() -> None:
    """Traces may be far ahead of the first window, as in a backlog."""
    task = CausesTask(SETTINGS)
    told(task, [trace(at, at) for at in range(40)])
    assert task.stretches > 0
    calm(task, 20, latency=0.05)
    assert sentences(told(task, window(20, latency=0.8))[0])
    assert causes.TOO_LATE not in task.counters()


def test_changes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go; one told twice is one."""
    monkeypatch.setattr(causes, "CHANGES_MAX", 2)
    task = CausesTask(SETTINGS)
    told(task, [change(at) for at in (1, 2, 2, 3)])
    assert task.counters() == {causes.CHANGES_BOUND: 1}
    assert [row[0] for row in task.snapshot()["changes"]] == [T0 + 2 * STEP, T0 + 3 * STEP]


def test_another_format_is_refused() -> None:
    """What cannot be read is never read wrongly."""
    with pytest.raises(StateError, match="causes state has format 9"):
        CausesTask.restore(SETTINGS, CausesTask(SETTINGS).snapshot() | {"format": 9})


def test_steps_follow_the_stretch() -> None:
    """Windows of a third of it are looked at together."""
    settings = CauseSettings(replace(PARAMETERS, step_us=3 * STEP))
    task = CausesTask(settings)
    for at in range(31):  # T0 is no whole number of stretches
        assert told(task, window(at, latency=0.05)) == []
    found = [told(task, window(at, latency=0.9)) for at in (31, 32, 33)]
    assert [len(one) for one in found] == [0, 0, 1]
    assert task.stretches == 12


def test_evidence_reaches_the_incident() -> None:
    """From the task to the record that people read."""
    task = CausesTask(SETTINGS)
    told(task, [change(19)])
    calm(task, 20, latency=0.05)
    outputs = task.step(window(20, latency=0.8), 0, True)
    loss = alert("metric_threshold", "ALPHA", 10, component="parser")
    evidence = [output.record for output in outputs]
    incident = IncidentTask(INCIDENTS, TOPOLOGY)
    (opened,) = incident.step([*evidence, loss], 0, True)
    first = opened.record["causes"][0]
    assert (first["module"], first["component"]) == ("ALPHA", "parser")
    assert any("usually 0.05" in sentence for sentence in first["evidence"])
    assert "DEPLOY deploy-17 of ALPHA 20 s before the onset" in first["evidence"]
