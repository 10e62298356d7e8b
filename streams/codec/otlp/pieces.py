"""Many short pieces of a buffer as one: what `core.bodies` does for whole bodies, for their parts.

Short pieces are copied in units of one size, each covering what the one before wrote beyond its
end; long ones after them in units that end where the piece ends, so that they cover nothing.
"""

from typing import Final

import numpy as np

from streams.units import I64, U8, Mask

SHORT_BYTES: Final = 32
LONG_BYTES: Final = 128
_ONE_BYTE: Final = 64
"""Lengths below take one byte in Avro; those of texts and keys here take two at most."""


def joined(source: U8, start: I64, size: I64) -> bytes:
    """Return pieces of `source` as one.

    Args:
        source: the bytes, with `SHORT_BYTES` after the last piece.
        start: (n,) where each piece begins.
        size: (n,) its length.
    """
    end = np.cumsum(size)
    total = int(end[-1]) if len(end) else 0
    out = np.empty(total + SHORT_BYTES, np.uint8)
    copy_pieces(source, start, out, end - size, size)
    return out[:total].tobytes()


def copy_pieces(source: U8, start: I64, out: U8, target: I64, size: I64) -> None:
    """Copy pieces of `source` to places of `out`, in their order.

    Up to `SHORT_BYTES` behind a short piece are written over: what lies there must be a later one
    of these pieces, one of `SHORT_BYTES` or more, or be written afterwards.

    Args:
        source: the bytes, with `SHORT_BYTES` after the last piece.
        start: (n,) where each piece begins.
        out: where they go, with `SHORT_BYTES` after the last piece.
        target: (n,) where each goes.
        size: (n,) its length.
    """
    is_short = size < SHORT_BYTES
    from_units, to_units = units_of(source, SHORT_BYTES), units_of(out, SHORT_BYTES)
    if is_short.all():
        to_units[target] = from_units[start]
        return
    rows = np.flatnonzero(is_short)
    to_units[target[rows]] = from_units[start[rows]]
    is_long = size >= LONG_BYTES
    _copy_whole(source, start, out, target, size, ~is_short & ~is_long, SHORT_BYTES)
    _copy_whole(source, start, out, target, size, is_long, LONG_BYTES)


def copy_rows(rows: U8, out: U8, target: I64, begin: int, width: int) -> None:
    """Copy bytes from `begin` on of each row to a place of `out`; nothing else is written.

    Args:
        rows: (n, w) the rows.
        out: where they go.
        target: (n,) where each goes.
        begin: the first byte of each row that is copied.
        width: how many are.
    """
    units_of(out, width)[target] = rows[:, begin : begin + width].view(f"V{width}")[:, 0]


def copy_same(octets: bytes, out: U8, target: I64) -> None:
    """Copy the same bytes, one or more, to some places of `out`; nothing else is written."""
    width = len(octets)
    units_of(out, width)[target] = np.frombuffer(octets, f"V{width}")


def all_or(index: I64, size: int) -> "I64 | slice":
    """Return ascending positions, or, where they are all of `size`, what takes all as a view."""
    return slice(None) if len(index) == size else index


def with_lengths(octets: U8, at: I64, size: I64) -> tuple[I64, I64]:
    """Write the lengths of texts in front of them; return where that begins, and its length.

    Two bytes or more in front of each text belong to nothing else: its tag and its length.
    """
    start = at - 1
    is_long = size >= _ONE_BYTE
    if not is_long.any():
        octets[start] = 2 * size
        return start, size + 1
    octets[start] = np.where(is_long, size >> 6, 2 * size)
    before = at[is_long] - 2
    octets[before] = (2 * size[is_long] & 0x7F) | 0x80
    return start - is_long, size + 1 + is_long


def _copy_whole(
    source: U8, start: I64, out: U8, target: I64, size: I64, mine: Mask, width: int
) -> None:
    """Copy pieces of at least `width` bytes in units that stay within each piece."""
    rows = np.flatnonzero(mine)
    if not len(rows):
        return
    units = -(-size[rows] // width)
    nth = np.arange(int(units.sum())) - np.repeat(np.cumsum(units) - units, units)
    within = np.minimum(width * nth, np.repeat(size[rows] - width, units))
    to_at = np.repeat(target[rows], units) + within
    units_of(out, width)[to_at] = units_of(source, width)[np.repeat(start[rows], units) + within]


def units_of(octets: U8, width: int) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    """Return a view of bytes: item i is the `width` bytes from byte i on."""
    return np.ndarray((max(0, len(octets) - width + 1),), f"V{width}", octets, strides=(1,))
