"""The columns that flow through the engine: one array per field, one row per event.

Bytes enter and leave at the codec; between them a span is a row of numbers. Names that repeat
(module, component, span name) are interned into one small integer, the *operation*.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from streams.core.bodies import Bodies
from streams.units import F64, I32, I64, U8, U64, Mask, TimesUs

# Symbol order of the enums in schemas/telemetry_event.v1.avsc: the codes below are the wire's.
METRIC, LOG, TRACE, AUDIT = range(4)
EVENT_TYPES: Final = ("METRIC", "LOG", "TRACE", "AUDIT")
DEBUG, INFO, WARN, ERROR, CRITICAL = range(5)
SEVERITIES: Final = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)
STATUSES: Final = ("UNSET", "OK", "ERROR")
SAMPLED: Final = 1
"""W3C trace flags, bit 0: what belongs to the trace is recorded."""
SPAN_KINDS: Final = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


class Operation(NamedTuple):
    """What a span does: the names that identify a stage."""

    module: str
    component: str
    name: str


class Operations:
    """Interns operations into small integers; codes are stable for the life of the object.

    At most `limit` different operations are kept (a cardinality bomb must not eat the memory);
    further ones share the code of `OVERFLOW` and are counted in `overflowed`.
    """

    OVERFLOW: Final = Operation("OTHER", "overflow", "overflow")

    def __init__(self, limit: int = 100_000) -> None:
        self._code: dict[Operation, int] = {}
        self._all: list[Operation] = []
        self._limit = limit
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, code: int) -> Operation:
        return self._all[code]

    def code(self, operation: Operation) -> int:
        """Return the code of an operation, giving it one when it is new."""
        known = self._code.get(operation)
        if known is not None:
            return known
        if len(self._all) >= self._limit and operation != self.OVERFLOW:
            self.overflowed += 1
            return self.code(self.OVERFLOW)
        self._code[operation] = len(self._all)
        self._all.append(operation)
        return len(self._all) - 1

    def since(self, code: int) -> Sequence[Operation]:
        """Return the operations from `code` on, in code order."""
        return self._all[code:]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The good events of one partition, in arrival order; every array has the same length n.

    Attributes:
        row: (n,) position of the event in the list of records it was decoded from.
        topic: (n,) index into the task's topics.
        trace_id: (n, 2) high and low half of the trace id; both 0 when the event has none.
        event_key: (n, 2) identity within its trace: (0, span id) for TRACE, else the event's UUID.
        span_id, parent_span_id: (n,) 0 for none.
        timestamp_us: (n,) event time; a span's start.
        duration_us: (n,) >= 0.
        kafka_us: (n,) the broker's (or producer's) record time.
        operation: (n,) code in the codec's `Operations`.
        event_type, severity, status, trace_flags: (n,) codes as on the wire.
        dimension: per requested dimension key, (n,) 64-bit hash of its value, 0 for absent.
        value: (n,) the events' values, NaN for none.
        series: (n,) code in the codec's `SeriesBook` of the series that a metric point or a log
            line belongs to; -1 for other events, -2 beyond the bound.
        body: the n encoded bodies, without the wire header, where they came.
    """

    row: I64
    topic: U8
    trace_id: U64
    event_key: U64
    span_id: U64
    parent_span_id: U64
    timestamp_us: TimesUs
    duration_us: I64
    kafka_us: TimesUs
    operation: I32
    event_type: U8
    severity: U8
    status: U8
    trace_flags: U8
    value: F64
    series: I32
    body: Bodies
    dimension: dict[str, U64] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: I64 | Mask) -> "EventColumns":
        """Return the rows at `index` (integer positions or a boolean mask), in that order."""
        positions = np.flatnonzero(index) if index.dtype == np.bool_ else index
        arrays = {
            name: getattr(self, name).take(positions, axis=0)
            for name in self.__slots__
            if name not in ("body", "dimension")
        }
        return EventColumns(
            **arrays,
            body=self.body.take(positions),
            dimension={key: value.take(positions) for key, value in self.dimension.items()},
        )

    @staticmethod
    def concat(parts: "Sequence[EventColumns]") -> "EventColumns":
        """Return the rows of all parts, in order; at least one part."""
        if len(parts) == 1:
            return parts[0]
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in EventColumns.__slots__
            if name not in ("body", "dimension")
        }
        return EventColumns(
            **arrays,
            body=Bodies.concat([part.body for part in parts]),
            dimension={
                key: np.concatenate([part.dimension[key] for part in parts])
                for key in parts[0].dimension
            },
        )


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """The TRACE spans of some traces, distinct, sorted by (trace, timestamp, span id).

    Attributes:
        trace: (n,) ordinal of the trace, 0 .. traces - 1, not decreasing.
        traces: how many traces the batch holds.
        span_id, parent_span_id: (n,) parent 0 for a root.
        timestamp_us, duration_us: (n,) start and length.
        operation: (n,) code in `Operations`.
        status, trace_flags: (n,) codes.
        topic: (n,) index of the topic the span came by.
        is_late: (n,) the span came after its trace's first revision.
        stage_bits: (n, W) the plan's bits that the row sets (stage and condition bits).
        is_unsampled: (T,) no event of the trace, span or not, has the sampled bit; None where only
            spans are known.
    """

    trace: I32
    traces: int
    span_id: U64
    parent_span_id: U64
    timestamp_us: TimesUs
    duration_us: I64
    operation: I32
    status: U8
    trace_flags: U8
    topic: U8
    is_late: Mask
    stage_bits: U64
    is_unsampled: Mask | None = None

    def __len__(self) -> int:
        return len(self.trace)
