"""OTLP: the quick way equals the official reader's, and JSON says what protobuf says."""

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from streams.codec.events import EventDecoder
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import FIELD_KEYS, Origin
from streams.codec.otlp.links import LINKS_MAX
from streams.codec.otlp.quick import QuickSpans
from streams.codec.otlp.requests import LOGS, METRICS, SPANS
from streams.codec.recordbatch import Record
from streams.codec.schemas import default_schemas
from streams.codec.wire import header
from streams.core.columns import Operations
from tests.otlp_cases import (
    START_NS,
    as_json,
    attribute,
    logs,
    metrics,
    span_id,
    span_of,
    trace_id,
    traces,
)
from tests.otlp_columns import (
    ENCODER,
    EVENT_BYTES_MAX,
    SERVICES,
    hold_against_the_decode,
    quickly,
    slowly,
)
from tests.otlp_strategies import attribute_lists, damaged_bytes, numbers, requests, times
from tests.record_batches import batch


@settings(max_examples=20)
@given(st.lists(requests, min_size=1, max_size=4))
def test_the_quick_way_makes_the_same_bodies(drawn: list[TracesData]) -> None:
    """Whatever the spans of the requests are like, and whoever lies beside them."""
    values = [request.SerializeToString() for request in drawn]
    assert quickly(values) == [slowly(value) for value in values]


@settings(max_examples=20)
@given(st.lists(requests, min_size=1, max_size=4))
def test_columns_are_those_of_a_decode(drawn: list[TracesData]) -> None:
    """Whichever spans are decoded again and whichever not."""
    hold_against_the_decode([request.SerializeToString() for request in drawn])


def test_columns_of_each_edge() -> None:
    """Ids, times, names, dimensions and fields at and beyond what is taken straight."""
    late_ns = 7_258_118_400 * 10**9
    sent = [span_of(1, s) for s in range(1, 19)]
    sent[0].trace_id = bytes(16)
    sent[1].span_id = bytes(8)
    sent[2].parent_span_id = bytes(8)
    sent[3].start_time_unix_nano, sent[3].end_time_unix_nano = late_ns, late_ns + 999
    sent[4].start_time_unix_nano, sent[4].end_time_unix_nano = late_ns + 1_000, late_ns + 1_000
    for span, size in zip(sent[5:9], (7, 8, 128, 129), strict=True):
        span.name = "n" * size
    sent[9].attributes.append(attribute("k", ""))
    sent[10].attributes.append(attribute("k", "é" * 40))
    sent[11].attributes.append(attribute("k", "x" * EVENT_BYTES_MAX))
    sent[12].attributes.append(attribute("k", 2**50))
    for name in ("record_id", "batch_id", "actor"):
        sent[13].attributes.append(attribute(f"spanloom.{name}", f"my {name}"))
    sent[14].status.code, sent[15].status.code = 2, 1
    sent[16].flags, sent[17].kind = 0x300, 5
    request = traces("shop", sent)
    request.resource_spans[0].resource.attributes.append(attribute("instance", "a-1"))
    value = request.SerializeToString()
    hold_against_the_decode([value])
    run = QuickSpans(ENCODER).run([value])
    assert run is not None
    assert sorted(set(range(18)) - set(run.straight.tolist())) == [0, 1, 4, 8]


@settings(max_examples=20)
@given(requests, st.randoms(use_true_random=False))
def test_damaged_requests_are_judged_by_the_official_reader(
    request: TracesData, rng: random.Random
) -> None:
    """Bytes that are changed, cut or put in; their neighbour is whole."""
    good = traces("shop", [span_of(1, 1), span_of(1, 2)]).SerializeToString()
    damaged = damaged_bytes(request.SerializeToString() or good, rng)
    values = [good, damaged, good]
    assert quickly(values) == [slowly(value) for value in values]
    hold_against_the_decode(values)


def test_every_byte_of_a_request_may_be_any_other() -> None:
    """Three others at each place, and each length."""
    span = span_of(1, 1)
    span.links.append(link_of(1, attribute("k", "v")))
    good = traces("shop", [span]).SerializeToString()
    rng = random.Random(1)
    damaged = [
        good[:at] + bytes([octet]) + good[at + 1 :]
        for at in range(len(good))
        for octet in (0x12, 0x80, rng.randrange(256))
    ]
    damaged += [good[:at] for at in range(len(good))]
    assert quickly(damaged) == [slowly(value) for value in damaged]
    hold_against_the_decode(damaged)


def test_native_events_and_tombstones_may_lie_between() -> None:
    """An event that is driven again lies in its topic as an event of our own."""
    good = traces("shop", [span_of(1, 1)]).SerializeToString()
    (body,) = ENCODER.bodies(SPANS, traces("shop", [span_of(1, 2)]).SerializeToString())
    native = header(default_schemas().id_of("telemetry_event")) + body
    decoder = EventDecoder(default_schemas(), Operations(), otlp_kinds={0: SPANS})
    sent = [good, native, None, b"", b"\0junk", good]
    records = [Record(i, START_NS // 10**6, b"k", value) for i, value in enumerate(sent)]
    events, rejected, step = decoder.decode_batches([batch(records)], [0], [0])
    assert events.row.tolist() == [0, 1, 5]
    assert rejected.reason == ["empty_value", "empty_value", "unknown_schema_id"]
    assert step.key(0) == step.key(1) == b"k"


def test_fields_go_the_quick_way() -> None:
    """Each alone, all of them, and between others."""
    sent = [span_of(1, s) for s in range(1, 8)]
    for span, names in zip(sent, ([], *([n] for n in FIELD_KEYS), [*FIELD_KEYS]), strict=True):
        for name in reversed(names):
            span.attributes.insert(1, attribute(name, f"my {name}"))
    value = traces("shop", sent).SerializeToString()
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    assert bodies_of(encoder, [value]) == encoder.bodies(SPANS, value)
    assert encoder.slow == 0


class Counting(OtlpEncoder):
    """Counts the spans that it is asked for one by one."""

    slow = 0

    def span_body(self, span: Span, origin: Origin) -> bytes:
        """Count and pass on."""
        self.slow += 1
        return super().span_body(span, origin)


def bodies_of(encoder: OtlpEncoder, values: Sequence[bytes]) -> list[bytes]:
    """Return what the quick way makes of requests, none of which is left to the encoder."""
    run = QuickSpans(encoder).run(values)
    assert run is not None
    assert run.counts.all()
    return list(run.body)


def test_events_status_messages_and_trace_states_go_the_quick_way() -> None:
    """Each alone, all of them, between others, a long stack trace, and as many as there may be."""
    sent = [span_of(1, s) for s in range(1, 9)]
    sent[1].status.code, sent[1].status.message = 2, "card declined"
    sent[2].trace_state = "vendor=1"
    for span, count in zip(sent[3:6], (1, 2, 16), strict=True):
        for i in range(count):
            happened = span.events.add(name="exception" * (i != 1), time_unix_nano=START_NS + i)
            happened.attributes.append(attribute("exception.type", "ValueError"))
            happened.attributes.append(attribute("exception.stacktrace", "at é\n" * 20 * (i + 1)))
            happened.attributes.append(attribute("attempt", i))
    sent[6].CopyFrom(sent[4])
    sent[6].status.code, sent[6].status.message, sent[6].trace_state = 2, "no", "a=b"
    sent[6].events[0].attributes[1].value.string_value = "é" * 3_000
    value = traces("shop", sent).SerializeToString()
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    assert bodies_of(encoder, [value]) == encoder.bodies(SPANS, value)
    assert encoder.slow == 0
    hold_against_the_decode([value])


def link_of(number: int, *given: KeyValue) -> Span.Link:
    """Return a link as OpenTelemetry's SDKs write it."""
    return Span.Link(
        trace_id=trace_id(number), span_id=span_id(number, 1), attributes=given, flags=0x301
    )


def test_links_go_the_quick_way() -> None:
    """One as a batch transfer has it, none, as many as there may be, and beside all else."""
    sent = [span_of(1, s) for s in range(1, 9)]
    sent[0].links.append(link_of(2))
    sent[2].links.extend(link_of(n, attribute("nth", n), attribute("k", "v")) for n in range(3))
    sent[3].links.extend(map(link_of, range(LINKS_MAX)))
    sent[4].links.extend([link_of(7), link_of(8, attribute("messaging.message.id", "m-8"))])
    sent[4].events.add(name="e").attributes.append(attribute("k", "theirs"))
    sent[4].attributes.append(attribute("spanloom.actor", "ops"))
    sent[5].links.append(link_of(9))
    sent[5].links[0].trace_state, sent[5].links[0].dropped_attributes_count = "vendor=1", 3
    sent[6].attributes.append(attribute("spanloom.record_id", "r-1"))
    sent[6].links.append(link_of(9))
    value = traces("shop", sent).SerializeToString()
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    values = [value, traces("shop", sent[::-1]).SerializeToString()]
    expected = [body for one in values for body in encoder.bodies(SPANS, one)]
    assert bodies_of(encoder, values) == expected
    assert encoder.slow == 0
    hold_against_the_decode(values)


def test_links_of_another_form_are_left_to_the_reader() -> None:
    """More than are written here, ids of other lengths, keys that meet, and text that is none."""
    sent = [span_of(1, s) for s in range(1, 6)]
    sent[0].links.extend(map(link_of, range(LINKS_MAX + 1)))
    sent[1].links.extend([link_of(1), Span.Link(trace_id=b"x", span_id=b"\2" * 8)])
    sent[2].links.append(link_of(1, attribute("k", "v")))
    sent[2].attributes.append(attribute("link.0.k", "mine"))
    sent[3].links.add()
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    value = traces("shop", sent).SerializeToString()
    assert bodies_of(encoder, [value]) == encoder.bodies(SPANS, value)
    assert encoder.slow == 4
    sent[4].links.append(link_of(1))
    sent[4].links[0].trace_state = "état"
    bad = traces("shop", sent).SerializeToString().replace("état".encode(), b"\xc3tat\x80")
    assert quickly([bad, value]) == [slowly(bad), slowly(value)]
    assert slowly(bad) == "invalid_otlp"


def test_keys_that_meet_are_left_to_the_reader() -> None:
    """An attribute may be called like what becomes of an event, a status or a trace state."""
    names = ("event.0.name", "event.0.k", "otel.status_description", "w3c.tracestate", "other")
    sent = [span_of(1, s) for s in range(1, 6)]
    for span, name in zip(sent, names, strict=True):
        span.attributes.append(attribute(name, "mine"))
        span.status.message, span.trace_state = "no", "a=b"
        span.events.add(name="e").attributes.append(attribute("k", "theirs"))
    value = traces("shop", sent).SerializeToString()
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    assert bodies_of(encoder, [value]) == encoder.bodies(SPANS, value)
    assert encoder.slow == 4


def test_most_spans_go_the_quick_way() -> None:
    """Or the tests above say nothing of it."""
    values = [
        traces("shop", [span_of(n, s) for s in range(1, 101)]).SerializeToString()
        for n in range(1, 6)
    ]
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    found = bodies_of(encoder, values)
    assert encoder.slow == 0
    assert len(found) == 500
    assert found == [body for value in values for body in ENCODER.bodies(SPANS, value)]


@settings(max_examples=20)
@given(
    requests,
    st.lists(st.builds(LogRecord, time_unix_nano=times, trace_id=st.sampled_from(
        [b"", b"\1" * 16]), attributes=attribute_lists, severity_number=st.integers(0, 24)),
        max_size=3),
    st.lists(numbers, max_size=3),
)  # fmt: skip
def test_json_says_what_protobuf_says(
    spans_: TracesData, records: list[LogRecord], points: list[int]
) -> None:
    """Spans, log records and data points: the same bytes of the same events."""
    gauge = metric.Gauge(
        data_points=[metric.NumberDataPoint(time_unix_nano=START_NS, as_int=n) for n in points]
    )
    said = metrics("shop", [metric.Metric(name="depth", gauge=gauge)])
    for kind, request in ((SPANS, spans_), (LOGS, logs("shop", records)), (METRICS, said)):
        value = request.SerializeToString()
        if value:
            assert ENCODER.bodies(kind, as_json(request)) == ENCODER.bodies(kind, value)
