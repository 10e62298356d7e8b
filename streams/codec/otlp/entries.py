"""What a span says besides its attributes, as if it were attributes: dimensions all of them.

Owns the keys of a status' message, a trace state and events. Those of events are composed; all of
them are laid behind the requests, so that whoever reads keys finds them like any other.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np

from streams.codec.otlp.events import STATUS_MESSAGE
from streams.codec.otlp.events import TRACE_STATE as TRACE_STATE_KEY
from streams.codec.otlp.pieces import joined
from streams.codec.otlp.walk import (
    INT,
    NONE,
    PAD_BYTES,
    STATUS,
    TEXT,
    TRACE_STATE,
    Attributes,
    Events,
    Parts,
    Spans,
    walk_events,
    walk_spans,
)
from streams.units import I64, U8

EVENTS_MAX: Final = 16
"""Of a span; one with more is not of the common form."""
_KEY_BYTES_MAX: Final = 64
_NS_PER_US: Final = np.uint64(1_000)
_KEYS: Final = [
    STATUS_MESSAGE,
    TRACE_STATE_KEY,
    *(f"event.{i}.name" for i in range(EVENTS_MAX)),
    *(f"event.{i}.time_us" for i in range(EVENTS_MAX)),
    *(f"event.{i}." for i in range(EVENTS_MAX)),
]
_MESSAGE, _STATE, _NAME, _TIME, _PREFIX = 0, 1, 2, 2 + EVENTS_MAX, 2 + 2 * EVENTS_MAX
_SPARE: Final = b"\0"
"""In front of each key, for its length."""
_TABLE: Final = b"".join(_SPARE + key.encode() for key in _KEYS)
_SIZE: Final = np.array([len(key) for key in _KEYS], np.int64)
_AT: Final = np.cumsum(_SIZE + 1) - _SIZE


def read_spans(octets: U8, begin: I64, end: I64) -> tuple[U8, Spans]:
    """Return the fields of spans, with all that becomes dimensions as attributes, and the bytes.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last span.
        begin: (n,) where each span begins.
        end: (n,) where each ends.

    Returns:
        The bytes, with composed keys after them where there are some; what lies where in them.
    """
    spans = walk_spans(octets, begin, end)
    base = len(octets)
    found = [
        _of_texts(spans, tag, base, code)
        for tag, code in ((STATUS, _MESSAGE), (TRACE_STATE, _STATE))
    ]
    parts = [octets, np.frombuffer(_TABLE, np.uint8)]
    if len(spans.events.span):
        part = _in_order(spans.events)
        events = walk_events(octets, part.begin, part.end)
        is_strange = ~events.is_common | (part.nth >= EVENTS_MAX)
        spans.is_common[part.span[is_strange]] = False
        part = replace(part, nth=np.minimum(part.nth, EVENTS_MAX - 1))
        of_events, keys = _of_events(octets, part, events, base)
        found.append(of_events)
        parts.append(keys)
    if not sum(len(one.span) for one in found):
        return octets, spans
    all_octets = np.concatenate([*parts, np.zeros(PAD_BYTES, np.uint8)])
    return all_octets, replace(spans, attributes=_merged([spans.attributes, *found]))


def _of_texts(spans: Spans, tag: int, base: int, code: int) -> Attributes:
    """Return texts that spans have once, under one key."""
    row = np.flatnonzero(spans.size[tag])
    key = np.full(len(row), code)
    form = np.full(len(row), TEXT, np.uint8)
    at, size = spans.at[tag][row], spans.size[tag][row]
    return _attributes(row, base + _AT[key], _SIZE[key], form, at, size, np.zeros(len(row)))


def _in_order(events: Parts) -> Parts:
    """Return the events of a span together."""
    order = np.lexsort((events.nth, events.span))
    return Parts(*(getattr(events, one.name)[order] for one in fields(events)))


def _of_events(octets: U8, part: Parts, events: Events, base: int) -> tuple[Attributes, U8]:
    """Return name, time and attributes of events, event by event, and the keys of the last."""
    own = events.attributes
    nth = part.nth[own.span]
    prefix, key_size = _SIZE[_PREFIX + nth], np.minimum(own.key_size, _KEY_BYTES_MAX)
    source = np.concatenate(
        [octets, np.frombuffer(_TABLE, np.uint8), np.zeros(PAD_BYTES, np.uint8)]
    )
    start = np.stack([base + _AT[_PREFIX + nth] - 1, own.key_at], axis=1).ravel()
    size = np.stack([1 + prefix, key_size], axis=1).ravel()
    keys = joined(source, start, size)
    ends = base + len(_TABLE) + np.cumsum(1 + prefix + key_size)
    own = replace(
        own, span=part.span[own.span], key_at=ends - prefix - key_size, key_size=prefix + key_size
    )
    names = _attributes(
        part.span,
        base + _AT[_NAME + part.nth],
        _SIZE[_NAME + part.nth],
        np.where(events.name_size > 0, TEXT, NONE).astype(np.uint8),
        events.name_at,
        events.name_size,
        np.zeros(len(part.span)),
    )
    times = _attributes(
        part.span,
        base + _AT[_TIME + part.nth],
        _SIZE[_TIME + part.nth],
        np.full(len(part.span), INT, np.uint8),
        events.name_at,
        events.name_size,
        events.time_ns // _NS_PER_US,
    )
    event = np.arange(len(part.span))
    order = np.argsort(np.concatenate([event, event, events.attributes.span]), kind="stable")
    return _taken([names, times, own], order), np.frombuffer(keys, np.uint8)


def _attributes(
    span: I64, key_at: I64, key_size: I64, form: U8, at: I64, size: I64, bits: Any
) -> Attributes:
    """Return attributes whose place among the others is not known yet."""
    none = np.zeros(0, np.int64)
    return Attributes(span, none, none, key_at, key_size, form, at, size, bits.astype(np.uint64))


def _merged(parts: Sequence[Attributes]) -> Attributes:
    """Return the attributes of each span together, those of each part in their order."""
    n = len(parts[0].first)
    span = np.concatenate([part.span for part in parts])
    count = np.bincount(span, minlength=n)
    first = np.cumsum(count) - count
    merged = _taken(parts, np.argsort(span, kind="stable"))
    return replace(merged, first=first, count=count)


def _taken(parts: Sequence[Attributes], order: I64) -> Attributes:
    """Return the attributes of all parts in some order."""
    names = [one.name for one in fields(Attributes) if one.name not in ("first", "count")]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])[order] for name in names
    }
    none = np.zeros(0, np.int64)
    return Attributes(first=none, count=none, **columns)
