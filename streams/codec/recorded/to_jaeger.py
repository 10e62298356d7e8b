"""Assembled traces as Jaeger's JSON, which its page opens and `jaeger.py` reads back.

Owns the way back. What is no span (LOG, AUDIT, METRIC) becomes a log of its span, of the trace's
first span where it names none; what a span has beyond Jaeger's model becomes a tag, `spanloom.` and
the field's name.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from streams.codec.recorded.account import Event
from streams.codec.recorded.fields import COMPONENT, MOVED, TAG_PREFIX


def jaeger_trace(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Return one trace of Jaeger's `data` list.

    Args:
        trace: an assembled trace; one without any span gives a trace without spans.
    """
    spans, logs = with_notes(trace["spans"])
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


def with_notes(events: Sequence[Event]) -> tuple[list[Event], list[list[Event]]]:
    """Return the spans among some events, and for each what is no span and belongs to it."""
    spans = [event for event in events if event["event_type"] == "TRACE"]
    owner = {span["span_id"]: at for at, span in reversed(list(enumerate(spans)))}
    notes: list[list[Event]] = [[] for _ in spans]
    for event in events if spans else ():
        if event["event_type"] != "TRACE":
            notes[owner.get(event["span_id"], 0)].append(event)
    return spans, notes


def _warnings(trace: Mapping[str, Any]) -> list[str] | None:
    """Return what is missing, in words: Jaeger's page shows them above the trace."""
    found = [
        f"missing: {lost['name'] or lost['span_id']} ({lost['cause']})" for lost in trace["missing"]
    ]
    return found or None


def _span(span: Event, logs: Iterable[Event], process: str) -> dict[str, Any]:
    references = [("CHILD_OF", span["trace_id"], span["parent_span_id"])]
    if not span["parent_span_id"].strip("0"):  # all zeros are no parent either
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
    fields = own_tags(span)
    if span["span_kind"] != "INTERNAL":
        fields["span.kind"] = span["span_kind"].lower()
    if span["status"] != "UNSET":
        fields["otel.status_code"] = span["status"]
    for key, value in {**span["dimensions"], **fields}.items():
        yield {"key": key, "type": "string", "value": value}
    if span["status"] == "ERROR":
        yield {"key": "error", "type": "bool", "value": True}


def own_tags(event: Event) -> dict[str, str]:
    """Return what an event has beyond the models of others, as tags."""
    found = {TAG_PREFIX + name: event[name] for name in MOVED if event[name]}
    if event["component"] == COMPONENT:
        del found[TAG_PREFIX + "component"]
    return found


def note_texts(event: Event) -> dict[str, str]:
    """Return what is told of an event that is no span, beside its name and severity."""
    fields = own_tags(event)
    if event["event_type"] != "LOG":
        fields[TAG_PREFIX + "event_type"] = event["event_type"]
    if not math.isnan(event["value"]):
        fields[TAG_PREFIX + "value"] = repr(event["value"])
    if event["unit"]:
        fields[TAG_PREFIX + "unit"] = event["unit"]
    return {**event["dimensions"], **fields}


def _log(event: Event) -> dict[str, Any]:
    said = {"event": event["name"], "level": event["severity"].lower()}
    texts = {**note_texts(event), **said}
    return {
        "timestamp": event["timestamp"],
        "fields": [{"key": key, "type": "string", "value": text} for key, text in texts.items()],
    }
