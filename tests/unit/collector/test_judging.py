"""Judging: each value is in one parcel of its own partition, or rejected with a reason."""

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from streams.codec.otlp.services import Services
from streams.codec.placing import trace_partitions
from streams.codec.records import decode, encode
from streams.collector.judging import PARCEL_BYTES_MAX, Judge, Layout
from streams.collector.mending import mended, microseconds
from streams.collector.otlp import OBJECTS_MAX, OtlpValues
from streams.core.traces.partitioners import murmur2_partition
from tests.otlp_cases import START_NS, as_json, attribute, logs, metrics, span_id, span_of, trace_id
from tests.otlp_cases import traces as otlp
from tests.unit.collector.at_hand import START_US, event

EQUAL = {"telemetry.alpha.v1": 7, "shared.v1": 7, "telemetry.other.v1": 7}
GROWN = EQUAL | {"telemetry.alpha.v1": 9, "shared.v1": 30}
"""Two topics have grown beyond the others."""
OLD = {"old.name": "pipeline.new"}


def layout(partitions: dict[str, int]) -> Layout:
    by_module = {"ALPHA": "telemetry.alpha.v1", "BETA": "shared.v1"}
    return Layout(by_module, "telemetry.other.v1", partitions)


LAYOUT = layout(EQUAL)


def judge(partitions: dict[str, int] = EQUAL, **given: Any) -> Judge:
    return Judge(layout(partitions), OLD, 512 << 10, **given)


def values(*events: dict[str, Any]) -> list[bytes]:
    return [encode("telemetry_event", one) for one in events]


def found(judge: Judge, *events: dict[str, Any]) -> list[tuple[str, int, dict[str, Any]]]:
    """Return topic, partition and event of each value, which are all good, in their order."""
    judged = judge.judge(values(*events))
    assert judged.rejected == []
    placed = {
        row: (parcel.topic, parcel.partition, one)
        for parcel, rows in zip(judged.parcels, judged.rows, strict=True)
        for row, one in zip(rows, decode(parcel.value)["events"], strict=True)
    }
    return [placed[row] for row in range(len(events))]


@given(st.lists(st.tuples(st.integers(0, 2**128 - 1)), max_size=30), st.integers(1, 100))
def test_partitions_are_those_of_the_producers(ids: list[tuple[int]], partitions: int) -> None:
    """As murmur2 gives them one by one."""
    halves = [(one >> 64, one & (2**64 - 1)) for (one,) in ids]
    array = np.array(halves, np.uint64).reshape(-1, 2)
    assert trace_partitions(array, partitions).tolist() == [
        murmur2_partition(b"%032x" % one, partitions) for (one,) in ids
    ]


modules = st.sampled_from(["ALPHA", "BETA", "nobody", ""])
traces = st.integers(0, 40).map(lambda n: f"{n:032x}" if n else "")


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(modules, traces, st.sampled_from(["TRACE", "LOG"])), max_size=40),
    st.sampled_from([EQUAL, GROWN]),
    st.sampled_from([1, 100_000]),
)
def test_each_value_is_placed_once_or_rejected(
    rows: list[tuple[str, str, str]], partitions: dict[str, int], operations_max: int
) -> None:
    """In the topic of its module and the partition of its trace, else of module and component.

    Each topic by its own count, those of operations beyond the bound too.
    """
    events = [
        event(1, n + 1, module=module, trace_id=trace, event_type=kind)
        for n, (module, trace, kind) in enumerate(rows)
    ]
    judged = judge(partitions, operations_max=operations_max).judge(values(*events))
    seen = [v.row for v in judged.rejected]
    for parcel, places in zip(judged.parcels, judged.rows, strict=True):
        inside = decode(parcel.value)["events"]
        assert parcel.events == len(inside) == len(places)
        for row, one in zip(places, inside, strict=True):
            assert one["span_id"] == events[row]["span_id"]
            key = one["trace_id"] or f"{one['module']}.{one['component']}"
            count = partitions[parcel.topic]
            assert parcel.partition == murmur2_partition(key.encode(), count)
            assert parcel.topic == LAYOUT.topics.get(one["module"], LAYOUT.other)
        seen += places.tolist()
    assert sorted(seen) == list(range(len(events)))
    bad = {n for n, (module, trace, kind) in enumerate(rows) if not module}
    bad |= {n for n, (_, trace, kind) in enumerate(rows) if kind == "TRACE" and not trace}
    assert {v.row for v in judged.rejected} == bad


def test_other_spellings_are_mended() -> None:
    """Ids as UUID or in upper case, times in other units, old metric names; the rest stays."""
    trace = uuid.uuid4()
    one, two, three, four = found(
        judge(),
        event(trace_id=str(trace), span_id="ABCDEF0123456789", module="ALPHA"),
        event(timestamp=START_US * 1000, module="BETA"),
        event(event_type="METRIC", name="old.name", value=2.0),
        event(name="old.name", timestamp=START_US // 1_000_000),
    )
    assert one[0] == "telemetry.alpha.v1"
    assert (one[2]["trace_id"], one[2]["span_id"]) == (trace.hex, "abcdef0123456789")
    assert (two[0], two[2]["timestamp"]) == ("shared.v1", START_US)
    assert three[2]["name"] == "pipeline.new"
    assert (four[2]["name"], four[2]["timestamp"]) == ("old.name", START_US)


@given(st.integers(), st.sampled_from([1, 1_000, 1_000_000]))
def test_a_time_has_one_unit_at_the_end(time: int, factor: int) -> None:
    """Each unit of a time of our days is understood; what is right already stays."""
    now = START_US + time % (10**14)
    assert microseconds(now) == now
    assert microseconds(now // factor) == now // factor * factor
    assert microseconds(now * 1_000) == now
    assert microseconds(-5) == -5
    assert microseconds(0) == 0


@given(st.text(max_size=40))
def test_mending_twice_is_mending_once(text: str) -> None:
    """And what is right already is the same object."""
    once = mended(event(trace_id=text, span_id=text), OLD)
    assert mended(once, OLD) is once


def test_what_has_no_meaning_is_rejected_with_its_reason() -> None:
    """And a mended event that is still bad says so."""
    judged = judge().judge(
        [
            *values(
                event(trace_id="x"),
                event(trace_id=str(uuid.uuid4()), span_id="y"),
                event(timestamp=-1),
                event(),
            ),
            b"",
            b"\x00\x00\x00\x00\x01zz",
        ]
    )
    assert [(v.row, v.reason) for v in judged.rejected] == [
        (0, "invalid_trace_id"),
        (1, "invalid_span_id"),
        (2, "invalid_timestamp"),
        (4, "empty_value"),
        (5, "invalid_avro"),
    ]
    assert [rows.tolist() for rows in judged.rows] == [[3]]


def test_unknown_modules_are_rejected_where_that_is_wanted() -> None:
    """By default they go to the topic of others."""
    assert found(judge(), event(module="nobody"))[0][0] == "telemetry.other.v1"
    strict = judge(rejects_unknown=True).judge(values(event(module="nobody"), event(module="BETA")))
    assert [(v.row, v.reason) for v in strict.rejected] == [(0, "unknown_module")]
    assert [rows.tolist() for rows in strict.rows] == [[1]]


def test_operations_beyond_the_bound_keep_their_topic() -> None:
    """They are looked at one by one."""
    small = judge(operations_max=2)
    placed = found(small, *(event(1, n, name=f"n{n}", module="ALPHA") for n in range(1, 9)))
    assert {topic for topic, _, _ in placed} == {"telemetry.alpha.v1"}


def test_parcels_fit_into_messages() -> None:
    """Many large events of one partition become several messages."""
    large = {"note": "x" * 300_000}
    judged = judge().judge(values(*(event(1, n, dimensions=large) for n in range(1, 8))))
    assert len(judged.parcels) == 4
    assert all(len(parcel.value) < PARCEL_BYTES_MAX + 1_000 for parcel in judged.parcels)
    assert [row for rows in judged.rows for row in rows] == list(range(7))


def test_an_event_that_is_too_large_is_rejected() -> None:
    """By its own size."""
    (verdict,) = judge().judge(values(event(dimensions={"note": "x" * 600_000}))).rejected
    assert verdict.reason == "event_too_large"


def test_data_points_read_together_are_judged_as_their_values_are() -> None:
    """The same parcels, the same rejections, in two requests."""
    points = [NumberDataPoint(time_unix_nano=START_NS + n // 2, as_int=n) for n in range(9)]
    points[3].time_unix_nano = 0
    depth = Metric(name="depth", gauge=Gauge(data_points=points))
    requests = [metrics("alpha", [depth]), metrics("shop", [depth, Metric(gauge=depth.gauge)])]
    read = OtlpValues(Services())
    whole = [v for one in requests for v in read.values_of("metrics", "protobuf", bytes_of(one))]
    run = read.run("metrics", [bytes_of(one) for one in requests])
    assert run is not None
    assert run.counts.tolist() == [9, 18]
    one_by_one, together = judge().judge(whole, are_native=False), judge().judge_spans(run)
    assert sorted(together.parcels) == sorted(one_by_one.parcels)
    assert together.rejected == one_by_one.rejected
    assert len(together.rejected) == 2 + 9
    assert [together.value_of(n) for n in range(27)] == whole


@pytest.mark.parametrize("count", [0, 1])
def test_few_values(count: int) -> None:
    """None at all are no parcels."""
    assert len(judge().judge(values(event())[:count]).parcels) == count


def test_spans_read_together_are_judged_as_their_values_are() -> None:
    """The same parcels, the same rejections: straight spans, odd ones, bad ones, old times."""
    spans = [span_of(n, 1) for n in range(1, 41)]
    spans[3].span_id = b"short"
    spans[5].trace_id = b""
    spans[7].start_time_unix_nano //= 1_000
    spans[7].end_time_unix_nano //= 1_000
    spans[9].links.add(trace_id=trace_id(3), span_id=span_id(3, 1))
    spans[11].attributes.append(attribute("spanloom.module", "ALPHA"))
    requests = [otlp("alpha", spans[:20]), otlp("shop", spans[20:]), otlp("shop", [])]
    read = OtlpValues(Services())
    whole = [v for one in requests for v in read.values_of("spans", "protobuf", bytes_of(one))]
    run = read.run("spans", [bytes_of(one) for one in requests])
    assert run is not None
    assert run.counts.tolist() == [20, 20, 0]
    assert 30 < len(run.straight) < 40
    one_by_one, together = judge().judge(whole, are_native=False), judge().judge_spans(run)
    assert sorted(together.parcels) == sorted(one_by_one.parcels)
    assert together.rejected == one_by_one.rejected
    assert len(together.rejected) == 2
    assert [together.value_of(n) for n in range(40)] == whole


def test_log_records_read_together_are_judged_as_their_values_are() -> None:
    """The same parcels, the same rejections: good ones, odd ones, bad ones, equal ones."""
    lines = [LogRecord(time_unix_nano=START_NS + n // 2, trace_id=trace_id(3)) for n in range(20)]
    lines[3].trace_id = b"short"
    lines[5].time_unix_nano //= 1_000
    lines[7].body.array_value.values.add(int_value=1)
    lines[9].trace_id = b""
    lines[11].time_unix_nano = 0
    lines[13].span_id = b"short"
    requests = [logs("alpha", lines[:10]), logs("shop", lines[10:]), logs("shop", [])]
    read = OtlpValues(Services())
    whole = [v for one in requests for v in read.values_of("logs", "protobuf", bytes_of(one))]
    run = read.run("logs", [bytes_of(one) for one in requests])
    assert run is not None
    assert run.counts.tolist() == [10, 10, 0]
    one_by_one, together = judge().judge(whole, are_native=False), judge().judge_spans(run)
    assert sorted(together.parcels) == sorted(one_by_one.parcels)
    assert together.rejected == one_by_one.rejected
    assert len(together.rejected) == 1
    assert [together.value_of(n) for n in range(20)] == whole


def test_json_is_read_together_with_protobuf() -> None:
    """As the body of an OTLP/HTTP request; one that says it is the other is not."""
    requests = [otlp("shop", [span_of(n, s) for s in (1, 2)]) for n in (1, 2)]
    bodies = [bytes_of(requests[0]), as_json(requests[1])]
    read = OtlpValues(Services())
    assert read.is_quick("spans", "protobuf", bodies[0])
    assert read.is_quick("spans", "json", bodies[1])
    assert not read.is_quick("spans", "protobuf", bodies[1])
    assert not read.is_quick("spans", "json", bodies[0])
    assert not read.is_quick("spans", "json", b"{" * (OBJECTS_MAX + 1))
    assert read.is_quick("metrics", "json", bodies[1])
    assert not read.is_quick("events", "json", bodies[1])
    run = read.run("spans", bodies)
    assert run is not None
    assert run.counts.tolist() == [2, 2]
    assert run.straight.tolist() == [0, 1, 2, 3]
    told = [read.values_of("spans", "protobuf", bytes_of(one)) for one in requests]
    assert [judge().judge_spans(run).value_of(n) for n in range(4)] == [*told[0], *told[1]]


def bytes_of(request: TracesData) -> bytes:
    """Return a request as it is sent."""
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("start_ns", "kept_us"),
    [
        (1_000_000_000, 1_000_000),  # a second after the epoch
        (70_000_000_000_000_000, 70_000_000_000_000),  # 1972: of milliseconds it would be 4188
        (8_835_955_200_000_000_000, None),  # 2250: of nanoseconds it would be April 1970
    ],
)
def test_times_of_otlp_are_taken_at_their_word(start_ns: int, kept_us: int | None) -> None:
    """Its unit is fixed: a time out of range is one, and not another one in another unit."""
    span = span_of(1, 1)
    span.start_time_unix_nano = start_ns
    span.end_time_unix_nano = start_ns + 1_000
    body = bytes_of(otlp("alpha", [span]))
    read = OtlpValues(Services())
    run = read.run("spans", [body])
    assert run is not None
    whole = read.values_of("spans", "protobuf", body)
    for judged in (judge().judge(whole, are_native=False), judge().judge_spans(run)):
        if kept_us is None:
            assert [verdict.reason for verdict in judged.rejected] == ["invalid_timestamp"]
            continue
        (parcel,) = judged.parcels
        (one,) = decode(parcel.value)["events"]
        assert one["timestamp"] == kept_us
