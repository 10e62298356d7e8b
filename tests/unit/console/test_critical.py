"""The critical path of a trace as the interface answers it."""

from typing import Any

from streams.console.questions.critical import critical_path_of
from tests.unit.console.at_hand import event, trace


def span(span_id: str, parent: str, start_us: int, duration_us: int) -> dict[str, Any]:
    about = {"span_id": span_id, "parent_span_id": parent}
    return event("span", timestamp=start_us, duration_us=duration_us, **about)


def test_the_path_is_told_from_its_begin_and_each_span_once() -> None:
    """Work that is handed on, a span told twice, a log line: ids, own times, waits, in order."""
    spans = [
        span("c", "b", 170, 30),
        span("a", "", 100, 20),
        span("b", "a", 130, 30),
        span("b", "a", 400, 999),
        event("log", timestamp=150, span_id="b"),
    ]
    assert critical_path_of(trace(spans=spans)) == [
        {"span_id": "a", "own_us": 20, "waited_us": 0},
        {"span_id": "b", "own_us": 30, "waited_us": 10},
        {"span_id": "c", "own_us": 30, "waited_us": 10},
    ]


def test_a_trace_without_spans_has_no_path() -> None:
    """Only a log line of it came."""
    assert critical_path_of(trace(spans=[event("log")])) == []
