"""Attributes of OTLP taken apart together: what kind of value each has, and where it lies.

Owns the reading of `KeyValue` and `AnyValue`, of plain values alone. What has another form is
named, not guessed at.
Source: Protocol Buffers, "Encoding"; opentelemetry-proto, `common.proto`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.units import I64, U8, U64, Mask

NONE, TEXT, BOOL, INT, DOUBLE = range(5)
UNKNOWN: Final = 255
PAD_BYTES: Final = 320
"""After the last request, so that whole units may be read and copied anywhere before."""
CONTINUES: Final = 0x80
"""A byte of a length or number from here on has another one behind it."""
KEY, VALUE = 0x0A, 0x12
TEXT_VALUE, BOOL_VALUE, INT_VALUE, DOUBLE_VALUE = 0x0A, 0x10, 0x18, 0x21
"""Tags of a `KeyValue`, and of the plain ones among an `AnyValue`."""
_TEXT_HEAD: Final = TEXT_VALUE << 16 | VALUE
_INT_HEAD: Final = INT_VALUE << 16 | VALUE
"""A value's tag, no length yet, and the tag of what is in it."""


@dataclass(frozen=True, slots=True)
class KeyValues:
    """m attributes, each of which has a key and a value; all arrays (m,).

    Attributes:
        key_at, key_size: where the key lies.
        form: NONE, TEXT, BOOL, INT or DOUBLE.
        value_at, value_size: where a text lies.
        bits: the value of a BOOL or INT, or the bytes of a DOUBLE, as a number.
    """

    key_at: I64
    key_size: I64
    form: U8
    value_at: I64
    value_size: I64
    bits: U64

    @property
    def columns(self) -> tuple[I64, I64, U8, I64, I64, U64]:
        """All of them, in their order."""
        return self.key_at, self.key_size, self.form, self.value_at, self.value_size, self.bits


@dataclass(frozen=True, slots=True)
class Attributes(KeyValues):
    """m attributes of n spans, those of a span together and in order.

    Attributes:
        span: (m,) whose.
        first, count: (n,) where those of each span begin, and how many they are.
        like: (n,) the same number for spans that are known to have the same keys, -1 for others;
            None where nothing is known.
    """

    span: I64
    first: I64
    count: I64
    like: I64 | None = None


def read_attributes(octets: U8, words: U64, at: I64, end: I64) -> tuple[KeyValues, Mask]:
    """Return the attributes whose messages lie from `at` to `end`, and which have another form.

    Args:
        octets: the bytes.
        words: a view of them, see `words_of`.
        at: (m,) where each begins.
        end: (m,) where each ends.
    """
    key_size = octets.take(at + 1).astype(np.int64)
    is_good = (octets.take(at) == KEY) & (key_size > 0) & (key_size < CONTINUES)
    value = at + 2 + key_size
    inner = end - value - 2  # bytes of the value's message, where its length is one byte
    is_good &= inner >= 0
    form = np.full(len(at), UNKNOWN, np.uint8)
    value_at, value_size = value + 4, inner - 2
    bits = np.zeros(len(at), np.uint64)
    value = np.minimum(value, len(octets) - PAD_BYTES)
    quad = _quads_of(octets)[value].astype(np.int64)
    is_text = quad == _TEXT_HEAD + (inner << 8) + (value_size << 24)
    is_text &= (value_size >= 0) & (inner < CONTINUES)
    form[is_text] = TEXT
    is_int = quad & 0xFF_FFFF == _INT_HEAD + (inner << 8)
    is_int &= (inner > 0) & (inner < CONTINUES) & is_good
    ints = np.flatnonzero(is_int)
    bits[ints], is_whole = varints(words[value[ints] + 3], inner[ints] - 1)
    form[ints[is_whole]] = INT
    others = np.flatnonzero(~is_text & ~is_int & is_good)
    if len(others):
        found = _values(words, octets, value[others], end[others])
        form[others], value_at[others], value_size[others], bits[others] = found
    read = KeyValues(at + 2, key_size, form, value_at, value_size, bits)
    return read, ~is_good | (form == UNKNOWN)


_SEVEN: Final = np.uint64(0x7F7F_7F7F_7F7F_7F7F)
_HIGH: Final = np.uint64(0x8080_8080_8080_8080)
_LAST: Final = np.array([0, *(1 << (8 * size - 1) for size in range(1, 9))], np.uint64)
"""The high bit of the last of so many bytes."""


def _quads_of(octets: U8) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    """Return a view of bytes: number i is the four bytes from byte i on, the first one lowest."""
    return np.ndarray((len(octets) - 3,), np.dtype("<u4"), octets, strides=(1,))


def _values(words: U64, octets: U8, at: I64, end: I64) -> tuple[U8, I64, I64, U64]:
    """Return form, place and bits of the values whose fields lie from `at` to `end`."""
    size, head = size_at(octets, at + 1)
    inner = at + 1 + head
    is_good = (octets.take(at) == VALUE) & (size >= 0) & (inner + size == end)
    form, value_at, value_size, bits = values_at(words, octets, inner, end)
    form[~is_good] = UNKNOWN
    return form, value_at, value_size, bits


def values_at(words: U64, octets: U8, inner: I64, end: I64) -> tuple[U8, I64, I64, U64]:
    """Return form, place and bits of the values (`AnyValue`) that lie from `inner` to `end`.

    Of one that is none of the plain ones the form is `UNKNOWN`.
    """
    form = np.full(len(inner), UNKNOWN, np.uint8)
    form[inner == end] = NONE
    is_good = inner < end
    tag = octets.take(inner) * is_good
    width = end - inner - 1
    bits, is_whole = varints(words[inner + 1], width)
    form[(tag == BOOL_VALUE) & is_whole & (bits < np.uint64(2))] = BOOL
    form[(tag == INT_VALUE) & is_whole] = INT
    is_double = (tag == DOUBLE_VALUE) & (width == 8)
    if is_double.any():
        form[is_double] = DOUBLE
        bits = np.where(is_double, words[inner + 1], bits)
    text_size, head = size_at(octets, inner + 1)
    form[(tag == TEXT_VALUE) & (text_size >= 0) & (head + text_size == width)] = TEXT
    return form, inner + 1 + head, text_size, bits


def size_at(octets: U8, at: I64) -> tuple[I64, I64]:
    """Return lengths and how many bytes they take, one or two; -1 where they take more."""
    first, second = octets.take(at), octets.take(at + 1)
    is_long = first >= CONTINUES
    size = first.astype(np.int64) + is_long * ((second.astype(np.int64) << 7) - CONTINUES)
    size[is_long & (second >= CONTINUES)] = -1
    return size, 1 + is_long.astype(np.int64)


def varints(word: U64, width: I64) -> tuple[U64, Mask]:
    """Return numbers of up to eight bytes, and whether they take exactly `width` bytes."""
    last = ~word & _HIGH
    lowest = last & (~last + np.uint64(1))  # the high bit of each number's last byte
    is_whole = (width > 0) & (width <= 8) & (lowest == _LAST.take(width, mode="clip"))
    kept = word & _SEVEN & (lowest | (lowest - np.uint64(1)))
    a = kept & np.uint64(0x007F_007F_007F_007F)
    a |= (kept & np.uint64(0x7F00_7F00_7F00_7F00)) >> np.uint64(1)
    b = a & np.uint64(0x0000_3FFF_0000_3FFF)
    b |= (a & np.uint64(0x3FFF_0000_3FFF_0000)) >> np.uint64(2)
    return b & np.uint64(0x0FFF_FFFF) | (b >> np.uint64(32)) << np.uint64(28), is_whole
