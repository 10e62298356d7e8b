"""What a step wants done: plain values that the shell encodes and publishes, never bytes or I/O."""

from dataclasses import dataclass, field
from typing import Any

from streams.core.bodies import Scattered
from streams.core.fidelity.judge import Judgement
from streams.units import I64, U8, U64

COMPLETE, INCOMPLETE, BROKEN, TRUNCATED = range(4)
CLOSED_BY_CONTRACT, CLOSED_BY_WATERMARK, CLOSED_BY_CLOCK, CLOSED_BY_BOUND = range(4)


@dataclass(frozen=True, slots=True)
class AssembledBatch:
    """Traces closed together, T of them, each with all its events.

    Attributes:
        keys: T trace ids of 16 bytes.
        revision, status, closed_by: (T,) status and closed_by as codes of the wire's enums.
        judgement: flow, structure, missing spans, stage timings of the T traces.
        span_count, annotation_count, error_count, evicted_count: (T,).
        root_span_id: (T,) 0 when no root was seen.
        start_us, end_us: (T,) over all events.
        offset: (T + 1,) where each trace's events lie in `body`.
        body: the events' bytes, by trace and event time.
        timestamp_us: per row of `body`, the event time.
        mask: (T, W) the plan's bits that were set.
    """

    keys: list[bytes]
    revision: I64
    status: U8
    closed_by: U8
    judgement: Judgement
    span_count: I64
    annotation_count: I64
    error_count: I64
    evicted_count: I64
    root_span_id: U64
    start_us: I64
    end_us: I64
    offset: I64
    body: Scattered
    timestamp_us: I64
    mask: U64


@dataclass(slots=True)
class JoinEffects:
    """What one step of a join task wants published, and what it asks of the shell.

    Attributes:
        traces: batches of closed traces.
        fragments: records of schemas/trace_fragment.v2.avsc.
        held_topics: topics (by index) to stop fetching until the others have caught up.
    """

    traces: list[AssembledBatch] = field(default_factory=list)
    fragments: list[dict[str, Any]] = field(default_factory=list)
    held_topics: list[int] = field(default_factory=list)
