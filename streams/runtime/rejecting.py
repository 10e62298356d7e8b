"""What is kept and told of an event that was rejected, wherever it was found out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.codec.records import decode
from streams.codec.step import Step
from streams.codec.treating import RejectedTreating
from streams.errors import RecordError

VALUE_MAX: Final = 64 << 10
"""Bytes of a rejected value that are kept."""
_TRACE_ID: Final = re.compile(rb"[0-9a-f]{32}")


def rejected_event(
    records: Step,
    row: int,
    reason: str,
    detail: str,
    topic: str,
    partition: int,
    treating: RejectedTreating | None = None,
) -> dict[str, Any]:
    """Return what is published of a rejected row: its own place, however it came here.

    Args:
        records: the records of the step.
        row: which.
        reason: why.
        detail: what exactly.
        topic: where it was read from.
        partition: the same.
        treating: takes out what is personal; None where nothing is.
    """
    record, origin = records.record(row), records.origin(row)
    value = record.value or b""
    value_bytes = len(value)
    if origin is not None:
        topic, partition = origin.topic, origin.partition
        value_bytes = max(value_bytes, origin.value_bytes)
    event: dict[str, Any] = {
        "reason": reason,
        "detail": records.place(row) + detail,
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp * 1000,
        "key": record.key or b"",
        "value": value,
        "value_bytes": value_bytes,
    }
    if treating is not None:
        event = treating.at_edge(event)
    return event | {"value": event["value"][:VALUE_MAX]}


def rejected_key(came: bytes | None, event: Mapping[str, Any]) -> bytes | None:
    """Return the key that a rejected event is published with: what came, empty or none at all.

    Args:
        came: the record's key.
        event: what is published; a key that was taken out of it is none.
    """
    return event["key"] or (came if came == b"" else None)


@dataclass(slots=True)
class Refused:
    """What the task is told of the rejected events of a chunk."""

    reasons: dict[str, int] = field(default_factory=dict)
    kafka_us: list[int] = field(default_factory=list)
    origins: list[tuple[str, str, str]] = field(default_factory=list)
    traces: list[tuple[bytes, str]] = field(default_factory=list)

    def add(
        self,
        reason: str,
        kafka_us: int,
        origin: tuple[str, str, str],
        span: tuple[bytes, str] | None,
    ) -> None:
        """Add one event.

        Args:
            reason: why.
            kafka_us: when it came.
            origin: module (as far as its topic tells), topic and reason.
            span: its trace and module, where it is a span and they are known.
        """
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.kafka_us.append(kafka_us)
        self.origins.append(origin)
        if span is not None:
            self.traces.append(span)


def span_of(key: bytes | None, value: bytes, module: str) -> tuple[bytes, str] | None:
    """Return trace id and module of a rejected span, as far as its key, value and topic tell.

    Args:
        key: the record's key; the trace id, where producers keep to it.
        value: the record's value, which may be anything.
        module: the one module whose events the record's topic carries, "" for several.
    """
    trace_id = key or b""
    try:
        event = decode(value)
    except RecordError:
        pass
    else:
        if event.get("event_type") != "TRACE":
            return None  # nobody misses an annotation
        module = event["module"] or module
        if not _TRACE_ID.fullmatch(trace_id):
            trace_id = event["trace_id"].encode()
    if not module or not _TRACE_ID.fullmatch(trace_id):
        return None
    return bytes.fromhex(trace_id.decode()), module


def trace_of(key: bytes | None, value: bytes) -> bytes | None:
    """Return the trace id, as text, that a rejected event says it belongs to, else its key does.

    Args:
        key: the record's key.
        value: the record's value, which may be anything.
    """
    try:
        said = decode(value).get("trace_id", "").encode()
    except RecordError:
        said = b""
    return next((one for one in (said, key or b"") if _TRACE_ID.fullmatch(one)), None)
