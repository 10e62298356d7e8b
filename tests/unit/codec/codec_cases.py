"""Events for the codec's tests, and the slow oracle: one record at a time, as the rules say it."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.records import decode, encode
from streams.codec.rejections import Rejections
from streams.codec.schemas import SchemaSet, default_schemas
from streams.core.columns import EVENT_TYPES, SEVERITIES, STATUSES, EventColumns, Operations
from streams.errors import RecordError

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
EVENT_ID = "6f1c2f0e-52b7-4f0c-9d3a-0b6f9f1f7a01"
T0_US = 1_760_000_000_000_000
YEAR_2200_US = 7_258_118_400_000_000
TEN_YEARS_US = 315_360_000_000_000


def event(**changes: Any) -> dict[str, Any]:
    """Return a good span with some fields changed."""
    return {
        "event_id": EVENT_ID,
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_span_id": "",
        "timestamp": T0_US,
        "module": "BETA",
        "component": "enrichment",
        "event_type": "TRACE",
        "severity": "INFO",
        "name": "enrich",
        "value": 0.5,
        "unit": "",
        "dimensions": {"tier": "gold"},
        "record_id": "rec-1",
        "batch_id": "batch-1",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": 1_500,
        "status": "OK",
        "span_kind": "INTERNAL",
        "trace_flags": 1,
        "links": [],
        **changes,
    }


def value(**changes: Any) -> bytes:
    """Return the wire value of a good span with some fields changed."""
    return encode("telemetry_event", event(**changes))


def values(n: int) -> list[bytes]:
    """Return the wire values of n spans of one trace, each different."""
    return [value(span_id=f"{i + 1:016x}", timestamp=T0_US + i) for i in range(n)]


def decoder(schemas: SchemaSet | None = None, **options: Any) -> EventDecoder:
    """Return a decoder with operations of its own."""
    options = {"operations": Operations(), **options}
    return EventDecoder(schemas or default_schemas(), **options)


def run(
    chunk: Sequence[bytes | None], using: EventDecoder | None = None
) -> tuple[EventColumns, Rejections]:
    """Return what a chunk decodes to; the record times are 10 us apart."""
    kafka_us = np.arange(len(chunk), dtype=np.int64) * 10 + T0_US
    return (using or decoder()).decode(3, [None] * len(chunk), chunk, kafka_us)


def reasons(rejected: Rejections) -> dict[int, str]:
    """Return the reason by row."""
    return dict(zip(rejected.row, rejected.reason, strict=True))


def reason_alone(one: bytes | None) -> str | None:
    """Return the reason for which a value is refused when it is looked at by itself."""
    try:
        if one is not None and one[:1] == b"\x00" and len(one) > 4 and one[1:5] != b"\0\0\0\1":
            return "unknown_schema_id"
        return expected_reason(decode(one))
    except RecordError as error:
        return error.reason


def expected_reason(record: dict[str, Any]) -> str | None:
    """Return the reason for which a decoded event is refused, None for a good one."""
    is_span = record["event_type"] == "TRACE"
    trace_id, parent = record["trace_id"], record["parent_span_id"]
    has_trace = is_hex(trace_id, 32) and int(trace_id, 16) != 0
    timestamp, duration = record["timestamp"], record["duration_us"]
    rules = [
        ("invalid_trace_id", trace_id != "" and not has_trace),
        ("missing_trace_id", is_span and trace_id == ""),
        ("invalid_span_id", is_span and not _is_id(record["span_id"])),
        ("invalid_parent_span_id", is_span and parent != "" and not is_hex(parent, 16)),
        ("invalid_event_id", not is_span and has_trace and not _is_uuid(record["event_id"])),
        ("invalid_timestamp", not 0 < timestamp <= YEAR_2200_US),
        ("invalid_duration", not 0 <= duration <= TEN_YEARS_US),
        ("invalid_trace_flags", not 0 <= record["trace_flags"] <= 255),
        ("missing_module", record["module"] == ""),
        ("missing_name", record["name"] == ""),
    ]
    return next((reason for reason, is_broken in rules if is_broken), None)


def expected_row(record: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of one good event, as plain Python values."""
    is_span = record["event_type"] == "TRACE"
    trace = int(record["trace_id"] or "0", 16)
    span = int(record["span_id"], 16) if is_hex(record["span_id"], 16) else 0
    parent = int(record["parent_span_id"], 16) if is_hex(record["parent_span_id"], 16) else 0
    key = span if is_span else (UUID(record["event_id"]).int if trace else 0)
    return {
        "trace_id": [trace >> 64, trace & (2**64 - 1)],
        "event_key": [key >> 64, key & (2**64 - 1)],
        "span_id": span,
        "parent_span_id": parent,
        "timestamp_us": record["timestamp"],
        "duration_us": record["duration_us"],
        "event_type": EVENT_TYPES.index(record["event_type"]),
        "severity": SEVERITIES.index(record["severity"]),
        "status": STATUSES.index(record["status"]),
        "trace_flags": record["trace_flags"],
    }


def check_against_oracle(chunk: Sequence[bytes | None]) -> None:
    """Assert that a chunk decodes to what its values say one by one."""
    operations = Operations()
    events, rejected = run(chunk, decoder(operations=operations))
    refused = reasons(rejected)
    place = {row: i for i, row in enumerate(events.row.tolist())}
    assert sorted([*place, *refused]) == list(range(len(chunk)))
    for row, one in enumerate(chunk):
        reason = reason_alone(one)
        assert refused.get(row) == reason, row
        if reason is None and one is not None:
            i, record = place[row], decode(one)
            seen = {name: getattr(events, name)[i].tolist() for name in expected_row(record)}
            assert seen == expected_row(record)
            names = (record["module"], record["component"], record["name"])
            assert operations[int(events.operation[i])] == names
            assert events.body[i] == one[5:]
            assert events.kafka_us[i] == T0_US + 10 * row


def is_hex(text: str, digits: int) -> bool:
    """Return whether a text is exactly so many lower-case hex digits."""
    return re.fullmatch(f"[0-9a-f]{{{digits}}}", text) is not None


def _is_id(text: str) -> bool:
    return is_hex(text, 16) and int(text, 16) != 0


def _is_uuid(text: str) -> bool:
    form = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    return re.fullmatch(form, text) is not None and UUID(text).int >> 64 != 0
