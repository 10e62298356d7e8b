"""Log records of many requests taken apart together: where each field of each record lies.

They are told as if they were spans without a parent and without a length, so that what puts bodies
together serves both: their body is one more attribute, `message`.
Source: opentelemetry-proto, `logs.proto`.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from streams.codec.otlp.attributes import PAD_BYTES, UNKNOWN, Attributes, values_at
from streams.codec.otlp.entries import attributes_of, merged
from streams.codec.otlp.events import LINE_SEVERITIES, LOG_NAME, MESSAGE
from streams.codec.otlp.heads import NS_PER_US, Plain, is_time, plain_of
from streams.codec.otlp.links import SpanLinks
from streams.codec.otlp.walk import (
    FIXED64,
    FLAGS32,
    LENGTH,
    NAME,
    PARENT_ID,
    SPAN_ID,
    TRACE_ID,
    VARINT,
    Found,
    Parts,
    Spans,
    words_of,
)
from streams.core.columns import INFO, SEVERITIES
from streams.units import I64, U8, U64, Mask

SEVERITY_TEXT: Final = 0x1A
_TIME, _OBSERVED, _SEVERITY, _FLAGS = 0x09, 0x59, 0x10, 0x45
_BODY, _ATTRIBUTE, _TRACE_ID, _SPAN_ID, _NAME = 0x2A, 0x32, 0x4A, 0x52, 0x62
_LINE: Final = {
    **dict.fromkeys((SEVERITY_TEXT, _BODY, _ATTRIBUTE, _TRACE_ID, _SPAN_ID, _NAME), LENGTH),
    **dict.fromkeys((_TIME, _OBSERVED), FIXED64),
    _SEVERITY: VARINT,
    _FLAGS: FLAGS32,
}
_CODES: Final = [SEVERITIES.index(one) for one in LINE_SEVERITIES]
_SEVERITY_CODE: Final = np.array([INFO, *np.repeat(_CODES, 4)], np.int64)
"""Of SEVERITIES, by the protocol's number; 0 says nothing."""
_SPARE: Final = b"\0"
"""In front of each text, for its length."""
_TABLE: Final = _SPARE + MESSAGE.encode() + _SPARE + LOG_NAME.encode()
_MESSAGE_AT, _MESSAGE_BYTES = 1, len(MESSAGE)
_NAME_AT, _NAME_BYTES = 2 + _MESSAGE_BYTES, len(LOG_NAME)


@dataclass(frozen=True, slots=True)
class Lines(Spans):
    """n log records as spans; under NAME lies the event's name, of one without it `LOG_NAME`.

    Attributes:
        severity: (n,) of SEVERITIES.
        is_named: (n,) whether it has a name of its own.
        has_trace, has_span: (n,) whether ids of a trace, and of a span in it, are there.
    """

    severity: I64
    is_named: Mask
    has_trace: Mask
    has_span: Mask


def read_lines(octets: U8, begin: I64, end: I64) -> tuple[U8, Lines, SpanLinks]:
    """Return the fields of log records, with bodies as attributes, and the bytes.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last record.
        begin: (n,) where each record begins.
        end: (n,) where each ends.

    Returns:
        The bytes, with composed texts after them; what lies where in them; no links.
    """
    n = len(begin)
    found = Found(octets, n, _LINE, (_ATTRIBUTE, _BODY), is_strict=True)
    found.walk(begin, end)
    own = found.attributes(_ATTRIBUTE)
    base = len(octets)
    told = merged([own, _messages(found, octets, base)])
    words = words_of(octets)
    has_trace = found.size[_TRACE_ID] == 16
    trace_at = found.at[_TRACE_ID] * has_trace
    has_trace &= (words[trace_at] | words[trace_at + 8]) != 0
    is_named = found.size[_NAME] > 0
    time_ns = np.where(found.time[_TIME] != 0, found.time[_TIME], found.time[_OBSERVED])
    nothing, none = np.zeros(n, np.int64), Parts(*[np.zeros(0, np.int64)] * 4)
    number = found.number[_SEVERITY]
    is_known = number < len(_SEVERITY_CODE)
    # By its words alone a severity is read by the reference.
    found.is_common &= is_known & ((number > 0) | (found.size[SEVERITY_TEXT] == 0))
    lines = Lines(
        found.is_common,
        {
            TRACE_ID: found.at[_TRACE_ID],
            SPAN_ID: found.at[_SPAN_ID],
            PARENT_ID: nothing,
            NAME: np.where(is_named, found.at[_NAME], base + _NAME_AT),
            SEVERITY_TEXT: found.at[SEVERITY_TEXT],
        },
        {
            TRACE_ID: found.size[_TRACE_ID],
            SPAN_ID: found.size[_SPAN_ID],
            PARENT_ID: nothing,
            NAME: np.where(is_named, found.size[_NAME], _NAME_BYTES),
            SEVERITY_TEXT: found.size[SEVERITY_TEXT],
        },
        nothing,
        nothing,
        found.number[_FLAGS] & 0xFF,
        time_ns,
        time_ns,
        told,
        none,
        none,
        _SEVERITY_CODE.take(number * is_known),
        is_named,
        has_trace,
        has_trace & (found.size[_SPAN_ID] == 8),
    )
    table = np.frombuffer(_TABLE, np.uint8)
    return np.concatenate([octets, table, np.zeros(PAD_BYTES, np.uint8)]), lines, SpanLinks.none()


def _messages(found: Found, octets: U8, base: int) -> Attributes:
    """Return the bodies as attributes; records with one of another form are no more common."""
    bodies = found.parts(_BODY)
    is_there = bodies.end > 0
    form, at, size, bits = values_at(words_of(octets), octets, bodies.begin * is_there, bodies.end)
    found.is_common[bodies.span[(form == UNKNOWN) | (bodies.nth > 0)]] = False
    key_at = np.full(len(form), base + _MESSAGE_AT)
    return attributes_of(
        bodies.span, key_at, np.full(len(form), _MESSAGE_BYTES), form, at, size, bits
    )


def is_plain_line(lines: Lines) -> Mask:
    """Return which records of the common form have ids and times that are written here; (n,)."""
    is_id = lines.has_trace | (lines.size[TRACE_ID] == 0) | (lines.size[TRACE_ID] == 16)
    is_id &= ~lines.has_trace | lines.has_span | (lines.size[SPAN_ID] == 0)
    is_good = lines.is_common & is_id & is_time(lines.start_ns // NS_PER_US)
    return np.asarray(is_good & (lines.flags < 64))


def plain_line_of(words: U64, lines: Lines, rows: I64) -> Plain:
    """Return what is read of some plain records; see `plain_of`."""
    return replace(plain_of(words, lines, rows), flags=lines.flags[rows].astype(np.uint8))
