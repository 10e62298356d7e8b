"""Requests of metrics as event bodies, all requests of a step at once: see `quick`.

Invariant: a body is byte for byte what `OtlpEncoder` makes of the point, event ids included. A
request with a metric of another form is left to the encoder.
"""

from collections.abc import Sequence

import numpy as np

from streams.codec.otlp.events import NAME_BYTES_MAX
from streams.codec.otlp.heads import NS_PER_US, Plain, is_time
from streams.codec.otlp.keys import KeyCodes
from streams.codec.otlp.layout import Layout, Pieces, Shared
from streams.codec.otlp.metrics import component_of
from streams.codec.otlp.points import Head, Points, PointStep, step_of_points
from streams.codec.otlp.quicklines import LineLayout, QuickHashed, with_room
from streams.codec.otlp.requests import METRICS
from streams.codec.otlp.spanstep import SpanStep
from streams.codec.otlp.values import ENTRIES_MAX, Dimensions, cut
from streams.codec.varints import text, varint
from streams.core.columns import INFO, METRIC
from streams.units import I64, Mask

_SHARED = varint(METRIC) + varint(INFO)


class QuickPoints(QuickHashed):
    """Makes event bodies of requests of metrics, protobuf or JSON."""

    kind = METRICS
    texts = ()

    def _step_of(self, values: Sequence[bytes]) -> SpanStep:
        return step_of_points(self._plain(values), self._origins, self._encoder)

    def _slow_body(self, step: SpanStep, row: int) -> bytes:
        head = _points(step).metrics[int(_points(step).metric[row])]
        metric = head.metric_of(step.bytes_of(row))
        return with_room(self._encoder.point_body(metric, step.origin_of(row)))

    def _are_plain(self, step: SpanStep) -> Mask:
        return step.spans.is_common & is_time(step.spans.start_ns // NS_PER_US)

    def _layout(self, step: SpanStep, is_quick: Mask, keys: KeyCodes) -> Layout:
        rows = np.flatnonzero(is_quick)
        n = len(rows)
        ids, none, code = np.zeros((n, 2), np.uint64), np.zeros(n, np.uint64), np.zeros(n, np.uint8)
        time_us = step.spans.start_ns[rows] // NS_PER_US
        plain = Plain(ids, none, none, np.zeros(n, np.bool_), time_us, none, code, code, code)
        return _PointLayout(step, rows, plain, keys)


class _PointLayout(LineLayout):
    """The bodies of points: names belong to who emits them, and values stand where names do."""

    def _form(self) -> I64:
        return np.zeros(len(self.rows), np.int64)

    def _named(self) -> Pieces:
        """Return the values."""
        points = self._step.spans
        assert isinstance(points, Points)
        begin = self._place(points.bits[self.rows].tobytes())
        count = len(self.rows)
        return Pieces(begin + 8 * np.arange(count), np.full(count, 8))

    def _of_origins(self) -> tuple[Shared, Shared]:
        """Return who emits what; and units, with the shared dimensions behind how many they are."""
        step, most = _points(self._step), ENTRIES_MAX + 1
        metric = step.metric[self.rows]
        pairs, code = np.unique(metric * most + self._own_count, return_inverse=True)
        entries: list[bytes] = []
        for pair in pairs.tolist():
            head = step.metrics[pair // most]
            one = step.origins[head.origin]
            unit = text(cut(head.unit, NAME_BYTES_MAX))
            entries.append(unit + varint(one.count + pair % most) + one.entries)
        used, place = np.unique(metric, return_inverse=True)
        emitters = [self._emitter(step.metrics[nth]) for nth in used.tolist()]
        return self._texts(emitters, place), self._texts(entries, code)

    def _emitter(self, head: Head) -> bytes:
        """Return the bytes from `module` to `name`."""
        one = self._step.origins[head.origin]
        emitter, component = one.emitter, component_of(head.name)
        if component:
            place = one.origin.place(Dimensions(one.origin.dimensions), component)
            emitter = text(place.module) + text(place.component)
        return emitter + _SHARED + text(cut(head.name, NAME_BYTES_MAX))


def _points(step: SpanStep) -> PointStep:
    assert isinstance(step, PointStep)
    return step
