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

from streams.codec.otlp.bodies import (
    MESSAGE_BYTES_MAX,
    OtlpEncoder,
)
from streams.codec.otlp.events import FIELD_KEYS, NAME_BYTES_MAX
from streams.codec.otlp.heads import HEAD_BYTES, TAIL_BYTES, heads_of, is_plain, tails_of
from streams.codec.otlp.keys import KEY_BYTES_MAX, NO_FIELD, KeyPatterns
from streams.codec.otlp.numbers import number_texts
from streams.codec.otlp.origins import Origins, QuickOrigin
from streams.codec.otlp.pieces import joined
from streams.codec.otlp.split import split
from streams.codec.otlp.values import DIMENSIONS_BYTES_MAX, ENTRIES_MAX, VALUE_BYTES_MAX
from streams.codec.otlp.walk import NAME, PAD_BYTES, TEXT, Spans, walk_spans, words_of
from streams.codec.varints import varint
from streams.units import I64, U8, U64, Mask

_ONE_BYTE: Final = 64
"""Lengths below take one byte in Avro; those of texts and keys here take two at most."""
_NUMBER_BYTES_MAX: Final = 32
_FIXED_PIECES: Final = 5
_FIELD_PIECES: Final = 1 + len(FIELD_KEYS)
"""The end of the dimensions and the fields' texts, of spans that have such; of others the tail
begins with them, all empty."""
_HEAD, _PLACE, _NAME, _ENTRIES, _ATTRIBUTES = range(5)
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
        is_quick, field = self._is_quick(step)
        pieces = _Pieces(step, is_quick, field)
        lost = self._add_slow(step, np.flatnonzero(~is_quick), pieces)
        keep = ~np.isin(step.request, list(lost))
        data, size = pieces.joined(keep)
        request, first, count = np.unique(step.request[keep], return_index=True, return_counts=True)
        begin = (np.cumsum(size) - size)[first].tolist()
        end = [*begin[1:], len(data)]
        for i, n, at, stop in zip(request.tolist(), count.tolist(), begin, end, strict=True):
            out[i] = n, data[at:stop]
        return out

    def _step(self, values: Sequence[bytes]) -> _Step:
        """Split the requests and take their spans apart."""
        base = np.cumsum([0, *map(len, values)])
        request: list[int] = []
        origin: list[int] = []
        counts: list[int] = []
        places: list[int] = []
        starts: list[int] = []
        origins: list[QuickOrigin] = []
        for i, value in enumerate(values):
            scopes = [] if len(value) > MESSAGE_BYTES_MAX else split(value) or []
            many = sum(len(scope.places) // 2 for scope in scopes)
            if many > self._encoder.events_max_of(value):
                continue
            found = [self._origins.of(scope.resource, scope.scope) for scope in scopes]
            for scope, one in zip(scopes, found, strict=True) if None not in found else ():
                assert one is not None
                request.append(i)
                origin.append(len(origins))
                origins.append(one)
                counts.append(len(scope.places) // 2)
                starts.append(int(base[i]))
                places += scope.places
        octets = np.frombuffer(bytearray(b"".join((*values, bytes(PAD_BYTES)))), np.uint8)
        shift = np.repeat(np.array(starts, np.int64), counts)
        begins, ends = np.array(places, np.int64).reshape(-1, 2).T + shift
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

    def _is_quick(self, step: _Step) -> tuple[Mask, I64]:
        """Return which spans are put together of pieces, and which attributes are fields.

        The first is (n,) bool; the second as `KeyPatterns.are_common` returns it.
        """
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
        is_quick[rows], field = self._patterns.are_common(
            step.octets, step.words, attributes, rows, step.origin, step.origins
        )
        return is_quick, field

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
        field: of each attribute the index of the field that it is, or NO_FIELD.

    Attributes:
        row_bytes: (n,) length of each body.
    """

    def __init__(self, step: _Step, is_quick: Mask, field: I64) -> None:
        rows = np.flatnonzero(is_quick)
        span, n = step.spans.attributes.span, len(is_quick)
        is_own, is_field = is_quick[span] & (field == NO_FIELD), is_quick[span] & (field >= 0)
        self._own = np.bincount(span[is_own], minlength=n)
        self._has_field = np.bincount(span[is_field], minlength=n) > 0
        quick = _FIXED_PIECES + 2 * self._own + _FIELD_PIECES * self._has_field
        self._count = np.where(is_quick, quick, 1)
        self._first = np.cumsum(self._count) - self._count
        self._start = np.zeros(int(self._count.sum()), np.int64)
        self._size = np.zeros(len(self._start), np.int64)
        self._sources: list[U8] = [step.octets]
        self._source_bytes = len(step.octets)
        self._add_attributes(step, np.flatnonzero(is_own))
        self._add_ends(step, rows)
        self._add_fields(step, np.flatnonzero(is_field), field)
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
        data = joined(source, self._start[pieces], self._size[pieces])
        return data, self.row_bytes[keep]

    def _place(self, source: U8) -> int:
        """Take a source over; return where it begins among all."""
        begin = self._source_bytes
        self._sources.append(source)
        self._source_bytes += len(source)
        return begin

    def _add_attributes(self, step: _Step, mine: I64) -> None:
        """Add the attributes that are dimensions, each as key and value."""
        attributes = step.spans.attributes
        span = attributes.span[mine]
        nth = np.arange(len(span)) - np.searchsorted(span, span, side="left")
        at = self._first[span] + _ATTRIBUTES + 2 * nth
        key_at, key_size = attributes.key_at[mine], attributes.key_size[mine]
        step.octets[key_at - 1] = 2 * key_size
        self._start[at], self._size[at] = key_at - 1, key_size + 1
        self._start[at + 1], self._size[at + 1] = self._values(step, mine)

    def _add_fields(self, step: _Step, mine: I64, field: I64) -> None:
        """Add the attributes that are fields: they come between the dimensions and the tail."""
        rows = np.flatnonzero(self._has_field)
        last = self._first[rows] + self._count[rows] - 1
        self._start[last] += _FIELD_PIECES
        self._size[last] -= _FIELD_PIECES
        empty = self._place(np.zeros(1, np.uint8))
        for before in range(1, _FIELD_PIECES + 1):
            self._start[last - before], self._size[last - before] = empty, 1
        span = step.spans.attributes.span[mine]
        at = self._first[span] + self._count[span] - len(FIELD_KEYS) - 1 + field[mine]
        self._start[at], self._size[at] = self._values(step, mine)

    def _values(self, step: _Step, mine: I64) -> tuple[I64, I64]:
        """Return where the values of some attributes lie, each behind its length."""
        attributes = step.spans.attributes
        form = attributes.form[mine]
        numbers, start, size = number_texts(form, attributes.bits[mine])
        start = start + self._place(np.frombuffer(numbers, np.uint8))
        texts = np.flatnonzero(form == TEXT)
        start[texts], size[texts] = _with_lengths(
            step.octets, attributes.value_at[mine][texts], attributes.value_size[mine][texts]
        )
        return start, size

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
        own = self._own[rows]
        is_error = step.spans.status[rows] == _ERROR
        pairs, pair = np.unique(origin * (ENTRIES_MAX + 1) + own, return_inverse=True)
        entries: list[bytes] = []
        for code in pairs.tolist():
            one = step.origins[code // (ENTRIES_MAX + 1)]
            entries.append(_COUNTS[one.count + code % (ENTRIES_MAX + 1)] + one.entries)
        for slot, texts, codes in (
            (_PLACE, [p for one in step.origins for p in one.places], 2 * origin + is_error),
            (_ENTRIES, entries, pair),
        ):
            size = np.array([len(one) for one in texts], np.int64)
            begin = self._place(np.frombuffer(b"".join(texts), np.uint8))
            self._start[first + slot] = begin + (np.cumsum(size) - size)[codes]
            self._size[first + slot] = size[codes]


def _with_lengths(octets: U8, at: I64, size: I64) -> tuple[I64, I64]:
    """Write the lengths of texts in front of them; return where that begins, and its length.

    Two bytes or more in front of each text belong to nothing else: its tag and its length.
    """
    is_long = size >= _ONE_BYTE
    octets[at - 1] = np.where(is_long, size >> 6, 2 * size)
    before = at[is_long] - 2
    octets[before] = (2 * size[is_long] & 0x7F) | 0x80
    return at - 1 - is_long, size + 1 + is_long
