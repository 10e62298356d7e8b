"""Small hand-made traces for the broker's tests."""

from typing import Any

Event = dict[str, Any]


def event_of(trace: int, span: int, timestamp_us: int) -> Event:
    """Return a span of trace number `trace`; span 1 is the root, the others are its children."""
    return {
        "event_id": f"00000000-0000-4000-8000-{trace:06x}{span:06x}",
        "trace_id": f"{trace:032x}",
        "span_id": f"{span:016x}",
        "parent_span_id": "" if span == 1 else f"{1:016x}",
        "timestamp": timestamp_us,
        "module": "shop",
        "component": "service",
        "event_type": "TRACE",
        "severity": "INFO",
        "name": f"step-{span}",
        "value": float("nan"),
        "unit": "",
        "dimensions": {},
        "record_id": f"record-{trace}",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": 1_000,
        "status": "OK",
        "span_kind": "INTERNAL",
        "trace_flags": 1,
        "links": [],
    }


def trace_of(trace: int, *, spans: int, start_us: int) -> list[Event]:
    """Return the spans of a trace, a millisecond apart."""
    return [event_of(trace, n, start_us + 1_000 * n) for n in range(1, spans + 1)]
