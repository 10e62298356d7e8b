"""An OTLP request as the bodies of its events, one after the other: what a batch message holds.

Invariant: the bodies are canonical Avro; their bytes depend on the request alone; they take at most
`EXPANSION_MAX` times the request's bytes, so that a small message cannot fill the memory.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from streams.codec.eventid import event_id
from streams.codec.otlp.events import Event, Origin, events_of, log_event, metric_events, span_event
from streams.codec.otlp.requests import (
    EVENT_BYTES_MIN,
    SMALL_BYTES,
    TOO_LARGE,
    Request,
    request_of,
)
from streams.codec.otlp.services import Services
from streams.codec.records import encode_body
from streams.codec.schemas import Schema
from streams.codec.varints import text
from streams.errors import RecordError

EXPANSION_MAX: Final = 64
"""Resource and scope are repeated in each event: of log lines of 60 bytes a resource of 2 KiB
makes 35 times as much."""
BODIES_BYTES_MIN: Final = 64 << 10
"""So much any request may become."""
MESSAGE_BYTES_MAX: Final = 8 << 20
"""Of one request: the exporter's default is 1 MB, and protobuf's objects of hostile bytes take a
hundred times their size."""


NO_TEXT: Final = text("")


class OtlpEncoder:
    """Makes event bodies of requests.

    Args:
        schema: the current schema of TelemetryEvent, parsed, without logical types.
        services: finds modules.
        bytes_max: what the events of one request may take at most, whatever its size is.
        events_max: how many they may be at most, whatever its size is.
    """

    def __init__(
        self,
        schema: Schema,
        services: Services,
        bytes_max: int | None = None,
        events_max: int | None = None,
    ) -> None:
        self._schema = schema
        self._services = services
        self._bytes_max, self._events_max = bytes_max, events_max

    def bytes_max_of(self, value: bytes) -> int:
        """Return how many bytes the events of a request may take."""
        most = max(BODIES_BYTES_MIN, EXPANSION_MAX * len(value))
        return most if self._bytes_max is None else min(most, self._bytes_max)

    def events_max_of(self, value: bytes) -> int:
        """Return how many events a request may hold."""
        most = max(len(value), SMALL_BYTES) // EVENT_BYTES_MIN
        return most if self._events_max is None else min(most, self._events_max)

    def bodies(self, kind: str, value: bytes) -> list[bytes]:
        """Return the bodies of a request's events, in its order.

        Args:
            kind: SPANS, LOGS or METRICS.
            value: the request, protobuf or JSON.

        Raises:
            RecordError: `empty_value`, `invalid_otlp` or `otlp_too_large`.
        """
        if len(value) > MESSAGE_BYTES_MAX:
            raise RecordError(TOO_LARGE, f"{len(value)} bytes, {MESSAGE_BYTES_MAX} are accepted")
        request = request_of(kind, value)
        bytes_max, events_max = self.bytes_max_of(value), self.events_max_of(value)
        if _records_of(request) > events_max:
            raise RecordError(TOO_LARGE, f"{len(value)} bytes hold more than {events_max} events")
        bodies: list[bytes] = []
        total_bytes = 0
        for _, body in self.events(request):
            total_bytes += len(body)
            if total_bytes > bytes_max:
                raise RecordError(
                    TOO_LARGE, f"{len(value)} bytes make events of more than {bytes_max}"
                )
            bodies.append(body)
            if len(bodies) > events_max:
                raise RecordError(
                    TOO_LARGE, f"{len(value)} bytes hold more than {events_max} events"
                )
        return bodies

    def origin(self, resource: Resource, scope: InstrumentationScope) -> Origin:
        """Return what the spans of one scope share."""
        return Origin(resource, scope, self._services)

    def span_body(self, span: Span, origin: Origin) -> bytes:
        """Return the body of one span's event."""
        return encode_body(self._schema, span_event(span, origin))

    def line_body(self, record: LogRecord, origin: Origin) -> bytes:
        """Return the body of one log record's event, without an event id."""
        return encode_body(self._schema, log_event(record, origin))

    def point_body(self, metric: Metric, origin: Origin) -> bytes:
        """Return the body of the event of a metric's only point, without an event id."""
        (event,) = metric_events(metric, origin)
        return encode_body(self._schema, event)

    def events(self, request: Request) -> Iterator[tuple[Event, bytes]]:
        """Yield the events of a request, each with its body, in its order."""
        seen: Counter[bytes] = Counter()
        for event in events_of(request, self._services):
            body = encode_body(self._schema, event)
            if not event["event_id"]:  # as sent again it is the same, as said twice it is not
                event["event_id"] = event_id(body + b"%d" % seen[body])
                seen[body] += 1
                body = text(event["event_id"]) + body[len(NO_TEXT) :]  # the first field
            yield event, body


def _records_of(request: Request) -> int:
    """Return how many spans or log records a request holds; of data points 0, they come later."""
    if isinstance(request, TracesData):
        scopes = (scope.spans for one in request.resource_spans for scope in one.scope_spans)
        return sum(map(len, scopes))
    if isinstance(request, LogsData):
        lines = (scope.log_records for one in request.resource_logs for scope in one.scope_logs)
        return sum(map(len, lines))
    return 0
