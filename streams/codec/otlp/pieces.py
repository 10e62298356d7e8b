"""Many short pieces of a buffer as one: what `core.bodies` does for whole bodies, for their parts.

Short pieces are copied in units of one size, each covering what the one before wrote beyond its
end; long ones after them in units that end where the piece ends, so that they cover nothing.
"""

from typing import Final

import numpy as np

from streams.units import I64, U8, Mask

SHORT_BYTES: Final = 32
LONG_BYTES: Final = 128


def joined(source: U8, start: I64, size: I64) -> bytes:
    """Return pieces of `source` as one.

    Args:
        source: the bytes, with `SHORT_BYTES` after the last piece.
        start: (n,) where each piece begins.
        size: (n,) its length, at least one.
    """
    end = np.cumsum(size)
    begin = end - size
    total = int(end[-1]) if len(end) else 0
    out = np.empty(total + SHORT_BYTES, np.uint8)
    is_short, is_long = size < SHORT_BYTES, size >= LONG_BYTES
    short = np.flatnonzero(is_short)
    _units(out, SHORT_BYTES)[begin[short]] = _units(source, SHORT_BYTES)[start[short]]
    for mine, width in ((~is_short & ~is_long, SHORT_BYTES), (is_long, LONG_BYTES)):
        _copy_whole(source, out, start, begin, size, mine, width)
    return out[:total].tobytes()


def _copy_whole(
    source: U8, out: U8, start: I64, begin: I64, size: I64, mine: Mask, width: int
) -> None:
    """Copy pieces of at least `width` bytes in units that stay within each piece."""
    rows = np.flatnonzero(mine)
    if not len(rows):
        return
    units = -(-size[rows] // width)
    nth = np.arange(int(units.sum())) - np.repeat(np.cumsum(units) - units, units)
    within = np.minimum(width * nth, np.repeat(size[rows] - width, units))
    target = np.repeat(begin[rows], units) + within
    _units(out, width)[target] = _units(source, width)[np.repeat(start[rows], units) + within]


def _units(octets: U8, width: int) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    """Return a view of bytes: item i is the `width` bytes from byte i on."""
    return np.ndarray((max(0, len(octets) - width + 1),), f"V{width}", octets, strides=(1,))
