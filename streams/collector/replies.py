"""What a sender is answered: bodies of HTTP, as OTLP and we ourselves say it.

Pure. Source: OTLP 1.x, "OTLP/HTTP Response": bodies are of the request's content type, errors are
a `Status`, partial success has a count and a message; 429 and 503 say when to come again.
"""

import json
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from streams.collector.request import TOLD_MAX, Form, Kind, Outcome, Refusal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
CODES: Final = {
    **{400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4},
    **{413: 3, 415: 3, 429: 8, 500: 13, 503: 14},
}
"""Code of `google.rpc.Status` by status of HTTP; 3 and 413 tell never to send it again."""
_MESSAGE_CHARACTERS: Final = 1_000


class Reply(NamedTuple):
    """An answer of HTTP."""

    status: int
    content_type: str
    body: bytes
    wait_seconds: float = 0.0


_ALL_PROTOBUF: Final = Reply(200, PROTOBUF, b"")
_ALL_JSON: Final = Reply(200, JSON, b"{}")


def exported(kind: Kind, outcome: Outcome) -> Any:
    """Return the response message of OTLP, the same for HTTP and gRPC."""
    message: Any
    field = ""
    if kind == "spans":
        message, field = ExportTraceServiceResponse(), "rejected_spans"
    elif kind == "logs":
        message, field = ExportLogsServiceResponse(), "rejected_log_records"
    else:
        message, field = ExportMetricsServiceResponse(), "rejected_data_points"
    if outcome.bad:
        setattr(message.partial_success, field, len(outcome.bad))
        message.partial_success.error_message = outcome.message[:_MESSAGE_CHARACTERS]
    return message


def taken(kind: Kind, form: Form, outcome: Outcome) -> Reply:
    """Return the answer to a request whose good events are safe."""
    if kind == "events":
        return Reply(200, JSON, _counts(outcome))
    if not outcome.bad:  # OTLP: the response has no field set; in protobuf that is no byte
        return _ALL_PROTOBUF if form == "protobuf" else _ALL_JSON
    message = exported(kind, outcome)
    if form == "protobuf":
        return Reply(200, PROTOBUF, message.SerializeToString())
    return Reply(200, JSON, MessageToJson(message, indent=None).encode())


def _counts(outcome: Outcome) -> bytes:
    said: dict[str, Any] = {"taken": outcome.taken, "rejected": len(outcome.bad)}
    if outcome.bad:
        said["errors"] = [
            {"index": bad.number, "reason": bad.reason, "detail": bad.detail}
            for bad in outcome.bad[:TOLD_MAX]
        ]
    return json.dumps(said).encode()


def refused(kind: Kind | None, form: Form | None, refusal: Refusal) -> Reply:
    """Return the answer to a request that is not taken."""
    words = refusal.words[:_MESSAGE_CHARACTERS]
    if kind is None or kind == "events":
        body = json.dumps({"error": words, "reason": refusal.reason}).encode()
        return Reply(refusal.status, JSON, body, refusal.wait_seconds)
    status = Status(code=CODES.get(refusal.status, 2), message=words)
    if form == "protobuf":
        body = status.SerializeToString()
        return Reply(refusal.status, PROTOBUF, body, refusal.wait_seconds)
    body = MessageToJson(status, indent=None).encode()
    return Reply(refusal.status, JSON, body, refusal.wait_seconds)
