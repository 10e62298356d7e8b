"""Records of the derived topics for tests of the console, and an archive of them."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from streams.codec.eventbatch import encode_batch
from streams.codec.records import encode, encode_body
from streams.codec.schemas import default_schemas
from streams.console.archive.archive import Archive
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.runtime import topics
from streams.runtime.reading import Message

ROOT = Path(__file__).resolve().parents[3] / "schemas" / "examples"
T0_US = 1_760_000_000_000_000
SECOND = 1_000_000
HOUR_MS = 3_600_000
TELEMETRY = "telemetry.alpha.v1"


@cache
def _example(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(_example(name))
    return record


def trace(trace_id: str = "ab" * 16, **fields: Any) -> dict[str, Any]:
    """Return a trace of one span, of record `record`."""
    found = _read("assembled_trace/1/complete_by_structure.json")
    record_id = fields.pop("record_id", "rec-1")
    (span,) = found["spans"]
    about = {"event_id": f"event-{trace_id}", "record_id": record_id, "value": float("nan")}
    span |= {"trace_id": trace_id} | about
    return found | {"trace_id": trace_id} | fields


def incident(incident_id: str = "cd" * 16, **fields: Any) -> dict[str, Any]:
    """Return an event of an incident."""
    return _read("incident_event/3/opened.json") | {"incident_id": incident_id} | fields


def alert_state(**fields: Any) -> dict[str, Any]:
    """Return a state of an alert."""
    return _read("alert/1/firing.json") | fields


def window(**fields: Any) -> dict[str, Any]:
    """Return a window of an edge."""
    return _read("fidelity_stats/1/losing_edge.json") | fields


def event(example: str = "metric_outside_traces", **fields: Any) -> dict[str, Any]:
    """Return an event: metric_outside_traces, log, audit, span or failed_span."""
    found = _read(f"telemetry_event/1/{example}.json")
    return found | {"value": float(found["value"])} | fields


def batch(events: list[dict[str, Any]]) -> bytes:
    """Return a batch message of events."""
    schema = default_schemas().current("telemetry_event")
    return encode_batch([encode_body(schema, one) for one in events])


_SCHEMAS = {
    TELEMETRY: "telemetry_event",
    topics.TRACES: "assembled_trace",
    topics.INCIDENTS: "incident_event",
    topics.STATS: "fidelity_stats",
    topics.ALERTS: "alert",
}


def message(topic: str, offset: int, record: dict[str, Any], **fields: Any) -> Message:
    """Return a record as it is read from a topic."""
    at = Message(topic, 0, offset, T0_US // 1000 + offset, None, encode(_SCHEMAS[topic], record))
    return at._replace(**fields)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def archive_in(folder: Path, clock: Clock | None = None, **limits: Any) -> Archive:
    """Return an archive in a folder."""
    return Archive(
        Store(str(folder)), Limits(**limits), telemetry=(TELEMETRY,), clock=clock or Clock()
    )


@contextlib.contextmanager
def dying_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[Callable[[], bool]]:
    """End what runs in the block before an archive's file is written or deleted for the nth time.

    Yields:
        Whether it came to that.
    """
    left = step

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def done(*given: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return act(*given)

        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_put", dying(Store._put))
        patch.setattr(Store, "_delete", dying(Store._delete))
        with contextlib.suppress(KeyboardInterrupt):
            yield lambda: left < 0
