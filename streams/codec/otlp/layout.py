"""How the bodies of a step's spans are put together: the size of each, and what goes where.

A body is a head, who emits it, the name, the shared dimensions, its own, and a tail; between the
last two lie the fields' texts, of spans that have such; links lie behind the tail. Invariant:
pieces are written from left to right, so that what a short one writes beyond its end is covered by
another.
"""

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from streams.codec.otlp.alikeown import alike_own
from streams.codec.otlp.attributes import PAD_BYTES, TEXT
from streams.codec.otlp.events import FIELD_KEYS
from streams.codec.otlp.heads import (
    FIELDS_BYTES,
    HEAD_BYTES,
    NO_LINKS_BYTES,
    ROOT_BYTES,
    TAIL_BYTES,
    Plain,
    heads_of,
    tails_of,
)
from streams.codec.otlp.keys import NO_FIELD, KeyCodes
from streams.codec.otlp.links import END_BYTES, LINK_BYTES, write_links
from streams.codec.otlp.numbers import number_texts
from streams.codec.otlp.pieces import (
    all_or,
    copy_pieces,
    copy_rows,
    copy_same,
    joined,
    with_lengths,
)
from streams.codec.otlp.spanstep import SpanStep
from streams.codec.otlp.values import ENTRIES_MAX
from streams.codec.otlp.walk import NAME
from streams.codec.varints import varint
from streams.core.columns import STATUS_ERROR
from streams.units import I64, U8, Mask

_FEW: Final = 4
"""Texts, each of which is written to all its places at once."""
_NO_VALUE: Final = struct.pack("<d", float("nan")) + b"\0"
"""No value, and no unit."""
_COUNTS: Final = [_NO_VALUE + varint(count) for count in range(ENTRIES_MAX + 1)]


class Pieces(NamedTuple):
    """Pieces of the buffer: where each begins, and its length."""

    start: I64
    size: I64

    def take(self, index: I64 | slice) -> "Pieces":
        """Return the pieces at `index`, in that order."""
        return Pieces(self.start[index], self.size[index])


class Shared(NamedTuple):
    """Pieces of the buffer of which many are the same.

    Attributes:
        texts: the different ones.
        code: which of them each is.
        start, size: as `Pieces` has them.
    """

    texts: list[bytes]
    code: I64
    start: I64
    size: I64

    def copy(self, source: U8, out: U8, target: I64) -> None:
        """Copy the pieces to places of `out`; see `copy_pieces`."""
        used = np.flatnonzero(np.bincount(self.code)).tolist()
        if len(used) > _FEW:
            copy_pieces(source, self.start, out, target, self.size)
            return
        for code in used:
            mine = np.flatnonzero(self.code == code)
            copy_same(self.texts[code], out, target[all_or(mine, len(target))])


class Layout:
    """The bodies of a step; the bytes in front of names, keys and texts are written over.

    Args:
        step: n spans.
        rows: (q,) those that are put together here, one or more.
        plain: of these.
        keys: of all spans.

    Attributes:
        rows, plain: these.
        size: (q,) length of each body.
    """

    def __init__(self, step: SpanStep, rows: I64, plain: Plain, keys: KeyCodes) -> None:
        self._step, self.rows, self.plain = step, rows, plain
        self._parts: list[U8] = [step.octets]
        attributes, n = step.spans.attributes, len(step.begin)
        is_quick = np.zeros(n, np.bool_)
        is_quick[rows] = True
        self._alike = alike_own(step, rows, keys)
        is_alone = is_quick.copy()
        for group in self._alike:
            is_alone[rows[group.rows]] = False
        is_mine = is_alone[attributes.span]
        is_mine |= (keys.field != NO_FIELD) & is_quick[attributes.span]
        self._mine = np.flatnonzero(is_mine)
        self._value = self._values(self._mine)
        field = keys.field[self._mine]
        self._own = np.flatnonzero((field < 0) & is_alone[attributes.span[self._mine]])
        self._lay_own(n)
        self._fields = self._lay_fields(field)
        self._shared = self._of_origins()
        self._name = self._named()
        self._tails, tail_bytes = tails_of(plain)
        self._head_bytes = self._head_sizes()
        self._own_at = self._head_bytes + self._name.size
        for piece in self._shared:
            self._own_at = self._own_at + piece.size
        self._tail_at = self._own_at + self._own_bytes
        self._tail_at[self._has_fields] += self._fields.size.sum(axis=1)
        self._links_at = self._tail_at + tail_bytes - FIELDS_BYTES * self._has_fields
        self._links_at -= NO_LINKS_BYTES
        self._links, self._link_count = step.links.of(rows, n)
        self.size: I64 = self._links_at + LINK_BYTES * self._link_count
        self.size += NO_LINKS_BYTES + END_BYTES * (self._link_count > 0)
        self._source = self._joined()

    def values_of(self, nth: I64) -> bytes:
        """Return the values of some attributes, each behind its length.

        Args:
            nth: (k,) attributes of spans that are put together here, in order.
        """
        piece = self._value.take(np.searchsorted(self._mine, nth))
        return joined(self._source, *piece)

    def name_at(self, begin: I64) -> I64:
        """Return the places of names in bodies that begin so; all (q,)."""
        name_bytes = self._step.spans.size[NAME][self.rows]
        at = begin + self._head_bytes + self._shared[0].size
        return np.asarray(at + self._name.size - name_bytes)

    def write(self, begin: I64, total_bytes: int, slow: Mapping[int, bytes]) -> U8:
        """Return the bodies.

        Args:
            begin: (q,) where each begins.
            total_bytes: of all bodies.
            slow: bodies that are not put together here, by their place.
        """
        out = np.empty(total_bytes + PAD_BYTES, np.uint8)
        place, entries = self._shared
        place_at = begin + self._head_bytes
        name_at = place_at + place.size
        source = self._source
        place.copy(source, out, place_at)
        copy_pieces(source, self._name.start, out, name_at, self._name.size)
        entries.copy(source, out, name_at + self._name.size)
        self._write_own(out, begin)
        if len(self._fields.size):
            piece, piece_at = self._field_pieces(begin)
            copy_pieces(source, piece.start, out, piece_at, piece.size)
        # What the last of a body's pieces writes beyond its end is tail and next head: they follow.
        self._write_ends(out, begin)
        for at, body in slow.items():
            out[at : at + len(body)] = np.frombuffer(body, np.uint8)
        return out[:total_bytes]

    def _write_ends(self, out: U8, begin: I64) -> None:
        """Write tails, and then links and heads: a tail may be written beyond its end."""
        tail_at = begin + self._tail_at
        cut = FIELDS_BYTES  # what stands before the tail already, where there are fields
        for mine, first in ((self._has_fields, cut), (~self._has_fields, 0)):
            if mine.all():
                copy_rows(self._tails, out, tail_at, first, TAIL_BYTES - first)
            elif mine.any():
                rows = self._tails[mine]
                copy_rows(rows, out, tail_at[mine], first, TAIL_BYTES - first)
        if len(self._links.span):
            links_at = begin + self._links_at
            write_links(self._step.words, self._links, self._link_count, out, links_at)
        self._write_heads(out, begin)

    def _head_sizes(self) -> I64:
        """Return how long the head of each body is."""
        return np.where(self.plain.has_parent, HEAD_BYTES, ROOT_BYTES)

    def _write_heads(self, out: U8, begin: I64) -> None:
        """Write heads of exactly their sizes."""
        heads = heads_of(self.plain)
        copy_rows(heads, out, begin, 0, ROOT_BYTES)
        some = np.flatnonzero(self.plain.has_parent)
        rest = HEAD_BYTES - ROOT_BYTES
        copy_rows(heads[:, ROOT_BYTES:][some], out, begin[some] + ROOT_BYTES, 0, rest)

    def _place(self, source: bytes | U8) -> int:
        """Take a buffer over; return where it begins among all."""
        begin = sum(map(len, self._parts))
        self._parts.append(np.frombuffer(source, np.uint8))
        return begin

    def _joined(self) -> U8:
        """Return all buffers as one, in the room behind the first where there is enough."""
        first, *others = self._parts
        room, at = self._step.room, len(first)
        if at + sum(map(len, others)) + PAD_BYTES > len(room):
            return np.concatenate([*self._parts, np.zeros(PAD_BYTES, np.uint8)])
        for part in others:
            room[at : at + len(part)] = part
            at += len(part)
        return room[: at + PAD_BYTES]

    def _values(self, mine: I64) -> Pieces:
        """Return the values of some attributes, each behind its length."""
        attributes = self._step.spans.attributes
        pick = all_or(mine, len(attributes.span))
        is_text = attributes.form[pick] == TEXT
        texts, others = np.flatnonzero(is_text), np.flatnonzero(~is_text)
        start, size = np.empty(len(mine), np.int64), np.empty(len(mine), np.int64)
        nth = mine[others]
        numbers, at, size[others] = number_texts(attributes.form[nth], attributes.bits[nth])
        start[others] = at + self._place(numbers)
        nth = mine[texts]
        start[texts], size[texts] = with_lengths(
            self._step.octets, attributes.value_at[nth], attributes.value_size[nth]
        )
        return Pieces(start, size)

    def _lay_own(self, n: int) -> None:
        """Lay the attributes that are dimensions, each as key and value."""
        attributes = self._step.spans.attributes
        nth = all_or(self._mine[self._own], len(attributes.span))
        key_at, key_size = attributes.key_at[nth], attributes.key_size[nth]
        self._step.octets[key_at - 1] = 2 * key_size
        self._own_key = Pieces(key_at - 1, key_size + 1)
        self._own_value = self._value.take(all_or(self._own, len(self._mine)))
        span = attributes.span[nth]
        count = np.bincount(span, minlength=n)
        sums = np.cumsum(key_size + 1 + self._own_value.size)
        ends = np.concatenate([np.zeros(1, np.int64), sums])
        last = np.cumsum(count)
        own_bytes = ends[last] - ends[last - count]
        self._own_count, self._own_bytes = count[self.rows], own_bytes[self.rows]
        nth_row = np.zeros(n, np.int64)
        nth_row[self.rows] = np.arange(len(self.rows))
        self._own_row = nth_row[span]
        self._own_within = ends[:-1] - ends[(last - count)[span]]
        for group in self._alike:
            self._own_count[group.rows], self._own_bytes[group.rows] = group.count, group.size

    def _write_own(self, out: U8, begin: I64) -> None:
        """Write the dimensions that are a span's own."""
        own_at = begin + self._own_at
        if len(self._own):
            at = own_at[self._own_row] + self._own_within
            pieces, places = _in_turn(self._own_key, self._own_value, at)
            copy_pieces(self._source, pieces.start, out, places, pieces.size)
        for group in self._alike:
            group.write(self._source, out, own_at[group.rows])

    def _lay_fields(self, field: I64) -> Pieces:
        """Return the end of the dimensions and the fields' texts, (f, pieces) of f spans."""
        of_field = np.flatnonzero(field >= 0)
        span = self._step.spans.attributes.span[self._mine[of_field]]
        spans, nth = np.unique(span, return_inverse=True)
        self._has_fields: Mask = np.isin(self.rows, spans)
        start = np.full((len(spans), 1 + len(FIELD_KEYS)), self._place(b"\0"), np.int64)
        size = np.ones(start.shape, np.int64)
        value = self._value.take(of_field)
        start[nth, 1 + field[of_field]], size[nth, 1 + field[of_field]] = value
        return Pieces(start, size)

    def _field_pieces(self, begin: I64) -> tuple[Pieces, I64]:
        """Return the fields and their places."""
        start, size = self._fields
        end = (begin + self._tail_at)[self._has_fields]
        within = np.cumsum(size, axis=1)
        target = end[:, None] + within - size - within[:, -1:]
        return Pieces(start.ravel(), size.ravel()), target.ravel()

    def _named(self) -> Pieces:
        """Return the names, each behind its length."""
        spans, rows = self._step.spans, self.rows
        name = spans.at[NAME][rows], spans.size[NAME][rows]
        return Pieces(*with_lengths(self._step.octets, *name))

    def _of_origins(self) -> tuple[Shared, Shared]:
        """Return who emits the spans, and their shared dimensions behind how many there are."""
        origins, most = self._step.origins, ENTRIES_MAX + 1
        origin = self._step.origin[self.rows]
        is_used = np.zeros(len(origins) * most, np.bool_)
        pair = origin * most + self._own_count
        is_used[pair] = True
        entries = [b""] * len(is_used)
        for code in np.flatnonzero(is_used).tolist():
            one = origins[code // most]
            entries[code] = _COUNTS[one.count + code % most] + one.entries
        return self._texts(*self._emitters(origin)), self._texts(entries, pair)

    def _emitters(self, origin: I64) -> tuple[list[bytes], I64]:
        """Return texts from `module` to `severity`, and which of them each body has."""
        is_error = self.plain.status == STATUS_ERROR
        places = [place for one in self._step.origins for place in one.places]
        return places, 2 * origin + is_error

    def _texts(self, texts: list[bytes], code: I64) -> Shared:
        """Return pieces that are texts, by their index."""
        size = np.array([len(one) for one in texts], np.int64)
        begin = self._place(b"".join(texts))
        return Shared(texts, code, (begin + np.cumsum(size) - size)[code], size[code])


def _in_turn(key: Pieces, value: Pieces, at: I64) -> tuple[Pieces, I64]:
    """Return keys, each before its value, and their places; `at` is where each key belongs."""
    start, size, target = (np.empty(2 * len(at), np.int64) for _ in range(3))
    start[::2], start[1::2] = key.start, value.start
    size[::2], size[1::2] = key.size, value.size
    target[::2], target[1::2] = at, at + key.size
    return Pieces(start, size), target
