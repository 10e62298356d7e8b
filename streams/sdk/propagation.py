"""Context over a hop: headers of HTTP and Kafka messages, out and in.

What a record is (`record_id`, `batch_id`, `correlation_id`) goes along in the baggage, as entries
whose names begin with `spanloom.`. Invariant: nothing here raises for what came from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextvars import Token
from typing import Any, Final, Protocol

from streams.codec.w3c import (
    BAGGAGE,
    TRACEPARENT,
    TRACESTATE,
    Baggage,
    Item,
    TraceParent,
    TraceState,
    read_headers,
    write_headers,
)
from streams.sdk.span import Context, _current, before

Text = str | bytes
Carrier = Mapping[Any, Any] | Iterable[tuple[Any, Any]]
"""Headers by name (a value, or several), or pairs of name and value; texts or bytes."""
IDS: Final = {
    "spanloom.record_id": "record_id",
    "spanloom.batch_id": "batch_id",
    "spanloom.correlation_id": "correlation_id",
}
_HEADERS: Final = (TRACEPARENT, TRACESTATE, BAGGAGE)
HEADERS_MAX: Final = 1_000
"""Further headers of a message are not looked at."""


class Counting(Protocol):
    """Who counts the members of a baggage that are beyond its bounds."""

    def baggage_left_out(self, members: int) -> None:
        """Count members that do not go on."""


def extract(carrier: Carrier | None, counting: Counting | None = None) -> Context:
    """Return the context that headers carry; one without a trace where they carry none."""
    try:
        found = read_headers(_pairs(carrier))
    except Exception:  # no pairs, or whatever a framework's headers do where there is no request
        return Context()
    if found.baggage_cut and counting is not None:
        counting.baggage_left_out(found.baggage_cut)
    return context_of(found.parent, found.state, found.baggage)


def context_of(parent: TraceParent | None, state: TraceState, baggage: Baggage) -> Context:
    """Return a context from its parts; the ids of the record leave the baggage."""
    ids = [baggage.pop(name).value if name in baggage else "" for name in IDS]
    if parent is None:
        return Context(0, 0, 0, (), baggage or None, *ids)
    trace_id, span_id = int(parent.trace_id, 16), int(parent.span_id, 16)
    return Context(trace_id, span_id, parent.flags, state, baggage or None, *ids)


def baggage_of(context: Context) -> Baggage:
    """Return the baggage of a context with the ids of its record, which are first: the last go."""
    given = {name: Item(getattr(context, field)) for name, field in IDS.items()}
    ids = {name: item for name, item in given.items() if item.value}
    return ids | {name: item for name, item in (context.baggage or {}).items() if name not in ids}


def outgoing(context: Context | None, counting: Counting | None = None) -> list[tuple[str, str]]:
    """Return the headers of a context; none where there is no trace."""
    if context is None or not context.trace_id:
        return []
    headers, cut = write_headers(context.parent, context.state, baggage_of(context))
    if cut and counting is not None:
        counting.baggage_left_out(cut)
    return headers


def inject(carrier: Any, context: Context | None, counting: Counting | None = None) -> Any:
    """Write a context's headers into a mapping or a list, in place of those that are there."""
    headers = outgoing(context, counting)
    if carrier is None:
        return headers
    if isinstance(carrier, MutableMapping):
        if headers:
            for name in [name for name in carrier if _is_ours(name)]:
                del carrier[name]
            carrier.update(headers)
        return carrier
    if headers and isinstance(carrier, list) and carrier:
        alike = list(_alike(headers, carrier[0]))
        carrier[:] = [pair for pair in carrier if not _is_ours(pair[0])]
        carrier.extend(alike)
    else:
        carrier.extend(headers)
    return carrier


def _alike(headers: list[tuple[str, str]], other: tuple[Any, Any]) -> Iterator[Any]:
    """Yield headers as another one is: name and value as texts or as bytes."""
    is_bytes = [isinstance(part, bytes) for part in other]
    for header in headers:
        pair = zip(header, is_bytes, strict=True)
        yield tuple(part.encode() if as_bytes else part for part, as_bytes in pair)


def kafka_headers(
    context: Context | None, counting: Counting | None = None
) -> list[tuple[str, bytes]]:
    """Return the headers of a Kafka message."""
    return [(name, value.encode()) for name, value in outgoing(context, counting)]


def items_of(carrier: Any) -> Iterable[tuple[Any, Any]]:
    """Return the pairs of a mapping, of whatever has `items` as one, or of an iterable.

    Headers of Python's own HTTP server and client are no Mapping, and yield their names alone.
    """
    items = getattr(carrier, "items", None)
    return items() if callable(items) else carrier or ()


def _pairs(carrier: Carrier | None) -> Iterator[tuple[str, str]]:
    """Yield the headers as texts; what is no text is left out."""
    for n, (name, value) in enumerate(items_of(carrier)):
        if n >= HEADERS_MAX:
            return
        values = value if isinstance(value, list | tuple) else (value,)
        for one in values:
            if isinstance(one, str | bytes) and isinstance(name, str | bytes):
                yield _text(name), _text(one)


def _is_ours(name: Any) -> bool:
    return isinstance(name, str | bytes) and _text(name).lower() in _HEADERS


def _text(value: Text) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


class Entered:
    """A context that is the current one within a block."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context | None) -> None:
        self._context = context
        self._token: Token[Context | None] | None = None

    def __enter__(self) -> Any:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        if _current.get() is self._context:
            _current.set(before(token))  # and no reset: it may be left in another thread or task
