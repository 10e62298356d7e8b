"""What a recording shows by itself: shape, clocks, critical paths of traces; series of points."""

from collections.abc import Iterable
from math import isfinite
from typing import Any, Final

import numpy as np

from streams.codec.recorded.account import Event, RecordedTrace
from streams.core.traces.critical_path import critical_path
from streams.core.traces.shape import shape_of, spans_once
from streams.units import I64

COUNT_STYLE: Final = "count_style"
"""Dimension of a counter's event: which of the two styles of counting its row had."""
SERIES: Final = ("module", "component", "name")
"""Fields that tell series apart, beside dimensions."""
_PATH_DEPTH_MAX: Final = 1_000


def trace_summary(trace: RecordedTrace) -> dict[str, Any]:
    """Return a trace's counts and, for each of its trees, what its length hangs on.

    `critical_path` has a row for each call path (`[service] operation` of the span and of those
    above it, from the root, with `;` between): `own_us`, the time on the critical path that is
    the spans' own, and `spans`, how many they are. Rows of one root add up to its length.
    """
    told = sum(event["event_type"] == "TRACE" for event in trace.events)
    spans = spans_once(trace.events)
    start_us = np.array([span["timestamp"] for span in spans], np.int64)
    length_us = np.array([span["duration_us"] for span in spans], np.int64)
    ids = [span["span_id"] for span in spans]
    shape = shape_of(ids, [span["parent_span_id"] for span in spans], start_us)
    path = critical_path(shape.parent, start_us, length_us)
    rows: dict[str, dict[str, Any]] = {}
    for row in np.flatnonzero(path.is_on).tolist():
        name = _call_path(row, spans, shape.parent)
        entry = rows.setdefault(name, {"call_path": name, "own_us": 0, "spans": 0})
        entry["own_us"] += int(path.own_us[row])
        entry["spans"] += 1
    return {
        "place": trace.place,
        "trace_id": trace.trace_id,
        "spans": told,
        "logs": len(trace.events) - told,
        "errors": sum(span["status"] == "ERROR" for span in spans),
        "roots": int((shape.parent < 0).sum()),
        "orphans": int(shape.is_orphan.sum()),
        "loops": int(shape.is_looped.sum()),
        "shared": sum("zipkin.shared_id" in span["dimensions"] for span in spans),
        "duplicates": told - len(spans),
        "skewed": int((shape.skew_us > 0).sum()),
        "skew_max_us": int(shape.skew_us.max(initial=0)),
        "duration_us": int((start_us + length_us).max() - start_us.min()) if spans else 0,
        "critical_path": [rows[name] for name in sorted(rows)],
    }


def series_summaries(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return for each series of metric points, by name, how many there are and where it ends.

    `last` is the value of the last one, None where that is none.

    Args:
        events: in order of time; what is no metric point is passed over.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        if event["event_type"] != "METRIC":
            continue
        dimensions = {k: v for k, v in event["dimensions"].items() if k != COUNT_STYLE}
        own = {name: event[name] for name in SERIES}
        one = found.setdefault(
            (*own.values(), *sorted(dimensions.items())),
            {**own, "dimensions": dimensions, "points": 0, "first_us": event["timestamp"]},
        )
        one["points"] += 1
        value = event["value"]
        one["last_us"], one["last"] = event["timestamp"], value if isfinite(value) else None
    return [found[key] for key in sorted(found)]


def _call_path(row: int, spans: list[dict[str, Any]], parent: I64) -> str:
    names: list[str] = []
    while row >= 0 and len(names) < _PATH_DEPTH_MAX:
        names.append(f"[{spans[row]['module']}] {spans[row]['name']}")
        row = int(parent[row])
    return ";".join(reversed(names))
