"""The first and last bytes of spans' event bodies, written for many spans at once.

Owns the Avro bytes of ids, times, status, kind and flags: the fields of the current TelemetryEvent
up to `timestamp`, and those after `dimensions`. Invariant: for a span that `is_plain` marks, the
bytes are the canonical ones.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streams.codec.eventid import SPAN_FACTORS
from streams.codec.ids import UUID_CHARACTERS, as_hex
from streams.codec.otlp.pieces import all_or
from streams.codec.otlp.walk import PARENT_ID, SPAN_ID, TRACE_ID, Spans
from streams.units import I64, U8, U64, Mask

ID_BYTES: Final = 1 + UUID_CHARACTERS
"""An event id with its length: the first bytes of a head."""
HEAD_BYTES: Final = 112
"""Event id, trace id, span id, parent id and timestamp, each with its length."""
ROOT_BYTES: Final = 96
"""So long is the head of a root."""
TAIL_BYTES: Final = 16
FIELDS_BYTES: Final = 6
"""The end of the dimensions, and five texts that are empty: the first bytes of a tail."""
NO_LINKS_BYTES: Final = 1
"""That there are no links: the last byte of a tail."""
_QUADS: Final = as_hex(np.arange(1 << 16, dtype="<u2").view(np.uint8)).view(np.uint32)
"""The four digits of two octets as one number, by the octets as one, the first one lowest."""
_DURATION_BITS_MAX: Final = 35
_KIND_INDEX: Final = np.array([0, 0, 1, 2, 3, 4, *[0] * 250], np.uint8)
"""Of SPAN_KINDS, by the protocol's number."""
_STATUS_INDEX: Final = np.array([0, 1, 2, *[0] * 253], np.uint8)
_SAMPLED: Final = 1
NS_PER_US: Final = np.uint64(1_000)
_ONE: Final = np.uint64(1)
_CONTINUED: Final = np.array([0x8080_8080 & ((1 << 8 * n) - 1) for n in range(5)], np.uint64)
"""The marks of a varint that goes on for so many bytes."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What is read of n spans for their heads; all arrays (n,), of a span that is none 0.

    Attributes:
        trace: (n, 2) the trace id, as its bytes lie in memory.
        span, parent: ids likewise, parent 0 for none.
        has_parent: whether a parent id is there.
        start_us, length_us: when, and how long.
        status, kind, flags: codes of the event.
    """

    trace: U64
    span: U64
    parent: U64
    has_parent: Mask
    start_us: U64
    length_us: U64
    status: U8
    kind: U8
    flags: U8


def is_plain(spans: Spans) -> Mask:
    """Return which spans of the common form have ids and times that are written here; (n,) bool."""
    size = spans.size
    is_good = is_time(spans.start_ns // NS_PER_US)
    length_us = (spans.end_ns - spans.start_ns) // NS_PER_US
    is_good &= (spans.end_ns >= spans.start_ns) & (spans.end_ns < np.uint64(1 << 63))
    is_good &= length_us < np.uint64(1 << (_DURATION_BITS_MAX - 1))
    parent_bytes = size[PARENT_ID]
    is_id = (size[TRACE_ID] == 16) & (size[SPAN_ID] == 8)
    is_id &= (parent_bytes == 8) | (parent_bytes == 0)
    return np.asarray(spans.is_common & is_good & is_id & (_flags(spans) < 64))


def is_time(time_us: U64) -> Mask:
    """Return which times take the eight bytes that are written here; (n,) bool."""
    return np.asarray((time_us >= np.uint64(1 << 48)) & (time_us < np.uint64(1 << 55)))


def plain_of(words: U64, spans: Spans, rows: I64) -> Plain:
    """Return what is read of some plain spans.

    Args:
        words: of the bytes that the spans lie in; see `words_of`.
        spans: n spans.
        rows: (m,) which of them.
    """
    pick = all_or(rows, len(spans.kind))
    trace_at = spans.at[TRACE_ID][pick]
    trace = np.empty((len(rows), 2), np.uint64)
    trace[:, 0], trace[:, 1] = words[trace_at], words[trace_at + 8]
    has_parent = spans.size[PARENT_ID][pick] == 8
    start_ns = spans.start_ns[pick]
    return Plain(
        trace,
        words[spans.at[SPAN_ID][pick]],
        words[spans.at[PARENT_ID][pick]] * has_parent,
        has_parent,
        start_ns // NS_PER_US,
        (spans.end_ns[pick] - start_ns) // NS_PER_US,
        _STATUS_INDEX.take(spans.status[pick]),
        _KIND_INDEX.take(spans.kind[pick]),
        _flags(spans)[pick].astype(np.uint8),
    )


def heads_of(plain: Plain) -> U8:
    """Return (m, HEAD_BYTES) heads of spans; of roots `ROOT_BYTES` of each count."""
    out = np.zeros((len(plain.span), HEAD_BYTES), np.uint8)
    out[:, 37], out[:, 70] = 2 * 32, 2 * 16
    _write_uuids(out, plain)
    for at, digits in ((38, hex_digits(plain.trace)), (71, hex_digits(plain.span))):
        for i in range(digits.shape[1]):
            _column(out, at + 8 * i, np.uint64)[:] = digits[:, i]
    out[:, 87] = 2 * 16 * plain.has_parent
    time = _spread(plain.start_us << _ONE) | np.uint64(0x0080_8080_8080_8080)
    parent = hex_digits(plain.parent)
    _column(out, 88, np.uint64)[:] = np.where(plain.has_parent, parent[:, 0], time)
    _column(out, 96, np.uint64)[:] = parent[:, 1]
    _column(out, 104, np.uint64)[:] = time
    return out


def tails_of(plain: Plain) -> tuple[U8, I64]:
    """Return (m, TAIL_BYTES) what follows the dimensions, and how many bytes of each count."""
    bits = plain.length_us << _ONE
    more = np.zeros(len(bits), np.uint8)  # bytes after the first one
    for shift in range(7, _DURATION_BITS_MAX, 7):
        more += bits >= np.uint64(1 << shift)
    last = plain.status.astype(np.uint64) | plain.kind.astype(np.uint64) << np.uint64(8)
    last |= plain.flags.astype(np.uint64) << np.uint64(16)
    word = _spread(bits) | _CONTINUED.take(more)
    word |= last << (np.uint64(9) + np.uint64(8) * more)  # each of them twice itself in Avro
    out = np.zeros((len(bits), TAIL_BYTES), np.uint8)
    _column(out, FIELDS_BYTES, np.uint64)[:] = word
    return out, FIELDS_BYTES + 5 + more.astype(np.int64)


def _flags(spans: Spans) -> I64:
    return np.where(spans.flags == 0, _SAMPLED, spans.flags & 0xFF)


def _spread(bits: U64) -> U64:
    """Return numbers below 2**56 with seven bits in each byte, the lowest first."""
    a = bits & np.uint64(0x0FFF_FFFF) | (bits >> np.uint64(28)) << np.uint64(32)
    b = a & np.uint64(0x0000_3FFF_0000_3FFF) | (a & np.uint64(0x0FFF_C000_0FFF_C000)) << np.uint64(
        2
    )
    low, high = np.uint64(0x007F_007F_007F_007F), np.uint64(0x3F80_3F80_3F80_3F80)
    return np.asarray(b & low | (b & high) << _ONE, np.uint64)


def hex_digits(words: U64) -> U64:
    """Return ids of one or two words as hex digits, 8 of them in each of (m, 2) or (m, 4) words."""
    pairs = np.ascontiguousarray(words).view(np.uint16)
    digits = _QUADS.take(pairs).view(np.uint64)
    return digits.reshape(len(words), 2 if words.ndim == 1 else 2 * words.shape[1])


def _column(rows: U8, at: int, kind: type) -> "np.ndarray[tuple[int], np.dtype[Any]]":
    """Return a view of the number that lies at one place of each row."""
    return rows[:, at : at + np.dtype(kind).itemsize].view(kind)[:, 0]


def _write_uuids(out: U8, plain: Plain) -> None:
    """Write `span_event_id` of each span as 36 characters from byte 1 on."""
    number = plain.span.byteswap()
    high = plain.trace[:, 0].byteswap() ^ number * np.uint64(SPAN_FACTORS[0])
    low = plain.trace[:, 1].byteswap() ^ number * np.uint64(SPAN_FACTORS[1])
    write_uuids(out, high, low)


def write_uuids(out: U8, high: U64, low: U64) -> None:
    """Write numbers as `as_uuid` has them, as 36 characters behind their length.

    Args:
        out: (m, ID_BYTES or more) the rows.
        high: (m,) upper halves of the numbers.
        low: (m,) lower ones.
    """
    variant = low >> np.uint64(60) & np.uint64(3) | np.uint64(8)
    high = high & ~np.uint64(0xF000) | np.uint64(0x4000)
    low = low & ~np.uint64(0xF << 60) | variant << np.uint64(60)
    out[:, 0] = 2 * UUID_CHARACTERS
    for at in (9, 14, 19, 24):
        out[:, at] = ord("-")
    upper, lower = hex_digits(high.byteswap()), hex_digits(low.byteswap())
    _column(out, 1, np.uint64)[:], _column(out, 29, np.uint64)[:] = upper[:, 0], lower[:, 1]
    for at, four in zip(
        (10, 15, 20, 25), (*_halves(upper[:, 1]), *_halves(lower[:, 0])), strict=True
    ):
        _column(out, at, np.uint32)[:] = four


def _halves(words: U64) -> tuple[Any, Any]:
    return words.astype(np.uint32), (words >> np.uint64(32)).astype(np.uint32)
