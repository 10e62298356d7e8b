"""What modules write about their work."""

from random import Random
from typing import Any

from streams.simulate.layout import read_layout
from streams.simulate.render import render_steps
from streams.simulate.walk import Step, Unit
from tests.unit.simulate.oracle_recount import SEED_CONTRACT

RECORD = read_layout(SEED_CONTRACT).record
TRACE_ID, SPAN_ID, PARENT_ID = "0a" * 16, "0b" * 8, "0c" * 8


def events(stage_id: str, *, trace_id: str = TRACE_ID, is_error: bool = False) -> list[Any]:
    stage = RECORD.stage(stage_id)
    assert stage is not None
    has_trace = bool(trace_id)
    step = Step(
        stage=stage,
        start_us=1_000,
        end_us=1_250,
        trace_id=trace_id,
        span_id=SPAN_ID if has_trace else "",
        parent_span_id=PARENT_ID if has_trace else "",
        dimensions={"destination": "crm"},
        is_error=is_error,
    )
    unit = Unit(1_000, Random(1), Random(1), Random(1), "rec-1", "batch-1", "corr-1")
    unit.links = [{"trace_id": TRACE_ID, "span_id": SPAN_ID}]
    return [draft.event for draft in render_steps(unit, [step])]


def test_a_span_tells_all_it_knows() -> None:
    """Start, length, place, ids, dimensions, sampling and links go into the span."""
    span = events("routing")[0]
    assert span["event_type"] == "TRACE"
    assert (span["timestamp"], span["duration_us"]) == (1_000, 250)
    assert (span["module"], span["component"], span["name"]) == ("GAMMA", "routing", "gamma.route")
    assert (span["trace_id"], span["span_id"]) == (TRACE_ID, SPAN_ID)
    assert span["parent_span_id"] == PARENT_ID
    assert (span["record_id"], span["batch_id"]) == ("rec-1", "batch-1")
    assert (span["correlation_id"], span["trace_flags"]) == ("corr-1", 1)
    assert (span["status"], span["severity"]) == ("OK", "INFO")
    assert span["dimensions"] == {"destination": "crm"}
    assert span["links"] == [{"trace_id": TRACE_ID, "span_id": SPAN_ID}]


def test_an_audited_stage_says_who_did_what() -> None:
    """The audit entry has actor and operation and belongs to the span."""
    audit = next(event for event in events("delivery") if event["event_type"] == "AUDIT")
    assert (audit["operation"], audit["actor"]) == ("DELIVER", "svc-gamma")
    assert (audit["trace_id"], audit["span_id"], audit["record_id"]) == (TRACE_ID, SPAN_ID, "rec-1")
    assert (audit["timestamp"], audit["duration_us"]) == (1_250, 0)


def test_an_error_is_logged_with_its_category() -> None:
    """A failed span has status ERROR and a log line in its trace."""
    span, *rest = events("parser", is_error=True)
    assert (span["status"], span["severity"]) == ("ERROR", "ERROR")
    log = next(event for event in rest if event["severity"] == "ERROR")
    assert log["event_type"] == "LOG"
    assert log["dimensions"] == {"error_category": "Parse"}
    assert log["trace_id"] == TRACE_ID


def test_without_context_the_work_is_logged_outside_any_trace() -> None:
    """No span, no trace id, no span id and no link; the record is still named."""
    found = events("delivery", trace_id="")
    assert {event["event_type"] for event in found} <= {"LOG", "AUDIT"}
    log = found[0]
    assert (log["event_type"], log["name"], log["timestamp"]) == ("LOG", "gamma.deliver", 1_000)
    assert log["dimensions"] == {"destination": "crm"}
    for event in found:
        assert (event["trace_id"], event["span_id"], event["parent_span_id"]) == ("", "", "")
        assert (event["record_id"], event["links"], event["trace_flags"]) == ("rec-1", [], 0)
