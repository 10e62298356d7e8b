"""What the archive keeps of each derived topic: the record as it came, and columns to find it by.

Owns the columns. A kind's row is a function of the record alone. Times are microseconds (UTC).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa

from streams.codec.records import Record
from streams.runtime import topics

_TEXTS: Final = pa.list_(pa.string())
_PLACE: Final = (
    ("partition", pa.int32()),
    ("offset", pa.int64()),
    ("appended_us", pa.int64()),
    ("value", pa.binary()),
)
"""Of every kind: where the record lies, Kafka's time of it, and its bytes."""


class Kind(NamedTuple):
    """One kind of record.

    Attributes:
        name: of its folder.
        topic: without the prefix of derived topics.
        record: name of the schema of its records.
        schema: its columns, `_PLACE` first.
        row: the values of the other columns, in their order.
    """

    name: str
    topic: str
    record: str
    schema: pa.Schema
    row: Callable[[Record], tuple[Any, ...]]


def _schema(*columns: tuple[str, Any]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in (*_PLACE, *columns)])


def _texts(*names: str) -> list[tuple[str, Any]]:
    return [(name, pa.string()) for name in names]


def _numbers(*names: str) -> list[tuple[str, Any]]:
    return [(name, pa.int64()) for name in names]


def _plain(*names: str) -> Callable[[Record], tuple[Any, ...]]:
    return lambda record: tuple(record[name] for name in names)


def _distinct(records: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    return sorted({record[name] for record in records} - {""})


def _trace_row(trace: Record) -> tuple[Any, ...]:
    spans = trace["spans"]
    return (
        *(trace[name] for name in ("trace_id", "flow", "status", "closed_by")),
        *(trace[name] for name in ("revision", "start", "end", "duration_us")),
        *(trace[name] for name in ("span_count", "error_count")),
        _distinct(trace["missing"], "to_stage"),
        *(_distinct(spans, name) for name in ("module", "record_id", "batch_id", "correlation_id")),
    )


SCOPE: Final = ("kind", "flow", "from_stage", "to_stage", "module")
"""What a window of fidelity is of."""
_COUNTS: Final = ("window_start", "window_us", "revision", "expected", "observed")
_RATIOS: Final = ("ratio", "slo_ratio", "burn_rate_short", "burn_rate_long")
_ALERT: Final = ("fingerprint", "state", "severity", "kind", "module", "name")
_ALERT_TIMES: Final = ("version", "firing_since", "last_seen")
_INCIDENT: Final = ("incident_id", "event", "severity", "title", "module", "owner")
_INCIDENT_TIMES: Final = ("version", "timestamp", "opened_at", "resolved_at")
_REJECTED: Final = ("reason", "topic")

KINDS: Final = (
    Kind(
        "traces",
        topics.TRACES,
        "assembled_trace",
        _schema(
            *_texts("trace_id", "flow", "status", "closed_by"),
            *_numbers("revision", "start", "end", "duration_us", "span_count", "error_count"),
            ("missing_stages", _TEXTS),
            *((name, _TEXTS) for name in ("modules", "record_ids", "batch_ids", "correlation_ids")),
        ),
        _trace_row,
    ),
    Kind(
        "fidelity",
        topics.STATS,
        "fidelity_stats",
        _schema(*_texts(*SCOPE), *_numbers(*_COUNTS), *((n, pa.float64()) for n in _RATIOS)),
        _plain(*SCOPE, *_COUNTS, *_RATIOS),
    ),
    Kind(
        "alerts",
        topics.ALERTS,
        "alert",
        _schema(*_texts(*_ALERT), *_numbers(*_ALERT_TIMES)),
        _plain(*_ALERT, *_ALERT_TIMES),
    ),
    Kind(
        "incidents",
        topics.INCIDENTS,
        "incident_event",
        _schema(
            *_texts(*_INCIDENT),
            *_numbers(*_INCIDENT_TIMES),
            ("trace_ids", _TEXTS),
            ("record_ids", _TEXTS),
        ),
        _plain(*_INCIDENT, *_INCIDENT_TIMES, "trace_ids", "record_ids"),
    ),
    Kind(
        "rejected",
        topics.REJECTED,
        "rejected_event",
        _schema(*_texts(*_REJECTED), *_numbers("source_partition", "source_offset", "timestamp")),
        _plain(*_REJECTED, "partition", "offset", "timestamp"),
    ),
)
SCHEMAS: Final = {kind.name: kind.schema for kind in KINDS}
