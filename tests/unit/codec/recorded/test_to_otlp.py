"""Assembled traces as OTLP's JSON: places, times, kinds and what belongs to a span."""

import json
import math
from pathlib import Path
from typing import Any

from streams.codec.otlp.recordings import otlp_events
from streams.codec.otlp.services import Services
from streams.codec.recorded.to_otlp import otlp_request
from tests.unit.codec.codec_cases import SPAN_ID, T0_US, TRACE_ID, event

CHILD = "00f067aa0ba902b8"


def texts(attributes: list[dict[str, Any]]) -> dict[str, str]:
    return {one["key"]: one["value"]["stringValue"] for one in attributes}


def test_a_resource_a_module_and_a_scope_a_component() -> None:
    """Spans of several traces stand together by who emitted them."""
    other = "1".rjust(32, "0")
    traces = [
        {"spans": [event(), event(span_id=CHILD, component="quality")]},
        {"spans": [event(trace_id=other), event(trace_id=other, module="GAMMA")]},
    ]
    made = otlp_request(traces)["resourceSpans"]
    assert [
        (
            texts(resource["resource"]["attributes"])["service.name"],
            [(s["scope"]["name"], len(s["spans"])) for s in resource["scopeSpans"]],
        )
        for resource in made
    ] == [("BETA", [("enrichment", 2), ("quality", 1)]), ("GAMMA", [("enrichment", 1)])]


def test_a_span_has_all_that_it_had() -> None:
    """64-bit numbers as text, enums as numbers, own fields as attributes."""
    link = {"trace_id": "1".rjust(32, "0"), "span_id": "2".rjust(16, "0")}
    log = event(event_type="LOG", severity="WARN", name="slow", timestamp=T0_US + 1, value=2.5)
    span = event(status="ERROR", span_kind="CONSUMER", links=[link], parent_span_id=CHILD)
    (resource,) = otlp_request([{"spans": [span, log]}])["resourceSpans"]
    (made,) = resource["scopeSpans"][0]["spans"]
    assert (made["traceId"], made["spanId"], made["parentSpanId"]) == (TRACE_ID, SPAN_ID, CHILD)
    assert made["startTimeUnixNano"] == f"{T0_US}000"
    assert made["endTimeUnixNano"] == f"{T0_US + 1_500}000"
    assert (made["kind"], made["status"], made["flags"]) == (5, {"code": 2}, 1)
    assert made["links"] == [{"traceId": link["trace_id"], "spanId": link["span_id"]}]
    own = {"component": "enrichment", "record_id": "rec-1", "batch_id": "batch-1"}
    said = {f"spanloom.{name}": text for name, text in own.items()}
    assert texts(made["attributes"]) == {"tier": "gold", **said}
    (note,) = made["events"]
    assert (note["name"], note["timeUnixNano"]) == ("slow", f"{T0_US + 1}000")
    assert texts(note["attributes"]) == {
        "tier": "gold", **said, "spanloom.value": "2.5", "level": "warn"
    }  # fmt: skip


def test_otlp_is_read_back_as_it_was(tmp_path: Path) -> None:
    """By the reader of recorded OTLP: every field of a span but the value, which OTLP has not."""
    spans = [
        event(value=math.nan),
        event(span_id=CHILD, parent_span_id=SPAN_ID, status="ERROR", span_kind="CLIENT",
              actor="svc", operation="READ", module="GAMMA", severity="ERROR", value=math.nan),
    ]  # fmt: skip
    path = tmp_path / "t.json"
    path.write_text(json.dumps(otlp_request([{"spans": spans}])))
    found = list(otlp_events(path, Services()))
    for one, was in zip(found, spans, strict=True):
        more = {"service.name": was["module"], "otel.scope.name": was["component"]}
        expected = {**was, "dimensions": {**more, **was["dimensions"]}}
        expected["event_id"] = one["event_id"]
        assert {k: str(v) for k, v in one.items()} == {k: str(v) for k, v in expected.items()}


def test_a_trace_without_spans_gives_none() -> None:
    """Log lines alone have nothing to stand at."""
    assert otlp_request([{"spans": [event(event_type="LOG")]}]) == {"resourceSpans": []}
