"""Requests of spans in JSON as the same requests in protobuf's bytes, so that one way reads both.

Protobuf's own reader of JSON takes forty times what its reader of bytes takes: it looks every field
up by name, converts it and sets it, one call after the other. Here each field that has its usual
form is written as bytes at once. Invariant: what is returned are the bytes of the message that
`request_of` reads; a span with anything else in it goes that way alone, and a request whose outer
levels have anything else is not written at all.
Source: OTLP 1.x, "JSON Protobuf Encoding"; Protocol Buffers, "Encoding", "ProtoJSON Format".
"""

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from streams.codec.otlp.requests import json_tree, message_of_tree, span_of_tree
from streams.errors import RecordError

_Write = Callable[[Any], bytes]
_STRANGE: Final = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What a value of an unusual form raises here; the reader of JSON then says what it is."""
_ID_BYTES_MAX: Final = 63
_DOUBLE_INT_MAX: Final = 1 << 53
_INT: Final = re.compile(r"-?[0-9]{1,18}")
_INTS_HELD_MAX: Final = 65_536
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF
_RESOURCE_DEPTH, _SCOPE_DEPTH, _SPAN_DEPTH = 2, 3, 3


def protobuf_of(value: bytes) -> bytes:
    """Return a JSON request of spans as protobuf; b"" where the reader of JSON must judge it.

    Args:
        value: the request.
    """
    try:
        (resources,) = _of_keys(json_tree(value), {"resourceSpans"})
        return b"".join([_sized(b"\x0a", _resource(one)) for one in _listed(resources)])
    except (RecordError, *_STRANGE):
        return b""


def _resource(tree: Any) -> bytes:
    resource, scopes, url = _of_keys(tree, {"resource", "scopeSpans", "schemaUrl"})
    out = [] if resource is None else [_sized(b"\x0a", _attributed(resource, _RESOURCE))]
    out += [_sized(b"\x12", _scope(one)) for one in _listed(scopes)]
    return b"".join(out) + _url("" if url is None else url)


def _scope(tree: Any) -> bytes:
    scope, spans, url = _of_keys(tree, {"scope", "spans", "schemaUrl"})
    out = [] if scope is None else [_sized(b"\x0a", _attributed(scope, _SCOPE))]
    out += [_sized(b"\x12", _span(one)) for one in _listed(spans)]
    return b"".join(out) + _url("" if url is None else url)


def _span(tree: Any) -> bytes:
    if type(tree) is not dict:
        raise TypeError(tree)
    try:
        return _message(tree, _SPAN)
    except _STRANGE:
        return _bytes_of(span_of_tree(tree, _SPAN_DEPTH))


def _attributed(tree: Any, fields: Mapping[str, _Write]) -> bytes:
    """Return a resource or a scope; their attributes are more often lists than those of spans."""
    if type(tree) is not dict:
        raise TypeError(tree)
    try:
        return _message(tree, fields)
    except _STRANGE:
        if fields is _RESOURCE:
            return _bytes_of(message_of_tree(tree, Resource(), _RESOURCE_DEPTH))
        return _bytes_of(message_of_tree(tree, InstrumentationScope(), _SCOPE_DEPTH))


def _bytes_of(message: Message) -> bytes:
    written: bytes = message.SerializeToString()
    return written


def _message(tree: Any, fields: Mapping[str, _Write]) -> bytes:
    return b"".join([fields[name](value) for name, value in tree.items()])


def _of_keys(tree: Any, names: set[str]) -> list[Any]:
    """Return the values of some keys in alphabetical order, None for none; there are no others."""
    if type(tree) is not dict or not tree.keys() <= names:
        raise TypeError(tree)
    return [tree.get(name) for name in _ORDER if name in names]


_ORDER: Final = ("resourceSpans", "resource", "scopeSpans", "scope", "spans", "schemaUrl")


def _listed(given: Any) -> Iterator[Any]:
    if given is not None and type(given) is not list:
        raise TypeError(given)
    return iter(given or ())


def _size(size: int) -> bytes:
    if size < len(_SIZES):
        return _SIZES[size]
    return bytes((size & 0x7F | 0x80,)) + _size(size >> 7)


_SIZES: Final = [
    *(bytes((n,)) for n in range(0x80)),
    *(bytes((n & 0x7F | 0x80, n >> 7)) for n in range(0x80, 1 << 14)),
]


def _sized(tag: bytes, body: bytes) -> bytes:
    return tag + _size(len(body)) + body


def _text(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        body: bytes = given.encode()
        return tag + _size(len(body)) + body if body else b""

    return write


_url: Final = _text(b"\x1a")


def _id(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        body = bytes.fromhex(given)
        if 2 * len(body) != len(given) or len(body) > _ID_BYTES_MAX:  # it passes over spaces
            raise ValueError(given)
        return tag + _SIZES[len(body)] + body if body else b""

    return write


def _time(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        if type(given) is str:
            if not (given.isdigit() and given.isascii()):
                raise ValueError(given)
        elif type(given) is not int:
            raise TypeError(given)
        return tag + int(given).to_bytes(8, "little")

    return write


def _flags(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        if type(given) is not int:
            raise TypeError(given)
        return tag + given.to_bytes(4, "little")

    return write


def _code(tag: bytes, codes: Mapping[str, int]) -> _Write:
    """Write an enum; numbers and names are known."""
    known: dict[Any, int] = {**codes, **{number: number for number in codes.values()}}
    return lambda given: tag + _SIZES[known[given]]


def _dropped(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        if type(given) is not int or not 0 <= given < 0x80:
            raise ValueError(given)
        return tag + _SIZES[given] if given else b""

    return write


def _one(tag: bytes, fields: Mapping[str, _Write]) -> _Write:
    return lambda given: _sized(tag, _message(given, fields))


def _several(tag: bytes, fields: Mapping[str, _Write]) -> _Write:
    return lambda given: b"".join([_sized(tag, _message(one, fields)) for one in _listed(given)])


def _attributes(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        out: list[bytes] = []
        for one in _listed(given):
            ((kind, value),) = one["value"].items()
            if len(one) != 2:
                raise ValueError(one)
            key = one["key"].encode()
            inner = _VALUE[kind](value)
            body = b"\x0a%b%b\x12%b%b" % (_size(len(key)), key, _size(len(inner)), inner)
            out += (tag, _size(len(body)), body)
        return b"".join(out)

    return write


def _string_value(given: Any) -> bytes:
    body: bytes = given.encode()
    return b"\x0a" + _size(len(body)) + body


def _bool_value(given: Any) -> bytes:
    if type(given) is not bool:
        raise TypeError(given)
    return b"\x10\x01" if given else b"\x10\x00"


@lru_cache(_INTS_HELD_MAX, typed=True)
def _int_value(given: Any) -> bytes:
    if type(given) is str:
        if not _INT.fullmatch(given):
            raise ValueError(given)
    elif type(given) is not int or abs(given) >> 62:
        raise ValueError(given)
    return b"\x18" + _size(int(given) & _WORD)


def _double_value(given: Any) -> bytes:
    if type(given) is int:
        if abs(given) > _DOUBLE_INT_MAX:
            raise ValueError(given)
    elif type(given) is not float or not math.isfinite(given):
        raise ValueError(given)
    return b"\x21" + struct.pack("<d", given)


_VALUE: Final[Mapping[str, _Write]] = {
    "stringValue": _string_value,
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
}
_RESOURCE: Final = {"attributes": _attributes(b"\x0a"), "droppedAttributesCount": _dropped(b"\x10")}
_SCOPE: Final = {
    "name": _text(b"\x0a"),
    "version": _text(b"\x12"),
    "attributes": _attributes(b"\x1a"),
    "droppedAttributesCount": _dropped(b"\x20"),
}
_STATUS: Final = {
    "message": _text(b"\x12"),
    "code": _code(b"\x18", dict(Status.StatusCode.items())),
}
_EVENT: Final = {
    "timeUnixNano": _time(b"\x09"),
    "name": _text(b"\x12"),
    "attributes": _attributes(b"\x1a"),
    "droppedAttributesCount": _dropped(b"\x20"),
}
_LINK: Final = {
    "traceId": _id(b"\x0a"),
    "spanId": _id(b"\x12"),
    "traceState": _text(b"\x1a"),
    "attributes": _attributes(b"\x22"),
    "droppedAttributesCount": _dropped(b"\x28"),
    "flags": _flags(b"\x35"),
}
_SPAN: Final = {
    "traceId": _id(b"\x0a"),
    "spanId": _id(b"\x12"),
    "traceState": _text(b"\x1a"),
    "parentSpanId": _id(b"\x22"),
    "name": _text(b"\x2a"),
    "kind": _code(b"\x30", dict(Span.SpanKind.items())),
    "startTimeUnixNano": _time(b"\x39"),
    "endTimeUnixNano": _time(b"\x41"),
    "attributes": _attributes(b"\x4a"),
    "droppedAttributesCount": _dropped(b"\x50"),
    "events": _several(b"\x5a", _EVENT),
    "droppedEventsCount": _dropped(b"\x60"),
    "links": _several(b"\x6a", _LINK),
    "droppedLinksCount": _dropped(b"\x70"),
    "status": _one(b"\x7a", _STATUS),
    "flags": _flags(b"\x85\x01"),
}
