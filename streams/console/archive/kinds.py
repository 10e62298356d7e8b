"""What the archive keeps of each topic: the record as it came, and columns to find it by.

Owns the columns. A kind's rows are a function of the record's bytes alone. Times are microseconds
(UTC). A topic may feed several kinds, and a record of one kind may be several rows or none.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa

from streams.codec import wire
from streams.codec.records import Record, decode, decode_as, encode
from streams.codec.schemas import default_schemas
from streams.core.fidelity.unsampled import SPANS_UNSAMPLED, TRACES_UNSAMPLED
from streams.errors import RecordError
from streams.runtime import topics

Row = tuple[Any, ...]
_TEXTS: Final = pa.list_(pa.string())
PLACE: Final = (("partition", pa.int32()), ("offset", pa.int64()), ("appended_us", pa.int64()))
"""Of every kind, first: where the record lies, and Kafka's time of it."""
_VALUE: Final = ("value", pa.binary())
"""The record's bytes, with the schema's id in front."""


class Kind(NamedTuple):
    """One kind of record.

    Attributes:
        name: of its folder.
        topic: without the prefix of derived topics; "" for that of the telemetry topics.
        schema: its columns, `PLACE` first.
        ids: columns that hold ids, or lists of them, to look records up by.
        time: the column of its own time, in us, by which questions narrow it; "" for none.
        rows: the values of the other columns, in their order, of the rows that a record's bytes
            are; raises RecordError when they are none of its schema.
    """

    name: str
    topic: str
    schema: pa.Schema
    ids: tuple[str, ...]
    time: str
    rows: Callable[[bytes | None], list[Row]]


def _schema(*columns: tuple[str, Any]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in (*PLACE, *columns)])


def _texts(*names: str) -> list[tuple[str, Any]]:
    return [(name, pa.string()) for name in names]


def _numbers(*names: str) -> list[tuple[str, Any]]:
    return [(name, pa.int64()) for name in names]


def _plain(*names: str) -> Callable[[Record], Row]:
    return lambda record: tuple(record[name] for name in names)


def _one(record: str, row: Callable[[Record], Row]) -> Callable[[bytes | None], list[Row]]:
    """Return the rows of records that are one row each, with their bytes."""
    return lambda value: [(value, *row(decode_as(record, value)))]


def _distinct(records: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    return sorted({record[name] for record in records} - {""})


def _trace_row(trace: Record) -> Row:
    spans = trace["spans"]
    return (
        *(trace[name] for name in ("trace_id", "flow", "status", "closed_by")),
        *(trace[name] for name in ("revision", "start", "end", "duration_us")),
        *(trace[name] for name in ("span_count", "error_count")),
        _distinct(trace["missing"], "to_stage"),
        *(_distinct(spans, name) for name in ("module", "record_id", "batch_id", "correlation_id")),
        sorted({link["trace_id"] for span in spans for link in span["links"]} - {""}),
    )


def _window_row(window: Record) -> Row:
    counters = window["counters"]
    return (
        *(window[name] for name in (*SCOPE, *_COUNTS, *_RATIOS)),
        *(counters.get(name, 0) for name in UNSAMPLED),
    )


def _span_rows(value: bytes | None) -> list[Row]:
    trace = decode_as("assembled_trace", value)
    return [
        (*_event_row(event), trace["revision"])
        for event in trace["spans"]
        if event["event_type"] == "TRACE"
    ]


def _event_rows(value: bytes | None) -> list[Row]:
    return [
        (*_event_row(event), own)
        for event, own in _events(value)
        if event["event_type"] != "TRACE" or not event["trace_id"]
    ]


def _events(value: bytes | None) -> list[tuple[Record, bytes]]:
    """Return the events of a message of one or of many, each with bytes of its own."""
    schemas = default_schemas()
    schema_id, _ = wire.split(value, schemas)
    name = schemas.name_of(schema_id)
    found = decode(value)
    if name == "telemetry_event":
        assert value is not None
        return [(found, value)]
    if name == "telemetry_batch":
        return [(event, encode("telemetry_event", event)) for event in found["events"]]
    raise RecordError("unknown_schema_id", f"{schema_id} is {name}, not telemetry_event")


def _event_row(event: Record) -> Row:
    plain = (event[name] for name in (*EVENT_TEXTS, *EVENT_TIMES, "value"))
    return (*plain, list(event["dimensions"].items()))


EVENT_TEXTS: Final = (
    "event_id", "event_type", "trace_id", "span_id", "parent_span_id", "record_id", "batch_id",
    "correlation_id", "module", "component", "operation", "actor", "severity", "name",
)  # fmt: skip
"""Fields of an event that are text, or a symbol that is one."""
EVENT_TIMES: Final = ("timestamp", "duration_us")
SCOPE: Final = ("kind", "flow", "from_stage", "to_stage", "module")
"""What a window of fidelity is of."""
_COUNTS: Final = ("window_start", "window_us", "revision", "expected", "observed")
_RATIOS: Final = ("ratio", "slo_ratio", "burn_rate_short", "burn_rate_long")
UNSAMPLED: Final = (SPANS_UNSAMPLED, TRACES_UNSAMPLED)
"""Counters of a window that have columns; null in files that are older than these."""
_ALERT: Final = ("fingerprint", "state", "severity", "kind", "module", "name")
_ALERT_TIMES: Final = ("version", "firing_since", "last_seen")
_INCIDENT: Final = ("incident_id", "event", "severity", "title", "module", "owner")
_INCIDENT_TIMES: Final = ("version", "timestamp", "opened_at", "resolved_at")
_REJECTED: Final = ("reason", "detail", "topic")
_REJECTED_AT: Final = ("source_partition", "source_offset", "timestamp", "value_bytes")
_EVENT: Final = (
    *_texts(*EVENT_TEXTS),
    *_numbers(*EVENT_TIMES),
    ("value_number", pa.float64()),
    ("dimensions", pa.map_(pa.string(), pa.string())),
)
_EVENT_IDS: Final = ("trace_id", "record_id", "batch_id", "correlation_id")

KINDS: Final = (
    Kind(
        "traces",
        topics.TRACES,
        _schema(
            _VALUE,
            *_texts("trace_id", "flow", "status", "closed_by"),
            *_numbers("revision", "start", "end", "duration_us", "span_count", "error_count"),
            ("missing_stages", _TEXTS),
            ("modules", _TEXTS),
            *((name, _TEXTS) for name in ("record_ids", "batch_ids", "correlation_ids")),
            ("linked_trace_ids", _TEXTS),
        ),
        ("trace_id", "record_ids", "batch_ids", "correlation_ids", "linked_trace_ids"),
        "start",
        _one("assembled_trace", _trace_row),
    ),
    Kind(
        "spans",
        topics.TRACES,
        _schema(*_EVENT, ("revision", pa.int64())),
        _EVENT_IDS,
        "timestamp",
        _span_rows,
    ),
    Kind(
        "events",
        "",
        _schema(*_EVENT, _VALUE),
        ("event_id", *_EVENT_IDS),
        "timestamp",
        _event_rows,
    ),
    Kind(
        "fidelity",
        topics.STATS,
        _schema(
            _VALUE,
            *_texts(*SCOPE),
            *_numbers(*_COUNTS),
            *((n, pa.float64()) for n in _RATIOS),
            *_numbers(*UNSAMPLED),
        ),
        (),
        "window_start",
        _one("fidelity_stats", _window_row),
    ),
    Kind(
        "alerts",
        topics.ALERTS,
        _schema(_VALUE, *_texts(*_ALERT), *_numbers(*_ALERT_TIMES)),
        ("fingerprint",),
        "",
        _one("alert", _plain(*_ALERT, *_ALERT_TIMES)),
    ),
    Kind(
        "incidents",
        topics.INCIDENTS,
        _schema(
            _VALUE,
            *_texts(*_INCIDENT),
            *_numbers(*_INCIDENT_TIMES),
            ("trace_ids", _TEXTS),
            ("record_ids", _TEXTS),
        ),
        ("incident_id", "trace_ids", "record_ids"),
        "",
        _one("incident_event", _plain(*_INCIDENT, *_INCIDENT_TIMES, "trace_ids", "record_ids")),
    ),
    Kind(
        "rejected",
        topics.REJECTED,
        _schema(_VALUE, *_texts(*_REJECTED), *_numbers(*_REJECTED_AT)),
        (),
        "timestamp",
        _one(
            "rejected_event",
            _plain(*_REJECTED, "partition", "offset", "timestamp", "value_bytes"),
        ),
    ),
)
KIND: Final = {kind.name: kind for kind in KINDS}
