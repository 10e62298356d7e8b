"""Events for the tests of the join, as they come, as columns, and as bytes.

An event's body is its own fields as JSON, so that what was published, or kept in a segment, can be
read back without the codec.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.core.bodies import Bodies
from streams.core.columns import (
    LOG,
    STATUS_ERROR,
    STATUS_OK,
    TRACE,
    EventColumns,
    Operation,
    Operations,
)
from streams.core.traces.links import NAMES, Told, told_by
from tests.judge_cases import MODULES, value_hash
from tests.oracle_judge import OracleSpan

TOPICS = ("telemetry.alpha", "telemetry.beta", "telemetry.gamma", "telemetry.other", "links")
OTHER, LINKS = 3, 4
TOPIC_OF_MODULE = {module: i for i, module in enumerate(MODULES)}
READ_BACK_US = 1 << 62


@dataclass(frozen=True)
class Event:
    """One event as it comes: `trace` 0 for none; `number` is its identity within the trace."""

    trace: int
    number: int
    operation: Operation
    at_us: int
    kafka_us: int = 0
    parent: int = 0
    duration_us: int = 1
    is_span: bool = True
    is_error: bool = False
    is_sampled: bool = True
    tier: str = ""
    padding: str = ""
    record: str = ""

    @property
    def is_link(self) -> bool:
        """Whether it is a synthetic span; its dimensions are its padding."""
        return self.operation.name in NAMES

    @property
    def topic(self) -> int:
        if self.is_link:
            return LINKS
        return TOPIC_OF_MODULE.get(self.operation.module, OTHER)

    def body(self) -> bytes:
        """Return the event's bytes: all of its fields but the broker's time."""
        fields = {**self.__dict__, "operation": list(self.operation)}
        del fields["kafka_us"]
        return json.dumps(fields).encode()

    def span(self) -> OracleSpan:
        """Return the span as the slow judge takes it."""
        return OracleSpan(
            span_id=self.number,
            parent_id=self.parent,
            start_us=self.at_us,
            duration_us=self.duration_us,
            operation=self.operation,
            is_error=self.is_error,
            is_sampled=self.is_sampled,
            dimension={"tier": self.tier} if self.tier else {},
        )


def trace_key(trace: int) -> bytes:
    """Return the 16 bytes of a trace id."""
    return (trace % 3).to_bytes(8, "big") + trace.to_bytes(8, "big")


def told_by_body(body: bytes) -> Told:
    """Return what a synthetic span tells the join."""
    event = event_of(body)
    return told_by({"name": event.operation.name, "dimensions": json.loads(event.padding)})


def event_of(body: bytes, kafka_us: int = READ_BACK_US) -> Event:
    """Return the event that a body was made of."""
    fields = json.loads(body)
    return Event(**{**fields, "operation": Operation(*fields["operation"]), "kafka_us": kafka_us})


def columns_of(
    events: Sequence[Event], operations: Operations, topic: object = None
) -> EventColumns:
    """Return events as the codec would; `topic` overrides their topics."""
    u64, i64, u8 = np.uint64, np.int64, np.uint8
    key = [(0, e.number) if e.is_span else (e.number, 7) for e in events]
    kafka = [e.kafka_us for e in events]
    status = [STATUS_ERROR if e.is_error else STATUS_OK for e in events]
    return EventColumns(
        row=np.arange(len(events)),
        topic=np.array([e.topic for e in events], u8) if topic is None else np.asarray(topic, u8),
        trace_id=np.array(
            [(e.trace % 3, e.trace) if e.trace else (0, 0) for e in events], u64
        ).reshape(-1, 2),
        event_key=np.array(key, u64).reshape(-1, 2),
        span_id=np.array([e.number if e.is_span else 0 for e in events], u64),
        parent_span_id=np.array([e.parent for e in events], u64),
        timestamp_us=np.array([e.at_us for e in events], i64),
        duration_us=np.array([e.duration_us for e in events], i64),
        kafka_us=np.array(kafka, i64),
        operation=np.array([operations.code(e.operation) for e in events], np.int32),
        event_type=np.array([TRACE if e.is_span else LOG for e in events], u8),
        severity=np.ones(len(events), u8),
        status=np.array(status, u8),
        trace_flags=np.array([e.is_sampled for e in events], u8),
        value=np.full(len(events), np.nan),
        series=np.full(len(events), -1, np.int32),
        body=Bodies.of([e.body() for e in events]),
        dimension={"tier": np.array([value_hash(e.tier) for e in events], u64)},
    )
