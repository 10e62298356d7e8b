"""Avro's longs and strings as bytes, one value at a time, from tables of two bytes each."""

from functools import lru_cache
from typing import Final


def _groups(bits: int) -> bytes:
    """Return the shortest form of an unsigned number, 7 bits a byte, lowest first."""
    out = bytearray()
    while bits > 0x7F:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    out.append(bits)
    return bytes(out)


_LAST: Final = [_groups(bits) for bits in range(1 << 14)]
_MORE: Final = [bytes((bits & 0x7F | 0x80, bits >> 7 | 0x80)) for bits in range(1 << 14)]


# Times of one trace share all but their last 28 bits, for 134 s.
_high = lru_cache(maxsize=4096)(_groups)


def varint(value: int) -> bytes:
    """Return the Avro bytes of a long, -2**63 <= value < 2**63."""
    bits = (value << 1) ^ (value >> 63)
    if bits < 1 << 14:
        return _LAST[bits]
    if bits < 1 << 28:
        return _MORE[bits & 0x3FFF] + _LAST[bits >> 14]
    return _MORE[bits & 0x3FFF] + _MORE[bits >> 14 & 0x3FFF] + _high(bits >> 28)


def text(value: str) -> bytes:
    """Return the Avro bytes of a string."""
    raw = value.encode()
    return varint(len(raw)) + raw
