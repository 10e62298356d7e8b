"""Data points of many requests taken apart together: metrics one by one, points as columns.

Gauges, sums and histograms are known here; points of exponential histograms and summaries, and
those with exemplars, are left to the reference, each alone.
Source: opentelemetry-proto, `metrics.proto`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from streams.codec.otlp.bodies import MESSAGE_BYTES_MAX, OtlpEncoder
from streams.codec.otlp.entries import attributes_of, merged
from streams.codec.otlp.links import SpanLinks
from streams.codec.otlp.metrics import DELTA, DELTA_WORD, NO_VALUE, TEMPORALITY
from streams.codec.otlp.origins import Origins, QuickOrigin
from streams.codec.otlp.spanstep import SpanStep, spans_at
from streams.codec.otlp.split import Scope, StrangeError, fields, split
from streams.codec.otlp.texts import is_utf8
from streams.codec.otlp.walk import (
    DOUBLE,
    FIXED64,
    INT,
    LENGTH,
    NAME,
    PAD_BYTES,
    TEXT,
    VARINT,
    Attributes,
    Found,
    Parts,
    Spans,
    words_of,
)
from streams.units import I64, U8, U64, Mask

_KINDS: Final = {
    0x2A: "gauge",
    0x3A: "sum",
    0x4A: "histogram",
    0x52: "exponential_histogram",
    0x5A: "summary",
}
_NUMBERS: Final = ("gauge", "sum")
_WITH_TEMPORALITY: Final = ("sum", "histogram", "exponential_histogram")
_NAME, _DESCRIPTION, _UNIT = 0x0A, 0x12, 0x1A
_POINT, _TEMPORALITY, _MONOTONIC = 0x0A, 0x10, 0x18
_START, _TIME = 0x11, 0x19
_AS_DOUBLE, _AS_INT, _OWN, _FLAGS = 0x21, 0x31, 0x3A, 0x40
_NUMBER: Final = {
    **dict.fromkeys((_START, _TIME, _AS_DOUBLE, _AS_INT), FIXED64),
    _OWN: LENGTH,
    _FLAGS: VARINT,
}
_COUNT, _SUM, _BUCKETS, _BOUNDS, _H_OWN, _H_FLAGS = 0x21, 0x29, 0x32, 0x3A, 0x4A, 0x50
_MIN, _MAX = 0x59, 0x61
_HISTOGRAM: Final = {
    **dict.fromkeys((_START, _TIME, _COUNT, _SUM, _MIN, _MAX), FIXED64),
    **dict.fromkeys((_BUCKETS, _BOUNDS, _H_OWN), LENGTH),
    _H_FLAGS: VARINT,
}
_NAN: Final = np.array([np.nan]).view(np.uint64)[0]
_KEYS: Final = (TEMPORALITY, "point.count", "point.sum", "point.min", "point.max", DELTA_WORD)
_SPARE: Final = b"\0"
"""In front of each text, for its length."""
_TABLE: Final = b"".join(_SPARE + key.encode() for key in _KEYS)
_SIZE: Final = np.array([len(key) for key in _KEYS], np.int64)
_AT: Final = np.cumsum(_SIZE + 1) - _SIZE


class Head(NamedTuple):
    """What the points of a metric share: whose they are as an index, name, unit, kind, is delta."""

    origin: int
    name: str
    unit: str
    kind: str
    is_delta: bool

    def metric_of(self, octets: bytes) -> Metric:
        """Return the metric with one point; raises what its reader does."""
        metric = Metric(name=self.name, unit=self.unit)
        data: Any = getattr(metric, self.kind)
        if self.is_delta:
            data.aggregation_temporality = DELTA
        data.data_points.add().MergeFromString(octets)
        return metric


@dataclass(frozen=True, slots=True)
class Points(Spans):
    """n points as spans; their names lie elsewhere.

    Attributes:
        bits: (n,) the value's bytes, as a number.
    """

    bits: U64


@dataclass(frozen=True, slots=True)
class PointStep(SpanStep):
    """The n points of a step.

    Attributes:
        metric: (n,) each point's metric.
        metrics: those of equal names and the like once.
    """

    metric: I64
    metrics: Sequence[Head]


def step_of_points(values: Sequence[bytes], known: Origins, encoder: OtlpEncoder) -> PointStep:
    """Split requests of metrics, protobuf, and take their points apart."""
    base = np.cumsum([0, *map(len, values)])
    codes: dict[Head, int] = {}
    origins: dict[int, int] = {}
    found: list[QuickOrigin] = []
    request: list[int] = []
    metric: list[int] = []
    counts: list[int] = []
    places: list[I64] = []
    for i, value in enumerate(values):
        scopes = [] if len(value) > MESSAGE_BYTES_MAX else split(value) or []
        ours = [known.of(scope.resource, scope.scope) for scope in scopes]
        if None in ours:
            continue
        metrics = _metrics_of(value, scopes, encoder.events_max_of(value))
        for nth, told, heads in metrics:
            one = ours[nth]
            assert one is not None
            if id(one) not in origins:
                origins[id(one)] = len(found)
                found.append(one)
            head = told._replace(origin=origins[id(one)])
            metric.append(codes.setdefault(head, len(codes)))
            request.append(i)
            counts.append(len(heads))
            places.append(np.array(heads, np.int64) + base[i])
    buffer = np.frombuffer(bytearray().join((*values, bytes(PAD_BYTES))), np.uint8)
    begin, end = spans_at(buffer, np.concatenate([np.zeros(0, np.int64), *places]))
    heads_of = tuple(codes)
    of = np.repeat(np.array(metric, np.int64), counts)
    octets, points = _read(buffer, begin, end, of, heads_of)
    return PointStep(
        values,
        octets,
        words_of(octets),
        np.repeat(np.array(request, np.int64), counts),
        np.array([head.origin for head in heads_of], np.int64)[of],
        found,
        begin,
        end,
        base,
        points,
        SpanLinks.none(),
        of,
        heads_of,
    )


def _metrics_of(
    value: bytes, scopes: Sequence[Scope], points_max: int
) -> list[tuple[int, Head, list[int]]]:
    """Return the metrics of a request, each with its scope's index and where its points begin.

    None where one has another form, or where they have more points than may be.
    """
    out: list[tuple[int, Head, list[int]]] = []
    count = sum(len(scope.heads) for scope in scopes)
    if count > points_max:
        return []
    count = 0
    try:
        for nth, scope in enumerate(scopes):
            for at in scope.heads:
                _, begin, end = next(fields(value, at, len(value)))
                head, heads = _metric(value, begin, end, points_max)
                count += len(heads)
                if count > points_max:
                    return []
                out.append((nth, head, heads))
    except (IndexError, StrangeError):
        return []
    return out


def _metric(value: bytes, begin: int, end: int, points_max: int) -> tuple[Head, list[int]]:
    texts = {_NAME: b"", _DESCRIPTION: b"", _UNIT: b""}
    kind, is_delta, heads = "", False, list[int]()
    for tag, at, stop in fields(value, begin, end):
        if tag in texts and not texts[tag] and is_utf8(value[at:stop]):
            texts[tag] = value[at:stop]
        elif tag in _KINDS and not kind:
            kind = _KINDS[tag]
            temporality, heads = _data(value, at, stop, points_max)
            is_delta = temporality == DELTA and kind in _WITH_TEMPORALITY
        else:
            raise StrangeError
    return Head(0, texts[_NAME].decode(), texts[_UNIT].decode(), kind, is_delta), heads


def _data(value: bytes, at: int, end: int, points_max: int) -> tuple[int, list[int]]:
    """Return the temporality, and where the points begin; points are many, see `split`."""
    temporality, heads = 0, list[int]()
    while at < end:
        tag, size = value[at], value[at + 1]
        if tag == _POINT:
            heads.append(at)
            if size < 0x80:
                at += size + 2
            else:
                _, _, at = next(fields(value, at, end))
        elif tag in (_TEMPORALITY, _MONOTONIC) and size < 0x80:
            temporality = size if tag == _TEMPORALITY else temporality
            at += 2
        else:
            raise StrangeError
        if len(heads) > points_max:
            raise StrangeError
    if at > end:
        raise StrangeError
    return temporality, heads


def _read(
    octets: U8, begin: I64, end: I64, metric: I64, heads: Sequence[Head]
) -> tuple[U8, Points]:
    """Return the fields of points, and the bytes with composed keys after them."""
    n, base = len(begin), len(octets)
    nothing = np.zeros(n, np.int64)
    time_ns, bits = np.zeros(n, np.uint64), np.full(n, _NAN, np.uint64)
    is_common = np.zeros(n, np.bool_)
    is_delta = np.array([head.is_delta for head in heads], np.bool_)
    none = np.zeros(0, np.int64)
    empty = attributes_of(none, none, none, none.astype(np.uint8), none, none, none)
    own: list[Attributes] = [replace(empty, first=nothing)]
    rows = np.flatnonzero(is_delta[metric])
    facts = [_fact(base, rows, 0, TEXT, np.zeros(len(rows)))]
    is_number = np.array([head.kind in _NUMBERS for head in heads], np.bool_)[metric]
    is_histogram = np.array([head.kind == "histogram" for head in heads], np.bool_)[metric]
    rows = np.flatnonzero(is_number)
    found = Found(octets, len(rows), _NUMBER, (_OWN,), is_strict=True, told=(_AS_DOUBLE, _AS_INT))
    found.walk(begin[rows], end[rows])
    own.append(_of_rows(found.attributes(_OWN), rows))
    is_double, is_int = found.has[_AS_DOUBLE], found.has[_AS_INT]
    whole = found.time[_AS_INT].view(np.int64).astype(np.float64).view(np.uint64)
    value = np.where(is_double, found.time[_AS_DOUBLE], np.where(is_int, whole, _NAN))
    bits[rows] = np.where(found.number[_FLAGS] & NO_VALUE, _NAN, value)
    time_ns[rows] = found.time[_TIME]
    is_common[rows] = found.is_common & ~(is_double & is_int)
    rows = np.flatnonzero(is_histogram)
    found = Found(octets, len(rows), _HISTOGRAM, (_H_OWN,), is_strict=True, told=(_SUM, _MIN, _MAX))
    found.walk(begin[rows], end[rows])
    own.append(_of_rows(found.attributes(_H_OWN), rows))
    bits[rows] = np.where(found.number[_H_FLAGS] & NO_VALUE, _NAN, _means(found))
    time_ns[rows] = found.time[_TIME]
    is_packed = (found.size[_BUCKETS] % 8 == 0) & (found.size[_BOUNDS] % 8 == 0)
    is_common[rows] = found.is_common & is_packed
    facts.append(_fact(base, rows, 1, INT, found.time[_COUNT]))
    for code, tag in ((2, _SUM), (3, _MIN), (4, _MAX)):
        there = found.has[tag]
        facts.append(_fact(base, rows[there], code, DOUBLE, found.time[tag][there]))
    parts = Parts(*[none] * 4)
    points = Points(
        is_common,
        {NAME: nothing},
        {NAME: nothing + 1},  # whatever it is
        *(nothing, nothing, nothing, time_ns, time_ns),
        merged([*own, *facts]),
        parts,
        parts,
        bits,
    )
    table = np.frombuffer(_TABLE, np.uint8)
    return np.concatenate([octets, table, np.zeros(PAD_BYTES, np.uint8)]), points


def _means(found: Found) -> U64:
    """Return the means of histograms, as the bytes of numbers; NaN where there is none."""
    count = found.time[_COUNT]
    has_mean: Mask = (count != 0) & found.has[_SUM]
    with np.errstate(all="ignore"):
        mean = found.time[_SUM].view(np.float64) / count.astype(np.float64)
    return np.where(has_mean, mean.view(np.uint64), _NAN)


def _of_rows(own: Attributes, rows: I64) -> Attributes:
    return replace(own, span=rows[own.span])


def _fact(base: int, rows: I64, code: int, form: int, bits: Any) -> Attributes:
    """Return one attribute of some points, with a key of the table; of a text it is the last."""
    count = len(rows)
    key = np.full(count, code)
    return attributes_of(
        rows,
        base + _AT[key],
        _SIZE[key],
        np.full(count, form, np.uint8),
        np.full(count, base + _AT[-1]),
        np.full(count, _SIZE[-1]),
        bits,
    )
