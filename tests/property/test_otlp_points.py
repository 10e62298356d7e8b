"""OTLP's data points: the quick way makes the bytes of the official reader's way, ids included."""

import random
from typing import Any

import pytest
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import FIELD_KEYS, Origin
from streams.codec.otlp.quickpoints import QuickPoints
from streams.codec.otlp.requests import METRICS
from streams.codec.schemas import default_schemas
from tests.otlp_cases import SCOPE, START_NS, as_json, attribute, metrics
from tests.otlp_columns import SERVICES, hold_against_the_decode, quickly, slowly
from tests.otlp_strategies import attribute_lists, damaged_bytes, keys, texts, times, values
from tests.tiers import tried

wholes = st.sampled_from([0, 1, 7, 65_536, 2**53 + 1, 2**63, 2**64 - 1])
plain_lists = st.lists(st.builds(KeyValue, key=keys, value=values), max_size=3)
shared: dict[str, Any] = {
    "time_unix_nano": times | st.just(START_NS),
    "start_time_unix_nano": times,
    "attributes": plain_lists | attribute_lists,
    "flags": st.sampled_from([0, 0, 0, 1, 2, 300]),
}
exemplars = st.lists(
    st.builds(
        pb.Exemplar,
        time_unix_nano=times,
        as_double=st.none() | st.floats(),
        span_id=st.binary(max_size=8),
        trace_id=st.binary(max_size=16),
        filtered_attributes=st.just([]) | plain_lists | attribute_lists,
    )
    | st.just(pb.Exemplar(as_int=5, time_unix_nano=9)),
    max_size=2,
)
numbers = st.one_of(
    st.builds(pb.NumberDataPoint, as_double=st.floats(), **shared),
    st.builds(pb.NumberDataPoint, as_int=st.integers(-(2**63), 2**63 - 1), **shared),
    st.builds(pb.NumberDataPoint, exemplars=exemplars, **shared),
)
seen: dict[str, Any] = {"count": wholes, "sum": st.floats() | st.none()}
extremes: dict[str, Any] = {"min": st.floats() | st.none(), "max": st.floats() | st.none()}
histograms = st.builds(
    pb.HistogramDataPoint,
    bucket_counts=st.lists(wholes, max_size=3),
    explicit_bounds=st.lists(st.floats(), max_size=2),
    exemplars=exemplars,
    **seen,
    **extremes,
    **shared,
)
buckets = st.builds(
    pb.ExponentialHistogramDataPoint.Buckets,
    offset=st.integers(-3, 3),
    bucket_counts=st.lists(wholes, max_size=3),
)
exponentials = st.builds(
    pb.ExponentialHistogramDataPoint,
    scale=st.integers(-3, 3),
    zero_count=wholes,
    positive=buckets,
    negative=buckets,
    **seen,
    **extremes,
    **shared,
)
quantiles = st.builds(
    pb.SummaryDataPoint.ValueAtQuantile,
    quantile=st.sampled_from([0.0, 0.5, 0.99, 1.0]) | st.floats(),
    value=st.floats(),
)
summaries = st.builds(
    pb.SummaryDataPoint,
    count=wholes,
    sum=st.floats(),
    quantile_values=st.lists(quantiles, max_size=3) | st.lists(quantiles, min_size=16, max_size=18),
    **shared,
)
temporalities = st.sampled_from([0, 1, 2])


def lists(points: Any) -> Any:
    """Return lists of points."""
    return st.lists(points, max_size=4)


data = st.one_of(
    st.builds(lambda p: {"gauge": pb.Gauge(data_points=p)}, lists(numbers)),
    st.builds(
        lambda p, t, m: {"sum": pb.Sum(data_points=p, aggregation_temporality=t, is_monotonic=m)},
        *(lists(numbers), temporalities, st.booleans()),
    ),
    st.builds(
        lambda p, t: {"histogram": pb.Histogram(data_points=p, aggregation_temporality=t)},
        *(lists(histograms), temporalities),
    ),
    st.builds(
        lambda p, t: {
            "exponential_histogram": pb.ExponentialHistogram(
                data_points=p, aggregation_temporality=t
            )
        },
        *(lists(exponentials), temporalities),
    ),
    st.builds(lambda p: {"summary": pb.Summary(data_points=p)}, lists(summaries)),
    st.just({}),
)
names = texts | st.sampled_from(["depth", "pipeline.alpha.parser.gauge.depth"])
some_metrics = st.builds(
    lambda name, unit, told, one: pb.Metric(name=name, unit=unit, description=told, **one),
    *(names, texts, st.sampled_from(["", "what it is"]), data),
)
requests = st.builds(
    pb.MetricsData,
    resource_metrics=st.lists(
        st.builds(
            pb.ResourceMetrics,
            resource=st.builds(Resource, attributes=plain_lists),
            scope_metrics=st.lists(
                st.builds(
                    pb.ScopeMetrics,
                    scope=st.just(SCOPE),
                    metrics=st.lists(some_metrics, max_size=3),
                ),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)


class Counting(OtlpEncoder):
    """Counts the points that it is asked for one by one."""

    slow = 0

    def point_body(self, metric: pb.Metric, origin: Origin) -> bytes:
        """Count and pass on."""
        self.slow += 1
        return super().point_body(metric, origin)


def slow_of(found: list[pb.Metric]) -> int:
    """Say how many points of a request are made one by one; hold it against the encoder."""
    encoder = Counting(default_schemas().current("telemetry_event"), SERVICES)
    value = metrics("shop", found).SerializeToString()
    run = QuickPoints(encoder).run([value])
    assert run is not None
    assert list(run.body) == encoder.bodies(METRICS, value)
    hold_against_the_decode([value, value], METRICS)
    return encoder.slow


def number(**given: Any) -> pb.NumberDataPoint:
    """Return a point as OpenTelemetry's SDKs write it."""
    return pb.NumberDataPoint(time_unix_nano=START_NS, start_time_unix_nano=START_NS - 9, **given)


@tried(st.lists(requests, min_size=1, max_size=3), few=20, many=80)
def test_the_quick_way_makes_the_same_bodies(drawn: list[pb.MetricsData]) -> None:
    """And the same columns, whatever the points are like and whoever lies beside them."""
    sent = [request.SerializeToString() for request in drawn]
    assert quickly(sent, METRICS) == [slowly(value, METRICS) for value in sent]
    hold_against_the_decode(sent, METRICS)


@tried(
    st.lists(requests, min_size=1, max_size=3), st.randoms(use_true_random=False), few=10, many=40
)
def test_json_goes_the_way_of_protobuf(drawn: list[pb.MetricsData], rng: random.Random) -> None:
    """Bodies, columns and rejections, beside requests in protobuf."""
    sent = [as_json(r) if rng.random() < 0.7 else r.SerializeToString() for r in drawn]
    assert quickly(sent, METRICS) == [slowly(value, METRICS) for value in sent]
    hold_against_the_decode(sent, METRICS)


@tried(requests, st.randoms(use_true_random=False), few=20, many=80)
def test_damaged_requests_are_judged_by_the_official_reader(
    request: pb.MetricsData, rng: random.Random
) -> None:
    """Bytes that are changed, cut or put in; their neighbour is whole."""
    depth = pb.Metric(name="depth", gauge=pb.Gauge(data_points=[number(as_int=5)]))
    good = metrics("shop", [depth]).SerializeToString()
    damaged = damaged_bytes(request.SerializeToString() or good, rng)
    sent = [good, damaged, good]
    assert quickly(sent, METRICS) == [slowly(value, METRICS) for value in sent]


def common() -> list[pb.Metric]:
    """Return metrics of the forms that go the quick way."""
    fields = number(as_int=3, attributes=[attribute(key, f"my {key}") for key in FIELD_KEYS])
    points = [number(as_int=-(2**63)), number(as_double=0.1), number(), number(flags=1, as_int=1)]
    points += [fields, number(as_int=7), number(as_int=7)]
    made: dict[str, Any] = {"time_unix_nano": START_NS, "bucket_counts": [1, 2]}
    made |= {"explicit_bounds": [0.5], "attributes": [attribute("k", "v")]}
    some = [
        pb.HistogramDataPoint(count=3, sum=1.0, min=0.1, max=0.7, **made),
        pb.HistogramDataPoint(count=3, **made),
        pb.HistogramDataPoint(sum=0.0, **made),
    ]
    sides = [
        pb.ExponentialHistogramDataPoint.Buckets(offset=-1_000, bucket_counts=[2**40, 0, 300]),
        pb.ExponentialHistogramDataPoint.Buckets(bucket_counts=range(160)),
        pb.ExponentialHistogramDataPoint.Buckets(),
    ]
    wide = [
        pb.ExponentialHistogramDataPoint(
            time_unix_nano=START_NS, count=2, sum=4, min=1, scale=-3, positive=side, negative=side
        )
        for side in sides
    ]
    kept = pb.Exemplar(
        time_unix_nano=START_NS,
        as_double=0.3,
        span_id=b"\1" * 8,
        trace_id=b"\2" * 16,
        filtered_attributes=[attribute("k", "ü"), attribute("n", 3)],
    )
    points.append(number(as_int=2, exemplars=[kept, pb.Exemplar(as_int=5), pb.Exemplar()]))
    some.append(pb.HistogramDataPoint(count=1, sum=2.0, exemplars=[kept], **made))
    wide.append(
        pb.ExponentialHistogramDataPoint(time_unix_nano=START_NS, count=1, exemplars=[kept, kept])
    )
    at = [pb.SummaryDataPoint.ValueAtQuantile(quantile=n / 20, value=n) for n in range(18)]
    summed = [
        pb.SummaryDataPoint(time_unix_nano=START_NS, count=2, sum=4, quantile_values=at[:3]),
        pb.SummaryDataPoint(time_unix_nano=START_NS, sum=4, quantile_values=at),
        pb.SummaryDataPoint(time_unix_nano=START_NS, count=2, attributes=[attribute("k", "v")]),
        pb.SummaryDataPoint(time_unix_nano=START_NS, count=2, sum=1, flags=1),
    ]
    depth = pb.Gauge(data_points=points)
    return [
        pb.Metric(name="depth", unit="1", description="how deep", gauge=depth),
        pb.Metric(name="pipeline.alpha.parser.counter.rows", sum=pb.Sum(
            data_points=points, aggregation_temporality=1, is_monotonic=True)),
        pb.Metric(name="x" * 2_000, unit="é" * 900, sum=pb.Sum(
            data_points=points, aggregation_temporality=2)),
        pb.Metric(name="seconds", histogram=pb.Histogram(
            data_points=some, aggregation_temporality=1)),
        pb.Metric(name="wide", exponential_histogram=pb.ExponentialHistogram(
            data_points=wide, aggregation_temporality=1)),
        pb.Metric(name="summed", summary=pb.Summary(data_points=summed)),
        pb.Metric(name="nothing"),
    ]  # fmt: skip


def test_the_common_forms_go_the_quick_way() -> None:
    """All kinds, each value there is, with exemplars; equal points have different ids."""
    assert slow_of(common()) == 0


def test_every_byte_of_a_request_may_be_any_other() -> None:
    """Two others at each place, and each length."""
    good = metrics("shop", common()[1:2] + common()[3:6]).SerializeToString()
    rng = random.Random(1)
    damaged = [
        good[:at] + bytes([octet]) + good[at + 1 :]
        for at in range(len(good))
        for octet in (0x80, rng.randrange(256))
    ]
    damaged += [good[:at] for at in range(len(good))]
    assert quickly(damaged, METRICS) == [slowly(value, METRICS) for value in damaged]


def test_other_forms_are_left_to_the_reader() -> None:
    """Each point alone: exemplars of a list, keys that meet, quantiles that come twice."""
    a_list = KeyValue(key="k", value=AnyValue(array_value=ArrayValue()))
    strange = pb.Exemplar(as_int=5, filtered_attributes=[a_list])
    points = [number(as_int=1), number(as_int=2, exemplars=[strange])]
    depth = pb.Metric(name="depth", gauge=pb.Gauge(data_points=points))
    met = pb.HistogramDataPoint(
        time_unix_nano=START_NS, count=1, attributes=[attribute("point.count", 5)]
    )
    lasting = pb.Metric(name="seconds", histogram=pb.Histogram(data_points=[met]))
    twice = [pb.SummaryDataPoint.ValueAtQuantile(quantile=0.5, value=value) for value in (2, 3)]
    summed = pb.SummaryDataPoint(time_unix_nano=START_NS, count=2, sum=4, quantile_values=twice)
    summary = pb.Metric(name="old", summary=pb.Summary(data_points=[summed]))
    assert slow_of([depth, lasting, summary]) == 3


@pytest.mark.parametrize("damage", [b"k\xff", b"v\xff"])
def test_an_exemplar_that_the_reader_refuses_is_refused(damage: bytes) -> None:
    """Though nothing of it would be kept: key and value of an attribute that are no texts."""
    exemplar = pb.Exemplar(filtered_attributes=[attribute("k~", "v~")])
    depth = pb.Metric(name="d", gauge=pb.Gauge(data_points=[number(exemplars=[exemplar])]))
    good = metrics("shop", [depth]).SerializeToString()
    whole = damage[:1] + b"~"
    assert good.count(whole) == 1
    bad = good.replace(whole, damage)
    assert quickly([good, bad, good], METRICS) == [
        slowly(one, METRICS) for one in (good, bad, good)
    ]
    assert slowly(bad, METRICS) == "invalid_otlp"


def test_a_point_of_millions_of_attributes_is_bounded() -> None:
    """It is left to the reader, which looks at so many; its neighbour goes the quick way."""
    many = number(as_int=1, attributes=[KeyValue(key="k") for _ in range(100_000)])
    depth = pb.Metric(name="depth", gauge=pb.Gauge(data_points=[many, number(as_int=2)]))
    assert slow_of([depth]) == 1


def test_more_points_than_could_be_good_are_left_to_the_encoder() -> None:
    """Two bytes each: it says that they are too many, and their neighbour is read."""
    good = metrics("shop", common()).SerializeToString()
    depth = pb.Metric(name="depth", gauge=pb.Gauge(data_points=[number()]))
    many = metrics("shop", [depth])
    gauge = many.resource_metrics[0].scope_metrics[0].metrics[0].gauge
    gauge.data_points.extend(pb.NumberDataPoint() for _ in range(50_000))
    sent = [good, many.SerializeToString(), good]
    assert quickly(sent, METRICS) == [slowly(value, METRICS) for value in sent]
    assert slowly(sent[1], METRICS) == "otlp_too_large"
