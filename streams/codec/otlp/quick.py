"""Requests of spans as event bodies and columns, all requests of a step at once: the quick way.

The bodies are put together of pieces that lie in the requests already (names, keys, texts), with
ids and numbers written a column at a time. Invariant: a body is byte for byte what `OtlpEncoder`
makes of the span. A span of no common form is made by it, and a request whose form is not common is
left to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.codec.otlp.attributes import TEXT
from streams.codec.otlp.bodies import MESSAGE_BYTES_MAX, OtlpEncoder
from streams.codec.otlp.columns import SpanColumns, SpanReader, is_straight
from streams.codec.otlp.entries import read_spans
from streams.codec.otlp.events import NAME_BYTES_MAX
from streams.codec.otlp.heads import is_plain, plain_of
from streams.codec.otlp.jsonbytes import protobuf_of
from streams.codec.otlp.keys import KEY_BYTES_MAX, KeyCodes, KeyPatterns
from streams.codec.otlp.layout import Layout
from streams.codec.otlp.links import SpanLinks
from streams.codec.otlp.origins import Origins
from streams.codec.otlp.requests import SPANS, is_json
from streams.codec.otlp.spanstep import SpanStep, step_of
from streams.codec.otlp.texts import are_utf8, cut_sizes
from streams.codec.otlp.values import DIMENSIONS_BYTES_MAX, ENTRIES_MAX, VALUE_BYTES_MAX
from streams.codec.otlp.walk import NAME, Spans
from streams.core.bodies import Bodies
from streams.units import I64, U8, Mask

_NUMBER_BYTES_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class SpanRun:
    """The spans of some requests, one request after the other; n of them.

    Attributes:
        counts: (r,) how many spans each request holds; 0 where the encoder must judge it: it has
            no span, or another form, or makes more bytes than it may.
        body: their bodies, one after the other.
        straight: (k,) which of them are straight, in order: they are good events.
        columns: of these; None where nobody wants them, and none is straight.
    """

    counts: I64
    body: Bodies
    straight: I64
    columns: SpanColumns | None


class QuickBodies:
    """Makes event bodies of requests of one kind; what is said of spans holds for log records.

    Args:
        encoder: makes what is not common.
        dimensions: keys of the dimensions that are looked for.
    """

    kind = SPANS
    texts: tuple[int, ...] = (NAME,)
    """Fields that have to be texts."""

    def __init__(self, encoder: OtlpEncoder, dimensions: Sequence[str] = ()) -> None:
        self._encoder = encoder
        self._origins = Origins(encoder)
        self._patterns = KeyPatterns(dimensions)

    def _plain(self, values: Sequence[bytes]) -> list[bytes]:
        """Return requests as protobuf."""
        return [_as_protobuf(value, self.kind) for value in values]

    def _step_of(self, values: Sequence[bytes]) -> SpanStep:
        """Take requests apart."""
        return step_of(self._plain(values), self._origins, self._encoder, self._read)

    def _read(self, octets: U8, begin: I64, end: I64) -> tuple[U8, Spans, SpanLinks]:
        """Take spans apart; as `read_spans`."""
        return read_spans(octets, begin, end)

    def _slow_body(self, step: SpanStep, row: int) -> bytes:
        """Return the body of one span; raises what its reader does."""
        return self._encoder.span_body(Span.FromString(step.bytes_of(row)), step.origin_of(row))

    def _are_plain(self, step: SpanStep) -> Mask:
        """Return which spans have ids and times that are written here, (n,) bool."""
        return is_plain(step.spans)

    def _layout(self, step: SpanStep, is_quick: Mask, keys: KeyCodes) -> Layout:
        rows = np.flatnonzero(is_quick)
        return Layout(step, rows, plain_of(step.words, step.spans, rows), keys)

    def made(self, values: Sequence[bytes]) -> "Made | None":
        """Make the bodies of requests; None when there is no span."""
        step = self._step_of(values)
        is_lost = np.zeros(len(values), np.bool_)
        if not len(step.begin):
            return None
        is_quick, keys = self._is_quick(step)
        is_lost[step.request[_not_text(step, is_quick, self.texts)]] = True
        layout = self._layout(step, is_quick & ~is_lost[step.request], keys)
        slow = self._slow(step, np.flatnonzero(~is_quick), layout, is_lost)
        keep = ~is_lost[step.request]
        if not keep[layout.rows].all():
            layout = self._layout(step, is_quick & keep, keys)
        size = np.zeros(len(keep), np.int64)
        size[layout.rows] = layout.size
        slow = {row: one for row, one in slow.items() if keep[row]}
        size[list(slow)] = [len(one) for one in slow.values()]
        begin = np.cumsum(size) - size
        placed = {int(begin[row]): one for row, one in slow.items()}
        out = layout.write(begin[layout.rows], int(size.sum()), placed)
        data = self._finished(out, begin[keep], size[keep], step.request[keep])
        counts = np.bincount(step.request[keep], minlength=len(values))
        body = Bodies(data, begin[keep], size[keep])
        return Made(step, body, counts, layout, begin[layout.rows], keys.field, np.cumsum(keep) - 1)

    def _finished(self, out: U8, _begin: I64, _size: I64, _request: I64) -> bytes:
        """Return bodies that begin so, as they are handed on."""
        return out.tobytes()

    def _is_quick(self, step: SpanStep) -> tuple[Mask, KeyCodes]:
        """Return which spans are put together of pieces, (n,) bool; and what keys they have."""
        spans, attributes = step.spans, step.spans.attributes
        is_quick = self._are_plain(step)
        is_quick &= (spans.size[NAME] > 0) & (spans.size[NAME] <= NAME_BYTES_MAX)
        is_text = attributes.form == TEXT
        is_quick[attributes.span[attributes.key_size > KEY_BYTES_MAX]] = False
        kept_bytes = np.minimum(attributes.value_size, VALUE_BYTES_MAX)
        text_bytes = is_text * (kept_bytes - _NUMBER_BYTES_MAX) + _NUMBER_BYTES_MAX
        ends = np.cumsum(attributes.key_size + text_bytes)
        ends = np.concatenate([np.zeros(1, np.int64), ends])
        first, count = attributes.first, attributes.count
        of_origin = [(len(one.entries), one.count, one.is_common) for one in step.origins]
        origin_bytes, origin_count, is_common = np.array(of_origin, np.int64).T
        own_bytes = ends[first + count] - ends[first]
        is_quick &= own_bytes + origin_bytes[step.origin] <= DIMENSIONS_BYTES_MAX
        is_quick &= count + origin_count[step.origin] <= ENTRIES_MAX
        is_quick &= is_common[step.origin] > 0
        rows = np.flatnonzero(is_quick)
        is_quick[rows], keys = self._patterns.are_common(
            step.octets, step.words, attributes, rows, step.origin, step.origins
        )
        return is_quick, keys

    def _slow(self, step: SpanStep, rows: I64, layout: Layout, is_lost: Mask) -> dict[int, bytes]:
        """Encode the other spans one by one; mark the requests that the encoder must judge."""
        request = step.request[layout.rows]
        total = np.bincount(request, layout.size, len(step.values)).astype(np.int64)
        bytes_max = np.array([self._encoder.bytes_max_of(value) for value in step.values])
        is_lost |= total > bytes_max
        slow: dict[int, bytes] = {}
        for row in rows.tolist():
            i = int(step.request[row])
            if is_lost[i]:
                continue
            try:
                slow[row] = self._slow_body(step, row)
            except (DecodeError, RecursionError, ValueError):
                is_lost[i] = True
                continue
            total[i] += len(slow[row])
            is_lost[i] = total[i] > bytes_max[i]
        return slow


class QuickSpans(QuickBodies):
    """Makes event bodies of requests of spans, protobuf or JSON.

    Args:
        encoder: makes what is not common.
        dimensions: keys of the dimensions that become columns.
        has_columns: whether columns are wanted; where bodies are changed, they are not.
    """

    def __init__(
        self, encoder: OtlpEncoder, dimensions: Sequence[str] = (), *, has_columns: bool = True
    ) -> None:
        super().__init__(encoder, dimensions)
        self._reader = SpanReader(dimensions) if has_columns else None

    def run(self, values: Sequence[bytes]) -> SpanRun | None:
        """Return the spans of requests as bodies, and those that are straight as columns.

        None when the encoder must judge all of the requests.
        """
        made = self.made(values)
        if made is None:
            return None
        if self._reader is None:
            return SpanRun(made.counts, made.body, np.zeros(0, np.int64), None)
        step, layout = made.step, made.layout
        some = np.flatnonzero(is_straight(step, layout.rows, layout.plain))
        columns = self._reader.columns(step, layout, made.begin, some, made.field, made.body.data)
        return SpanRun(made.counts, made.body, made.nth[layout.rows[some]], columns)


@dataclass(frozen=True, slots=True)
class Made:
    """The n spans of a step, and the bodies of those whose requests are not left to the encoder.

    Attributes:
        step: the spans.
        body: the bodies, one after the other.
        counts: (requests,) how many each has.
        layout: the q bodies that were put together.
        begin: (q,) where these begin.
        field: as `KeyCodes` has it.
        nth: (n,) index of each span's body.
    """

    step: SpanStep
    body: Bodies
    counts: I64
    layout: Layout
    begin: I64
    field: I64
    nth: I64


def _as_protobuf(value: bytes, kind: str) -> bytes:
    """Return a request as protobuf; one in JSON that cannot be taken so has no span."""
    if not is_json(value):
        return value
    return protobuf_of(value, kind) if len(value) <= MESSAGE_BYTES_MAX else b""


def _not_text(step: SpanStep, is_quick: Mask, fields: Sequence[int]) -> I64:
    """Return the spans with a field or a value that is no text, as the reader would find.

    Values that are texts are cut to what is kept of them.
    """
    spans, attributes = step.spans, step.spans.attributes
    rows = np.flatnonzero(is_quick)
    texts = np.flatnonzero((attributes.form == TEXT) & is_quick[attributes.span])
    at, size = attributes.value_at[texts], attributes.value_size[texts]
    # All in one call, which makes a bit of each byte of the step.
    each = [(spans.at[tag][rows], spans.size[tag][rows]) for tag in fields]
    all_at, all_size = map(np.concatenate, zip(*each, (at, size), strict=True))
    are_good = are_utf8(step.octets, step.words, all_at, all_size)
    bad = np.tile(rows, len(each))[~are_good[: len(all_at) - len(at)]]
    is_good = are_good[len(all_at) - len(at) :]
    if (size > VALUE_BYTES_MAX).any():
        cut = cut_sizes(step.octets, at[is_good], size[is_good], VALUE_BYTES_MAX)
        attributes.value_size[texts[is_good]] = cut
    if is_good.all() and not len(bad):
        return bad
    return np.concatenate([bad, attributes.span[texts[~is_good]]])
