"""Spans of many OTLP requests taken apart together: where each field of each span lies.

Owns the reading of protobuf's bytes a column at a time. It knows the common form of a span only:
fields of the usual types, lengths below 16 KiB, attributes of plain values. A span of another form
is named, not guessed at: the official reader judges it. Invariant: what is returned as read lies
within its span, and the fields of a span take exactly its bytes.
Source: Protocol Buffers, "Encoding"; opentelemetry-proto, `trace.proto`, `common.proto`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.units import I64, U8, U64, Mask

ROUNDS_MAX: Final = 96
"""Fields of a span that are looked at; one with more is not of the common form."""
PAD_BYTES: Final = 160
"""After the last request, so that whole units may be read and copied anywhere before."""
TRACE_ID, SPAN_ID, PARENT_ID, NAME, KIND = 0x0A, 0x12, 0x22, 0x2A, 0x30
START, END, ATTRIBUTE, STATUS, FLAGS = 0x39, 0x41, 0x4A, 0x7A, 0x85
_LENGTH, _FIXED64, _FIXED32, _VARINT = 1, 2, 3, 4
_FORM: Final = np.zeros(256, np.uint8)
_FORM[[TRACE_ID, SPAN_ID, PARENT_ID, NAME, ATTRIBUTE, STATUS]] = _LENGTH
_FORM[[START, END]] = _FIXED64
_FORM[FLAGS] = _FIXED32  # field 16: its tag has a second byte, 1
_FORM[KIND] = _VARINT
_STEP: Final = np.array([0, 0, 9, 6, 2], np.int64)
_CONTINUES: Final = 0x80
NONE, TEXT, BOOL, INT, DOUBLE = range(5)


@dataclass(frozen=True, slots=True)
class Attributes:
    """m attributes of spans, those of a span together and in order.

    Attributes:
        span: (m,) whose.
        key_at, key_size: (m,) where the key lies.
        form: (m,) NONE, TEXT, BOOL, INT or DOUBLE.
        value_at, value_size: (m,) where a text lies.
        bits: (m,) the value of a BOOL or INT, or the bytes of a DOUBLE, as a number.
    """

    span: I64
    key_at: I64
    key_size: I64
    form: U8
    value_at: I64
    value_size: I64
    bits: U64


@dataclass(frozen=True, slots=True)
class Spans:
    """n spans; all arrays (n,).

    Attributes:
        is_common: whether the span has the common form; of the others nothing below holds.
        at, size: where trace id, span id, parent id and name lie, by tag.
        kind, status, flags: as the protocol numbers them.
        start_ns, end_ns: times.
        attributes: of the common spans, and of others.
    """

    is_common: Mask
    at: dict[int, I64]
    size: dict[int, I64]
    kind: I64
    status: I64
    flags: I64
    start_ns: U64
    end_ns: U64
    attributes: Attributes


def words_of(octets: U8) -> U64:
    """Return a view of bytes: word i is the eight bytes from byte i on, the first one lowest."""
    return np.ndarray((len(octets) - 7,), np.dtype("<u8"), octets, strides=(1,))


def walk_spans(octets: U8, begin: I64, end: I64) -> Spans:
    """Return the fields of the spans that lie from `begin` to `end`.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last span.
        begin: (n,) where each span begins.
        end: (n,) where each ends.
    """
    words, n = words_of(octets), len(begin)
    found = _Found(n)
    rows, at, stop = np.arange(n), begin, end
    for _ in range(ROUNDS_MAX):
        is_left = at < stop
        if not is_left.all():
            rows, at, stop = rows[is_left], at[is_left], stop[is_left]
        if not len(rows):
            break
        word = words[at]
        tag = (word & np.uint64(0xFF)).astype(np.int64)
        form = _FORM[tag]
        size, head = _size(word >> np.uint64(8))
        first = (word >> np.uint64(8) & np.uint64(0xFF)).astype(np.int64)
        is_length = form == _LENGTH
        after = at + np.where(is_length, 1 + head + size, _STEP[form])
        is_good = (form > 0) & (after <= stop) & (~is_length | (size >= 0))
        is_good &= (form != _VARINT) | (first < _CONTINUES)
        is_good &= (tag != FLAGS) | (first == 1)
        if not is_good.all():
            found.is_common[rows[~is_good]] = False
            rows, at, stop, tag = rows[is_good], at[is_good], stop[is_good], tag[is_good]
            head, size, first, after = head[is_good], size[is_good], first[is_good], after[is_good]
        found.take(words, tag, rows, at, at + 1 + head, size, first)
        at = after
    else:
        found.is_common[rows[at < stop]] = False
    return found.spans(octets, words)


def _size(word: U64) -> tuple[I64, I64]:
    """Return lengths and how many bytes they take, one or two; -1 where they take more."""
    first = (word & np.uint64(0xFF)).astype(np.int64)
    is_long = first >= _CONTINUES
    if not is_long.any():
        return first, np.ones(len(first), np.int64)
    second = (word >> np.uint64(8) & np.uint64(0xFF)).astype(np.int64)
    size = np.where(is_long, first & 0x7F | second << 7, first)
    size[is_long & (second >= _CONTINUES)] = -1
    return size, 1 + is_long.astype(np.int64)


class _Found:
    """What was found so far."""

    def __init__(self, n: int) -> None:
        self.is_common = np.ones(n, np.bool_)
        self.at = {tag: np.zeros(n, np.int64) for tag in (TRACE_ID, SPAN_ID, PARENT_ID, NAME)}
        self.size = {tag: np.zeros(n, np.int64) for tag in self.at}
        self.kind, self.status, self.flags = (np.zeros(n, np.int64) for _ in range(3))
        self.time = {tag: np.zeros(n, np.uint64) for tag in (START, END)}
        self._rows: list[I64] = []
        self._at: list[I64] = []
        self._size: list[I64] = []

    def take(
        self, words: U64, tag: I64, rows: I64, at: I64, value_at: I64, size: I64, first: I64
    ) -> None:
        """Take one field of some spans: tag, place and what follows from the tag's form."""
        counts = np.bincount(tag)
        for one in np.flatnonzero(counts).tolist():
            mine = slice(None) if counts[one] == len(tag) else tag == one
            row = rows[mine]
            if one in self.at:
                self.at[one][row], self.size[one][row] = value_at[mine], size[mine]
            elif one == ATTRIBUTE:
                self._rows.append(row)
                self._at.append(value_at[mine])
                self._size.append(size[mine])
            elif one == KIND:
                self.kind[row] = first[mine]
            elif one == FLAGS:
                flags = words[at[mine] + 2] & np.uint64(0xFFFF_FFFF)
                self.flags[row] = flags.astype(np.int64)
            elif one == STATUS:
                self._status(words, row, value_at[mine], size[mine])
            else:
                self.time[one][row] = words[at[mine] + 1]

    def _status(self, words: U64, row: I64, at: I64, size: I64) -> None:
        """Take statuses: nothing, or a code alone; one with a message is of no common form."""
        word = words[at]
        code = (word >> np.uint64(8) & np.uint64(0xFF)).astype(np.int64)
        is_code = (size == 2) & (word & np.uint64(0xFF) == np.uint64(0x18)) & (code < _CONTINUES)
        self.status[row] = np.where(is_code, code, 0)
        self.is_common[row[~is_code & (size > 0)]] = False

    def spans(self, octets: U8, words: U64) -> Spans:
        """Return all of it."""
        return Spans(
            self.is_common,
            self.at,
            self.size,
            self.kind,
            self.status,
            self.flags,
            self.time[START],
            self.time[END],
            self._attributes(words),
        )

    def _attributes(self, words: U64) -> Attributes:
        empty = np.zeros(0, np.int64)
        span = _joined(self._rows, empty)
        order = np.argsort(span, kind="stable")
        span, at = span[order], _joined(self._at, empty)[order]
        end = at + _joined(self._size, empty)[order]
        key_size, key_head = _size(words[at] >> np.uint64(8))
        key_at = at + 1 + key_head
        is_good = (words[at] & np.uint64(0xFF) == np.uint64(0x0A)) & (key_size > 0)
        value = np.minimum(key_at + np.maximum(key_size, 0), end)
        any_size, any_head = _size(words[value] >> np.uint64(8))
        is_good &= words[value] & np.uint64(0xFF) == np.uint64(0x12)
        inner = value + 1 + any_head
        is_good &= (any_size >= 0) & (inner + any_size == end)
        inner = np.minimum(inner, end)
        form, value_at, value_size, bits = _values(words, inner, end)
        is_good &= form != _UNKNOWN
        self.is_common[span[~is_good]] = False
        return Attributes(span, key_at, key_size, form, value_at, value_size, bits)


_UNKNOWN: Final = 255
_SEVEN: Final = np.uint64(0x7F7F_7F7F_7F7F_7F7F)
_HIGH: Final = np.uint64(0x8080_8080_8080_8080)


def _values(words: U64, at: I64, end: I64) -> tuple[U8, I64, I64, U64]:
    """Return form, place and bits of values that lie from `at` to `end`."""
    word = words[at]
    tag = word & np.uint64(0xFF)
    form = np.full(len(at), _UNKNOWN, np.uint8)
    form[at == end] = NONE
    is_there = at < end
    size, head = _size(word >> np.uint64(8))
    form[is_there & (tag == np.uint64(0x0A)) & (size >= 0) & (at + 1 + head + size == end)] = TEXT
    bits, width = _varints(words[at + 1])
    is_whole = at + 1 + width == end
    form[is_there & (tag == np.uint64(0x10)) & is_whole & (bits < np.uint64(2))] = BOOL
    form[is_there & (tag == np.uint64(0x18)) & is_whole] = INT
    is_double = is_there & (tag == np.uint64(0x21)) & (at + 9 == end)
    if is_double.any():
        form[is_double] = DOUBLE
        bits = np.where(is_double, words[at + 1], bits)
    return form, at + 1 + head, size, bits


def _varints(word: U64) -> tuple[U64, I64]:
    """Return numbers of up to eight bytes and their lengths; length 99 for longer ones."""
    last = ~word & _HIGH
    lowest = last & (~last + np.uint64(1))  # the high bit of each number's last byte
    width = np.full(len(word), 99, np.int64)
    for size in range(1, 9):
        width[lowest == np.uint64(1 << (8 * size - 1))] = size
    kept = word & _SEVEN & (lowest | (lowest - np.uint64(1)))
    a = kept & np.uint64(0x007F_007F_007F_007F)
    a |= (kept & np.uint64(0x7F00_7F00_7F00_7F00)) >> np.uint64(1)
    b = a & np.uint64(0x0000_3FFF_0000_3FFF)
    b |= (a & np.uint64(0x3FFF_0000_3FFF_0000)) >> np.uint64(2)
    return b & np.uint64(0x0FFF_FFFF) | (b >> np.uint64(32)) << np.uint64(28), width


def _joined(parts: Sequence[I64], empty: I64) -> I64:
    return np.concatenate(parts) if parts else empty
