"""Assembled traces as Jaeger's JSON: read back, they are the spans that they were."""

import json
from pathlib import Path
from typing import Any

from streams.codec.recorded.account import Account
from streams.codec.recorded.jaeger import jaeger_traces
from streams.codec.recorded.to_jaeger import jaeger_trace
from tests.unit.codec.codec_cases import EVENT_ID, SPAN_ID, T0_US, TRACE_ID, event

CHILD = "00f067aa0ba902b8"


def back(tmp_path: Path, trace: dict[str, Any]) -> list[dict[str, Any]]:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"data": [jaeger_trace(trace)]}))
    account = Account()
    (found,) = jaeger_traces(path, account)
    assert account.refused == {}
    return list(found.events)


def test_spans_come_back_as_they_were(tmp_path: Path) -> None:
    """Every field that Jaeger's model or a tag can hold; event ids and values are not of it."""
    link = {"trace_id": "1".rjust(32, "0"), "span_id": "2".rjust(16, "0")}
    spans = [
        event(status="ERROR", span_kind="CLIENT", actor="svc", operation="READ", value=0.0),
        event(span_id=CHILD, parent_span_id=SPAN_ID, module="GAMMA", status="UNSET", links=[link],
              component="service", correlation_id="c-1", dimensions={"a": "1", "b": ""}),
        event(span_id="0" * 15 + "9", parent_span_id="0" * 15 + "8", trace_flags=0, status="OK"),
    ]  # fmt: skip
    found = back(tmp_path, {"trace_id": TRACE_ID, "spans": spans, "missing": []})
    of_jaeger = {key for key in spans[0] if key not in ("event_id", "value", "severity")}
    assert [{k: e[k] for k in of_jaeger} for e in found] == [
        {k: e[k] for k in of_jaeger} for e in spans
    ]


def test_what_is_no_span_becomes_a_log_of_its_span(tmp_path: Path) -> None:
    """Of the first span where it names none; values, units and types are in its fields."""
    spans = [
        event(),
        event(span_id=CHILD, parent_span_id=SPAN_ID),
        event(event_type="LOG", severity="WARN", name="slow", span_id=CHILD, timestamp=T0_US + 1),
        event(
            event_type="METRIC", name="depth", span_id="", value=3.5, unit="1", event_id=EVENT_ID
        ),
    ]
    found = back(tmp_path, {"trace_id": TRACE_ID, "spans": spans, "missing": []})
    logs = {e["name"]: e for e in found if e["event_type"] == "LOG"}
    assert (logs["slow"]["span_id"], logs["slow"]["severity"]) == (CHILD, "WARN")
    assert logs["depth"]["span_id"] == SPAN_ID
    told = {"event_type": "METRIC", "value": "3.5", "unit": "1"}
    own = {f"spanloom.{name}": text for name, text in told.items()}
    assert logs["depth"]["dimensions"] == {"tier": "gold", **own}


def test_what_is_missing_is_a_warning() -> None:
    """And a trace of log lines alone has no spans, which Jaeger accepts."""
    lost = {"name": "gamma.deliver", "span_id": "", "cause": "LATE"}
    trace = {"trace_id": TRACE_ID, "spans": [event(event_type="LOG")], "missing": [lost]}
    made = jaeger_trace(trace)
    assert made["warnings"] == ["missing: gamma.deliver (LATE)"]
    assert (made["spans"], made["processes"]) == ([], {})


def test_a_parent_of_zeros_is_no_reference() -> None:
    """The worker takes such a span as a root; a reference to no span would be refused."""
    root = event(parent_span_id="0" * 16)
    made = jaeger_trace({"trace_id": TRACE_ID, "spans": [root], "missing": []})
    assert made["spans"][0]["references"] == []
