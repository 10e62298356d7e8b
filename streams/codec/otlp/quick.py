"""Requests of spans as event bodies, all requests of a step at once: the quick way.

The bodies are put together of pieces that lie in the requests already (names, keys, texts), with
ids and numbers written a column at a time. Invariant: a body is byte for byte what `OtlpEncoder`
makes of the span. A span of no common form is made by it, and a request whose form is not common is
left to it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import NAME_BYTES_MAX
from streams.codec.otlp.heads import HEAD_BYTES, TAIL_BYTES, heads_of, is_plain, tails_of
from streams.codec.otlp.keys import KEY_BYTES_MAX, KeyPatterns
from streams.codec.otlp.numbers import number_texts
from streams.codec.otlp.origins import Origins, QuickOrigin
from streams.codec.otlp.split import split
from streams.codec.otlp.values import DIMENSIONS_BYTES_MAX, ENTRIES_MAX, VALUE_BYTES_MAX
from streams.codec.otlp.walk import NAME, PAD_BYTES, TEXT, Spans, walk_spans, words_of
from streams.codec.varints import varint
from streams.core.bodies import copied
from streams.units import I64, U8, U64, Mask

_UNIT_BYTES: Final = 32
"""Most pieces are keys and short texts."""
_ONE_BYTE: Final = 64
"""Lengths below take one byte in Avro; those of texts and keys here take two at most."""
_NUMBER_BYTES_MAX: Final = 32
_FIXED_PIECES: Final = 6
_HEAD, _PLACE, _NAME, _COUNT, _ENTRIES, _ATTRIBUTES = range(6)
_ERROR: Final = 2
_NO_VALUE: Final = struct.pack("<d", float("nan")) + b"\0"
"""No value, and no unit."""
_COUNTS: Final = [_NO_VALUE + varint(count) for count in range(ENTRIES_MAX + 1)]


@dataclass(frozen=True, slots=True)
class _Step:
    """The n spans of a step.

    Attributes:
        values: the requests.
        octets, words: all of them, one after the other.
        request: (n,) each span's request.
        origin: (n,) each span's origin.
        origins: the origins.
        begin, end: (n,) where each lies in `octets`.
        base: (requests,) where each request begins there.
        spans: what is in them.
    """

    values: Sequence[bytes]
    octets: U8
    words: U64
    request: I64
    origin: I64
    origins: Sequence[QuickOrigin]
    begin: I64
    end: I64
    base: I64
    spans: Spans


class QuickSpans:
    """Makes event bodies of requests of spans.

    Args:
        encoder: makes what is not common.
    """

    def __init__(self, encoder: OtlpEncoder) -> None:
        self._encoder = encoder
        self._origins = Origins(encoder)
        self._patterns = KeyPatterns()

    def bodies(self, values: Sequence[bytes]) -> list[tuple[int, bytes] | None]:
        """Return how many spans each request holds, and their bodies one after the other.

        None where the encoder must judge the request: it has no span, or another form, or makes
        more bytes than it may.
        """
        out: list[tuple[int, bytes] | None] = [None] * len(values)
        step = self._step(values)
        if not len(step.begin):
            return out
        is_quick = self._is_quick(step)
        pieces = _Pieces(step, is_quick)
        lost = self._add_slow(step, np.flatnonzero(~is_quick), pieces)
        keep = ~np.isin(step.request, list(lost))
        data, size = pieces.joined(keep)
        end = 0
        for i in np.unique(step.request[keep]).tolist():
            rows = slice(*np.searchsorted(step.request[keep], (i, i + 1)).tolist())
            begin, end = end, end + int(size[rows].sum())
            out[i] = rows.stop - rows.start, data[begin:end]
        return out

    def _step(self, values: Sequence[bytes]) -> _Step:
        """Split the requests and take their spans apart."""
        base = np.cumsum([0, *map(len, values)])
        request: list[int] = []
        origin: list[int] = []
        counts: list[int] = []
        begin: list[int] = []
        end: list[int] = []
        starts: list[int] = []
        origins: list[QuickOrigin] = []
        for i, value in enumerate(values):
            scopes = split(value) or []
            found = [self._origins.of(scope.resource, scope.scope) for scope in scopes]
            for scope, one in zip(scopes, found, strict=True) if None not in found else ():
                assert one is not None
                request.append(i)
                origin.append(len(origins))
                origins.append(one)
                counts.append(len(scope.begin))
                starts.append(int(base[i]))
                begin += scope.begin
                end += scope.end
        octets = np.frombuffer(bytearray(b"".join((*values, bytes(PAD_BYTES)))), np.uint8)
        shift = np.repeat(np.array(starts, np.int64), counts)
        begins, ends = np.array(begin, np.int64) + shift, np.array(end, np.int64) + shift
        return _Step(
            values,
            octets,
            words_of(octets),
            np.repeat(np.array(request, np.int64), counts),
            np.repeat(np.array(origin, np.int64), counts),
            origins,
            begins,
            ends,
            base,
            walk_spans(octets, begins, ends),
        )

    def _is_quick(self, step: _Step) -> Mask:
        """Return which spans are put together of pieces; (n,) bool."""
        spans, n = step.spans, len(step.begin)
        attributes = spans.attributes
        is_quick = is_plain(spans)
        is_quick &= (spans.size[NAME] > 0) & (spans.size[NAME] <= NAME_BYTES_MAX)
        is_long = attributes.key_size > KEY_BYTES_MAX
        is_long |= (attributes.form == TEXT) & (attributes.value_size > VALUE_BYTES_MAX)
        is_quick[attributes.span[is_long]] = False
        text_bytes = np.where(attributes.form == TEXT, attributes.value_size, _NUMBER_BYTES_MAX)
        own_bytes = np.bincount(
            attributes.span, weights=attributes.key_size + text_bytes, minlength=n
        )
        own_count = np.bincount(attributes.span, minlength=n)
        of_origin = [(len(one.entries), one.count, one.is_common) for one in step.origins]
        origin_bytes, origin_count, is_common = np.array(of_origin, np.int64).T
        is_quick &= own_bytes + origin_bytes[step.origin] <= DIMENSIONS_BYTES_MAX
        is_quick &= own_count + origin_count[step.origin] <= ENTRIES_MAX
        is_quick &= is_common[step.origin] > 0
        rows = np.flatnonzero(is_quick)
        if len(rows):
            is_quick[rows] = self._patterns.are_common(
                step.octets, step.words, attributes, rows, step.origin, step.origins
            )
        return is_quick

    def _add_slow(self, step: _Step, rows: I64, pieces: "_Pieces") -> set[int]:
        """Encode the other spans one by one; return the requests that the encoder must judge."""
        total = np.bincount(step.request, pieces.row_bytes, len(step.values)).astype(np.int64)
        bytes_max = [self._encoder.bytes_max_of(value) for value in step.values]
        lost = {i for i, most in enumerate(bytes_max) if total[i] > most}
        for row in rows.tolist():
            i = int(step.request[row])
            if i in lost:
                continue
            base = int(step.base[i])
            value = step.values[i][int(step.begin[row]) - base : int(step.end[row]) - base]
            try:
                span = Span.FromString(value)
            except (DecodeError, RecursionError, ValueError):
                lost.add(i)
                continue
            origin = step.origins[int(step.origin[row])].origin
            body = self._encoder.span_body(span, origin)
            pieces.add(row, body)
            total[i] += len(body)
            if total[i] > bytes_max[i]:
                lost.add(i)
        return lost


class _Pieces:
    """The pieces that the bodies of a step consist of, and where they lie.

    Args:
        step: the spans; the bytes in front of names, keys and texts are written over.
        is_quick: (n,) which of them are put together; each of the others is one piece.

    Attributes:
        row_bytes: (n,) length of each body.
    """

    def __init__(self, step: _Step, is_quick: Mask) -> None:
        rows = np.flatnonzero(is_quick)
        attributes = step.spans.attributes
        own = np.bincount(attributes.span, minlength=len(is_quick))
        self._count = np.where(is_quick, _FIXED_PIECES + 2 * own, 1)
        self._first = np.cumsum(self._count) - self._count
        self._start = np.zeros(int(self._count.sum()), np.int64)
        self._size = np.zeros(len(self._start), np.int64)
        self._sources: list[U8] = [step.octets]
        self._source_bytes = len(step.octets)
        self._add_attributes(step, is_quick)
        self._add_ends(step, rows)
        self._add_shared(step, rows)
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._size)])
        self.row_bytes = sums[self._first + self._count] - sums[self._first]

    def add(self, row: int, body: bytes) -> None:
        """Add the body of a span that is no quick one."""
        self._start[self._first[row]] = self._place(np.frombuffer(body, np.uint8))
        self._size[self._first[row]] = self.row_bytes[row] = len(body)

    def joined(self, keep: Mask) -> tuple[bytes, I64]:
        """Return the bodies of the rows to keep, one after the other, and their lengths."""
        pieces = np.repeat(keep, self._count)
        source = np.concatenate([*self._sources, np.zeros(PAD_BYTES, np.uint8)])
        data = copied(source, self._start[pieces], self._size[pieces], _UNIT_BYTES)
        return data, self.row_bytes[keep]

    def _place(self, source: U8) -> int:
        """Take a source over; return where it begins among all."""
        begin = self._source_bytes
        self._sources.append(source)
        self._source_bytes += len(source)
        return begin

    def _add_attributes(self, step: _Step, is_quick: Mask) -> None:
        attributes = step.spans.attributes
        mine = is_quick[attributes.span]
        span = attributes.span[mine]
        nth = np.arange(len(span)) - np.searchsorted(span, span, side="left")
        at = self._first[span] + _ATTRIBUTES + 2 * nth
        key_at, key_size = attributes.key_at[mine], attributes.key_size[mine]
        step.octets[key_at - 1] = 2 * key_size
        self._start[at], self._size[at] = key_at - 1, key_size + 1
        form = attributes.form[mine]
        numbers, start, size = number_texts(form, attributes.bits[mine])
        start = start + self._place(np.frombuffer(numbers, np.uint8))
        texts = np.flatnonzero(form == TEXT)
        start[texts], size[texts] = _with_lengths(
            step.octets, attributes.value_at[mine][texts], attributes.value_size[mine][texts]
        )
        self._start[at + 1], self._size[at + 1] = start, size

    def _add_ends(self, step: _Step, rows: I64) -> None:
        """Add heads, names and tails."""
        first = self._first[rows]
        heads, size = heads_of(step.words, step.spans, rows)
        begin = self._place(heads.reshape(-1))
        self._start[first + _HEAD] = begin + HEAD_BYTES * np.arange(len(rows))
        self._size[first + _HEAD] = size
        name_at, name_size = step.spans.at[NAME][rows], step.spans.size[NAME][rows]
        place = _with_lengths(step.octets, name_at, name_size)
        self._start[first + _NAME], self._size[first + _NAME] = place
        tails, size = tails_of(step.spans, rows)
        begin = self._place(tails.reshape(-1))
        last = first + self._count[rows] - 1
        self._start[last] = begin + TAIL_BYTES * np.arange(len(rows))
        self._size[last] = size

    def _add_shared(self, step: _Step, rows: I64) -> None:
        """Add what the spans of an origin have in common, and how many dimensions each has."""
        first, origin = self._first[rows], step.origin[rows]
        own = (self._count[rows] - _FIXED_PIECES) // 2
        count = own + np.array([one.count for one in step.origins], np.int64)[origin]
        is_error = step.spans.status[rows] == _ERROR
        for slot, texts, code in (
            (_PLACE, [p for one in step.origins for p in one.places], 2 * origin + is_error),
            (_COUNT, _COUNTS, count),
            (_ENTRIES, [one.entries for one in step.origins], origin),
        ):
            size = np.array([len(one) for one in texts], np.int64)
            begin = self._place(np.frombuffer(b"".join(texts), np.uint8))
            self._start[first + slot] = begin + (np.cumsum(size) - size)[code]
            self._size[first + slot] = size[code]


def _with_lengths(octets: U8, at: I64, size: I64) -> tuple[I64, I64]:
    """Write the lengths of texts in front of them; return where that begins, and its length.

    Two bytes or more in front of each text belong to nothing else: its tag and its length.
    """
    is_long = size >= _ONE_BYTE
    octets[at - 1] = np.where(is_long, size >> 6, 2 * size)
    before = at[is_long] - 2
    octets[before] = (2 * size[is_long] & 0x7F) | 0x80
    return at - 1 - is_long, size + 1 + is_long
