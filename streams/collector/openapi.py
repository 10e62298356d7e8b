"""The description of the collector's HTTP, OpenAPI 3.1, made of what serves it.

Pure. The types come from the tables that requests are judged by, OTLP's messages from their
descriptors, and events from what reads them.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from streams.codec.eventlog import event_shape
from streams.collector.replies import JSON, PROTOBUF, Reply
from streams.collector.request import CODINGS, FORMS, PATHS, Kind, forms_of
from streams.collector.settings import CollectorSettings
from streams.collector.shapes import shape
from streams.serving.openapi import ERROR, KEY, Schema, document, reference

PATH: Final = "/openapi.json"
_MESSAGES: Final[dict[Kind, tuple[Any, Any]]] = {
    "spans": (
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
    ),
    "logs": (
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
    ),
    "metrics": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
    ),
}
_SUMMARIES: Final[dict[Kind, str]] = {
    "spans": "Take spans of OTLP.",
    "logs": "Take log records of OTLP.",
    "metrics": "Take metrics of OTLP.",
    "events": "Take events of Spanloom's own.",
}
_FAULTS: Final = {
    "400": "The request as a whole cannot be read: never send it again.",
    "401": "No key, or a wrong one.",
    "403": "The key's role is not `sender`.",
    "408": "The body did not come in time.",
    "413": "It is too large, as sent or inflated: send less at once.",
    "415": "Its Content-Type or Content-Encoding is none of those here, or is there twice.",
    "429": "Too many requests at once.",
    "503": "No room for its events now.",
}
_AGAIN: Final = {
    "Retry-After": {
        "description": "Seconds after which to send it again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_BYTES: Final[Schema] = {}
"""OpenAPI 3.1 has no schema for what is no text."""
_TAKEN: Final[Schema] = {
    "type": "object",
    "required": ["taken", "rejected"],
    "additionalProperties": False,
    "properties": {
        "taken": {"type": "integer", "minimum": 0},
        "rejected": {"type": "integer", "minimum": 0},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "reason", "detail"],
                "properties": {
                    "index": {"type": "integer", "minimum": 0},
                    "reason": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_SAID: Final[Schema] = {"type": "object"}
_PAGES: Final = {
    "/health": ("Whether its threads work, and how Kafka and the buffer are.", JSON, True),
    "/ready": ("Whether it takes events.", JSON, True),
    "/metrics": ("Its metrics, as Prometheus reads them.", "text/plain", False),
    PATH: ("This description.", JSON, False),
}
"""By path: what it tells, in which form, and whether 503 is an answer of it."""


def page(settings: CollectorSettings) -> dict[str, Callable[[str], Reply]]:
    """Return the page of the description, by its path."""
    reply = Reply(200, JSON, json.dumps(openapi(settings)).encode())
    return {PATH: lambda _: reply}


def openapi(settings: CollectorSettings) -> dict[str, Any]:
    """Return the description of a collector with these settings."""
    schemas: dict[str, Schema] = {"Error": ERROR, "Event": event_shape(), "Taken": _TAKEN}
    fault = shape(Status, schemas)
    paths: dict[str, Any] = {path: _taking(kind, fault, schemas) for path, kind in PATHS.items()}
    for path, (summary, media, may_fail) in _PAGES.items():
        answers = {"200": "It is well."} | ({"503": "It is not."} if may_fail else {})
        content = {media: {"schema": _SAID if media == JSON else {"type": "string"}}}
        responses = {code: {"description": w, "content": content} for code, w in answers.items()}
        paths[path] = {"get": {"summary": summary, "security": [], "responses": responses}}
    security = {"keys": KEY, "mtls": ("certificate", {"type": "mutualTLS"})}.get(settings.auth)
    return document("Spanloom collector", paths, schemas, security)


def _taking(kind: Kind, fault: Schema, schemas: dict[str, Schema]) -> dict[str, Any]:
    """Return the operation that takes events of a kind."""
    forms: dict[str, Schema]
    if kind == "events":
        event = reference("Event")
        some = {"anyOf": [event, {"type": "array", "items": event, "minItems": 1}]}
        forms = {"json": some, "lines": {"type": "string"}, "avro": _BYTES}
        well, failed = {JSON: reference("Taken")}, {JSON: reference("Error")}
    else:
        request, response = _MESSAGES[kind]
        forms = {"json": shape(request, schemas), "protobuf": _BYTES}
        well = {JSON: shape(response, schemas), PROTOBUF: _BYTES}
        failed = {JSON: fault, PROTOBUF: _BYTES}
    known = forms_of(kind)
    bodies = {media: {"schema": forms[form]} for media, form in FORMS.items() if form in known}
    coding = {
        "name": "Content-Encoding",
        "in": "header",
        "required": False,
        "schema": {"enum": [name for name in CODINGS if name]},
    }
    responses = {"200": _answer("All good events are safe; it tells of those rejected.", well)}
    for code, words in _FAULTS.items():
        responses[code] = _answer(words, failed)
        if code in ("429", "503"):
            responses[code]["headers"] = _AGAIN
    return {
        "post": {
            "summary": _SUMMARIES[kind],
            "parameters": [coding],
            "requestBody": {"required": True, "content": bodies},
            "responses": responses,
        }
    }


def _answer(words: str, schemas: dict[str, Schema]) -> dict[str, Any]:
    content = {media: {"schema": schema} for media, schema in schemas.items()}
    return {"description": words, "content": content}
