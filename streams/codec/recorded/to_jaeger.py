"""Assembled traces as Jaeger's JSON, which its page opens and `jaeger.py` reads back.

Owns the way back. What is no span (LOG, AUDIT, METRIC) becomes a log of its span, of the trace's
first span where it names none; what a span has beyond Jaeger's model becomes a tag of the field's
name.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from streams.codec.recorded.account import Event
from streams.codec.recorded.fields import COMPONENT, MOVED


def jaeger_trace(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Return one trace of Jaeger's `data` list.

    Args:
        trace: an assembled trace; one without any span gives a trace without spans.
    """
    spans = [event for event in trace["spans"] if event["event_type"] == "TRACE"]
    owner = {span["span_id"]: at for at, span in reversed(list(enumerate(spans)))}
    logs: list[list[Event]] = [[] for _ in spans]
    for event in trace["spans"] if spans else ():
        if event["event_type"] != "TRACE":
            logs[owner.get(event["span_id"], 0)].append(event)
    processes = {name: f"p{at}" for at, name in enumerate(sorted({s["module"] for s in spans}), 1)}
    return {
        "traceID": trace["trace_id"],
        "spans": [
            _span(span, notes, processes[span["module"]])
            for span, notes in zip(spans, logs, strict=True)
        ],
        "processes": {
            process: {"serviceName": name, "tags": []} for name, process in processes.items()
        },
        "warnings": _warnings(trace),
    }


def _warnings(trace: Mapping[str, Any]) -> list[str] | None:
    """Return what is missing, in words: Jaeger's page shows them above the trace."""
    found = [
        f"missing: {lost['name'] or lost['span_id']} ({lost['cause']})" for lost in trace["missing"]
    ]
    return found or None


def _span(span: Event, logs: Iterable[Event], process: str) -> dict[str, Any]:
    references = [("CHILD_OF", span["trace_id"], span["parent_span_id"])]
    if not span["parent_span_id"]:
        references = []
    references += [("FOLLOWS_FROM", link["trace_id"], link["span_id"]) for link in span["links"]]
    return {
        "traceID": span["trace_id"],
        "spanID": span["span_id"],
        "operationName": span["name"],
        "references": [
            {"refType": kind, "traceID": trace_id, "spanID": span_id}
            for kind, trace_id, span_id in references
        ],
        "flags": span["trace_flags"],
        "startTime": span["timestamp"],
        "duration": span["duration_us"],
        "tags": list(_tags(span)),
        "logs": [_log(event) for event in logs],
        "processID": process,
        "warnings": None,
    }


def _tags(span: Event) -> Iterator[dict[str, Any]]:
    fields = {name: span[name] for name in MOVED if span[name]}
    if fields.get("component") == COMPONENT:
        del fields["component"]
    if span["span_kind"] != "INTERNAL":
        fields["span.kind"] = span["span_kind"].lower()
    if span["status"] != "UNSET":
        fields["otel.status_code"] = span["status"]
    for key, value in {**span["dimensions"], **fields}.items():
        yield {"key": key, "type": "string", "value": value}
    if span["status"] == "ERROR":
        yield {"key": "error", "type": "bool", "value": True}


_OF_LOGS: Final = ("unit", *MOVED)


def _log(event: Event) -> dict[str, Any]:
    fields: dict[str, str] = {"event": event["name"], "level": event["severity"].lower()}
    if event["event_type"] != "LOG":
        fields["event_type"] = event["event_type"]
    if not math.isnan(event["value"]):
        fields["value"] = repr(event["value"])
    fields |= {name: event[name] for name in _OF_LOGS if event[name]}
    texts = {**event["dimensions"], **fields}
    return {
        "timestamp": event["timestamp"],
        "fields": [{"key": key, "type": "string", "value": text} for key, text in texts.items()],
    }
