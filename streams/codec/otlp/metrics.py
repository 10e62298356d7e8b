"""The data points of OTLP metrics, each as one value.

A sum's value is its total where it is cumulative, as the contract's counters are; the value of a
histogram or summary is the mean of what it saw. Count, sum, extremes and quantiles stand beside it.
Source: OpenTelemetry metrics data model.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from streams.codec.otlp.values import number

_NAME: Final = re.compile(r"pipeline\.[a-z0-9_-]+\.([a-z0-9_-]+)\.(?:counter|histogram|gauge)\..+")
"""The contract's rule of names, which tells the component."""
NO_VALUE: Final = 1
"""Flag of a point that says that there is none. (`DataPointFlags`)"""
DELTA: Final = 1
TEMPORALITY: Final = "otel.temporality"
DELTA_WORD: Final = "delta"
QUANTILES_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One data point.

    Attributes:
        time_ns: when it was measured.
        value: NaN for none.
        attributes: its own.
        facts: what else it says, as text.
        component: what the metric's name tells of who emits it, "" for nothing.
    """

    time_ns: int
    value: float
    attributes: Sequence[KeyValue]
    facts: tuple[tuple[str, str], ...]
    component: str


def points_of(metric: Metric) -> Iterator[Point]:
    """Yield the points of a metric."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    component = component_of(metric.name)
    data: Any = getattr(metric, kind)
    is_delta = kind not in ("gauge", "summary") and data.aggregation_temporality == DELTA
    shared = ((TEMPORALITY, DELTA_WORD),) if is_delta else ()
    for point in data.data_points:
        is_number = kind in ("gauge", "sum")
        value = _number(point) if is_number else _mean(point)
        facts = () if is_number else tuple(_facts(point, kind))
        if point.flags & NO_VALUE:
            value = math.nan
        yield Point(point.time_unix_nano, value, point.attributes, (*shared, *facts), component)


def component_of(name: str) -> str:
    """Return what a metric's name tells of who emits it, "" for nothing."""
    named = _NAME.fullmatch(name)
    return named[1] if named else ""


def _number(point: Any) -> float:
    kind = point.WhichOneof("value")
    return math.nan if kind is None else float(getattr(point, kind))


def _mean(point: Any) -> float:
    """Return the mean of what a point counts; NaN where it counts nothing, or has no sum."""
    has_sum = "sum" not in _OPTIONAL.get(type(point).__name__, ()) or point.HasField("sum")
    return float(point.sum) / int(point.count) if point.count and has_sum else math.nan


_OPTIONAL: Final = {
    "HistogramDataPoint": ("sum", "min", "max"),
    "ExponentialHistogramDataPoint": ("sum", "min", "max"),
}


def _facts(point: Any, kind: str) -> Iterator[tuple[str, str]]:
    yield "point.count", str(point.count)
    if kind == "summary":
        yield "point.sum", number(point.sum)
        for at in point.quantile_values[:QUANTILES_MAX]:
            yield f"point.quantile.{number(at.quantile)}", number(at.value)
        return
    for name in _OPTIONAL[type(point).__name__]:
        if point.HasField(name):
            yield f"point.{name}", number(getattr(point, name))
