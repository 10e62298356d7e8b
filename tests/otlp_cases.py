"""OTLP requests for the tests, made of the official messages."""

import base64
import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

START_NS = 1_700_000_000_000_000_000
SCOPE = InstrumentationScope(name="spanloom.tests", version="1.2")


def attributes(**given: str | int | float | bool) -> list[KeyValue]:
    """Return attributes; a double underscore in a name stands for a dot."""
    return [attribute(name.replace("__", "."), value) for name, value in given.items()]


def attribute(key: str, value: str | int | float | bool) -> KeyValue:
    """Return one attribute."""
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def trace_id(number: int) -> bytes:
    """Return the id of a trace."""
    return (number * 0x9E3779B97F4A7C15 + 1).to_bytes(16, "big")


def span_id(trace: int, number: int) -> bytes:
    """Return the id of a span."""
    return (trace << 16 | number).to_bytes(8, "big")


def span_of(trace: int, number: int) -> Span:
    """Return span `number` of a trace; 1 is the root, the others are its children."""
    start_ns = START_NS + trace * 1_000_000 + number * 1_000
    return Span(
        trace_id=trace_id(trace),
        span_id=span_id(trace, number),
        parent_span_id=b"" if number == 1 else span_id(trace, 1),
        name=f"step-{number}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + 500_000,
        attributes=attributes(http__method="GET", http__status_code=200, cached=False),
    )


def resource_of(service: str) -> Resource:
    """Return the resource of a service."""
    return Resource(attributes=attributes(service__name=service, service__instance__id="a-1"))


def traces(service: str, spans: Iterable[Span]) -> TracesData:
    """Return a request of spans."""
    of_scope = ScopeSpans(scope=SCOPE, spans=spans)
    return TracesData(
        resource_spans=[ResourceSpans(resource=resource_of(service), scope_spans=[of_scope])]
    )


def logs(service: str, records: Iterable[LogRecord]) -> LogsData:
    """Return a request of log records."""
    of_scope = ScopeLogs(scope=SCOPE, log_records=records)
    return LogsData(
        resource_logs=[ResourceLogs(resource=resource_of(service), scope_logs=[of_scope])]
    )


def metrics(service: str, found: Iterable[Metric]) -> MetricsData:
    """Return a request of metrics."""
    of_scope = ScopeMetrics(scope=SCOPE, metrics=found)
    return MetricsData(
        resource_metrics=[ResourceMetrics(resource=resource_of(service), scope_metrics=[of_scope])]
    )


def as_json(request: TracesData | LogsData | MetricsData) -> bytes:
    """Return a request as OTLP's JSON: protobuf's, but with ids in hex."""

    def with_hex(tree: Any) -> Any:
        if isinstance(tree, list):
            return [with_hex(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        return {
            name: base64.b64decode(inner).hex()
            if name in ("traceId", "spanId", "parentSpanId")
            else with_hex(inner)
            for name, inner in tree.items()
        }

    return json.dumps(with_hex(json_format.MessageToDict(request))).encode()
