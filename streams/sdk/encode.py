"""Finished spans and points as the Avro bytes of TelemetryEvent, many events at a time.

Pure. Written by hand because it runs in the pipeline's own process: what repeats from span to span
is encoded once, and no mapping is made of an event. `tests/unit/sdk/test_encode.py` holds it to
the schema files by the codec of the engine.

Until a message is whole its bytes are characters from 0 to 255 (ISO 8859-1): the interpreter puts
texts together in half the time that bytes take.
"""

from __future__ import annotations

import os
from binascii import hexlify
from collections.abc import Iterator, Sequence
from struct import Struct, pack
from typing import Any, Final, NamedTuple

from streams.codec import wire
from streams.codec.varints import varint
from streams.codec.w3c import Baggage
from streams.sdk.place import Place
from streams.sdk.span import ERROR, Span
from streams.sdk.texts import NAME_CHARACTERS_MAX, TEXT_CHARACTERS_MAX

HEADER_ID: Final = 2
"""Id of this schema in `schemas/topics.yaml`; of a batch see `Options.batch_schema_id`."""
TYPES: Final = {"METRIC": 0, "LOG": 1, "TRACE": 2, "AUDIT": 3}
SEVERITIES: Final = {"DEBUG": 0, "INFO": 1, "WARN": 2, "ERROR": 3, "CRITICAL": 4}
EVENT_IDS_MAX: Final = 4_096
"""Of one call of `event_ids`."""
_LAST_DIGITS: Final = [f"{n:03x}" for n in range(EVENT_IDS_MAX)]
_LATIN_1: Final = "iso-8859-1"
_DOUBLE: Final = Struct("<d")
_LONGS: Final = [varint(value).decode(_LATIN_1) for value in range(1 << 13)]
"""Longs of one or two bytes that are not negative."""
_OF_36, _OF_32, _OF_16, _NO_TEXT = _LONGS[36], _LONGS[32], _LONGS[16], _LONGS[0]
"""Lengths of texts."""
_GROUPS: Final = [chr(0x80 | bits) for bits in range(1 << 7)]
_TWO_GROUPS: Final = [low + high for high in _GROUPS for low in _GROUPS]
"""14 bits of a long that has more."""
_14_BITS: Final = (1 << 14) - 1
_CODES: Final = _LONGS[:8]
_FLAGS: Final = _LONGS[:256]
_COMMON_CHARACTERS: Final = 64
"""Shorter values are names of something, and come again."""
_COMMON_MAP_CHARACTERS: Final = 1_024
_PAIRS_MAX: Final = 4_096
_SHAPES_MAX: Final = 4_096
"""Kinds of spans of a place whose bytes are kept; more of them are no names but values."""


class Point(NamedTuple):
    """A LOG, METRIC or AUDIT event; fields as in TelemetryEvent, ids as numbers, 0 for none."""

    place: Place
    event_type: str
    severity: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, Any] | None
    trace_id: int
    span_id: int
    flags: int
    record_id: str
    batch_id: str
    correlation_id: str
    operation: str
    actor: str
    time_ns: int
    baggage: Baggage | None
    characters: int


class Shape:
    """What spans of one name, kind, outcome and flags have in common.

    Attributes:
        head: what lies between a span's time and its dimensions.
        tail: what lies between its duration and its links.
        dimensions, pairs: those of the last one, and what became of them: they mostly come again.
    """

    __slots__ = ("dimensions", "head", "pairs", "tail")

    def __init__(self, place: Place, name: str, kind: int, status: int, flags: int) -> None:
        severity = SEVERITIES["ERROR" if status == ERROR else "INFO"]
        self.head = "".join(
            (
                _text(place.module), _text(place.component),
                _CODES[TYPES["TRACE"]], _CODES[severity],
                _text(name or "unnamed"), _double(float("nan")), _NO_TEXT,
            )
        )  # fmt: skip
        self.tail = _CODES[status] + _CODES[kind] + _FLAGS[flags]
        self.dimensions: dict[str, Any] | None = None
        self.pairs = _NO_TEXT

    def pairs_of(self, dimensions: dict[str, Any] | None) -> str:
        """Encode dimensions that are others than the last ones."""
        pairs = _map(dimensions)
        if dimensions and len(pairs) <= _COMMON_MAP_CHARACTERS:
            self.dimensions, self.pairs = dict(dimensions), pairs
        return pairs


class _Pairs(dict[tuple[str, str], str]):
    """Dimensions as bytes; common ones are remembered."""

    def __missing__(self, pair: tuple[str, str]) -> str:
        name, value = pair
        found = _text(name[:NAME_CHARACTERS_MAX]) + _text(value)
        if len(value) <= _COMMON_CHARACTERS:
            if len(self) >= _PAIRS_MAX:
                self.clear()
            self[pair] = found
        return found


_pair: Final = _Pairs().__getitem__


def text(value: str) -> bytes:
    """Return the Avro bytes of a string; characters that no UTF-8 has become question marks."""
    if len(value) > TEXT_CHARACTERS_MAX:
        value = value[:TEXT_CHARACTERS_MAX]
    raw = value.encode("utf-8", "replace")
    return varint(len(raw)) + raw


def event_ids(random: bytes) -> Iterator[str]:
    """Return EVENT_IDS_MAX UUIDs of version 4: one random beginning for all, and a count.

    Args:
        random: 16 random bytes, of which 110 bits are the beginning.
    """
    digits = random.hex()
    head = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:29]}"
    return map(head.__add__, _LAST_DIGITS)


def uuid_text() -> str:
    """Return a random UUID of version 4."""
    return next(event_ids(os.urandom(16)))


def encode_batch(bodies: Sequence[str], schema_id: int) -> bytes:
    """Return the wire value of a `telemetry_batch`: all events in one block."""
    head = wire.header(schema_id) + varint(len(bodies))
    return "".join((head.decode(_LATIN_1), *bodies, "\0")).encode(_LATIN_1)


def encode_items(items: Sequence[Span | Point], event_ids: Iterator[str]) -> list[str]:
    """Return the bodies, without wire header, of events, in their order."""
    spans = [item for item in items if isinstance(item, Span)]
    bodies = _spans(spans, event_ids)
    if len(bodies) == len(items):
        return bodies
    rest = iter(bodies)
    return [_point(i, next(event_ids)) if isinstance(i, Point) else next(rest) for i in items]


def _spans(spans: Sequence[Span], event_ids: Iterator[str]) -> list[str]:
    ids = [span.span_id for span in spans]
    ids += [span.parent_id for span in spans]
    digits = hexlify(pack(f">{len(ids)}Q", *ids)).decode()
    at, at_parent = 0, 16 * len(spans)
    traces: dict[int, str] = {}
    abouts: dict[tuple[str, ...], str] = {}
    out, high, groups = [], 0, ""
    for span, event_id in zip(spans, event_ids, strict=False):
        place = span.place
        kind = span.name, span.kind, span.status, span.flags
        shape = place.shapes.get(kind) or _shape(place, kind)
        trace = traces.get(span.trace_id)
        if trace is None:
            trace = traces[span.trace_id] = _trace_id(span.trace_id) + _OF_16
        _, baggage, record_id, batch_id, correlation_id = span.carried
        operation, actor, links = span.told
        texts = record_id, batch_id, correlation_id, operation, actor or place.actor
        about = abouts.get(texts)
        if about is None:
            about = abouts[texts] = "".join(map(_text, texts))
        dimensions = span.dimensions
        if baggage and place.baggage_dimensions:
            dimensions = _with_baggage(place, dimensions, baggage)
        same = dimensions == shape.dimensions
        bits = span.start_ns // 1_000 << 1
        if bits >> 28 != high:  # every 134 s
            high = bits >> 28
            groups = _long(bits >> 1)[4:]
        duration_us = span.duration_ns // 1_000
        out.append(
            f"{_OF_36}{event_id}{trace}{digits[at : at + 16]}"
            f"{_OF_16 + digits[at_parent : at_parent + 16] if span.parent_id else _NO_TEXT}"
            f"{_TWO_GROUPS[bits & _14_BITS] if groups else _long(bits >> 1)}"
            f"{_TWO_GROUPS[bits >> 14 & _14_BITS] if groups else ''}{groups}"
            f"{shape.head}{shape.pairs if same else shape.pairs_of(dimensions)}{about}"
            f"{_LONGS[duration_us] if 0 <= duration_us < 8192 else _long(duration_us)}"
            f"{shape.tail}{_links(links) if links else _NO_TEXT}"
        )
        at += 16
        at_parent += 16
    return out


def _shape(place: Place, kind: tuple[str, int, int, int]) -> Shape:
    shape = Shape(place, *kind)
    if len(place.shapes) < _SHAPES_MAX:
        place.shapes[kind] = shape
    return shape


def _point(point: Point, event_id: str) -> str:
    place = point.place
    dimensions = point.dimensions
    if point.baggage and place.baggage_dimensions:
        dimensions = _with_baggage(place, dimensions, point.baggage)
    return "".join(
        (
            _OF_36, event_id,
            _trace_id(point.trace_id) if point.trace_id else _NO_TEXT,
            _span_id(point.span_id) if point.span_id else _NO_TEXT,
            _NO_TEXT,
            _long(point.time_ns // 1_000),
            _text(place.module), _text(place.component),
            _CODES[TYPES[point.event_type]], _CODES[SEVERITIES[point.severity]],
            _text(point.name or "unnamed"), _double(point.value), _text(point.unit),
            _map(dimensions),
            _text(point.record_id), _text(point.batch_id), _text(point.correlation_id),
            _text(point.operation), _text(point.actor or place.actor),
            _NO_TEXT, _CODES[0], _CODES[0], _FLAGS[point.flags], _NO_TEXT,
        )
    )  # fmt: skip


def _trace_id(number: int) -> str:
    """Encode an id; raise where it is none: one that is too long would break the whole message."""
    return _OF_32 + number.to_bytes(16).hex()


def _span_id(number: int) -> str:
    return _OF_16 + number.to_bytes(8).hex()


def _text(value: str) -> str:
    return text(value).decode(_LATIN_1) if value else _NO_TEXT


def _long(value: int) -> str:
    return varint(value).decode(_LATIN_1)


def _double(value: float) -> str:
    return _DOUBLE.pack(value).decode(_LATIN_1)


def _with_baggage(
    place: Place, dimensions: dict[str, Any] | None, baggage: Baggage
) -> dict[str, Any]:
    told = {n: baggage[n].value for n in place.baggage_dimensions if n in baggage}
    return told | (dimensions or {})


def _map(dimensions: dict[str, Any] | None) -> str:
    if not dimensions:
        return _NO_TEXT
    return f"{_LONGS[len(dimensions)]}{''.join(map(_pair, dimensions.items()))}{_NO_TEXT}"


def _links(links: Sequence[tuple[int, int]]) -> str:
    out = [_LONGS[len(links)]]
    out += [_trace_id(trace_id) + _span_id(span_id) for trace_id, span_id in links]
    out.append(_NO_TEXT)
    return "".join(out)
