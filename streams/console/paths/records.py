"""What happened to a record."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.paths.path import Path
from streams.console.queries import Queries

RECORD_TRACES_MAX: Final = 1_000


def _record(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    record_id = path["record_id"]
    traces = queries.traces_of_record(record_id, RECORD_TRACES_MAX)
    if not traces:
        return None
    entries = [
        event
        for trace in traces
        for event in trace["spans"]
        if event["record_id"] in ("", record_id)
    ]
    entries.sort(key=lambda e: (e["timestamp"], e["span_id"], e["event_id"]))
    trace_ids = [trace["trace_id"] for trace in traces]
    return {
        "record_id": record_id,
        "traces": [
            {name: t[name] for name in ("trace_id", "revision", "status", "start", "missing")}
            for t in traces
        ],
        "entries": entries,
        "incidents": queries.incidents_of(record_id, trace_ids, RECORD_TRACES_MAX),
    }


PATHS: Final = (
    Path(
        "/api/v1/records/{record_id}",
        "What happened to a record, in order, over all its traces.",
        (),
        _record,
    ),
)
