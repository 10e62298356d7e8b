"""The records of an OTLP request as TelemetryEvents, one for each span, log record and data point.

Owns what becomes of what (docs/otlp.md shows it as a table). Ids are handed on as they came: the
decoder judges them like those of native events. Invariant: an event is a function of its record,
resource and scope, and of how many equal ones the request holds before it, so that a request sent
again gives the same events.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, MetricsData
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from streams.codec.eventid import span_event_id
from streams.codec.otlp.metrics import points_of
from streams.codec.otlp.requests import Request, id_text
from streams.codec.otlp.services import COMPONENT, Place, Services
from streams.codec.otlp.values import ENTRIES_MAX, Dimensions, cut, text_of

Event = dict[str, Any]

MODULE_KEY: Final = "spanloom.module"
COMPONENT_KEY: Final = "spanloom.component"
FIELD_KEYS: Final = {
    "spanloom.record_id": "record_id",
    "spanloom.batch_id": "batch_id",
    "spanloom.correlation_id": "correlation_id",
    "spanloom.operation": "operation",
    "spanloom.actor": "actor",
}
"""Attributes that are fields of the event, and no dimensions."""
SERVICE_NAME: Final = "service.name"
SCOPE_NAME, SCOPE_VERSION = "otel.scope.name", "otel.scope.version"
STATUS_MESSAGE: Final = "otel.status_description"
TRACE_STATE: Final = "w3c.tracestate"
DROPPED_LINKS: Final = "spanloom.dropped_links"
MESSAGE: Final = "message"
LOG_NAME: Final = "log"
UNKNOWN_NAME: Final = "unknown"
"""Of a span without one. Source: trace.proto: an empty value is "an unknown span name"."""
EVENT_NAME: Final = "event.name"
"""What names a log record that has no name as a field."""
NAME_BYTES_MAX: Final = 1_024
LINKS_MAX: Final = 128
"""OpenTelemetry's own default limit."""
SAMPLED: Final = 1
_KINDS: Final = ("INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES: Final = ("UNSET", "OK", "ERROR")
LINE_SEVERITIES: Final = ("DEBUG", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
"""By the four numbers of each: TRACE, DEBUG, INFO, WARN, ERROR, FATAL."""
_SEVERITY_OF_TEXT: Final = {
    "trace": "DEBUG",
    "debug": "DEBUG",
    "info": "INFO",
    "information": "INFO",
    "warn": "WARN",
    "warning": "WARN",
    "error": "ERROR",
    "critical": "CRITICAL",
    "fatal": "CRITICAL",
}
_NS_PER_US: Final = 1_000


class Origin:
    """What all records of one scope share: their place and dimensions.

    Args:
        resource: who sent them.
        scope: what made them.
        services: finds modules.
    """

    def __init__(self, resource: Resource, scope: InstrumentationScope, services: Services) -> None:
        self._services = services
        self.dimensions = Dimensions()
        self.dimensions.add_all(resource.attributes)
        for key, text in ((SCOPE_NAME, scope.name), (SCOPE_VERSION, scope.version)):
            if text:
                self.dimensions.add(key, text)
        self.dimensions.add_all(scope.attributes)

    def place(self, dimensions: Dimensions, component: str = "") -> Place:
        """Take out of an event's dimensions who emits it; `component` where nothing says it."""
        found = self._services.place(dimensions.get(SERVICE_NAME))
        module = dimensions.take(MODULE_KEY) or found.module
        part = dimensions.take(COMPONENT_KEY) or found.component or component or COMPONENT
        return Place(cut(module, NAME_BYTES_MAX), part)


def events_of(request: Request, services: Services) -> Iterator[Event]:
    """Yield the events of a request in its order.

    Events of logs and metrics come without an event id: it follows from all they hold.
    """
    if isinstance(request, TracesData):
        for spans in request.resource_spans:
            for of_scope in spans.scope_spans:
                origin = Origin(spans.resource, of_scope.scope, services)
                yield from (span_event(span, origin) for span in of_scope.spans)
    elif isinstance(request, LogsData):
        for logs in request.resource_logs:
            for log_scope in logs.scope_logs:
                origin = Origin(logs.resource, log_scope.scope, services)
                yield from (log_event(record, origin) for record in log_scope.log_records)
    else:
        yield from _metric_events(request, services)


def _metric_events(request: MetricsData, services: Services) -> Iterator[Event]:
    for metrics in request.resource_metrics:
        for of_scope in metrics.scope_metrics:
            origin = Origin(metrics.resource, of_scope.scope, services)
            for metric in of_scope.metrics:
                yield from metric_events(metric, origin)


def metric_events(metric: Metric, origin: Origin) -> Iterator[Event]:
    """Yield the events of a metric's points, without event ids."""
    name = cut(metric.name, NAME_BYTES_MAX)
    for point in points_of(metric):
        dimensions = Dimensions(origin.dimensions)
        dimensions.add_all(point.attributes)
        for key, text in point.facts:
            dimensions.add(key, text)
        place = origin.place(dimensions, point.component)
        event = _event("METRIC", place, name, point.time_ns // _NS_PER_US, dimensions)
        event["value"], event["unit"] = point.value, cut(metric.unit, NAME_BYTES_MAX)
        yield event


def span_event(span: Span, origin: Origin) -> Event:
    """Return the event of a span."""
    dimensions = Dimensions(origin.dimensions)
    dimensions.add_all(span.attributes)
    if span.status.message:
        dimensions.add(STATUS_MESSAGE, span.status.message)
    if span.trace_state:
        dimensions.add(TRACE_STATE, span.trace_state)
    for i, happened in enumerate(islice(span.events, ENTRIES_MAX)):
        dimensions.add(f"event.{i}.name", happened.name)
        dimensions.add(f"event.{i}.time_us", str(happened.time_unix_nano // _NS_PER_US))
        dimensions.add_all(happened.attributes, f"event.{i}.")
    for i, link in enumerate(islice(span.links, LINKS_MAX)):
        dimensions.add_all(link.attributes, f"link.{i}.")
    # An event beyond as many as there can be entries is counted as one.
    dimensions.dropped += span.dropped_attributes_count + max(0, len(span.events) - ENTRIES_MAX)
    links = [
        {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
        for link in span.links[:LINKS_MAX]
        if len(link.trace_id) == 16 and len(link.span_id) == 8
    ]
    if len(links) < len(span.links):
        dimensions.add(DROPPED_LINKS, str(len(span.links) - len(links)))
    place = origin.place(dimensions)
    start_ns = span.start_time_unix_nano
    name = cut(span.name or UNKNOWN_NAME, NAME_BYTES_MAX)
    event = _event("TRACE", place, name, start_ns // _NS_PER_US, dimensions)
    status = _STATUSES[span.status.code] if 0 <= span.status.code < 3 else "UNSET"
    return event | {
        "event_id": span_event_id(span.trace_id, span.span_id),
        "trace_id": id_text(span.trace_id),
        "span_id": id_text(span.span_id),
        "parent_span_id": id_text(span.parent_span_id),
        "severity": "ERROR" if status == "ERROR" else "INFO",
        "duration_us": (span.end_time_unix_nano - start_ns) // _NS_PER_US,
        "status": status,
        "span_kind": _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "INTERNAL",
        # An exporter that does not know of flags leaves them 0; what it exports was sampled.
        "trace_flags": span.flags & 0xFF if span.flags else SAMPLED,
        "links": links,
    }


def log_event(record: LogRecord, origin: Origin) -> Event:
    """Return the event of a log record, without an event id."""
    dimensions = Dimensions(origin.dimensions)
    dimensions.add_all(record.attributes)
    if record.HasField("body"):
        dimensions.add(MESSAGE, text_of(record.body))
    dimensions.dropped += record.dropped_attributes_count
    place = origin.place(dimensions)
    time_ns = record.time_unix_nano or record.observed_time_unix_nano
    name = record.event_name or dimensions.get(EVENT_NAME) or LOG_NAME
    event = _event("LOG", place, cut(name, NAME_BYTES_MAX), time_ns // _NS_PER_US, dimensions)
    # An id of nothing but zeros, or of another length, says that the record belongs to no trace, or
    # to no span. Source: opentelemetry-proto, logs.proto, `LogRecord.trace_id` and `span_id`.
    has_trace = len(record.trace_id) == 16 and any(record.trace_id)
    has_span = has_trace and len(record.span_id) == 8 and any(record.span_id)
    return event | {
        "trace_id": id_text(record.trace_id) if has_trace else "",
        "span_id": id_text(record.span_id) if has_span else "",
        "severity": _severity(record),
        "trace_flags": record.flags & 0xFF,
    }


def _severity(record: LogRecord) -> str:
    if 1 <= record.severity_number <= 24:
        return LINE_SEVERITIES[(record.severity_number - 1) // 4]
    return _SEVERITY_OF_TEXT.get(record.severity_text.strip().lower(), "INFO")


def _event(
    event_type: str, place: Place, name: str, timestamp_us: int, dimensions: Dimensions
) -> Event:
    fields = {field: dimensions.take(key) for key, field in FIELD_KEYS.items()}
    return {
        "event_id": "",
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "timestamp": timestamp_us,
        "module": place.module,
        "component": place.component,
        "event_type": event_type,
        "severity": "INFO",
        "name": name,
        "value": math.nan,
        "unit": "",
        "dimensions": dimensions.plain(),
        **fields,
        "duration_us": 0,
        "status": "UNSET",
        "span_kind": "INTERNAL",
        "trace_flags": 0,
        "links": [],
    }
