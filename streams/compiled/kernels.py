"""Loops over the bytes of records, compiled: what no call of numpy or polars does in one pass.

Whoever imports this pays for numba, a quarter of a second and 60 MB: `streams.compiled.loading`
does it for a process that reads much. Plain functions of arrays: what they are given they trust to
have the shapes that are said here, and of the bytes they trust nothing.
Source: Avro 1.11, "Binary encoding"; RFC 3629, section 4.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, cast

import numba
import numpy as np

from streams.compiled import keeping
from streams.compiled.kinds import BOOLEAN, BYTES, FIXED, LIST, LONG, TEXT
from streams.units import I64, U8, U64, Mask

F = TypeVar("F", bound=Callable[..., Any])
Long: TypeAlias = Any
"""A whole number of 64 bits, of the machine."""
_NO: Final = np.int64(-1)
_ONE: Final = np.uint64(1)
_LOW, _HALF, _SHIFT = np.uint64(0xFFFF_FFFF), np.uint64(32), np.uint64(29)
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""No lock of the interpreter is held, no division is checked, and nothing is counted as held:
arrays are the caller's, and each of the many small calls would count all of them up and down."""


def _inlined(function: F) -> F:
    """Return a function that becomes part of the one that calls it: a call costs more than it."""
    return cast(F, numba.njit(inline="always", **_OPTIONS)(function))


def _compiled(function: F) -> F:
    """Return a function that is compiled at its first call, and kept on the disk where it may be.

    Where neither the folder of the source nor the user's own may be written, each process compiles
    it for itself; or where `keeping.is_on` is not, when the module is loaded.
    """
    if not keeping.is_on:
        return cast(F, numba.njit(**_OPTIONS)(function))
    try:
        made = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no place for it
        made = numba.njit(**_OPTIONS)(function)
    return cast(F, made)


@_inlined
def _after_long(data: U8, at: Long, end: Long) -> tuple[Long, Long]:
    """Return a number and where it ends; (0, -1) where it is cut short or not the shortest form."""
    bits = np.uint64(0)
    shift = np.uint64(0)
    while at < end:
        octet = data[at]
        at += 1
        bits |= np.uint64(octet & 0x7F) << shift
        if octet < 0x80:
            if shift > 0 and (octet == 0 or (shift == 63 and octet > 1)):
                return 0, -1
            return np.int64(bits >> _ONE) ^ -np.int64(bits & _ONE), at
        if shift == 63:
            return 0, -1
        shift += np.uint64(7)
    return 0, -1


@_compiled
def _is_text(data: U8, at: Long, end: Long) -> bool:
    """Whether bytes are UTF-8."""
    while at < end:
        more = _more(data[at])
        if more < 0 or at + more >= end:
            return False
        if more and not _follows(data[at], data[at + 1]):
            return False
        for i in range(at + 2, at + more + 1):
            if data[i] < 0x80 or data[i] > 0xBF:
                return False
        at += more + 1
    return True


@_compiled
def _more(first: Long) -> Long:
    """Return how many bytes of a character follow its first one; -1 for what begins none."""
    if first < 0x80:
        return 0
    if first < 0xC2 or first > 0xF4:  # a later byte, an overlong form, or beyond U+10FFFF
        return -1
    return 1 if first < 0xE0 else 2 if first < 0xF0 else 3


@_compiled
def _follows(first: Long, second: Long) -> bool:
    """Whether a second byte may follow the first one: no overlong forms, no surrogates."""
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    top = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    return bool(low <= second <= top)


@_inlined
def _after_text(data: U8, at: Long, end: Long, kind: Long, longest: Long) -> tuple[Long, Long]:
    """Return a text's length and where it ends; (0, -1) where it is none, or longer than that."""
    length, at = _after_long(data, at, end)
    if at < 0 or length < 0 or length > end - at or length > longest:
        return 0, -1
    after = at + length
    if kind == TEXT:
        high, begin = np.uint8(0), np.uint64(at)
        for i in range(np.uint64(length)):  # a place without a sign is not counted from the end
            high = np.uint8(high | data[begin + i])
        if high >= 0x80 and not _is_text(data, at, after):  # few texts are worth a call
            return 0, -1
    return length, after


@_inlined
def _after_list(
    data: U8, at: Long, end: Long, items: I64, first: Long, last: Long
) -> tuple[Long, Long]:
    """Return how many items a list has, and where it ends; (0, -1) where it is not one block."""
    count, at = _after_long(data, at, end)
    if at < 0 or count < 0:
        return 0, -1
    if count == 0:
        return 0, at
    for _ in range(count):
        for i in range(first, last):
            kind = items[i]
            if kind == LONG:
                _, at = _after_long(data, at, end)
            elif kind == FIXED:  # a double: nothing else of a fixed size is in a list
                at = at + 8 if end - at >= 8 else -1
            else:
                _, at = _after_text(data, at, end, kind, end)
            if at < 0:
                return 0, -1
    return (count, at + 1) if at < end and data[at] == 0 else (0, -1)


@_inlined
def _after_value(
    data: U8, at: Long, end: Long, fields: I64, ranges: I64, items: I64, i: Long
) -> tuple[Long, Long]:
    """Return a number, a length or a count, and where the value ends; (0, -1) where it is none.

    Takes the whole plan and the field's index: a part of an array costs more than a value.
    """
    kind = fields[i, 0]
    if kind == LONG:
        value, at = _after_long(data, at, end)
        return (value, at) if ranges[i, 0] <= value <= ranges[i, 1] else (0, -1)
    if kind in (TEXT, BYTES):
        return _after_text(data, at, end, kind, fields[i, 3])
    if kind == LIST:
        return _after_list(data, at, end, items, fields[i, 4], fields[i, 5])
    if fields[i, 2] > end - at or (kind == BOOLEAN and data[at] > 1):
        return 0, -1
    return 0, at + fields[i, 2]


@_compiled
def walk(
    data: U8,
    begins: I64,
    ends: I64,
    counts: I64,
    is_framed: bool,
    fields: I64,
    ranges: I64,
    items: I64,
    starts: I64,
    values: I64,
    there: Mask,
) -> bool:
    """Walk over rows, and note where their fields lie and what the numbers are.

    Args:
        data: the bytes.
        begins: (p,) where each piece begins that is so many whole rows.
        ends: (p,) where it ends.
        counts: (p,) how many rows it has; n in all.
        is_framed: the first field is the length of what follows it in the row.
        fields: what a row is made of, see `streams.codec.plan.Plan`.
        ranges: the same.
        items: the same.
        starts: (k + 1, n), written: where each field begins, and where the row ends.
        values: (k, n), written: numbers, lengths of texts, counts of items; 0 of what is null.
        there: (k, n), written: False for null.

    Returns:
        False when a row is not exactly the shortest form of such fields: nothing else of what was
        written means anything then.
    """
    row = 0
    for piece in range(len(begins)):
        at, end = begins[piece], ends[piece]
        for _ in range(counts[piece]):
            stop = _NO
            for i in range(len(fields)):
                starts[i, row] = at
                if at >= end:
                    return False
                null = fields[i, 1]
                if null >= 0:
                    branch = data[at]
                    at += 1
                    if branch == 2 * null:
                        values[i, row] = 0
                        there[i, row] = False
                        continue
                    if branch != 2 * (1 - null):
                        return False
                there[i, row] = True
                value, at = _after_value(data, at, end, fields, ranges, items, i)
                if at < 0:
                    return False
                values[i, row] = value
                if i == 0:
                    stop = at + value
            if is_framed and at != stop:
                return False
            starts[len(fields), row] = at
            row += 1
        if at != end:
            return False
    return True


@_compiled
def entries(
    data: U8, at: I64, owner: I64, key_at: I64, key_size: I64, value_at: I64, value_size: I64
) -> None:
    """Note where the entries of maps of texts lie that were walked before.

    Args:
        data: the bytes.
        at: (m,) where each map begins.
        owner: (e,), written: of the e entries of all maps the map that each is in.
        key_at: (e,), written: where its key begins.
        key_size: (e,), written: how many bytes that has.
        value_at: (e,), written: where its value begins.
        value_size: (e,), written: how many bytes that has.
    """
    n, end = 0, len(data)
    for i in range(len(at)):
        count, here = _after_long(data, at[i], end)
        for _ in range(count):
            owner[n] = i
            key_size[n], key_at[n] = _after_long(data, here, end)
            value_size[n], value_at[n] = _after_long(data, key_at[n] + key_size[n], end)
            here = value_at[n] + value_size[n]
            n += 1


@_compiled
def gather(data: U8, rows: I64, start: I64, size: I64, to: I64, out: U8) -> None:
    """Copy those of n pieces that lie in one buffer to where they belong.

    Args:
        data: the buffer, not empty.
        rows: which of the pieces lie there.
        start: (n,) where in its buffer each begins.
        size: (n,) how many bytes it has.
        to: (n,) where it belongs.
        out: written.
    """
    for row in rows:
        # Places without a sign are not counted from the end: several times as fast.
        begin, there = np.uint64(start[row]), np.uint64(to[row])
        for i in range(np.uint64(size[row])):
            out[there + i] = data[begin + i]


@_inlined
def _product(word: Long, low: Long, high: Long) -> Long:
    return ((word + low) & _LOW) * ((word + (high << _HALF)) >> _HALF)


@_compiled
def hashes(
    words: U64, at: I64, size: I64, low: U64, high: U64, factor: np.uint64, out: U64
) -> None:
    """Hash texts, as `streams.codec.otlp.texts.TextHashes.of` does.

    Args:
        words: those that begin at each byte; 8 bytes or more lie before the first text.
        at: (n,) where each text begins.
        size: (n,) how many bytes it has.
        low: (k,) what is added to the lower half of a text's first k words.
        high: (k,) what is added to the upper half.
        factor: the last of the secrets.
        out: (n,), written.
    """
    for row in range(len(at)):
        last = size[row] - 8
        word = words[np.uint64(at[row] + min(last, 0))]
        if last < 0:
            word = word >> np.uint64(-8 * last) if last > -8 else np.uint64(0)
        hashed = np.uint64(size[row]) + _product(word, low[0], high[0])
        for i in range(1, min(len(low), (size[row] + 7) // 8)):
            word = words[np.uint64(at[row] + min(last, 8 * i))]
            hashed += _product(word, low[i], high[i])
        hashed *= factor
        out[row] = hashed ^ (hashed >> _SHIFT)
