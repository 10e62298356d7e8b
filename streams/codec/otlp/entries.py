"""What a span says besides its attributes, as if it were attributes: dimensions all of them.

Owns the keys of a status' message, a trace state, events and links. Those of the last two are
composed; all of them are laid behind the requests, so that whoever reads keys finds them like any
other.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np

from streams.codec.otlp.attributes import INT, NONE, PAD_BYTES, TEXT, Attributes
from streams.codec.otlp.events import STATUS_MESSAGE
from streams.codec.otlp.events import TRACE_STATE as TRACE_STATE_KEY
from streams.codec.otlp.links import LINKS_MAX, SpanLinks
from streams.codec.otlp.pieces import joined
from streams.codec.otlp.texts import are_utf8
from streams.codec.otlp.walk import (
    LINK_SPAN,
    LINK_STATE,
    LINK_TRACE,
    STATUS,
    TRACE_STATE,
    Parts,
    Spans,
    walk_events,
    walk_links,
    walk_spans,
    words_of,
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
    *(f"link.{i}." for i in range(LINKS_MAX)),
]
_MESSAGE, _STATE, _NAME, _TIME, _PREFIX = 0, 1, 2, 2 + EVENTS_MAX, 2 + 2 * EVENTS_MAX
_LINK_PREFIX: Final = _PREFIX + EVENTS_MAX
_OF_SPANS: Final = ("first", "count", "like")
"""Columns of `Attributes` that are known when those of a span are together."""
_SPARE: Final = b"\0"
"""In front of each key, for its length."""
_TABLE: Final = b"".join(_SPARE + key.encode() for key in _KEYS)
_SIZE: Final = np.array([len(key) for key in _KEYS], np.int64)
_AT: Final = np.cumsum(_SIZE + 1) - _SIZE


def read_spans(octets: U8, begin: I64, end: I64) -> tuple[U8, Spans, SpanLinks]:
    """Return the fields of spans, with all that becomes dimensions as attributes, and the bytes.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last span.
        begin: (n,) where each span begins.
        end: (n,) where each ends.

    Returns:
        The bytes, with composed keys after them where there are some; what lies where in them; the
        links of the common spans, and of others.
    """
    spans = walk_spans(octets, begin, end)
    base = len(octets)
    found = [
        _of_texts(spans, tag, base, code)
        for tag, code in ((STATUS, _MESSAGE), (TRACE_STATE, _STATE))
    ]
    parts = [octets, np.frombuffer(_TABLE, np.uint8)]
    if len(spans.events.span):
        found.append(_of_events(parts, spans))
    links = SpanLinks.none()
    if len(spans.links.span):
        of_links, links = _of_links(parts, spans)
        found.append(of_links)
    if not sum(len(one.span) for one in found):
        return octets, spans, links
    all_octets = np.concatenate([*parts, np.zeros(PAD_BYTES, np.uint8)])
    return all_octets, replace(spans, attributes=merged([spans.attributes, *found])), links


def _of_texts(spans: Spans, tag: int, base: int, code: int) -> Attributes:
    """Return texts that spans have once, under one key."""
    row = np.flatnonzero(spans.size[tag])
    key = np.full(len(row), code)
    form = np.full(len(row), TEXT, np.uint8)
    at, size = spans.at[tag][row], spans.size[tag][row]
    return attributes_of(row, base + _AT[key], _SIZE[key], form, at, size, np.zeros(len(row)))


def in_order(parts: Parts) -> Parts:
    """Return the parts of a span together."""
    order = np.lexsort((parts.nth, parts.span))
    return Parts(*(getattr(parts, one.name)[order] for one in fields(parts)))


def _of_events(buffers: list[U8], spans: Spans) -> Attributes:
    """Return name, time and attributes of events, event by event; take the keys of the last over.

    Spans with events of another form are no more common.
    """
    octets, base = buffers[0], len(buffers[0])
    part = in_order(spans.events)
    events = walk_events(octets, part.begin, part.end)
    is_strange = ~events.is_common | (part.nth >= EVENTS_MAX)
    spans.is_common[part.span[is_strange]] = False
    nth = np.minimum(part.nth, EVENTS_MAX - 1)
    own = _prefixed(buffers, _PREFIX + nth, part.span, events.attributes)
    names = attributes_of(
        part.span,
        base + _AT[_NAME + nth],
        _SIZE[_NAME + nth],
        np.where(events.name_size > 0, TEXT, NONE).astype(np.uint8),
        events.name_at,
        events.name_size,
        np.zeros(len(part.span)),
    )
    times = attributes_of(
        part.span,
        base + _AT[_TIME + nth],
        _SIZE[_TIME + nth],
        np.full(len(part.span), INT, np.uint8),
        events.name_at,
        events.name_size,
        events.time_ns // _NS_PER_US,
    )
    event = np.arange(len(part.span))
    order = np.argsort(np.concatenate([event, event, events.attributes.span]), kind="stable")
    return _taken([names, times, own], order)


def _of_links(buffers: list[U8], spans: Spans) -> tuple[Attributes, SpanLinks]:
    """Return the attributes of links, link by link, and the links; take the keys over.

    Spans with links of another form are no more common.
    """
    octets = buffers[0]
    part = in_order(spans.links)
    links = walk_links(octets, part.begin, part.end)
    is_common = links.is_common & (part.nth < LINKS_MAX)
    is_common &= (links.size[LINK_TRACE] == 16) & (links.size[LINK_SPAN] == 8)
    states = np.flatnonzero(is_common & (links.size[LINK_STATE] > 0))  # read, and not kept
    at, size = links.at[LINK_STATE][states], links.size[LINK_STATE][states]
    is_common[states] = are_utf8(octets, words_of(octets), at, size)
    spans.is_common[part.span[~is_common]] = False
    nth = np.minimum(part.nth, LINKS_MAX - 1)
    own = _prefixed(buffers, _LINK_PREFIX + nth, part.span, links.attributes)
    return own, SpanLinks(part.span, part.nth, links.at[LINK_TRACE], links.at[LINK_SPAN])


def _prefixed(buffers: list[U8], prefix: I64, span: I64, own: Attributes) -> Attributes:
    """Return attributes of parts of spans as attributes of the spans; take their keys over.

    Args:
        buffers: the requests, the table of keys, and what was composed before.
        prefix: (p,) index of what stands before the keys of each part.
        span: (p,) whose each part is.
        own: the attributes.
    """
    code = prefix[own.span]
    prefix_size, key_size = _SIZE[code], np.minimum(own.key_size, _KEY_BYTES_MAX)
    source = np.concatenate([*buffers[:2], np.zeros(PAD_BYTES, np.uint8)])
    start = np.stack([len(buffers[0]) + _AT[code] - 1, own.key_at], axis=1).ravel()
    size = np.stack([1 + prefix_size, key_size], axis=1).ravel()
    keys = joined(source, start, size)
    ends = sum(map(len, buffers)) + np.cumsum(1 + prefix_size + key_size)
    buffers.append(np.frombuffer(keys, np.uint8))
    key_size = prefix_size + key_size
    return replace(own, span=span[own.span], key_at=ends - key_size, key_size=key_size)


def attributes_of(
    span: I64, key_at: I64, key_size: I64, form: U8, at: I64, size: I64, bits: Any
) -> Attributes:
    """Return attributes whose place among the others is not known yet."""
    none = np.zeros(0, np.int64)
    return Attributes(key_at, key_size, form, at, size, bits.astype(np.uint64), span, none, none)


def merged(parts: Sequence[Attributes]) -> Attributes:
    """Return the attributes of each span together, those of each part in their order."""
    n = len(parts[0].first)
    span = np.concatenate([part.span for part in parts])
    count = np.bincount(span, minlength=n)
    first = np.cumsum(count) - count
    merged = _taken(parts, np.argsort(span, kind="stable"))
    like = parts[0].like
    if like is not None:  # whoever has more besides has no list of those anymore
        like = np.where(count == parts[0].count, like, -1)
    return replace(merged, first=first, count=count, like=like)


def _taken(parts: Sequence[Attributes], order: I64) -> Attributes:
    """Return the attributes of all parts in some order."""
    names = [one.name for one in fields(Attributes) if one.name not in _OF_SPANS]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])[order] for name in names
    }
    none = np.zeros(0, np.int64)
    return Attributes(first=none, count=none, **columns)
