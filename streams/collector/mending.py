"""What an event's sender meant: ids, times and old names in the form that the topics have.

Pure. Owns which other spellings are understood, and no more than those: a UUID or upper-case hex
where an id is wanted, seconds, milliseconds or nanoseconds where microseconds are, and the metric
names that the contract calls old. Invariant: an event that is right already is returned as it is.
"""

from collections.abc import Mapping
from typing import Any, Final

from streams.codec.checks import TIMESTAMP_MAX_US
from streams.codec.ids import UUID

Event = dict[str, Any]

SECONDS_MAX: Final = 100_000_000_000
"""Of Unix seconds that is the year 5138; of milliseconds the year 1973, before all telemetry."""
MILLISECONDS_MAX: Final = 100_000_000_000_000
"""Of Unix milliseconds that is the year 5138; of microseconds again 1973."""
_IDS: Final = ("trace_id", "span_id", "parent_span_id")


def mended(event: Event, metric_names: Mapping[str, str], *, has_any_unit: bool = True) -> Event:
    """Return an event in the topics' form.

    Args:
        event: of the schema `telemetry_event`.
        metric_names: old metric names and what they are called now.
        has_any_unit: its time may be in another unit than microseconds.
    """
    changed: Event = {}
    for name in _IDS:
        found = _id(event[name])
        if found != event[name]:
            changed[name] = found
    timestamp_us = microseconds(event["timestamp"]) if has_any_unit else event["timestamp"]
    if timestamp_us != event["timestamp"]:
        changed["timestamp"] = timestamp_us
    if event["event_type"] == "METRIC" and event["name"] in metric_names:
        changed["name"] = metric_names[event["name"]]
    links = [{name: _id(link[name]) for name in link} for link in event["links"]]
    if links != event["links"]:
        changed["links"] = links
    return event | changed if changed else event


def microseconds(time: int) -> int:
    """Return a Unix time in microseconds, whatever unit it is in."""
    if 0 < time < SECONDS_MAX:
        return time * 1_000_000
    if 0 < time < MILLISECONDS_MAX:
        return time * 1_000
    if time > TIMESTAMP_MAX_US and time // 1_000 <= TIMESTAMP_MAX_US:
        return time // 1_000
    return time


def _id(text: str) -> str:
    """Return an id in lower case, a UUID as 32 digits; anything else as it is."""
    lower = text.lower()
    return lower.replace("-", "") if UUID.fullmatch(lower) else lower
