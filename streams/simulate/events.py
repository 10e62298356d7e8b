"""TelemetryEvent records as plain mappings, and the ids that go into them.

Owns the shape: every event has exactly the fields of `schemas/telemetry_event.v1.avsc`, in its
order. Invariant: ids come from a seeded generator, so the same seed gives the same ids.
"""

import math
from random import Random
from typing import Any, Final, NamedTuple

Event = dict[str, Any]
"""One TelemetryEvent; `timestamp` and `duration_us` are microseconds."""

SAMPLED: Final = 1
"""W3C trace flags of a span that was sampled."""


class Emission(NamedTuple):
    """One event on its way to the broker.

    Attributes:
        topic: the topic of the event's module.
        key: the trace id, else `module.component`.
        event: the event, in the shape of TelemetryEvent.
        emit_us: when it reaches the broker, true time, Unix microseconds.
    """

    topic: str
    key: str
    event: Event
    emit_us: int


def uuid4_text(rng: Random) -> str:
    """Return a version 4 UUID, RFC 9562 variant, from the generator."""
    number = rng.getrandbits(128)
    number = number & ~(0xF << 76) | (0x4 << 76)  # version 4
    number = number & ~(0x3 << 62) | (0x2 << 62)  # variant 10
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def trace_id_from(rng: Random) -> str:
    """Return 32 hex digits, not all zero."""
    return f"{rng.getrandbits(128) or 1:032x}"


def span_id_from(rng: Random) -> str:
    """Return 16 hex digits, not all zero."""
    return f"{rng.getrandbits(64) or 1:016x}"


def new_event(
    rng: Random,
    event_type: str,
    module: str,
    component: str,
    name: str,
    timestamp_us: int,
    dimensions: dict[str, str],
) -> Event:
    """Return an event of that type with everything else absent; the caller fills in the rest."""
    return {
        "event_id": uuid4_text(rng),
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "timestamp": timestamp_us,
        "module": module,
        "component": component,
        "event_type": event_type,
        "severity": "INFO",
        "name": name,
        "value": math.nan,
        "unit": "",
        "dimensions": dimensions,
        "record_id": "",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": 0,
        "status": "UNSET",
        "span_kind": "INTERNAL",
        "trace_flags": 0,
        "links": [],
    }


def partition_key(event: Event) -> str:
    """Return the trace id of an event that has one, else `module.component`."""
    return event["trace_id"] or f"{event['module']}.{event['component']}"
