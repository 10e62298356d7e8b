"""Data points of many requests taken apart together: metrics one by one, points as columns.

All kinds are known here. Of exemplars nothing is kept: they are taken apart only to see that the
official reader would pass them; a point with one that is strange is left to the reference alone.
Source: opentelemetry-proto, `metrics.proto`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from streams.codec.otlp.attributes import DOUBLE, INT, PAD_BYTES, TEXT, Attributes
from streams.codec.otlp.bodies import MESSAGE_BYTES_MAX, OtlpEncoder
from streams.codec.otlp.entries import attributes_of, in_order, merged
from streams.codec.otlp.links import SpanLinks
from streams.codec.otlp.metrics import DELTA, DELTA_WORD, NO_VALUE, QUANTILES_MAX, TEMPORALITY
from streams.codec.otlp.origins import Origins, QuickOrigin
from streams.codec.otlp.spanstep import SpanStep, spans_at
from streams.codec.otlp.split import Scope, StrangeError, fields, scopes_of
from streams.codec.otlp.texts import are_utf8, is_utf8
from streams.codec.otlp.values import number
from streams.codec.otlp.walk import FIXED64, LENGTH, NAME, VARINT, Found, Parts, Spans, words_of
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
_AS_DOUBLE, _AS_INT = 0x21, 0x31
_COUNT, _SUM = 0x21, 0x29
_BUCKETS, _BOUNDS = 0x32, 0x3A
_QUANTILE, _QUANTILE_AT, _QUANTILE_VALUE = 0x32, 0x09, 0x11
_SCALE, _ZEROES, _POSITIVE, _NEGATIVE, _THRESHOLD = 0x30, 0x39, 0x42, 0x4A, 0x71
_ONE_SIDE: Final = re.compile(
    rb"(?:\x08[\x80-\xff]{0,4}[\0-\x7f])?"
    rb"(?:\x12(?:[\0-\x7f]|[\x80-\xff][\0-\x7f])((?:[\x80-\xff]{0,8}[\0-\x7f])*))?",
    re.DOTALL,
)
"""Buckets of one sign: an offset, and counts behind their length."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Where a kind of points has what.

    Attributes:
        fields: the form of each field, by tag.
        own, flags, exemplars: tags of attributes, flags and exemplars; 0 where it has none.
        least, most: tags of the extremes.
        are_sound: says which of the points that were walked have buckets that can be read.
    """

    fields: Mapping[int, int]
    own: int
    flags: int
    exemplars: int = 0
    least: int = 0
    most: int = 0
    are_sound: Callable[[U8, Found], Mask] = lambda _, found: found.is_common


def _are_packed(_octets: U8, found: Found) -> Mask:
    return np.asarray((found.size[_BUCKETS] % 8 == 0) & (found.size[_BOUNDS] % 8 == 0))


def _are_buckets(octets: U8, found: Found) -> Mask:
    is_sound = found.is_common.copy()
    for tag in (_POSITIVE, _NEGATIVE):
        for row in np.flatnonzero(found.size[tag] * is_sound).tolist():
            at = int(found.at[tag][row])
            is_sound[row] = _is_side(octets[at : at + int(found.size[tag][row])].tobytes())
    return is_sound


def _is_side(side: bytes) -> bool:
    """Whether bytes are buckets of one sign, written as usual."""
    told = _ONE_SIDE.fullmatch(side)
    if told is None or told[1] is None:
        return told is not None
    counts = told[1]
    size = len(counts)
    length = bytes((size,)) if size < 0x80 else bytes((size & 0x7F | 0x80, size >> 7 & 0xFF))
    return side[: len(side) - size].endswith(b"\x12" + length)


_NUMBER: Final = _Form(
    {
        **dict.fromkeys((_START, _TIME, _AS_DOUBLE, _AS_INT), FIXED64),
        **{0x2A: LENGTH, 0x3A: LENGTH, 0x40: VARINT},
    },
    *(0x3A, 0x40, 0x2A),
)
_HISTOGRAM: Final = _Form(
    {
        **dict.fromkeys((_START, _TIME, _COUNT, _SUM, 0x59, 0x61), FIXED64),
        **dict.fromkeys((_BUCKETS, _BOUNDS, 0x42, 0x4A), LENGTH),
        0x50: VARINT,
    },
    *(0x4A, 0x50, 0x42, 0x59, 0x61),
    _are_packed,
)
_EXPONENTIAL: Final = _Form(
    {
        **dict.fromkeys((_START, _TIME, _COUNT, _SUM, _ZEROES, 0x61, 0x69, _THRESHOLD), FIXED64),
        **dict.fromkeys((0x0A, _POSITIVE, _NEGATIVE, 0x5A), LENGTH),
        **dict.fromkeys((_SCALE, 0x50), VARINT),
    },
    *(0x0A, 0x50, 0x5A, 0x61, 0x69),
    _are_buckets,
)
_SUMMARY: Final = _Form(
    {
        **dict.fromkeys((_START, _TIME, _COUNT, _SUM), FIXED64),
        **{_QUANTILE: LENGTH, 0x3A: LENGTH, 0x40: VARINT},
    },
    own=0x3A,
    flags=0x40,
)
_QUANTILE_FORM: Final = {_QUANTILE_AT: FIXED64, _QUANTILE_VALUE: FIXED64}
_EXEMPLAR_TEXT: Final = 0x3A
_EXEMPLAR: Final = {
    **dict.fromkeys((0x11, 0x19, 0x31), FIXED64),
    **dict.fromkeys((0x22, 0x2A, _EXEMPLAR_TEXT), LENGTH),
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
        scopes = [] if len(value) > MESSAGE_BYTES_MAX else scopes_of(value)
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
    n = len(begin)
    columns = _Columns(octets, begin, end)
    is_delta = np.array([head.is_delta for head in heads], np.bool_)
    rows = np.flatnonzero(is_delta[metric])
    columns.add_fact(rows, 0, TEXT, np.zeros(len(rows)))
    codes = [*_KINDS.values(), ""]  # the last one of metrics without data, which have no points
    kinds = np.array([codes.index(head.kind) for head in heads], np.int64)[metric]
    columns.add_numbers(np.flatnonzero(kinds < len(_NUMBERS)))
    for nth, form in ((2, _HISTOGRAM), (3, _EXPONENTIAL)):
        columns.add_distributions(np.flatnonzero(kinds == nth), form)
    columns.add_summaries(np.flatnonzero(kinds == 4))
    nothing, parts = np.zeros(n, np.int64), Parts(*[np.zeros(0, np.int64)] * 4)
    points = Points(
        columns.is_common,
        {NAME: nothing},
        {NAME: nothing + 1},  # whatever it is
        *(nothing, nothing, nothing, columns.time_ns, columns.time_ns),
        merged([*columns.own, *columns.facts]),
        parts,
        parts,
        columns.bits,
    )
    table = np.frombuffer(_TABLE + columns.quantile_keys, np.uint8)
    return np.concatenate([octets, table, np.zeros(PAD_BYTES, np.uint8)]), points


class _Columns:
    """What n points say, kind by kind.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last point.
        begin: (n,) where each point begins.
        end: (n,) where each ends.

    Attributes:
        quantile_keys: of summaries, each behind a place for its length; they lie after `_TABLE`.
    """

    def __init__(self, octets: U8, begin: I64, end: I64) -> None:
        self.quantile_keys = b""
        self._octets, self._begin, self._end = octets, begin, end
        n, none = len(begin), np.zeros(0, np.int64)
        self.time_ns, self.bits = np.zeros(n, np.uint64), np.full(n, _NAN, np.uint64)
        self.is_common = np.zeros(n, np.bool_)
        empty = attributes_of(none, none, none, none.astype(np.uint8), none, none, none)
        self.own: list[Attributes] = [replace(empty, first=np.zeros(n, np.int64))]
        self.facts: list[Attributes] = []

    def add_numbers(self, rows: I64) -> None:
        """Take points of gauges and sums."""
        found = self._found(rows, _NUMBER, (_AS_DOUBLE, _AS_INT))
        is_double, is_int = found.has[_AS_DOUBLE], found.has[_AS_INT]
        whole = found.time[_AS_INT].view(np.int64).astype(np.float64).view(np.uint64)
        value = np.where(is_double, found.time[_AS_DOUBLE], np.where(is_int, whole, _NAN))
        self._put(rows, found, _NUMBER, value, ~(is_double & is_int))

    def add_distributions(self, rows: I64, form: "_Form") -> None:
        """Take points of histograms of either kind."""
        found = self._found(rows, form, (_SUM, form.least, form.most))
        self._put(rows, found, form, _means(found), form.are_sound(self._octets, found))
        self.add_fact(rows, 1, INT, found.time[_COUNT])
        for code, tag in ((2, _SUM), (3, form.least), (4, form.most)):
            there = found.has[tag]
            self.add_fact(rows[there], code, DOUBLE, found.time[tag][there])

    def add_summaries(self, rows: I64) -> None:
        """Take points of summaries."""
        found = self._found(rows, _SUMMARY, ())
        parts = in_order(found.parts(_QUANTILE))
        inner = Found(self._octets, len(parts.span), _QUANTILE_FORM, ())
        inner.walk(parts.begin, parts.end)
        found.is_common[parts.span[~inner.is_common]] = False
        self._put(rows, found, _SUMMARY, _means(found), found.is_common)
        self.add_fact(rows, 1, INT, found.time[_COUNT])
        self.add_fact(rows, 2, DOUBLE, found.time[_SUM])
        kept = np.flatnonzero(parts.nth < QUANTILES_MAX)
        at, size = self._quantile_keys(inner.time[_QUANTILE_AT][kept])
        value = inner.time[_QUANTILE_VALUE][kept]
        self._add_facts(rows[parts.span[kept]], at, size, DOUBLE, value)

    def _quantile_keys(self, bits: U64) -> tuple[I64, I64]:
        """Return where the keys of quantiles lie, made of their bytes as numbers; (q,) both."""
        distinct, nth = np.unique(bits, return_inverse=True)
        keys = [f"point.quantile.{number(one)}".encode() for one in distinct.view("<f8").tolist()]
        self.quantile_keys = b"".join(_SPARE + key for key in keys)
        size = np.array([len(key) for key in keys], np.int64)
        at = len(self._octets) + len(_TABLE) + np.cumsum(size + 1) - size
        return at[nth], size[nth]

    def add_fact(self, rows: I64, code: int, form: int, bits: Any) -> None:
        """Take one attribute of some points, its key from the table; of a text it is the last."""
        key = np.full(len(rows), code)
        self._add_facts(rows, len(self._octets) + _AT[key], _SIZE[key], form, bits)

    def _add_facts(self, rows: I64, key_at: I64, key_size: I64, form: int, bits: Any) -> None:
        count, text_at = len(rows), len(self._octets) + _AT[-1]
        forms = np.full(count, form, np.uint8)
        text = np.full(count, text_at), np.full(count, _SIZE[-1])
        self.facts.append(attributes_of(rows, key_at, key_size, forms, *text, bits))

    def _found(self, rows: I64, form: "_Form", told: tuple[int, ...]) -> Found:
        several = form.own, form.exemplars, _QUANTILE if form is _SUMMARY else 0
        found = Found(self._octets, len(rows), form.fields, several, is_strict=True, told=told)
        found.walk(self._begin[rows], self._end[rows])
        own = found.attributes(form.own)
        self.own.append(replace(own, span=rows[own.span]))
        self._judge_exemplars(found, found.parts(form.exemplars))
        return found

    def _judge_exemplars(self, found: Found, parts: Parts) -> None:
        """Mark the points with an exemplar that the reader may refuse: it reads texts as such."""
        if not len(parts.span):
            return
        inner = Found(self._octets, len(parts.span), _EXEMPLAR, (_EXEMPLAR_TEXT,))
        inner.walk(parts.begin, parts.end)
        own = inner.attributes(_EXEMPLAR_TEXT)
        is_text = inner.is_common[own.span]
        key, texts = np.flatnonzero(is_text), np.flatnonzero(is_text & (own.form == TEXT))
        words = words_of(self._octets)
        for at, size, nth in (
            (own.key_at, own.key_size, key),
            (own.value_at, own.value_size, texts),
        ):
            is_good = are_utf8(self._octets, words, at[nth], size[nth])
            inner.is_common[own.span[nth[~is_good]]] = False
        found.is_common[parts.span[~inner.is_common]] = False

    def _put(self, rows: I64, found: Found, form: "_Form", value: U64, is_sound: Mask) -> None:
        self.bits[rows] = np.where(found.number[form.flags] & NO_VALUE, _NAN, value)
        self.time_ns[rows] = found.time[_TIME]
        self.is_common[rows] = found.is_common & is_sound


def _means(found: Found) -> U64:
    """Return the means of what is counted, as the bytes of numbers; NaN where there is none.

    The sum of a summary is always there, that of a histogram where it is told.
    """
    count = found.time[_COUNT]
    has_mean: Mask = (count != 0) & found.has.get(_SUM, True)
    with np.errstate(all="ignore"):
        mean = found.time[_SUM].view(np.float64) / count.astype(np.float64)
    return np.where(has_mean, mean.view(np.uint64), _NAN)
