"""Reads and writes recorded telemetry as our own JSON lines: one TelemetryEvent a line.

Owns the text form of an event. A line holds the fields of `schemas/telemetry_event.v1.avsc` under
their names; absent fields take the schema's "absent" value, unknown ones are refused. Times are
Unix microseconds or ISO 8601 with an offset. Every error names file and line.
"""

import gzip
import json
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from streams.codec.linefile import UNREADABLE, Cut, first_line, lines_of, opened
from streams.core.columns import EVENT_TYPES, SEVERITIES, SPAN_KINDS, STATUSES
from streams.errors import ConfigError, reason_of

LINE_BYTES_MAX: Final = 4 * 1024 * 1024

_REQUIRED: Final = ("event_id", "timestamp", "module", "event_type", "name")
_TEXT: Final = (
    "event_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "module",
    "component",
    "name",
    "unit",
    "record_id",
    "batch_id",
    "correlation_id",
    "operation",
    "actor",
)
_ENUMS: Final = {
    "event_type": (EVENT_TYPES, "TRACE"),
    "severity": (SEVERITIES, "INFO"),
    "status": (STATUSES, "UNSET"),
    "span_kind": (SPAN_KINDS, "INTERNAL"),
}
_OTHERS: Final = ("timestamp", "value", "dimensions", "duration_us", "trace_flags", "links")
_KNOWN: Final = frozenset((*_TEXT, *_ENUMS, *_OTHERS))
_LONG_MAX: Final = (1 << 63) - 1
"""Of a whole number in Avro."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT_US: Final = tuple(
    (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) for year in (2, 9999)
)


def read_events(path: str | Path, cut: Cut | None = None) -> Iterator[dict[str, Any]]:
    """Read the events of a .jsonl or .jsonl.gz file in the file's order; empty lines are skipped.

    Args:
        path: the file.
        cut: hears of a last line that was cut; without it such a line is none.

    Raises:
        ConfigError: The file cannot be read, or a line is not an event; names the line.
    """
    source = Path(path)
    try:
        with opened(source) as file:
            first = first_line(source, file, LINE_BYTES_MAX)
            for place, line in lines_of(source, file, first, LINE_BYTES_MAX, cut):
                yield _event(line, place)
    except UNREADABLE as error:
        raise ConfigError(f"{source}: cannot be read ({reason_of(error)})") from error


def write_events(path: str | Path, events: Iterable[dict[str, Any]]) -> int:
    """Write events as lines that `read_events` reads back as they were; return how many.

    Raises:
        ConfigError: The file cannot be written.
    """
    target = Path(path)
    count = 0
    try:
        is_packed = target.name.endswith(".gz")
        with gzip.open(target, "wb") if is_packed else target.open("wb") as lines:
            for event in events:
                lines.write(_line(event).encode() + b"\n")
                count += 1
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({reason_of(error)})") from error
    return count


def can_be_kept(event: dict[str, Any]) -> bool:
    """Whether `read_events` would take what `write_events` makes of an event.

    Whole numbers that no honest event has (a length below 0, a time before year 1) are not kept.
    """
    is_positive: bool = event["duration_us"] >= 0 and event["trace_flags"] >= 0
    return is_positive and _KEPT_US[0] <= int(event["timestamp"]) <= _KEPT_US[1]


def _line(event: dict[str, Any]) -> str:
    """Return the JSON text of one event; NaN, which JSON has not, becomes null."""
    value = event["value"]
    text_time = (_EPOCH + timedelta(microseconds=event["timestamp"])).isoformat()
    return json.dumps(
        {
            **event,
            "timestamp": text_time,
            "value": value if math.isfinite(value) else None if math.isnan(value) else str(value),
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _event(line: bytes, place: str) -> dict[str, Any]:
    """Return the event of one line."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not JSON ({error})") from error
    return event_of(given, place)


def event_of(given: object, place: str) -> dict[str, Any]:
    """Return the event that a line's JSON tells, whole: absent fields have their absent value.

    Args:
        given: what the JSON says.
        place: put before the words of an error.

    Raises:
        ConfigError: it is no event; names the field.
    """
    if not isinstance(given, dict):
        raise ConfigError(f"{place}: not a JSON object")
    unknown = sorted(set(given) - _KNOWN)
    if unknown:
        raise ConfigError(f"{place}: field {unknown[0]!r} is not one of a TelemetryEvent")
    absent = [name for name in _REQUIRED if name not in given]
    if absent:
        raise ConfigError(f"{place}: field {absent[0]!r} is missing")
    event: dict[str, Any] = {name: _text(given, name, place) for name in _TEXT}
    for name, (symbols, default) in _ENUMS.items():
        event[name] = _symbol(given.get(name, default), name, symbols, place)
    event["timestamp"] = _time_us(given["timestamp"], place)
    event["duration_us"] = _whole(given, "duration_us", 0, place)
    event["trace_flags"] = _whole(given, "trace_flags", 1, place)
    event["value"] = _number(given.get("value"), place)
    event["dimensions"] = _dimensions(given.get("dimensions", {}), place)
    event["links"] = _links(given.get("links", []), place)
    return event


def event_shape() -> dict[str, Any]:
    """Return the form that `event_of` takes, as a JSON schema."""
    text: dict[str, Any] = {"type": "string"}
    whole: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": _LONG_MAX}
    ids = {"trace_id": text, "span_id": text}
    link = {
        "type": "object",
        "properties": ids,
        "required": list(ids),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "required": list(_REQUIRED),
        "additionalProperties": False,
        "properties": {
            **dict.fromkeys(_TEXT, text),
            **{name: {"enum": list(symbols)} for name, (symbols, _) in _ENUMS.items()},
            "timestamp": {"anyOf": [{"type": "string", "format": "date-time"}, whole]},
            "value": {"type": ["number", "null"]},
            "dimensions": {"type": "object", "additionalProperties": text},
            "duration_us": whole,
            "trace_flags": whole,
            "links": {"type": "array", "items": link},
        },
    }


def _text(given: dict[str, Any], name: str, place: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{place}: {name} is not text")
    return _whole_text(value, name, place)


def _whole_text(value: str, name: str, place: str) -> str:
    """Return a text that can be written as UTF-8: JSON can name half a character."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{place}: {name} holds half a character") from None
    return value


def _kind(value: object) -> str:
    """Return what a message says of a value: its kind alone, for what it says may be personal."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "an object") if not isinstance(value, str) else "a text"


def _symbol(value: object, name: str, symbols: tuple[str, ...], place: str) -> str:
    if not isinstance(value, str) or value not in symbols:
        raise ConfigError(f"{place}: {name} is not one of {', '.join(symbols)}")
    return value


def _whole(given: dict[str, Any], name: str, default: int, place: str) -> int:
    value = given.get(name, default)
    if type(value) is not int or not 0 <= value <= _LONG_MAX:
        raise ConfigError(f"{place}: {name} is {_kind(value)}, not a whole number from 0")
    return value


def _number(value: object, place: str) -> float:
    if value is None:
        return math.nan
    try:
        if not isinstance(value, bool) and isinstance(value, int | float | str):
            return float(value)
    except (ValueError, OverflowError):
        pass  # said below, with the place
    raise ConfigError(f"{place}: value is {_kind(value)}, not a number")


def _time_us(value: object, place: str) -> int:
    """Return Unix microseconds; text without an offset is refused, for nobody knows its zone."""
    if type(value) is int and -_LONG_MAX <= value <= _LONG_MAX:
        return value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return (moment - _EPOCH) // timedelta(microseconds=1)
    raise ConfigError(
        f"{place}: timestamp is {_kind(value)}; write Unix microseconds or ISO 8601 with an offset"
    )


def _dimensions(value: object, place: str) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        for key, text in value.items():
            _whole_text(key, "a key of dimensions", place)
            _whole_text(text, f"dimensions.{key}", place)
        return value
    raise ConfigError(f"{place}: dimensions is not an object of texts")


def _links(value: object, place: str) -> list[dict[str, str]]:
    if isinstance(value, list) and all(
        isinstance(link, dict)
        and set(link) == {"trace_id", "span_id"}
        and all(isinstance(v, str) for v in link.values())
        for link in value
    ):
        for link in value:
            _whole_text(link["trace_id"] + link["span_id"], "links", place)
        return value
    raise ConfigError(f"{place}: links is not a list of {{trace_id, span_id}}")
