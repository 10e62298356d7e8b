"""OTLP's values as text, and the bounded set of dimensions that an event has of them.

Invariant: whatever a sender puts into its attributes, the dimensions of one event stay within the
bounds below, and how many were left out is told in the event itself.
Source: OpenTelemetry common specification, "Attribute" and "Representing non-string values".
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice, takewhile
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

KEY_BYTES_MAX: Final = 256
VALUE_BYTES_MAX: Final = 4_096
"""Statements and stack traces are cut here: they are read by people, not joined by."""
ENTRIES_MAX: Final = 128
"""OpenTelemetry's own default limit of a span's attributes."""
DIMENSIONS_BYTES_MAX: Final = 32 << 10
"""Of one event: a few tiny spans must not repeat a resource of megabytes each."""
LOOKED_MAX: Final = 2_048
"""Attributes of one list that are looked at, and items of one value: no more of them can be kept,
and a request of 8 MiB may hold millions, which would take many seconds."""
DEPTH_MAX: Final = 8
"""Lists in lists; what lies deeper is shown as null."""
DROPPED: Final = "spanloom.dropped_attributes"


class Dimensions:
    """The dimensions of one event, gathered from several places; later ones win.

    Args:
        start: what to begin with, gathered before; it is not changed.
    """

    def __init__(self, start: "Dimensions | None" = None) -> None:
        self._found: dict[str, str] = dict(start._found) if start else {}
        self._bytes: int = start._bytes if start else 0
        self.dropped: int = start.dropped if start else 0

    def add(self, key: str, value: str) -> None:
        """Add an entry, or count it where there is no room."""
        key, value = cut(key, KEY_BYTES_MAX), cut(value, VALUE_BYTES_MAX)
        before = self._found.get(key)
        size = _bytes(value) + (_bytes(key) if before is None else -_bytes(before))
        is_too_many = before is None and len(self._found) >= ENTRIES_MAX
        if not key or is_too_many or self._bytes + size > DIMENSIONS_BYTES_MAX:
            self.dropped += 1
            return
        self._found[key] = value
        self._bytes += size

    def add_all(self, attributes: Sequence[KeyValue], prefix: str = "") -> None:
        """Add attributes; what is beyond `LOOKED_MAX` is counted alone."""
        for attribute in islice(attributes, LOOKED_MAX):
            self.add(prefix + attribute.key, text_of(attribute.value))
        self.dropped += max(0, len(attributes) - LOOKED_MAX)

    def take(self, key: str) -> str:
        """Take an entry out and return it, "" where there is none."""
        value = self._found.pop(key, "")
        if value:
            self._bytes -= _bytes(key) + _bytes(value)
        return value

    def get(self, key: str) -> str:
        """Return an entry, "" where there is none."""
        return self._found.get(key, "")

    def plain(self) -> dict[str, str]:
        """Return the entries, and how many were left out."""
        return self._found | {DROPPED: str(self.dropped)} if self.dropped else self._found


def text_of(value: AnyValue) -> str:
    """Return a value as text: text as it is, numbers as JSON has them, the rest as JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return str(value.string_value)
    if kind is None:
        return ""
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        return number(value.double_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    found = _plain(value, DEPTH_MAX, count(1))
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def number(value: float) -> str:
    """Return a number in its shortest form; NaN, Infinity and -Infinity by these names."""
    return json.dumps(value)


def cut(text: str, bytes_max: int) -> str:
    """Return as much of a text's begin as UTF-8 gives so many bytes."""
    if len(text) * 4 <= bytes_max:
        return text
    raw = text.encode()
    return text if len(raw) <= bytes_max else raw[:bytes_max].decode(errors="ignore")


def _plain(value: AnyValue, depth: int, items: Iterator[int]) -> Any:
    """Return a value as JSON has it: as much as is kept of its text, each item is a character."""
    kind = value.WhichOneof("value")
    if kind is None or not depth:
        return None
    if kind == "array_value":
        return [_plain(one, depth - 1, items) for one in _some(value.array_value.values, items)]
    if kind == "kvlist_value":
        pairs = _some(value.kvlist_value.values, items)
        return {one.key: _plain(one.value, depth - 1, items) for one in pairs}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


def _some(values: Iterable[Any], items: Iterator[int]) -> Iterator[Any]:
    return takewhile(lambda _: next(items) <= LOOKED_MAX, values)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
