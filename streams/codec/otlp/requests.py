"""Bytes of an OTLP request, protobuf or JSON, to its message: read whole or refused whole.

Invariant: whatever the bytes are, they are a message or raise `RecordError`; nothing else leaves.
Source: OTLP 1.x, "OTLP/HTTP", "JSON Protobuf Encoding": ids are hex there, not base64. Names of
fields as in the definitions, `trace_id`, are none there; they are read all the same, as the
Collector's own reader does.
"""

import base64
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NoReturn, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from streams.codec.ids import UUID
from streams.codec.otlp.faults import fault_of
from streams.codec.otlp.split import SCOPES_MAX, CrowdedError, split
from streams.errors import RecordError

INVALID: Final = "invalid_otlp"
TOO_LARGE: Final = "otlp_too_large"
EVENT_BYTES_MIN: Final = 8
"""A request of more events than one for so many bytes holds none that could be good: a time and an
id alone take more."""
SMALL_BYTES: Final = 64 << 10
"""What a request of so few bytes costs is not counted."""
SPANS, LOGS, METRICS = "spans", "logs", "metrics"
KINDS: Final = (SPANS, LOGS, METRICS)
KIND_WORDS: Final = {"span": SPANS, "trace": SPANS, "log": LOGS, "metric": METRICS}
"""Words by which names of topics and files tell what they hold."""
Request = TracesData | LogsData | MetricsData
_M = TypeVar("_M", bound=Message)
_MESSAGE: Final[dict[str, type[Request]]] = {
    SPANS: TracesData,
    LOGS: LogsData,
    METRICS: MetricsData,
}
PARTS: Final[dict[str, tuple[str, str, str]]] = {
    SPANS: ("resourceSpans", "scopeSpans", "spans"),
    LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
    METRICS: ("resourceMetrics", "scopeMetrics", "metrics"),
}
"""Names of the lists of resources, of scopes, and of what is in them."""
_IDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_SNAKE: Final = {
    name: re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
    for name in (*chain(*PARTS.values()), "links", "dataPoints", "exemplars")
}
"""Names of lists as the definitions have them."""
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")
_NO_HEX: Final = b"\xff"
"""Around an id in JSON that is no hex: no text has this octet."""
_NO_ID_BYTES: Final = 33
"""So long is such a one, text and marks: as long as no id is."""
SHOWN_BYTES_MAX: Final = 32
"""Of an id of the wrong length so much is shown."""
_POINTS: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "exponential_histogram")
_BEFORE_JSON: Final = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark and white space: who writes such JSON means it."""
_DEPTH_MAX: Final = 100
"""What protobuf's own reader allows."""
_DETAIL_CHARACTERS: Final = 200
# SystemError: a name of half a surrogate pair is looked up in protobuf's C code.
_UNREADABLE: Final = (
    *(json_format.ParseError, ValueError, TypeError, RecursionError, AttributeError),
    *(OverflowError, SystemError),
)


def is_json(value: bytes) -> bool:
    """Whether the bytes are JSON: no protobuf request of ours begins with a brace."""
    return value[:1] == b"{"


def request_of(kind: str, value: bytes) -> Request:
    """Return the message that bytes hold.

    Args:
        kind: SPANS, LOGS or METRICS.
        value: a request, `ExportTraceServiceRequest` and its like, or `TracesData` and its like,
            which have the same bytes; protobuf or JSON.

    Raises:
        RecordError: `empty_value`; `invalid_otlp`: they are no such message; `otlp_too_large`:
            they are one of more records than could be good.
    """
    if not value:
        raise RecordError("empty_value", "0 bytes")
    if is_json(value):
        return _of_json(kind, value)
    # All three kinds have the same outer levels.
    try:
        scopes = split(value)
    except CrowdedError:
        raise _crowded(value) from None
    expect_room(sum(scope.span_count for scope in scopes or ()), value)
    try:
        message: Request = _MESSAGE[kind].FromString(value)
    except (DecodeError, RecursionError, ValueError):
        if is_json(text := value.lstrip(_BEFORE_JSON)):
            return _of_json(kind, text)
        _refuse(f"no protobuf of {kind}: torn, or of another kind")
    if scopes is None:
        _expect_scopes(message, value)
    return message


def _expect_scopes(message: Request, value: bytes) -> None:
    """Pass when a request of another form has no more resources and scopes than `split` takes."""
    ((field, resources),) = message.ListFields() or [(None, ())]
    many = len(resources)
    if many <= SCOPES_MAX and field is not None:
        name = field.message_type.fields_by_number[2].name
        many += sum(len(getattr(one, name)) for one in resources)
    if many > SCOPES_MAX:
        raise _crowded(value)


def _crowded(value: bytes) -> RecordError:
    words = f"{len(value)} bytes hold more than {SCOPES_MAX} resources and scopes"
    return RecordError(TOO_LARGE, words)


def expect_room(records: int, value: bytes) -> None:
    """Pass when a request of so many records could be good.

    Raises:
        RecordError: `otlp_too_large`.
    """
    if EVENT_BYTES_MIN * records > max(len(value), SMALL_BYTES):
        raise RecordError(TOO_LARGE, f"{records} records or more in {len(value)} bytes")


def kind_of(tree: object) -> str:
    """Return what a JSON request holds.

    Raises:
        RecordError: `invalid_otlp`: it holds none of the three, or more than one.
    """
    found = [kind for kind in KINDS if isinstance(tree, dict) and _has(tree, PARTS[kind][0])]
    if len(found) != 1:
        _refuse(f"no JSON object with one of {', '.join(parts[0] for parts in PARTS.values())}")
    return found[0]


def json_tree(value: bytes) -> Any:
    """Return what JSON says.

    Raises:
        RecordError: `invalid_otlp`: it is none.
    """
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        _refuse(f"no JSON: {error}")


def request_of_tree(kind: str, tree: Any) -> Request:
    """Return the message that a JSON tree holds; its ids are rewritten in place.

    Raises:
        RecordError: `invalid_otlp`: it is none.
    """
    if not isinstance(tree, dict):
        _refuse("no JSON object")
    _rewrite_ids(kind, tree)
    return message_of_tree(tree, _MESSAGE[kind]())


def item_of_tree(tree: dict[str, Any], item: _M, depth: int) -> _M:
    """Return the span, log record or metric that a JSON tree holds; as `message_of_tree`.

    Its ids are rewritten in place.
    """
    _rewrite_item(tree)
    for points in _POINTS:
        _rewrite_exemplars(tree.get(points))
    return message_of_tree(tree, item, depth)


def message_of_tree(tree: dict[str, Any], message: _M, depth: int = 0) -> _M:
    """Return a message with what a JSON tree holds, ids as base64.

    Args:
        tree: the tree.
        message: an empty one.
        depth: in how many others it lies.

    Raises:
        RecordError: `invalid_otlp`: it is none.
    """
    try:
        json_format.ParseDict(
            tree, message, ignore_unknown_fields=True, max_recursion_depth=_DEPTH_MAX - depth
        )
    except _UNREADABLE as error:
        _refuse(f"no JSON of {message.DESCRIPTOR.name}: {fault_of(error)}")
    return message


def _of_json(kind: str, value: bytes) -> Request:
    tree = json_tree(value)
    if isinstance(tree, dict) and not _has(tree, PARTS[kind][0]) and tree:
        _refuse(f"a JSON object without {PARTS[kind][0]}")
    expect_room(sum(1 for _ in _items(kind, tree)), value)
    resources, scopes, _ = PARTS[kind]
    several = _listed(tree, resources)
    if len(several) + sum(len(_listed(one, scopes)) for one in several) > SCOPES_MAX:
        raise _crowded(value)
    return request_of_tree(kind, tree)


def _rewrite_ids(kind: str, tree: dict[str, Any]) -> None:
    """Write ids as base64, as protobuf's own JSON has them."""
    for item in _items(kind, tree):
        _rewrite_item(item)
        for points in _POINTS if kind == METRICS else ():
            _rewrite_exemplars(item.get(points))


def _rewrite_item(item: dict[str, Any]) -> None:
    _rewrite(item)
    for link in _listed(item, "links"):
        _rewrite(link)


def _items(kind: str, tree: Any) -> Iterator[dict[str, Any]]:
    """Yield the spans, log records or metrics of a tree."""
    resources, scopes, items = PARTS[kind]
    for resource in _listed(tree, resources):
        for scope in _listed(resource, scopes):
            yield from _listed(scope, items)


def _rewrite_exemplars(points: Any) -> None:
    if isinstance(points, dict):
        for point in _listed(points, "dataPoints"):
            for exemplar in _listed(point, "exemplars"):
                _rewrite(exemplar)


def _rewrite(item: dict[str, Any]) -> None:
    for name in _IDS:
        text = item.get(name)
        if isinstance(text, str):
            item[name] = _base64_of(text)


def _base64_of(text: str) -> str:
    """Return an id in hex as base64; text that is no hex has a length that no id has."""
    if UUID.fullmatch(text):  # OTLP has no dashes, and what is meant is clear
        text = text.replace("-", "")
    if _HEX.fullmatch(text):
        octets = bytes.fromhex(text)
    else:  # half a surrogate pair has no bytes
        shown = text.encode(errors="replace")[:SHOWN_BYTES_MAX]
        octets = (_NO_HEX + shown).ljust(_NO_ID_BYTES, _NO_HEX)
    return base64.b64encode(octets).decode()


def id_text(octets: bytes) -> str:
    """Return an id as hex; one that came in JSON and is no hex as it was sent, or its begin.

    What is no hex in JSON is none here, whatever bytes a sender makes up.
    """
    if len(octets) == _NO_ID_BYTES and octets.startswith(_NO_HEX):
        text = octets.strip(_NO_HEX).decode(errors="ignore")
        if not _HEX.fullmatch(text):
            return text
    return octets[:SHOWN_BYTES_MAX].hex()


def _has(tree: dict[str, Any], name: str) -> bool:
    return name in tree or _SNAKE[name] in tree


def _listed(tree: Any, name: str) -> list[dict[str, Any]]:
    other = _SNAKE[name]
    if isinstance(tree, dict) and other != name and name in tree and other in tree:
        _refuse(f"both {name} and {other}: they are one list")
    found = tree.get(name, tree.get(other)) if isinstance(tree, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _refuse(detail: str) -> NoReturn:
    raise RecordError(INVALID, detail[:_DETAIL_CHARACTERS])
