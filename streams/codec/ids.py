"""Ids as text become numbers, a column at a time: trace ids, span ids, UUIDs."""

from typing import Final

import numpy as np
import polars as pl

from streams.units import U8, U64, Mask

_BAD: Final = 0xFFFF


def _pair_table(digits: bytes) -> np.ndarray:
    """Return the value of each pair of digits, by the pair read as a little-endian uint16."""
    table = np.full(1 << 16, _BAD, np.uint16)
    for high, high_digit in enumerate(digits):
        for low, low_digit in enumerate(digits):
            table[high_digit | low_digit << 8] = (high % 16) << 4 | low % 16
    return table


_LOWER: Final = _pair_table(b"0123456789abcdef")
_ANY_CASE: Final = np.minimum(
    np.minimum(_LOWER, _pair_table(b"0123456789ABCDEF")),
    np.minimum(_pair_table(b"0123456789abcdef0123456789ABCDEF"), _BAD),
)


def hex_ids(column: pl.Series, digits: int) -> tuple[U64, Mask]:
    """Return ids written as lower-case hex as numbers, and which are well written.

    Lower case only: the text is the partition key, and a second spelling of one trace id would be
    another partition. Source: W3C Trace Context, `trace-id` and `parent-id`.

    Args:
        column: (n,) text without nulls.
        digits: 16 or 32.

    Returns:
        (n, digits / 16) uint64, most significant first, 0 where it is not well written; (n,) bool.
    """
    return _decode(column, digits, digits, slice(0, digits), _LOWER)


def uuids(column: pl.Series) -> tuple[U64, Mask]:
    """Return UUIDs in their 36-character form as numbers, and which are well written.

    A UUID whose first half is 0 (the nil UUID) counts as badly written: its key would be one of a
    span. Either case is accepted. Source: RFC 9562, section 4.

    Returns:
        (n, 2) uint64, 0 where it is not well written; (n,) bool.
    """
    halves, is_good = _decode(column, 36, 32, _UUID_DIGITS, _ANY_CASE)
    has_dashes = is_good.copy()
    if is_good.any():
        text = _characters(column.filter(pl.Series(is_good)), 36)
        has_dashes[is_good] = (text[:, _UUID_DASHES] == ord("-")).all(axis=1)
    is_good = has_dashes & (halves[:, 0] != 0)
    halves[~is_good] = 0
    return halves, is_good


_UUID_DASHES: Final = np.array([8, 13, 18, 23])
_UUID_DIGITS: Final = np.setdiff1d(np.arange(36), _UUID_DASHES)


def _decode(
    column: pl.Series, length: int, digits: int, where: slice | np.ndarray, table: np.ndarray
) -> tuple[U64, Mask]:
    is_good = (column.str.len_bytes() == length).to_numpy().copy()
    out = np.zeros((len(column), digits // 16), np.uint64)
    if not is_good.any():
        return out, is_good
    whole = column if is_good.all() else column.filter(pl.Series(is_good))
    pairs = np.ascontiguousarray(_characters(whole, length)[:, where]).view("<u2")
    octets = table[pairs]
    is_hex = (octets != _BAD).all(axis=1)
    words = octets.astype(np.uint8).view(">u8").astype(np.uint64)
    words[~is_hex] = 0
    out[is_good] = words
    is_good[is_good] = is_hex
    return out, is_good


def _characters(column: pl.Series, length: int) -> U8:
    """Return the (n, length) bytes of texts that all have `length` bytes."""
    joined: str = column.str.join("").item()
    return np.frombuffer(joined.encode(), np.uint8).reshape(-1, length)
