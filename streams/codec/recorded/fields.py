"""Fields of foreign rows become fields of a TelemetryEvent.

Owns what every reader of a recording has in common: ids, texts, times, dimensions, and the absent
values of an event. Invariant: what cannot be an event's field raises `RowError`, never a guess.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from streams.codec.checks import DURATION_MAX_US, TIMESTAMP_MAX_US
from streams.codec.eventid import event_id, span_event_id
from streams.codec.recorded.account import Account, Event, RowError
from streams.codec.recorded.times import refuse_other_unit

COMPONENT: Final = "service"
"""The component of spans that name none, as for other recordings."""
MOVED: Final = ("component", "record_id", "batch_id", "correlation_id", "operation", "actor")
"""Fields of an event that a foreign span has as tags, `spanloom.` before the name."""
TAG_PREFIX: Final = "spanloom."
ID_CHARACTERS_MAX: Final = 128
TEXT_CHARACTERS_MAX: Final = 4_096
TAGS_MAX: Final = 256
EVENT_BYTES_MAX: Final = 256 << 10
"""Half of what the worker takes, so that a recorded event is never refused for its size."""
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16


def blank_event() -> Event:
    """Return a span with every optional field at its absent value."""
    return {
        "event_id": "",
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "timestamp": 0,
        "module": "",
        "component": COMPONENT,
        "event_type": "TRACE",
        "severity": "INFO",
        "name": "",
        "value": math.nan,
        "unit": "",
        "dimensions": {},
        "record_id": "",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": 0,
        "status": "UNSET",
        "span_kind": "INTERNAL",
        "trace_flags": 1,
        "links": [],
    }


def derived_uuid(*parts: object) -> str:
    """Return a UUID of version 4's form that depends on the parts alone."""
    return event_id("\0".join(map(str, parts)).encode())


def span_uuid(event: Event) -> str:
    """Return the event id of a span: the same as of the span in any other recording of it."""
    return span_event_id(bytes.fromhex(event["trace_id"]), bytes.fromhex(event["span_id"]))


def derived_span_id(*parts: object) -> str:
    """Return 16 hex digits, not all 0, that depend on the parts alone."""
    text = "\0".join(map(str, parts)).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def trace_id(value: object, account: Account) -> str:
    """Return a trace id as 32 hex digits.

    Shorter ones get zeros in front, as both systems write them; what is no hex number becomes its
    hash, which is counted.

    Raises:
        RowError: it is no text, empty, too long, or all zeros.
    """
    return _id(value, _TRACE_DIGITS, account)


def span_id(value: object, account: Account) -> str:
    """Return a span id as 16 hex digits; see `trace_id`.

    Raises:
        RowError: as `trace_id`.
    """
    return _id(value, _SPAN_DIGITS, account)


def is_zero(value: object) -> bool:
    """Whether an id is all zeros, as both systems write of a parent that is none."""
    return isinstance(value, str) and value != "" and not value.strip("0")


def _id(value: object, digits: int, account: Account) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= ID_CHARACTERS_MAX:
        raise RowError("invalid_id", f"id {value!r}")
    if len(value) <= digits and _HEX.fullmatch(value):
        if is_zero(value):
            raise RowError("invalid_id", f"id {value!r} is all zeros")
        return value.lower().rjust(digits, "0")
    try:
        digest = hashlib.blake2b(value.encode(), digest_size=digits // 2).hexdigest()
    except UnicodeEncodeError as error:
        raise RowError("invalid_id", f"half a character in {value!r}") from error
    account.hashed_ids += 1
    return digest


def text(row: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    """Return a text, "" when it is absent and not needed.

    Raises:
        RowError: it is something else, too long, or empty though needed.
    """
    value = row.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX or (needed and not value):
        raise RowError(f"invalid_{_snake(name)}", f"{name} is {value!r}")
    return value


def time_us(row: Mapping[str, Any], name: str) -> int:
    """Return a time, Unix microseconds.

    Raises:
        RowError: it is absent, no whole number, negative, or past the year 2200; or it seems to be
            in another unit: `time_in_milliseconds` and so on.
    """
    value = row.get(name)
    if type(value) is int:
        refuse_other_unit(value, "epoch_us", value)
    if type(value) is not int or not 0 <= value <= TIMESTAMP_MAX_US:
        raise RowError("invalid_time", f"{name} is {value!r}")
    return value


def length_us(row: Mapping[str, Any], name: str, *, needed: bool) -> int:
    """Return a length in microseconds, 0 when it is absent and not needed.

    Raises:
        RowError: it is no whole number, negative, or longer than ten years.
    """
    value = row.get(name)
    if value is None and not needed:
        return 0
    if type(value) is not int or not 0 <= value <= DURATION_MAX_US:
        raise RowError("invalid_duration", f"{name} is {value!r}")
    return value


def as_text(value: object) -> str:
    """Return a tag's value as a dimension holds it: text as it is, all else as JSON writes it."""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value[:TEXT_CHARACTERS_MAX]


def take_tags(event: Event, tags: Mapping[str, str]) -> None:
    """Put tags into an event: some are fields of it, the others dimensions.

    Raises:
        RowError: there are more than a span may have.
    """
    if len(tags) > TAGS_MAX:
        raise RowError("too_many_tags", f"{len(tags)} tags, {TAGS_MAX} are read")
    for name in ("module", *MOVED):
        event[name] = tags.get(TAG_PREFIX + name) or event[name]
    moved = {TAG_PREFIX + name for name in ("module", *MOVED)}
    event["dimensions"] = {name: value for name, value in tags.items() if name not in moved}


def checked(event: Event) -> Event:
    """Return the event, once it is known that it can be written.

    Raises:
        RowError: it holds half a character, or is larger than an event may be.
    """
    texts = [value for value in event.values() if isinstance(value, str)]
    for key, value in event["dimensions"].items():
        texts += (key, value)
    try:
        size_bytes = sum(len(one.encode()) for one in texts)
    except UnicodeEncodeError as error:
        raise RowError(
            "invalid_text", f"half a character, at {error.start} of a text of {len(error.object)}"
        ) from error
    if size_bytes > EVENT_BYTES_MAX:
        raise RowError("event_too_large", f"{size_bytes} bytes, {EVENT_BYTES_MAX} are read")
    return event


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace(".", "_")
