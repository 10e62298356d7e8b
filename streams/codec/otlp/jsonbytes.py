"""Requests in JSON as the same requests in protobuf's bytes, so that one way reads both.

Protobuf's own reader of JSON takes forty times what its reader of bytes takes: it looks every field
up by name, converts it and sets it, one call after the other. Here each field that has its usual
form is written as bytes at once. Invariant: what is returned are the bytes of the message that
`request_of` reads; a span or log record with anything else in it goes that way alone, and a request
whose outer levels have anything else is not written at all.
Source: OTLP 1.x, "JSON Protobuf Encoding"; Protocol Buffers, "Encoding", "ProtoJSON Format".
"""

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from streams.codec.otlp.requests import (
    LOGS,
    METRICS,
    PARTS,
    SPANS,
    item_of_tree,
    json_tree,
    message_of_tree,
)
from streams.errors import RecordError

_Write = Callable[[Any], bytes]
_STRANGE: Final = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What a value of an unusual form raises here; the reader of JSON then says what it is."""
_ID_BYTES_MAX: Final = 63
_PACKED_MAX: Final = 4_096
"""Buckets of a histogram; a list of millions would be as many objects here."""
_DOUBLE_INT_MAX: Final = 1 << 53
_INT: Final = re.compile(r"-?[0-9]{1,18}")
_INTS_HELD_MAX: Final = 65_536
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF
_RESOURCE_DEPTH, _SCOPE_DEPTH, _ITEM_DEPTH = 2, 3, 3


class _Kind(NamedTuple):
    """What a kind of requests holds: names of its lists; fields and class of its items.

    Of the fields `one_of` an item has one at most.
    """

    lists: tuple[str, str, str]
    fields: Mapping[str, _Write]
    item: type[Message]
    one_of: frozenset[str] = frozenset()


def protobuf_of(value: bytes, kind: str = SPANS) -> bytes:
    """Return a JSON request as protobuf; b"" where the reader of JSON must judge it.

    Args:
        value: the request.
        kind: SPANS, LOGS or METRICS.
    """
    form = _KINDS[kind]
    try:
        (resources,) = _of_keys(json_tree(value), form.lists[0])
        return b"".join([_sized(b"\x0a", _resource(one, form)) for one in _listed(resources)])
    except (RecordError, *_STRANGE):
        return b""


def _resource(tree: Any, form: _Kind) -> bytes:
    resource, scopes, url = _of_keys(tree, "resource", form.lists[1], "schemaUrl")
    out = [] if resource is None else [_sized(b"\x0a", _attributed(resource, _RESOURCE))]
    out += [_sized(b"\x12", _scope(one, form)) for one in _listed(scopes)]
    return b"".join(out) + _url("" if url is None else url)


def _scope(tree: Any, form: _Kind) -> bytes:
    scope, items, url = _of_keys(tree, "scope", form.lists[2], "schemaUrl")
    out = [] if scope is None else [_sized(b"\x0a", _attributed(scope, _SCOPE))]
    out += [_sized(b"\x12", _item(one, form)) for one in _listed(items)]
    return b"".join(out) + _url("" if url is None else url)


def _item(tree: Any, form: _Kind) -> bytes:
    if type(tree) is not dict:
        raise TypeError(tree)
    try:
        if len(tree.keys() & form.one_of) > 1:
            raise ValueError(tree)
        return _message(tree, form.fields)
    except _STRANGE:
        return _bytes_of(item_of_tree(tree, form.item(), _ITEM_DEPTH))


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


def _of_keys(tree: Any, *names: str) -> list[Any]:
    """Return the values of some keys, None for none; there are no others."""
    if type(tree) is not dict or not tree.keys() <= set(names):
        raise TypeError(tree)
    return [tree.get(name) for name in names]


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


def _number(tag: bytes) -> _Write:
    """Write a whole number with a sign in eight bytes."""

    def write(given: Any) -> bytes:
        if type(given) is str:
            if not _INT.fullmatch(given):
                raise ValueError(given)
        elif type(given) is not int:
            raise TypeError(given)
        return tag + int(given).to_bytes(8, "little", signed=True)

    return write


def _double(tag: bytes) -> _Write:
    return lambda given: tag + _double_value(given)[1:]


def _packed(tag: bytes, write: _Write) -> _Write:
    """Write numbers of eight bytes, one after the other."""

    def write_all(given: Any) -> bytes:
        if given is not None and len(given) > _PACKED_MAX:
            raise ValueError(len(given))
        body = b"".join([write(one) for one in _listed(given)])
        return _sized(tag, body) if body else b""

    return write_all


def _measured(tag: bytes, fields: Mapping[str, _Write]) -> _Write:
    """Write messages that have one value at most."""

    def write(given: Any) -> bytes:
        out: list[bytes] = []
        for one in _listed(given):
            if "asInt" in one and "asDouble" in one:
                raise ValueError(one)
            out.append(_sized(tag, _message(one, fields)))
        return b"".join(out)

    return write


def _value(tag: bytes) -> _Write:
    def write(given: Any) -> bytes:
        ((kind, value),) = given.items()
        return _sized(tag, _VALUE[kind](value))

    return write


def _string_value(given: Any) -> bytes:
    body: bytes = given.encode()
    return b"\x0a" + _size(len(body)) + body


def _bool_value(given: Any) -> bytes:
    if type(given) is not bool:
        raise TypeError(given)
    return b"\x10\x01" if given else b"\x10\x00"


def _bool(tag: bytes) -> _Write:
    return lambda given: tag + _bool_value(given)[1:]


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
_LINE: Final = {
    "timeUnixNano": _time(b"\x09"),
    "severityNumber": _code(b"\x10", dict(SeverityNumber.items())),
    "severityText": _text(b"\x1a"),
    "body": _value(b"\x2a"),
    "attributes": _attributes(b"\x32"),
    "droppedAttributesCount": _dropped(b"\x38"),
    "flags": _flags(b"\x45"),
    "traceId": _id(b"\x4a"),
    "spanId": _id(b"\x52"),
    "observedTimeUnixNano": _time(b"\x59"),
    "eventName": _text(b"\x62"),
}
_EXEMPLAR: Final = {
    "timeUnixNano": _time(b"\x11"),
    "asDouble": _double(b"\x19"),
    "spanId": _id(b"\x22"),
    "traceId": _id(b"\x2a"),
    "asInt": _number(b"\x31"),
    "filteredAttributes": _attributes(b"\x3a"),
}
_TIMES: Final = {"startTimeUnixNano": _time(b"\x11"), "timeUnixNano": _time(b"\x19")}
_NUMBER_POINT: Final = {
    **_TIMES,
    "attributes": _attributes(b"\x3a"),
    "asDouble": _double(b"\x21"),
    "asInt": _number(b"\x31"),
    "exemplars": _measured(b"\x2a", _EXEMPLAR),
    "flags": _dropped(b"\x40"),
}
_HISTOGRAM_POINT: Final = {
    **_TIMES,
    "attributes": _attributes(b"\x4a"),
    "count": _time(b"\x21"),
    "sum": _double(b"\x29"),
    "bucketCounts": _packed(b"\x32", _time(b"")),
    "explicitBounds": _packed(b"\x3a", _double(b"")),
    "exemplars": _measured(b"\x42", _EXEMPLAR),
    "flags": _dropped(b"\x50"),
    "min": _double(b"\x59"),
    "max": _double(b"\x61"),
}
_SUMMARY_POINT: Final = {
    **_TIMES,
    "attributes": _attributes(b"\x3a"),
    "count": _time(b"\x21"),
    "sum": _double(b"\x29"),
    "quantileValues": _several(b"\x32", {"quantile": _double(b"\x09"), "value": _double(b"\x11")}),
    "flags": _dropped(b"\x40"),
}
_TEMPORALITY: Final = _code(b"\x10", dict(AggregationTemporality.items()))
_METRIC: Final = {
    "name": _text(b"\x0a"),
    "description": _text(b"\x12"),
    "unit": _text(b"\x1a"),
    "gauge": _one(b"\x2a", {"dataPoints": _measured(b"\x0a", _NUMBER_POINT)}),
    "sum": _one(
        b"\x3a",
        {
            "dataPoints": _measured(b"\x0a", _NUMBER_POINT),
            "aggregationTemporality": _TEMPORALITY,
            "isMonotonic": _bool(b"\x18"),
        },
    ),
    "histogram": _one(
        b"\x4a",
        {
            "dataPoints": _measured(b"\x0a", _HISTOGRAM_POINT),
            "aggregationTemporality": _TEMPORALITY,
        },
    ),
    "summary": _one(b"\x5a", {"dataPoints": _measured(b"\x0a", _SUMMARY_POINT)}),
}
_DATA: Final = frozenset(("gauge", "sum", "histogram", "summary"))
_KINDS: Final = {
    METRICS: _Kind(PARTS[METRICS], _METRIC, Metric, _DATA),
    SPANS: _Kind(PARTS[SPANS], _SPAN, Span),
    LOGS: _Kind(PARTS[LOGS], _LINE, LogRecord),
}
