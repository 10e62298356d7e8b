"""Strategies of OTLP requests: common forms, and what lies at and beyond their edges."""

import random

from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from tests.otlp_cases import SCOPE, START_NS

texts = st.text(max_size=12) | st.sampled_from(
    [
        "a" * 63,
        "b" * 64,
        "c" * 127,
        "d" * 300,
        "ü" * 40,
        "e" * 4_096,
        "x" + "ü" * 2_050,
        "😀" * 1_100,
    ]
)
keys = st.sampled_from(
    ["service.name", "k", "event.name", "message", "http.method", "x" * 39, "x" * 40, "x" * 41, ""]
    + [f"spanloom.{name}" for name in ("record_id", "actor", "batch_id", "module")]
)
numbers = st.sampled_from([0, 1, 200, 65_535, 65_536, 2**40, 2**55, 2**62, -1])
values = st.one_of(
    st.builds(AnyValue, string_value=texts),
    st.builds(AnyValue, int_value=numbers),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
    st.just(AnyValue()),
    st.just(AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)]))),
)
attribute_lists = st.lists(st.builds(KeyValue, key=keys | texts, value=values), max_size=6)
times = st.sampled_from([0, 1, START_NS, START_NS + 999, START_NS + 10**12, 2**63, 2**64 - 1])
span_links = st.builds(
    Span.Link,
    trace_id=st.binary(min_size=16, max_size=16) | st.just(b"x"),
    span_id=st.binary(min_size=8, max_size=8),
    trace_state=st.sampled_from(["", "a=b", "é"]),
    attributes=attribute_lists,
    dropped_attributes_count=st.sampled_from([0, 3, 200]),
    flags=st.sampled_from([0, 1, 0x301]),
)
span_events = st.builds(Span.Event, name=texts, time_unix_nano=times, attributes=attribute_lists)
spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16) | st.sampled_from([b"", b"x", bytes(16)]),
    span_id=st.binary(min_size=8, max_size=8) | st.sampled_from([b"", bytes(8)]),
    parent_span_id=st.binary(min_size=8, max_size=8) | st.sampled_from([b"", b"abc"]),
    name=texts,
    kind=st.integers(0, 5),
    flags=st.sampled_from([0, 1, 0x100, 0x301, 77, 2**32 - 1]),
    start_time_unix_nano=times,
    end_time_unix_nano=times,
    attributes=attribute_lists,
    links=st.lists(span_links, max_size=1),
    events=st.lists(span_events, max_size=1),
    trace_state=st.sampled_from(["", "a=b"]),
    dropped_attributes_count=st.sampled_from([0, 3]),
    status=st.builds(
        lambda code, message: {"code": code, "message": message},
        st.integers(0, 2),
        st.sampled_from(["", "no"]),
    ),
)
plain_spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent_span_id=st.binary(min_size=8, max_size=8) | st.just(b""),
    name=texts,
    kind=st.integers(0, 5),
    start_time_unix_nano=st.just(START_NS),
    end_time_unix_nano=st.integers(START_NS, START_NS + 10**12),
    attributes=attribute_lists,
    links=st.lists(span_links, max_size=3),
)
severities = st.sampled_from(["", "", "warn", " Fatal ", "é"])
lines = st.builds(
    LogRecord,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=st.integers(0, 25),
    severity_text=severities,
    event_name=st.just("") | texts,
    attributes=attribute_lists,
    dropped_attributes_count=st.sampled_from([0, 0, 0, 3]),
    flags=st.sampled_from([0, 1, 0x101, 77, 2**32 - 1]),
    trace_id=st.binary(min_size=16, max_size=16) | st.sampled_from([b"", b"x", bytes(16)]),
    span_id=st.binary(min_size=8, max_size=8) | st.sampled_from([b"", b"abc", bytes(8)]),
)
with_bodies = st.builds(
    lambda line, body: LogRecord(**{f.name: v for f, v in line.ListFields()}, body=body),
    lines,
    values,
)
plain_lines = st.builds(
    LogRecord,
    time_unix_nano=st.just(START_NS),
    severity_number=st.integers(0, 24),
    event_name=st.sampled_from(["", "", "started"]),
    attributes=st.lists(st.builds(KeyValue, key=keys, value=values), max_size=4),
    body=values,
    trace_id=st.sampled_from([b"", b"\1" * 16]),
    span_id=st.sampled_from([b"", b"\2" * 8]),
)
log_requests = st.builds(
    LogsData,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=st.builds(Resource, attributes=attribute_lists),
            scope_logs=st.lists(
                st.builds(
                    ScopeLogs,
                    scope=st.just(SCOPE),
                    log_records=st.lists(lines | with_bodies | plain_lines, max_size=5),
                ),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)
requests = st.builds(
    TracesData,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=st.builds(Resource, attributes=attribute_lists),
            scope_spans=st.lists(
                st.builds(
                    ScopeSpans,
                    scope=st.just(SCOPE),
                    spans=st.lists(spans | plain_spans, max_size=5),
                    schema_url=st.sampled_from(["", "https://x", "é"]),
                ),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)


def damaged_bytes(whole: bytes, rng: random.Random) -> bytes:
    """Return bytes of which some are changed, cut or put in, none of them a native event's."""
    damaged = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(damaged))
        action = rng.randrange(3)
        if action == 0:
            damaged[at] = rng.choice([0, 0x0A, 0x12, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif action == 1:
            del damaged[at : at + rng.randrange(1, 4)]
        else:
            damaged[at:at] = rng.randbytes(rng.randrange(1, 12))
        damaged = damaged or bytearray(b"\x0a")
    damaged[0] = damaged[0] or 1  # 0 is the first byte of a native event
    return bytes(damaged)
