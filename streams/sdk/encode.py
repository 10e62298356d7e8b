"""Finished spans and points as the Avro bytes of TelemetryEvent, one event at a time.

Pure. Written by hand because it runs in the pipeline's own process: what repeats from span to span
is encoded once, and no mapping is made of an event. `tests/unit/sdk/test_encode.py` holds it to
the schema files by the codec of the engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from streams.codec import wire
from streams.codec.varints import varint
from streams.codec.w3c import Baggage
from streams.core.traces.murmur2 import murmur2_partition
from streams.sdk.place import Place
from streams.sdk.span import ERROR, Span
from streams.sdk.texts import NAME_CHARACTERS_MAX, TEXT_CHARACTERS_MAX

EVENT_ID: Final = 1
HEADER_ID: Final = 2
"""Ids of these schemas in `schemas/topics.yaml`; of a batch see `Options.batch_schema_id`."""
TYPES: Final = {"METRIC": 0, "LOG": 1, "TRACE": 2, "AUDIT": 3}
SEVERITIES: Final = {"DEBUG": 0, "INFO": 1, "WARN": 2, "ERROR": 3, "CRITICAL": 4}
_DOUBLE: Final = Struct("<d")
_NAN: Final = _DOUBLE.pack(float("nan"))
_TEXT_OF_36, _TEXT_OF_32, _TEXT_OF_16 = varint(36), varint(32), varint(16)
_SPAN: Final = b"%b%%b%b%%b%b%%016x" % (_TEXT_OF_36, _TEXT_OF_32, _TEXT_OF_16) + 14 * b"%b"
"""A span: event id, trace id, span id, and fourteen fields that are bytes already."""
_PARENT: Final = _TEXT_OF_16 + b"%016x"
_NO_TEXT: Final = b"\0"
_ENUMS: Final = [varint(code) for code in range(8)]
_FLAGS: Final = [varint(flags) for flags in range(256)]
_COMMON_CHARACTERS: Final = 64
"""Shorter values are names of something, and come again."""
_KEYS_MAX: Final = 4_096
_SHAPES_MAX: Final = 4_096
"""Span names of a place whose bytes are kept; more of them are no names but values."""


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


def text(value: str) -> bytes:
    """Return the Avro bytes of a string; characters that no UTF-8 has become question marks."""
    if not value:
        return _NO_TEXT
    if len(value) > TEXT_CHARACTERS_MAX:
        value = value[:TEXT_CHARACTERS_MAX]
    raw = value.encode("utf-8", "replace")
    return varint(len(raw)) + raw


def event_ids(random: bytes) -> Iterator[bytes]:
    """Yield UUIDs of version 4: one random beginning for all, and a count from a random start.

    Args:
        random: 16 random bytes, of which 74 bits are the beginning and 47 the start.
    """
    digits = random.hex()
    head = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-".encode()
    start = int(digits[20:], 16) >> 1
    for n in range(start, 1 << 48):
        yield b"%b%012x" % (head, n)


def uuid_text() -> str:
    """Return a random UUID of version 4."""
    return next(event_ids(os.urandom(16))).decode()


def encode_batch(bodies: list[bytes], schema_id: int) -> bytes:
    """Return the wire value of a `telemetry_batch`: all events in one block."""
    return b"".join((wire.header(schema_id), varint(len(bodies)), *bodies, b"\0"))


def encode_item(item: Span | Point, event_id: bytes) -> tuple[bytes, bytes]:
    """Return the key and the body, without wire header, of an event."""
    return _span(item, event_id) if isinstance(item, Span) else _point(item, event_id)


def _span(span: Span, event_id: bytes) -> tuple[bytes, bytes]:
    place, status = span.place, span.status
    shape = place.shapes.get((span.name, status == ERROR))
    if shape is None:
        shape = _span_shape(place, span.name, status == ERROR)
    trace_id = b"%032x" % span.trace_id
    body = _SPAN % (
        event_id,
        trace_id,
        span.span_id,
        _PARENT % span.parent_id if span.parent_id else _NO_TEXT,
        varint(span.start_ns // 1_000),
        shape,
        _map(place, span.dimensions, span.baggage),
        text(span.record_id) if span.record_id else _NO_TEXT,
        text(span.batch_id) if span.batch_id else _NO_TEXT,
        text(span.correlation_id) if span.correlation_id else _NO_TEXT,
        text(span.operation) if span.operation else _NO_TEXT,
        text(span.actor or place.actor),
        varint(span.duration_ns // 1_000),
        _ENUMS[status],
        _ENUMS[span.kind],
        _FLAGS[span.flags],
        _links(span.links) if span.links else _NO_TEXT,
    )
    return trace_id, body


def _point(point: Point, event_id: bytes) -> tuple[bytes, bytes]:
    place = point.place
    trace_id = b"%032x" % point.trace_id if point.trace_id else b""
    body = b"".join(
        (
            _TEXT_OF_36, event_id,
            _TEXT_OF_32 + trace_id if trace_id else _NO_TEXT,
            _TEXT_OF_16 + b"%016x" % point.span_id if point.span_id else _NO_TEXT,
            _NO_TEXT,
            varint(point.time_ns // 1_000),
            text(place.module), text(place.component),
            _ENUMS[TYPES[point.event_type]], _ENUMS[SEVERITIES[point.severity]],
            text(point.name or "unnamed"), _DOUBLE.pack(point.value), text(point.unit),
            _map(place, point.dimensions, point.baggage),
            text(point.record_id), text(point.batch_id), text(point.correlation_id),
            text(point.operation), text(point.actor or place.actor),
            _NO_TEXT, _ENUMS[0], _ENUMS[0], _FLAGS[point.flags], _NO_TEXT,
        )
    )  # fmt: skip
    return trace_id or place.key, body


def _span_shape(place: Place, name: str, is_error: bool) -> bytes:
    """Return what lies between a span's time and its dimensions."""
    severity = SEVERITIES["ERROR" if is_error else "INFO"]
    parts = (
        text(place.module), text(place.component),
        _ENUMS[TYPES["TRACE"]], _ENUMS[severity],
        text(name or "unnamed"), _NAN, _NO_TEXT,
    )  # fmt: skip
    shape = b"".join(parts)
    if len(place.shapes) < _SHAPES_MAX:
        place.shapes[name, is_error] = shape
    return shape


def _map(place: Place, dimensions: dict[str, Any] | None, baggage: Baggage | None) -> bytes:
    if baggage and place.baggage_dimensions:
        told = {n: baggage[n].value for n in place.baggage_dimensions if n in baggage}
        dimensions = told | (dimensions or {})
    if not dimensions:
        return _NO_TEXT
    out = [varint(len(dimensions))]
    for name, value in dimensions.items():
        if len(value) > _COMMON_CHARACTERS:
            out.append(_pair(name, value))
        else:
            out.append(_common_pair(name, value))
    out.append(_NO_TEXT)
    return b"".join(out)


def _pair(name: str, value: str) -> bytes:
    return text(name[:NAME_CHARACTERS_MAX]) + text(value)


_common_pair = lru_cache(maxsize=4_096)(_pair)


def _links(links: list[tuple[int, int]] | None) -> bytes:
    if not links:
        return _NO_TEXT
    out = [varint(len(links))]
    for trace_id, span_id in links:
        out.append(b"%b%032x%b%016x" % (_TEXT_OF_32, trace_id, _TEXT_OF_16, span_id))
    out.append(_NO_TEXT)
    return b"".join(out)


class Places(dict[bytes, tuple[str, int]]):
    """Where the keys of a topic go, as (topic, partition); those of open traces are remembered.

    Args:
        topic: its name.
        partitions: how many it has.
    """

    def __init__(self, topic: str, partitions: int) -> None:
        self._topic = topic
        self._partitions = partitions

    def __missing__(self, key: bytes) -> tuple[str, int]:
        if len(self) >= _KEYS_MAX:
            self.clear()
        found = self[key] = (self._topic, murmur2_partition(key, self._partitions))
        return found
