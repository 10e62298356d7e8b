"""Lists of attributes that many spans have, read a key at a time.

The first span of some says which keys it has and of what form each value is. Of the others only the
lengths are read: one unit of bytes holds an attribute up to its value, and all but the lengths has
to be what it is in the first. Invariant: what is taken is what `read_attributes` makes of it, and
ends within its span; a span of which anything differs is left to those who look at each attribute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from streams.codec.otlp.alike import GROUPS_MAX, SPANS_MIN
from streams.codec.otlp.attributes import (
    BOOL,
    BOOL_VALUE,
    CONTINUES,
    DOUBLE,
    DOUBLE_VALUE,
    INT,
    INT_VALUE,
    KEY,
    TEXT,
    TEXT_VALUE,
    VALUE,
    KeyValues,
    varints,
)
from streams.codec.otlp.pieces import units_of
from streams.units import I64, U8, U64, Mask

_MISSES_MAX: Final = 4
"""Lists that few others had, after which no other is tried."""
_ATTRIBUTES_MAX: Final = 64
"""Of a list; what follows is looked at one by one."""
_WORD_BYTES: Final = 8
_FORMS: Final = {TEXT_VALUE: TEXT, BOOL_VALUE: BOOL, INT_VALUE: INT, DOUBLE_VALUE: DOUBLE}
_DOUBLE_BYTES: Final = 9
"""A tag and its value."""


class _Shape(NamedTuple):
    """One attribute of a list.

    Attributes:
        sample: it, up to its value.
        key_at, key_bytes: where its key begins in that, and how long it is.
        form: of its value.
        size_at: where the lengths of the attribute, of the value's message and, of a TEXT, of the
            text lie in `sample`.
        size_bytes: how many bytes each length takes, one or two.
    """

    sample: bytes
    key_at: int
    key_bytes: int
    form: int
    size_at: tuple[int, ...]
    size_bytes: tuple[int, ...]


class _Column(NamedTuple):
    """The same attribute of g spans; all arrays (g,).

    Attributes:
        at: where each begins.
        size: the length of a text; empty for others.
        bits: the value of others; None of texts.
    """

    at: I64
    size: I64
    bits: U64 | None


@dataclass(frozen=True, slots=True)
class AttributeList:
    """A list of attributes that g spans begin with.

    Attributes:
        rows: (g,) the spans, ascending.
        shapes, columns: its attributes.
    """

    rows: I64
    shapes: Sequence[_Shape]
    columns: Sequence[_Column]

    @property
    def count(self) -> int:
        """How many attributes it has."""
        return len(self.shapes)

    def lay(self, first: I64, out: KeyValues) -> None:
        """Write them among all attributes.

        Args:
            first: (n,) where the attributes of each span begin.
            out: (m,) all spans' attributes.
        """
        is_all = len(self.rows) == len(first) and len(out.key_at) == self.count * len(first)
        begin = first[self.rows]
        for nth, (shape, column) in enumerate(zip(self.shapes, self.columns, strict=True)):
            place: I64 | slice = slice(nth, None, self.count) if is_all else begin + nth
            out.key_at[place] = column.at + shape.key_at
            out.key_size[place], out.form[place] = shape.key_bytes, shape.form
            out.value_at[place] = column.at + len(shape.sample)
            if column.bits is None:
                out.value_size[place], out.bits[place] = column.size, 0
            else:
                out.value_size[place], out.bits[place] = 0, column.bits


class AttributeLists:
    """Finds the lists that many spans begin with.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last span.

    Attributes:
        found: those found.
    """

    def __init__(self, octets: U8) -> None:
        self._octets = octets
        self.found: list[AttributeList] = []
        self._is_tried = False

    def may_be(self, count: int) -> bool:
        """Whether lists are to be looked for among so many spans: once, where they are many."""
        return count >= SPANS_MIN and not self._is_tried

    def take(self, rows: I64, at: I64, stop: I64) -> I64:
        """Take the lists of some spans; return where what follows begins, (g,).

        Args:
            rows: (g,) the spans.
            at: (g,) where the first attribute of each begins.
            stop: (g,) where each span ends.
        """
        self._is_tried = True
        after, left, misses = at.copy(), np.arange(len(rows)), 0
        for _ in range(GROUPS_MAX):
            if len(left) < SPANS_MIN or misses == _MISSES_MAX:
                break
            shapes = _shapes_of(self._octets, int(at[left[0]]), int(stop[left[0]]))
            some, ends, columns = self._with_shapes(shapes, left, at, stop)
            if not columns:
                misses += 1
                left = left[1:]
                continue
            self.found.append(AttributeList(rows[some], shapes, columns))
            after[some] = ends
            left = left[:0] if len(some) == len(left) else np.setdiff1d(left, some, True)
        return after

    def _with_shapes(
        self, shapes: Sequence[_Shape], left: I64, at: I64, stop: I64
    ) -> tuple[I64, I64, list[_Column]]:
        """Return which spans begin with these attributes, where those end, and the attributes.

        Nothing where they are few.
        """
        at, stop = at[left], stop[left]
        columns: list[_Column] = []
        for shape in shapes:
            column, after, is_good = _column_of(self._octets, shape, at)
            is_good &= after <= stop
            columns.append(column)
            if not is_good.all():
                keep = np.flatnonzero(is_good)
                if len(keep) < SPANS_MIN:
                    return left[:0], left[:0], []
                left, after, stop = left[keep], after[keep], stop[keep]
                columns = [_taken(one, keep) for one in columns]
            at = after
        return left, at, columns


def _taken(column: _Column, keep: I64) -> _Column:
    if column.bits is None:
        return _Column(column.at[keep], column.size[keep], None)
    return _Column(column.at[keep], column.size, column.bits[keep])


def _shapes_of(octets: U8, at: int, stop: int) -> list[_Shape]:
    """Return the attributes of a span from one place on that have plain values of a common form."""
    shapes: list[_Shape] = []
    tag = int(octets[at])
    part = octets[at:stop].tobytes()
    at = 0
    while at < len(part) and part[at] == tag and len(shapes) < _ATTRIBUTES_MAX:
        try:
            shape, end = _shape_at(part, at)
        except IndexError:
            break
        if shape is None or end > len(part):
            break
        shapes.append(shape)
        at = end
    return shapes


def _shape_at(part: bytes, at: int) -> tuple[_Shape | None, int]:
    """Return the attribute that begins at one place, and where it ends; None for a strange one."""
    begin = at
    size, at = _size_at(part, at + 1)
    end, size_at, size_bytes = at + size, [1], [at - begin - 1]
    key_bytes, key_at = part[at + 1], at + 2
    if part[at] != KEY or not 0 < key_bytes < CONTINUES:
        return None, end
    at = key_at + key_bytes
    if part[at] != VALUE:
        return None, end
    size_at.append(at + 1 - begin)
    size, inner = _size_at(part, at + 1)
    size_bytes.append(inner - at - 1)
    tag, at = part[inner], inner + 1
    is_long = tag == INT_VALUE and size > 1 + _WORD_BYTES  # a negative number
    if inner + size != end or tag not in _FORMS or is_long:
        return None, end
    if tag == TEXT_VALUE:
        size_at.append(at - begin)
        size, text = _size_at(part, at)
        size_bytes.append(text - at)
        if text + size != end:
            return None, end
        at = text
    sample = part[begin:at]
    own = tuple(size_at), tuple(size_bytes)
    return _Shape(sample, key_at - begin, key_bytes, _FORMS[tag], *own), end


def _size_at(part: bytes, at: int) -> tuple[int, int]:
    """Return a length of one byte or two, and where it ends; of a longer one no such length."""
    size = part[at]
    if size < CONTINUES:
        return size, at + 1
    if part[at + 1] >= CONTINUES:
        return len(part), at + 2
    return size - CONTINUES + (part[at + 1] << 7), at + 2


def _column_of(octets: U8, shape: _Shape, at: I64) -> tuple[_Column, I64, Mask]:
    """Return the attributes from `at` on as one of a list, where each ends, and which are that."""
    width = len(shape.sample)
    units = units_of(octets, width if shape.form == TEXT else width + _WORD_BYTES)[at]
    head = units.view(np.uint8).reshape(len(at), -1)
    is_short = max(shape.size_bytes) == 1
    size, inner, is_good = (_short_sizes if is_short else _any_sizes)(head, shape)
    text_bytes: I64 = np.zeros(0, np.int64)
    bits: U64 | None = None
    if shape.form == TEXT:
        text_bytes = inner - (width - shape.size_at[1] - shape.size_bytes[1])
    else:
        bits, is_whole = _numbers(head[:, width:], shape.form, inner)
        is_good &= is_whole
    return _Column(at, text_bytes, bits), at + (1 + shape.size_bytes[0]) + size, is_good


def _short_sizes(head: U8, shape: _Shape) -> tuple[I64, I64, Mask]:
    """Return the lengths of attribute and value of some rows, and which are like the sample.

    All lengths take one byte: they differ from the first by what they do in the sample, and the
    first is no less than that.
    """
    sample = bytearray(shape.sample)
    first, *others = shape.size_at
    size, least = head[:, first].copy(), sample[first]
    for at in others:
        head[:, at] -= size
        sample[at] = (sample[at] - sample[first]) % 256
    shortest = least - shape.sample[others[-1]]
    head[:, first], sample[first] = 0, 0
    is_good = _are(head, bytes(sample))
    if int(size.min()) < shortest or int(size.max()) >= CONTINUES:
        is_good &= (size >= shortest) & (size < CONTINUES)
    sizes = size.astype(np.int64)
    return sizes, sizes - (least - shape.sample[others[0]]), is_good


def _any_sizes(head: U8, shape: _Shape) -> tuple[I64, I64, Mask]:
    """Return the same where a length takes two bytes."""
    size, is_good = _sizes(head, shape.size_at[0], shape.size_bytes[0])
    inner, is_whole = _sizes(head, shape.size_at[1], shape.size_bytes[1])
    inner_at = shape.size_at[1] + shape.size_bytes[1]
    is_good &= is_whole & (size - inner == inner_at - 1 - shape.size_bytes[0])
    if shape.form == TEXT:
        text_bytes, is_whole = _sizes(head, shape.size_at[2], shape.size_bytes[2])
        is_good &= is_whole & (inner - text_bytes == len(shape.sample) - inner_at)
    sample = bytearray(shape.sample)
    for at, size_bytes in zip(shape.size_at, shape.size_bytes, strict=True):
        for i in range(at, at + size_bytes):
            sample[i], head[:, i] = 0, 0
    return size, inner, is_good & _are(head, bytes(sample))


def _sizes(head: U8, at: int, size_bytes: int) -> tuple[I64, Mask]:
    """Return lengths that take one byte or two, and whether they do."""
    low = head[:, at]
    if size_bytes == 1:
        return low.astype(np.int64), low < CONTINUES
    high = head[:, at + 1]
    size = low.astype(np.int64) + (high.astype(np.int64) << 7) - CONTINUES
    return size, (low >= CONTINUES) & (high < CONTINUES)


def _numbers(octets: U8, form: int, inner: I64) -> tuple[U64, Mask]:
    """Return the values that rows of eight bytes begin with, and which are whole.

    Args:
        octets: (g, 8) bytes.
        form: BOOL, INT or DOUBLE.
        inner: (g,) the bytes of each, and its tag.
    """
    if form == DOUBLE:
        return np.ascontiguousarray(octets).view(np.uint64)[:, 0], inner == _DOUBLE_BYTES
    if form == INT and (inner == 2).all():
        return octets[:, 0].astype(np.uint64), octets[:, 0] < CONTINUES
    if form == BOOL:
        return octets[:, 0].astype(np.uint64), (inner == 2) & (octets[:, 0] < 2)
    return varints(np.ascontiguousarray(octets).view(np.uint64)[:, 0], inner - 1)


def _are(head: U8, sample: bytes) -> Mask:
    """Return which rows begin with a sample."""
    head = head[:, : len(sample)]
    if head.tobytes() == sample * len(head):
        return np.ones(len(head), np.bool_)
    return np.asarray((head == np.frombuffer(sample, np.uint8)).all(axis=1))
