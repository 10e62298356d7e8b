"""What becomes of OTLP's spans, log records and data points; and of what is none."""

import gzip
import json
import math
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from streams.codec.otlp import values
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.recordings import otlp_events
from streams.codec.otlp.requests import LOGS, METRICS, SPANS
from streams.codec.otlp.services import Place, Services
from streams.codec.otlp.values import DIMENSIONS_BYTES_MAX, DROPPED, ENTRIES_MAX, VALUE_BYTES_MAX
from streams.codec.records import decode_body
from streams.codec.schemas import default_schemas
from streams.errors import ConfigError, RecordError
from tests.otlp_cases import (
    START_NS,
    as_json,
    attribute,
    attributes,
    logs,
    metrics,
    span_id,
    span_of,
    trace_id,
    traces,
)

SCHEMA = default_schemas().current("telemetry_event")
START_US = START_NS // 1000


def bodies(kind: str, value: bytes, services: Services | None = None) -> list[bytes]:
    return OtlpEncoder(SCHEMA, services or Services()).bodies(kind, value)


def events(kind: str, value: bytes, services: Services | None = None) -> list[dict[str, Any]]:
    return [decode_body(SCHEMA, body) for body in bodies(kind, value, services)]


def event_of(span: Span, services: Services | None = None) -> dict[str, Any]:
    (event,) = events(SPANS, traces("shop", [span]).SerializeToString(), services)
    return event


def test_a_span_says_what_it_said() -> None:
    """Ids, times, kind, status, links, events and attributes."""
    span = span_of(1, 2)
    span.status.code, span.status.message = Status.STATUS_CODE_ERROR, "card refused"
    span.flags, span.trace_state = 0x101, "a=b"
    span.links.add(trace_id=trace_id(9), span_id=span_id(9, 1), attributes=attributes(kind="retry"))
    span.links.add(trace_id=b"x", span_id=b"y")
    happened = span.events.add(name="exception", time_unix_nano=START_NS)
    happened.attributes.extend(attributes(exception__type="ValueError"))
    event = event_of(span)
    assert event["trace_id"] == trace_id(1).hex()
    assert (event["span_id"], event["parent_span_id"]) == (
        span_id(1, 2).hex(),
        span_id(1, 1).hex(),
    )
    assert (event["timestamp"], event["duration_us"]) == (START_US + 1_002, 500)
    names = ("module", "component", "name", "span_kind", "status", "severity", "trace_flags")
    assert [event[name] for name in names] == [
        "shop", "service", "step-2", "SERVER", "ERROR", "ERROR", 1,
    ]  # fmt: skip
    assert event["links"] == [{"trace_id": trace_id(9).hex(), "span_id": span_id(9, 1).hex()}]
    assert event["dimensions"] == {
        "service.name": "shop",
        "service.instance.id": "a-1",
        "otel.scope.name": "spanloom.tests",
        "otel.scope.version": "1.2",
        "http.method": "GET",
        "http.status_code": "200",
        "cached": "false",
        "otel.status_description": "card refused",
        "w3c.tracestate": "a=b",
        "event.0.name": "exception",
        "event.0.time_us": str(START_US),
        "event.0.exception.type": "ValueError",
        "link.0.kind": "retry",
        "spanloom.dropped_links": "1",
    }


def test_a_service_is_the_module_that_the_contract_says() -> None:
    """Listed, of a module's name in any case, or told by the event; else the service itself."""
    services = Services({"pay-svc": Place("GAMMA", "delivery")}, ["ALPHA", "GAMMA"])

    def place(service: str, **told: str) -> tuple[str, str]:
        span = span_of(1, 1)
        span.attributes.extend(attribute(key.replace("__", "."), v) for key, v in told.items())
        value = traces(service, [span]).SerializeToString()
        (event,) = events(SPANS, value, services)
        return event["module"], event["component"]

    assert place("pay-svc") == ("GAMMA", "delivery")
    assert place("alpha") == ("ALPHA", "service")
    assert place("other") == ("other", "service")
    assert place("pay-svc", spanloom__component="ack") == ("GAMMA", "ack")
    assert place("x", spanloom__module="ALPHA") == ("ALPHA", "service")


def test_fields_of_records_come_by_attributes() -> None:
    """They are no dimensions then."""
    span = span_of(1, 1)
    names = ("record_id", "batch_id", "correlation_id", "operation", "actor")
    span.attributes.extend(attribute(f"spanloom.{name}", f"my {name}") for name in names)
    event = event_of(span)
    assert [event[name] for name in names] == [f"my {name}" for name in names]
    assert not [key for key in event["dimensions"] if key.startswith("spanloom.")]


def test_a_span_wins_over_its_scope_and_resource() -> None:
    """Where all of them have one attribute."""
    span = span_of(1, 1)
    span.attributes.extend(attributes(service__instance__id="mine"))
    assert event_of(span)["dimensions"]["service.instance.id"] == "mine"


def test_a_log_record_says_what_it_said() -> None:
    """With a trace and without; zeros are none."""
    named = LogRecord(event_name="order.placed", observed_time_unix_nano=START_NS)
    traced = LogRecord(time_unix_nano=START_NS, severity_number=14, trace_id=trace_id(1))
    traced.body.string_value = "disk at 91 %"
    traced.span_id = span_id(1, 1)
    zero = LogRecord(time_unix_nano=START_NS, severity_text="Fatal", trace_id=bytes(16))
    found = events(LOGS, logs("shop", [named, traced, zero]).SerializeToString())
    assert [e["name"] for e in found] == ["order.placed", "log", "log"]
    assert [e["severity"] for e in found] == ["INFO", "WARN", "CRITICAL"]
    assert [e["timestamp"] for e in found] == [START_US] * 3
    assert [e["trace_id"] for e in found] == ["", trace_id(1).hex(), ""]
    assert found[1]["span_id"] == span_id(1, 1).hex()
    assert found[1]["dimensions"]["message"] == "disk at 91 %"


def test_data_points_of_all_kinds_have_a_value() -> None:
    """Sums and gauges their own, the others the mean; NaN where nothing was seen."""
    at = {"time_unix_nano": START_NS}
    number = metric.NumberDataPoint
    sums = metric.Sum(
        data_points=[number(**at, as_int=3), number(**at, as_double=2.5)],
        aggregation_temporality=metric.AGGREGATION_TEMPORALITY_DELTA,
    )
    none = metric.Gauge(data_points=[number(**at, flags=1, as_int=9), number(**at)])
    seen = metric.HistogramDataPoint(**at, count=4, sum=10, min=1, max=4)
    histogram = metric.Histogram(data_points=[seen, metric.HistogramDataPoint(**at, count=4)])
    exponential = metric.ExponentialHistogram(
        data_points=[metric.ExponentialHistogramDataPoint(**at, count=2, sum=3, scale=1)]
    )
    quantile = metric.SummaryDataPoint.ValueAtQuantile(quantile=0.99, value=7)
    summary = metric.Summary(
        data_points=[metric.SummaryDataPoint(**at, count=2, sum=5, quantile_values=[quantile])]
    )
    name = "pipeline.gamma.delivery.counter.records_total"
    sent = [
        metric.Metric(name=name, unit="1", sum=sums),
        metric.Metric(name="g", gauge=none),
        metric.Metric(name="h", histogram=histogram),
        metric.Metric(name="e", exponential_histogram=exponential),
        metric.Metric(name="s", summary=summary),
        metric.Metric(name="nothing"),
    ]
    found = events(METRICS, metrics("gamma", sent).SerializeToString())
    values = [e["value"] for e in found]
    assert values[:2] == [3.0, 2.5]
    assert all(map(math.isnan, (*values[2:4], values[5])))
    assert [values[4], *values[6:]] == [2.5, 1.5, 2.5]
    assert {e["component"] for e in found[:2]} == {"delivery"}
    assert {e["component"] for e in found[2:]} == {"service"}
    assert found[0]["dimensions"]["otel.temporality"] == "delta"
    assert found[4]["dimensions"]["point.max"] == "4.0"
    assert found[7]["dimensions"]["point.quantile.0.99"] == "7.0"


def test_a_request_sent_again_gives_the_same_events() -> None:
    """Ids too; two lines that are equal are two all the same, and JSON says what protobuf says."""
    line = LogRecord(time_unix_nano=START_NS, trace_id=trace_id(1))
    request = logs("shop", [line, line])
    once = bodies(LOGS, request.SerializeToString())
    assert bodies(LOGS, request.SerializeToString()) == once
    assert bodies(LOGS, as_json(request)) == once
    assert len(set(once)) == 2


def test_dimensions_are_bounded_and_say_what_is_missing() -> None:
    """Too many, too long and too large in all."""
    span = span_of(1, 1)
    span.attributes.extend(attribute(f"k{i}", "v") for i in range(500))
    dimensions = event_of(span)["dimensions"]
    assert len(dimensions) == ENTRIES_MAX + 1
    assert dimensions[DROPPED] == str(500 + 7 - ENTRIES_MAX)

    span = span_of(1, 1)
    span.attributes.extend(attribute(f"k{i}", "ä" * 9_000) for i in range(50))
    dimensions = event_of(span)["dimensions"]
    assert len(dimensions["k0"].encode()) == VALUE_BYTES_MAX
    assert sum(len(k) + len(v.encode()) for k, v in dimensions.items()) < DIMENSIONS_BYTES_MAX + 99
    assert int(dimensions[DROPPED]) > 40


def test_values_are_text() -> None:
    """Lists as JSON; what is nested beyond all measure is cut off."""
    deep = AnyValue(string_value="x")
    for _ in range(30):
        deep = AnyValue(array_value=ArrayValue(values=[deep]))
    span = span_of(1, 1)
    span.attributes.append(KeyValue(key="deep", value=deep))
    span.attributes.append(KeyValue(key="raw", value=AnyValue(bytes_value=b"\0\1")))
    span.attributes.append(KeyValue(key="none"))
    span.attributes.append(attribute("number", 0.1))
    dimensions = event_of(span)["dimensions"]
    assert json.loads(dimensions["deep"]) == json.loads("[" * 8 + "null" + "]" * 8)
    assert (dimensions["raw"], dimensions["none"], dimensions["number"]) == ("AAE=", "", "0.1")


BOMB = b'{"resourceSpans":' + b"[" * 200_000
NESTED = b'{"resourceSpans":' + b'[{"resource":' * 400 + b"1"


@pytest.mark.parametrize(
    "value",
    [
        BOMB,
        NESTED,
        b"{",
        b'{"resourceLogs": []}',
        b'{"resourceSpans": 7}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}',
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a varint of 11 bytes
        b"\x0a\x7f\x01",  # longer than the message
        b"\x0a\x05\x12\x03\x12\x01\x80",
        b"\xff" * 64,
        traces("shop", [span_of(1, 1)]).SerializeToString().replace(b"step-1", b"step-\xff"),
        b"\0\0\0\0\1",
    ],
)
def test_what_is_no_request_is_refused_by_name(value: bytes) -> None:
    """Nothing else is raised."""
    with pytest.raises(RecordError) as caught:
        bodies(SPANS, value)
    assert caught.value.reason == "invalid_otlp"
    assert len(caught.value.detail) <= 200


def test_deep_protobuf_is_refused() -> None:
    """As protobuf's own readers refuse it."""
    value = b""
    for _ in range(5_000):
        value = (
            b"\x2a"
            + _length(len(value) + 1 + len(_length(len(value))))
            + b"\x0a"
            + (_length(len(value)) + value)
        )
    attribute_bytes = b"\x0a\x01k\x12" + _length(len(value)) + value
    span = b"\x4a" + _length(len(attribute_bytes)) + attribute_bytes
    for tag in (b"\x12", b"\x12", b"\x0a"):
        span = tag + _length(len(span)) + span
    with pytest.raises(RecordError, match="invalid_otlp"):
        bodies(SPANS, span)


def _length(size: int) -> bytes:
    out = bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*out, size))


def test_a_small_message_cannot_become_a_large_one() -> None:
    """A resource of many KiB, repeated by thousands of tiny spans."""
    request = traces("shop", [Span(name="x") for _ in range(20_000)])
    request.resource_spans[0].resource.attributes.extend(
        attribute(f"k{i}", "v" * 4_000) for i in range(8)
    )
    with pytest.raises(RecordError, match="otlp_too_large"):
        bodies(SPANS, request.SerializeToString())


def test_more_events_than_bytes_for_them_are_refused_at_once() -> None:
    """A hundred thousand spans of two bytes, and a message of 9 MiB."""
    request = traces("shop", [Span()] * 100_000).SerializeToString()
    with pytest.raises(RecordError, match="otlp_too_large"):
        bodies(SPANS, request)
    with pytest.raises(RecordError, match="otlp_too_large"):
        bodies(SPANS, b"\x0a" * (9 << 20))


ZEROS = zstd.compress(bytes(65 << 20))


def framed(*messages: bytes) -> bytes:
    """Return messages as the Collector's file exporter writes them, each behind its length."""
    return b"".join(len(one).to_bytes(4, "big") + one for one in messages)


def test_files_of_all_forms_are_read(tmp_path: Path) -> None:
    """JSON, JSON lines, protobuf alone and behind lengths; packed too."""
    one, two = (traces("shop", [span_of(n, 1)]) for n in (1, 2))
    raw = [one.SerializeToString(), two.SerializeToString()]
    forms = {
        "a.json": json.dumps(json.loads(as_json(one)), indent=1).encode(),
        "a.jsonl": as_json(one) + b"\n\n" + as_json(two) + b"\n",
        "spans.bin": raw[0],
        "traces.framed": framed(*raw),
        "a.jsonl.gz": gzip.compress(as_json(one)),
        "traces.zstd": framed(*map(zstd.compress, raw)),
        "json.zstd": framed(zstd.compress(as_json(one)), zstd.compress(as_json(two))),
        "empty.bin": b"",
        "marked.json": b"\xef\xbb\xbf" + json.dumps(json.loads(as_json(one)), indent=1).encode(),
    }
    counts = []
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        found = list(otlp_events(tmp_path / name, Services()))
        assert not found or found[0]["span_id"] == span_id(1, 1).hex()
        counts.append(len(found))
    assert counts == [1, 2, 1, 2, 1, 2, 2, 0, 1]


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_message_of_protobuf_that_is_cut_at_the_end_is_told(
    tmp_path: Path, is_packed: bool
) -> None:
    """Wherever it is cut, within its length too; those before it are read, zeros say nothing."""
    raw = [traces("shop", [span_of(n, 1)]).SerializeToString() for n in (1, 2)]
    first, last = map(framed, raw)
    path = tmp_path / ("spans.bin.gz" if is_packed else "spans.bin")

    def read(data: bytes) -> tuple[int, list[tuple[str, str, str]]]:
        if is_packed:  # all of it can be unpacked, and then the file ends early
            packer = zlib.compressobj(wbits=31)
            data = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
        path.write_bytes(data)
        told: list[tuple[str, str, str]] = []
        return len(list(otlp_events(path, Services(), cut=lambda *one: told.append(one)))), told

    for cut in range(1, len(last)):
        words = f"the file ends within this message, after {cut} bytes of it"
        if is_packed:
            words = "the packed file ends within this message"
        assert read(first + last[:cut]) == (
            1,
            [("cut_message", f"{path}: message 2", words)],
        )
    whole = read(first + last + bytes(40))
    assert whole[0] == 2
    assert bool(whole[1]) == is_packed, "nothing says what of a packed file is missing"
    with pytest.raises(ConfigError, match="message 1: no OTLP, or cut"):
        read(first[:-1])


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.jsonl", b'{"resourceSpans": []}\n{"resourceSpans": 1}\n', "a.jsonl:2: no JSON of"),
        ("a.json", b'{\n"resourceSpans": ', "a.json: no JSON"),
        ("a.bin", b"\x0a\x00", "--signal spans, logs or metrics"),
        ("spans.bin", b"\x0a\x05", "message 1: no protobuf of spans"),
        ("spans.bin", b"\0\0\0\2\x0a\0\0\0\0\1x", "message 2: no protobuf of spans"),
        ("spans.bin", b"\0\0\0\2\x0a\0\0\0\0\2x", "message 2: no OTLP, or cut: the file ends"),
        ("spans.bin", b"\0\0\0\2\x0a\0\xff\0\0\0", "message 2: no OTLP: 4278190080 bytes"),
        ("spans.bin", b"\0\0", "message 1: no OTLP, or cut: the file ends"),
        ("spans.bin", framed(ZEROS), "message 1: no OTLP: more than 67108864 bytes when inflated"),
        ("spans.bin", framed(zstd.compress(b"\x0a\0")[:-1]), "no OTLP: zstd: it ends too early"),
        ("spans.bin", framed(zstd.compress(b"\x0a\0")[:4] + b"\xff" * 9), "message 1: no OTLP: "),
        ("spans.bin", framed(zstd.compress(b"\x0a\0") + b"x"), "no OTLP: zstd: "),
        ("spans.bin", b"%PDF-1.7 and so on", "no JSON, and of protobuf too long: 626017350 bytes"),
        ("a.json.gz", b"\x1f\x8bxx", "cannot be read"),
        ("b.json.gz", gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 20, "cannot be read"),
        ("a.jsonl", "{}".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    """Never a part of it in silence."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=told):
        list(otlp_events(tmp_path / name, Services()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"startTimeUnixNano": "canary"}, "startTimeUnixNano: no whole number"),
        ({"startTimeUnixNano": 1.5}, "startTimeUnixNano: no whole number"),
        ({"startTimeUnixNano": 2**70}, "startTimeUnixNano: a number out of range"),
        ({"startTimeUnixNano": True}, "startTimeUnixNano: true or false where a number belongs"),
        ({"name": 1}, "name: not of its type"),
        ({"name": "\ud800"}, "name: half a character"),
        ({"attributes": {"a": 1}}, "attributes: no list"),
        ({"attributes": [{"value": {"doubleValue": "canary"}}]}, "attributes.value: no number"),
        ({"attributes": [{"value": {"boolValue": True, "intValue": 1}}]}, "attributes.value: two"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(changes: dict[str, Any], says: str) -> None:
    """In our words, with the field's place, without the value that was sent."""
    (span,) = (request := json.loads(as_json(traces("shop", [span_of(1, 1)]))))["resourceSpans"][0][
        "scopeSpans"
    ][0]["spans"]
    span.update(changes)
    with pytest.raises(RecordError) as raised:
        bodies(SPANS, json.dumps(request).encode())
    place = "no JSON of TracesData: resourceSpans.scopeSpans.spans."
    assert raised.value.detail.startswith(f"{place}{says}")
    assert "canary" not in raised.value.detail


def test_values_within_values_are_not_told_all() -> None:
    """The path of a hundred of them is cut in its middle, and says its end."""
    value: dict[str, Any] = {"intValue": 1}
    for _ in range(120):
        value = {"arrayValue": {"values": [value]}}
    request = json.loads(as_json(traces("shop", [span_of(1, 1)])))
    span = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["attributes"] = [{"key": "a", "value": value}]
    with pytest.raises(RecordError) as raised:
        bodies(SPANS, json.dumps(request).encode())
    assert raised.value.detail.endswith("attributes.value..values: nested too deeply")


def test_the_official_message_is_what_is_read() -> None:
    """Fields that we do not know are passed over."""
    value = traces("shop", [span_of(1, 1)]).SerializeToString() + b"\xfa\x3f\x03abc"
    assert TracesData.FromString(value).resource_spans
    assert len(bodies(SPANS, value)) == 1


def test_of_millions_only_as_many_are_looked_at_as_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attributes, events, links and items of a value: the rest is counted, and costs nothing."""
    there = len(event_of(span_of(1, 1))["dimensions"])
    looked = Counter[str]()
    for name in ("text_of", "_plain"):
        of_value = getattr(values, name)

        def watched(*given: Any, name: str = name, real: Any = of_value) -> Any:
            looked[name] += 1
            return real(*given)

        monkeypatch.setattr(values, name, watched)
    span = span_of(1, 1)
    span.attributes.add(key="list").value.array_value.values.extend(
        AnyValue(int_value=n % 10) for n in range(50_000)
    )
    for n in range(50_000):
        span.attributes.add(key=f"k{n:05}")
        span.events.add()
        span.links.add(trace_id=trace_id(9), span_id=span_id(9, 1))
    event = event_of(span)
    dimensions = event["dimensions"]
    assert dimensions["list"] == f"[{','.join(str(n % 10) for n in range(2_048))}"[:4_096]
    assert len(dimensions) == 128 + 1
    assert len(event["links"]) == 128
    lost = 50_000 - (128 - 1 - there)  # how many links were lost has no room either
    assert dimensions["spanloom.dropped_attributes"] == str(lost + 2 * 128 + 50_000 - 128 + 1)
    assert looked["text_of"] < 3_000
    assert looked["_plain"] < 3_000
