"""OTLP's log records: the quick way makes the bytes of the official reader's way, ids included."""

import random
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData

from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import FIELD_KEYS, Origin
from streams.codec.otlp.quicklines import QuickLines
from streams.codec.otlp.requests import LOGS
from streams.codec.schemas import default_schemas
from tests.otlp_cases import START_NS, as_json, attribute, logs, span_id, trace_id
from tests.otlp_columns import SERVICES, hold_against_the_decode, quickly, slowly
from tests.otlp_strategies import damaged_bytes, log_requests
from tests.tiers import tried


class Counting(OtlpEncoder):
    """Counts the records that it is asked for one by one."""

    slow = 0

    def line_body(self, record: LogRecord, origin: Origin) -> bytes:
        """Count and pass on."""
        self.slow += 1
        return super().line_body(record, origin)


def line_of(number: int, **given: Any) -> LogRecord:
    """Return a log record as OpenTelemetry's SDKs write it."""
    made = LogRecord(
        time_unix_nano=START_NS + number * 1_000,
        observed_time_unix_nano=START_NS + number * 1_000 + 7,
        severity_number=9,
        severity_text="INFO",
        body=AnyValue(string_value=f"order {number} taken"),
        trace_id=trace_id(number),
        span_id=span_id(number, 1),
        flags=1,
        attributes=[attribute("k", number), attribute("http.method", "GET")],
    )
    for name, value in given.items():
        if name == "body":
            made.body.CopyFrom(value)
        else:
            setattr(made, name, value)
    return made


def slow_of(value: bytes) -> int:
    """Say how many records of a request are made one by one; hold it against the encoder."""
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    run = QuickLines(encoder).run([value])
    assert run is not None
    assert list(run.body) == encoder.bodies(LOGS, value)
    return encoder.slow


@tried(st.lists(log_requests, min_size=1, max_size=4), few=15, many=60)
def test_the_quick_way_makes_the_same_bodies(drawn: list[LogsData]) -> None:
    """And the same columns, whatever the records are like and whoever lies beside them."""
    values = [request.SerializeToString() for request in drawn]
    assert quickly(values, LOGS) == [slowly(value, LOGS) for value in values]
    hold_against_the_decode(values, LOGS)


@tried(
    st.lists(log_requests, min_size=1, max_size=3),
    st.randoms(use_true_random=False),
    few=10,
    many=40,
)
def test_json_goes_the_way_of_protobuf(drawn: list[LogsData], rng: random.Random) -> None:
    """Bodies, columns and rejections, beside requests in protobuf."""
    values = [as_json(r) if rng.random() < 0.7 else r.SerializeToString() for r in drawn]
    assert quickly(values, LOGS) == [slowly(value, LOGS) for value in values]
    hold_against_the_decode(values, LOGS)


@tried(log_requests, st.randoms(use_true_random=False), few=15, many=60)
def test_damaged_requests_are_judged_by_the_official_reader(
    request: LogsData, rng: random.Random
) -> None:
    """Bytes that are changed, cut or put in; their neighbour is whole."""
    good = logs("shop", [line_of(1), line_of(2)]).SerializeToString()
    damaged = damaged_bytes(request.SerializeToString() or good, rng)
    values = [good, damaged, good]
    assert quickly(values, LOGS) == [slowly(value, LOGS) for value in values]


def test_every_byte_of_a_request_may_be_any_other() -> None:
    """Three others at each place, and each length."""
    good = logs("shop", [line_of(1, event_name="started")]).SerializeToString()
    rng = random.Random(1)
    damaged = [
        good[:at] + bytes([octet]) + good[at + 1 :]
        for at in range(len(good))
        for octet in (0x12, 0x80, rng.randrange(256))
    ]
    damaged += [good[:at] for at in range(len(good))]
    assert quickly(damaged, LOGS) == [slowly(value, LOGS) for value in damaged]
    hold_against_the_decode(damaged, LOGS)


def test_the_common_forms_go_the_quick_way() -> None:
    """With and without trace, span, name, body and fields; equal records have different ids."""
    outside = line_of(3)
    outside.trace_id, outside.span_id = b"", b""
    zeros = line_of(3)
    zeros.trace_id, zeros.span_id = bytes(16), bytes(8)
    bare = LogRecord(observed_time_unix_nano=START_NS, trace_id=trace_id(4))
    named = [line_of(5, event_name="started"), line_of(5), line_of(5)]
    named[1].attributes.append(attribute("event.name", "device.started"))
    named[2].attributes.append(attribute("event.name", "x" * 300))
    named[2].event_name = "this one"
    fields = line_of(6)
    fields.attributes.extend(attribute(key, f"my {key}") for key in FIELD_KEYS)
    long = [line_of(7, body=AnyValue(string_value="é" * n)) for n in (31, 32, 63, 64, 3_000)]
    values = [AnyValue(), AnyValue(bool_value=True), AnyValue(int_value=2**40)]
    others = [line_of(8, body=value) for value in (*values, AnyValue(double_value=0.5))]
    levels = [line_of(9, severity_number=n, severity_text="") for n in range(25)]
    sent = [outside, zeros, bare, *named, fields, *long, *others, *levels, line_of(1), line_of(1)]
    value = logs("shop", sent).SerializeToString()
    assert slow_of(value) == 0
    hold_against_the_decode([value, value], LOGS)
    ids = {body[:37] for body in slowly(value, LOGS) if isinstance(body, bytes)}
    assert len(ids) == len(sent)


def test_other_forms_are_left_to_the_reader() -> None:
    """Each alone: lists, keys that meet or say who emits it, levels by name, odd names."""
    both = KeyValue(key="message", value=AnyValue(string_value="theirs"))
    numbered = KeyValue(key="event.name", value=AnyValue(int_value=5))
    sent = [line_of(n) for n in range(1, 8)]
    sent[0].body.array_value.values.add(int_value=1)
    sent[1].attributes.append(both)
    sent[2].attributes.append(attribute("spanloom.module", "ALPHA"))
    sent[3].severity_number, sent[3].severity_text = 0, "warn"
    sent[4].attributes.append(numbered)
    sent[5].trace_id = b"short"
    sent[6].dropped_attributes_count = 3
    assert slow_of(logs("shop", [line_of(0), *sent]).SerializeToString()) == len(sent)
    request = logs("shop", [line_of(1), line_of(2, event_name="own")])
    request.resource_logs[0].resource.attributes.append(attribute("event.name", "theirs"))
    assert slow_of(request.SerializeToString()) == 1


def test_a_record_of_millions_of_attributes_is_bounded() -> None:
    """It is left to the reader, which looks at so many; its neighbour goes the quick way."""
    many = line_of(1)
    many.attributes.extend(KeyValue(key="k") for _ in range(100_000))
    assert slow_of(logs("shop", [line_of(2), many]).SerializeToString()) == 1
