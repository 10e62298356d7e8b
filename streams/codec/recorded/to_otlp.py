"""Assembled traces as OTLP's JSON, which Collectors, Jaeger and `spanloom replay otlp` read.

Owns the way there: a resource a module, a scope a component, what is no span an event of its span.

Source: OpenTelemetry protocol, "JSON Protobuf Encoding": ids as hex, 64-bit numbers as text, enums
as numbers.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.codec.recorded.account import Event
from streams.codec.recorded.to_jaeger import note_texts, own_tags, with_notes

_KIND: Final = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_STATUS: Final = {"UNSET": 0, "OK": 1, "ERROR": 2}


def otlp_request(traces: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an ExportTraceServiceRequest that holds the spans of some assembled traces."""
    by_place: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for trace in traces:
        for span, notes in zip(*with_notes(trace["spans"]), strict=True):
            scopes = by_place.setdefault(span["module"], {})
            scopes.setdefault(span["component"], []).append(_span(span, notes))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": module})},
                "scopeSpans": [
                    {"scope": {"name": component}, "spans": spans}
                    for component, spans in scopes.items()
                ],
            }
            for module, scopes in by_place.items()
        ]
    }


def _span(span: Event, notes: Iterable[Event]) -> dict[str, Any]:
    return {
        "traceId": span["trace_id"],
        "spanId": span["span_id"],
        "parentSpanId": span["parent_span_id"],
        "flags": span["trace_flags"],
        "name": span["name"],
        "kind": _KIND[span["span_kind"]],
        "startTimeUnixNano": str(span["timestamp"] * 1_000),
        "endTimeUnixNano": str((span["timestamp"] + span["duration_us"]) * 1_000),
        "attributes": _attributes({**span["dimensions"], **own_tags(span)}),
        "events": [
            {
                "timeUnixNano": str(note["timestamp"] * 1_000),
                "name": note["name"],
                "attributes": _attributes({**note_texts(note), "level": note["severity"].lower()}),
            }
            for note in notes
        ],
        "links": [
            {"traceId": link["trace_id"], "spanId": link["span_id"]} for link in span["links"]
        ],
        "status": {"code": _STATUS[span["status"]]},
    }


def _attributes(texts: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()]
