"""Small hand-made traces for the broker's tests."""

from typing import Any, Final

from tests.fault.harness import Deployment, Feeder

Event = dict[str, Any]
TOPIC: Final = "telemetry.other.v1"
START_US: Final = 1_700_000_000_000_000


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


def feed(deployment: Deployment, traces: range) -> int:
    """Send traces of three spans each, a second apart, to `TOPIC`; return how many spans."""
    with Feeder(deployment.broker) as feeder:
        for n in traces:
            for event in trace_of(n, spans=3, start_us=START_US + n * 1_000_000):
                feeder.send(TOPIC, event)
        return feeder.count
