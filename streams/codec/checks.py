"""What an event must be to enter the engine, and the name of what it is not.

The reasons are a bounded set: they are metric labels and part of the rejected event's record.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from streams.codec.ids import hex_ids, uuids
from streams.core.columns import TRACE
from streams.units import I64, SECOND_US, U8, U64, Mask

TIMESTAMP_MAX_US: Final = 7_258_118_400 * SECOND_US
"""2200-01-01T00:00Z: later times are milliseconds or nanoseconds taken for microseconds."""
DURATION_MAX_US: Final = 10 * 365 * 86_400 * SECOND_US
_DETAIL_CHARACTERS: Final = 80

REASONS: Final = (
    "invalid_trace_id",
    "missing_trace_id",
    "invalid_span_id",
    "invalid_parent_span_id",
    "invalid_event_id",
    "invalid_timestamp",
    "invalid_duration",
    "invalid_trace_flags",
    "missing_module",
    "missing_name",
)
"""In the order in which they are looked for: an event has the first that fits."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of n events as numbers, as `EventColumns` has them; 0 where there is none."""

    trace_id: U64
    event_key: U64
    span_id: U64
    parent_span_id: U64


@dataclass(frozen=True, slots=True)
class Facts:
    """The n events as read: text columns without nulls, numbers, `event_type` codes."""

    trace_id: pl.Series
    span_id: pl.Series
    parent_span_id: pl.Series
    event_id: pl.Series
    module: pl.Series
    name: pl.Series
    event_type: U8
    timestamp_us: I64
    duration_us: I64
    trace_flags: I64


def judge(facts: Facts) -> tuple[Identity, U8]:
    """Return the ids as numbers, and per event 0 or 1 + the index of its reason in `REASONS`.

    A span needs a trace id and a span id of its own; its parent may be "" or all zeros (a root).
    Any other event may stand outside every trace; inside one, its event id is its identity. Span
    and parent ids of events that are no spans carry no identity: a bad one is read as none.
    """
    verdict = np.zeros(len(facts.event_type), np.uint8)
    is_span = facts.event_type == TRACE
    trace_id, is_trace_written = hex_ids(facts.trace_id, 32)
    has_trace_text = _is_there(facts.trace_id)
    has_trace = trace_id.any(axis=1)
    span_id, span_written = hex_ids(facts.span_id, 16)
    parent_id, is_parent_written = hex_ids(facts.parent_span_id, 16)
    has_bad_parent = ~is_parent_written
    if has_bad_parent.any():
        has_bad_parent &= _is_there(facts.parent_span_id)
    key = np.zeros((len(verdict), 2), np.uint64)
    key[:, 1] = np.where(is_span, span_id[:, 0], np.uint64(0))
    is_annotation = ~is_span & has_trace
    has_bad_event_id = np.zeros(len(verdict), np.bool_)
    if is_annotation.any():
        event_id, is_uuid = uuids(facts.event_id.filter(pl.Series(is_annotation)))
        key[is_annotation] = event_id
        has_bad_event_id[is_annotation] = ~is_uuid

    faults: tuple[Mask, ...] = (
        has_trace_text & ~(is_trace_written & has_trace),
        is_span & ~has_trace_text,
        is_span & ~(span_written & (span_id[:, 0] != 0)),
        is_span & has_bad_parent,
        has_bad_event_id,
        (facts.timestamp_us <= 0) | (facts.timestamp_us > TIMESTAMP_MAX_US),
        (facts.duration_us < 0) | (facts.duration_us > DURATION_MAX_US),
        (facts.trace_flags < 0) | (facts.trace_flags > 255),
        ~_is_there(facts.module),
        ~_is_there(facts.name),
    )
    for code, fault in enumerate(faults, start=1):
        if fault.any():
            verdict[fault & (verdict == 0)] = code
    return Identity(trace_id, key, span_id[:, 0], parent_id[:, 0]), verdict


def detail(facts: Facts, row: int, reason: str) -> str:
    """Return what was found in the field that `reason` is about, cut to a bounded length."""
    field = reason.split("_", 1)[1]
    source = {"timestamp": "timestamp_us", "duration": "duration_us"}.get(field, field)
    return f"{field} {getattr(facts, source)[row]!r}"[:_DETAIL_CHARACTERS]


def _is_there(column: pl.Series) -> Mask:
    return np.asarray((column.str.len_bytes() > 0).to_numpy())
