"""The first and last bytes of spans' event bodies, written for many spans at once.

Owns the Avro bytes of ids, times, status, kind and flags: the fields of the current TelemetryEvent
up to `timestamp`, and those after `dimensions`. Invariant: for a span that `is_plain` marks, the
bytes are the canonical ones.
"""

from typing import Final

import numpy as np

from streams.codec.eventid import SPAN_FACTORS
from streams.codec.ids import HEX
from streams.codec.otlp.walk import PARENT_ID, SPAN_ID, TRACE_ID, Spans
from streams.units import I64, U8, U64, Mask

HEAD_BYTES: Final = 112
"""Event id, trace id, span id, parent id and timestamp, each with its length."""
NO_PARENT_BYTES: Final = 16
"""So much shorter is the head of a root."""
TAIL_BYTES: Final = 16
_TIME_BYTES: Final = 8
_FIELDS_BYTES: Final = 6
"""The end of the dimensions, and five texts that are empty."""
_PARENT_AT: Final = 87
_SEVEN: Final = np.uint64(0x7F)
_PAIRS: Final = HEX.view(np.uint16).ravel()
"""The two digits of each octet, as one number."""
_UUID_GROUPS: Final = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_DURATION_BITS_MAX: Final = 35
_KIND_INDEX: Final = np.array([0, 0, 1, 2, 3, 4], np.int64)
"""Of SPAN_KINDS, by the protocol's number."""
_SAMPLED: Final = 1
_NS_PER_US: Final = np.uint64(1_000)


def is_plain(spans: Spans) -> Mask:
    """Return which spans of the common form have ids and times that are written here; (n,) bool."""
    size = spans.size
    time_bits = (spans.start_ns // _NS_PER_US) << np.uint64(1)
    is_time = (time_bits >= np.uint64(1 << 49)) & (time_bits < np.uint64(1 << 56))
    length_us = (spans.end_ns - spans.start_ns) // _NS_PER_US
    is_time &= (spans.end_ns >= spans.start_ns) & (spans.end_ns < np.uint64(1 << 63))
    is_time &= length_us < np.uint64(1 << (_DURATION_BITS_MAX - 1))
    parent_bytes = size[PARENT_ID]
    is_id = (size[TRACE_ID] == 16) & (size[SPAN_ID] == 8)
    is_id &= (parent_bytes == 8) | (parent_bytes == 0)
    return np.asarray(spans.is_common & is_time & is_id & (_flags(spans) < 64))


def heads_of(words: U64, spans: Spans, rows: I64) -> tuple[U8, I64]:
    """Return (m, HEAD_BYTES) heads of some spans, and how many bytes of each count.

    Args:
        words: of the bytes that the spans lie in; see `words_of`.
        spans: n spans.
        rows: (m,) which of them.
    """
    out = np.zeros((len(rows), HEAD_BYTES), np.uint8)
    trace_at = spans.at[TRACE_ID][rows]
    trace = np.stack([words[trace_at], words[trace_at + 8]], axis=1)
    span = words[spans.at[SPAN_ID][rows]]
    out[:, 0] = 2 * 36
    out[:, 1:37] = _uuids(trace, span)
    out[:, 37], out[:, 70] = 2 * 32, 2 * 16
    out[:, 38:70] = _hex(trace)
    out[:, 71:87] = _hex(span)
    has_parent = spans.size[PARENT_ID][rows] == 8
    parent = _hex(words[spans.at[PARENT_ID][rows]])
    time = _varint_bytes((spans.start_ns[rows] // _NS_PER_US) << np.uint64(1), _TIME_BYTES)
    out[:, _PARENT_AT] = np.where(has_parent, 2 * 16, 0)
    out[:, _PARENT_AT + 1 : HEAD_BYTES - _TIME_BYTES] = parent
    out[:, HEAD_BYTES - _TIME_BYTES :] = time
    roots = np.flatnonzero(~has_parent)
    at = HEAD_BYTES - _TIME_BYTES - NO_PARENT_BYTES
    out[roots, at : at + _TIME_BYTES] = time[roots]
    return out, np.where(has_parent, HEAD_BYTES, HEAD_BYTES - NO_PARENT_BYTES)


def tails_of(spans: Spans, rows: I64) -> tuple[U8, I64]:
    """Return (m, TAIL_BYTES) what follows the dimensions, and how many bytes of each count."""
    out = np.zeros((len(rows), TAIL_BYTES), np.uint8)
    bits = ((spans.end_ns[rows] - spans.start_ns[rows]) // _NS_PER_US) << np.uint64(1)
    width = np.ones(len(rows), np.int64)
    for shift in range(7, _DURATION_BITS_MAX, 7):
        width += bits >= np.uint64(1 << shift)
    status, kind = spans.status[rows], spans.kind[rows]
    last = np.zeros((len(rows), 4), np.uint8)
    last[:, 0] = 2 * np.where(status < 3, status, 0)
    last[:, 1] = 2 * np.where(kind < len(_KIND_INDEX), _KIND_INDEX[kind % len(_KIND_INDEX)], 0)
    last[:, 2] = 2 * _flags(spans)[rows]
    for size in range(1, _DURATION_BITS_MAX // 7 + 1):
        mine = np.flatnonzero(width == size)
        if len(mine):
            begin = _FIELDS_BYTES
            out[mine, begin : begin + size] = _varint_bytes(bits[mine], size)
            out[mine, begin + size : begin + size + 4] = last[mine]
    return out, _FIELDS_BYTES + width + 4


def _flags(spans: Spans) -> I64:
    return np.where(spans.flags == 0, _SAMPLED, spans.flags & 0xFF)


def _varint_bytes(bits: U64, size: int) -> U8:
    """Return numbers that take exactly `size` bytes as varints, (m, size)."""
    shifts = np.arange(0, 7 * size, 7, dtype=np.uint64)
    groups = (bits[:, None] >> shifts & _SEVEN).astype(np.uint8)
    groups[:, :-1] |= 0x80
    return groups


def _hex(words: U64) -> U8:
    """Return ids of one or two words as hex digits, (m, 16) or (m, 32)."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    digits = _PAIRS[octets].view(np.uint8)
    return digits.reshape(len(words), 16 if words.ndim == 1 else 16 * words.shape[1])


def _uuids(trace: U64, span: U64) -> U8:
    """Return `span_event_id` of each span as 36 characters."""
    number = span.byteswap()
    high = trace[:, 0].byteswap() ^ number * np.uint64(SPAN_FACTORS[0])
    low = trace[:, 1].byteswap() ^ number * np.uint64(SPAN_FACTORS[1])
    variant = low >> np.uint64(60) & np.uint64(3) | np.uint64(8)
    high = high & ~np.uint64(0xF000) | np.uint64(0x4000)
    low = low & ~np.uint64(0xF << 60) | variant << np.uint64(60)
    digits = _hex(np.stack([high.byteswap(), low.byteswap()], axis=1))
    out = np.full((len(span), 36), ord("-"), np.uint8)
    for dashes, (begin, end) in enumerate(_UUID_GROUPS):
        out[:, begin + dashes : end + dashes] = digits[:, begin:end]
    return out
