"""Ids as text become numbers, a column at a time: trace ids, span ids, UUIDs."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.units import I64, U8, U64, Mask

UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""One as text; without its dashes it is as long as a trace id."""
_HEX: Final = np.frombuffer(bytes(range(256)).hex().encode(), np.uint16)
"""(256, 2) the two digits of each octet."""
_BAD: Final = 0x8000
_BAD_IN_QUAD: Final = np.uint64(0x8000_8000_8000_8000)


def _pair_table(digits: bytes) -> npt.NDArray[np.uint16]:
    """Return the value of each pair of digits, by the pair read as a little-endian uint16."""
    table = np.full(1 << 16, _BAD, np.uint16)
    for high, high_digit in enumerate(digits):
        for low, low_digit in enumerate(digits):
            table[high_digit | low_digit << 8] = (high % 16) << 4 | low % 16
    return table


_LOWER: Final = _pair_table(b"0123456789abcdef")
_ANY_CASE: Final = _pair_table(b"0123456789abcdef0123456789ABCDEF")


def hex_texts(ids: Sequence[bytes]) -> list[bytes]:
    """Return trace ids of 16 bytes each as 32 lower-case hex digits."""
    octets = np.frombuffer(b"".join(ids), np.uint8)
    texts: list[bytes] = as_hex(octets).view("S32").tolist()
    return texts


def as_hex(octets: U8) -> U8:
    """Return octets, (..., n), as their lower-case hex digits, (..., 2 n)."""
    return _HEX.take(octets).view(np.uint8)


def hex_ids(data: bytes, at: I64, is_whole: Mask, digits: int) -> tuple[U64, Mask]:
    """Return ids written as lower-case hex as numbers, and which are well written.

    Lower case only: the text is the partition key, and a second spelling of one trace id would be
    another partition. Source: W3C Trace Context, `trace-id` and `parent-id`.

    Args:
        data: the buffer that holds the texts.
        at: (n,) where each text begins.
        is_whole: (n,) which of the texts have `digits` bytes; the others are not looked at.
        digits: 16 or 32.

    Returns:
        (n, digits / 16) uint64, most significant first, 0 where it is not well written; (n,) bool.
    """
    text = _texts(data, at if is_whole.all() else at[is_whole], digits)
    return _spread(*_numbers(text, _LOWER), is_whole)


def uuids(data: bytes, at: I64, is_whole: Mask) -> tuple[U64, Mask]:
    """Return UUIDs in their 36-character form as numbers, and which are well written.

    A UUID whose first half is 0 (the nil UUID) counts as badly written: its key would be one of a
    span. Either case is accepted. Source: RFC 9562, section 4.

    Args:
        data: the buffer that holds the texts.
        at: (n,) where each text begins.
        is_whole: (n,) which of the texts have 36 bytes; the others are not looked at.

    Returns:
        (n, 2) uint64, 0 where it is not well written; (n,) bool.
    """
    text = _texts(data, at if is_whole.all() else at[is_whole], UUID_CHARACTERS)
    halves, is_good = _numbers(np.ascontiguousarray(text[:, _UUID_DIGITS]), _ANY_CASE)
    is_good &= (text[:, _UUID_DASHES] == ord("-")).all(axis=1) & (halves[:, 0] != 0)
    halves[~is_good] = 0
    return _spread(halves, is_good, is_whole)


def _texts(data: bytes, at: I64, width: int) -> U8:
    """Return the texts of one width as (n, width) bytes, each copied as a whole."""
    places = max(0, len(data) - width + 1)
    texts = np.ndarray((places,), f"V{width}", data, strides=(1,))
    return texts[at].view(np.uint8).reshape(len(at), width)


UUID_CHARACTERS: Final = 36
_UUID_DASHES: Final = np.array([8, 13, 18, 23])
_UUID_DIGITS: Final = np.setdiff1d(np.arange(UUID_CHARACTERS), _UUID_DASHES)


def _numbers(text: U8, table: npt.NDArray[np.uint16]) -> tuple[U64, Mask]:
    """Return (m, digits) characters as (m, digits / 16) numbers, 0 with False where one is bad."""
    octets = table.take(text.view("<u2"))
    quads = octets.view(np.uint64)
    marks = quads[:, 0].copy()
    for i in range(1, quads.shape[1]):
        marks |= quads[:, i]
    is_good = (marks & _BAD_IN_QUAD) == 0
    numbers = octets.astype(np.uint8).view(">u8").astype(np.uint64)
    if not is_good.all():
        numbers[~is_good] = 0
    return numbers, is_good


def _spread(numbers: U64, is_good: Mask, is_whole: Mask) -> tuple[U64, Mask]:
    """Return the numbers of the whole texts at the rows of all texts."""
    if len(is_good) == len(is_whole):
        return numbers, is_good
    out = np.zeros((len(is_whole), numbers.shape[1]), np.uint64)
    out[is_whole] = numbers
    out_is_good = is_whole.copy()
    out_is_good[is_whole] = is_good
    return out, out_is_good
