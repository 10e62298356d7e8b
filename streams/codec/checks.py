"""What an event must be to enter the engine, and the name of what it is not.

The reasons are a bounded set: they are metric labels and part of the rejected event's record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.codec.ids import UUID_CHARACTERS, hex_ids, uuids
from streams.core.columns import TRACE
from streams.units import I64, SECOND_US, U8, U64, Mask

TIMESTAMP_MAX_US: Final = 7_258_118_400 * SECOND_US
"""2200-01-01T00:00Z: later times are milliseconds or nanoseconds taken for microseconds."""
DURATION_MAX_US: Final = 10 * 365 * 86_400 * SECOND_US
_DETAIL_CHARACTERS: Final = 80
_DIGITS: Final = {"trace_id": 32, "span_id": 16, "parent_span_id": 16}

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
    """The n events as read, texts left where they lie.

    Attributes:
        data: the buffer that holds the texts.
        at: per text column, (n,) where each text begins in `data`.
        text_bytes: per text column, (n,) UTF-8 lengths.
        event_type: (n,) codes.
        timestamp_us, duration_us, trace_flags: (n,) as on the wire.

    The text columns are trace_id, span_id, parent_span_id, event_id, module and name.
    """

    data: bytes
    at: Mapping[str, I64]
    text_bytes: Mapping[str, I64]
    event_type: U8
    timestamp_us: I64
    duration_us: I64
    trace_flags: I64

    def text(self, column: str, row: int) -> str:
        """Return one text."""
        begin = int(self.at[column][row])
        return self.data[begin : begin + int(self.text_bytes[column][row])].decode()


def judge(facts: Facts) -> tuple[Identity, U8]:
    """Return the ids as numbers, and per event 0 or 1 + the index of its reason in `REASONS`.

    A span needs a trace id and a span id of its own; its parent may be "" or all zeros (a root).
    Any other event may stand outside every trace; inside one, its event id is its identity. Span
    and parent ids of events that are no spans carry no identity: a bad one is read as none.
    """
    verdict = np.zeros(len(facts.event_type), np.uint8)
    is_span = facts.event_type == TRACE
    lengths = facts.text_bytes
    ids = {
        name: hex_ids(facts.data, facts.at[name], lengths[name] == digits, digits)
        for name, digits in _DIGITS.items()
    }
    trace_id, is_trace = ids["trace_id"]
    has_trace = (trace_id[:, 0] | trace_id[:, 1]) != 0
    span_id, is_span_id = ids["span_id"]
    parent_id, is_parent = ids["parent_span_id"]
    key = np.zeros((len(verdict), 2), np.uint64)
    key[:, 1] = np.where(is_span, span_id[:, 0], np.uint64(0))
    is_annotation = ~is_span & has_trace
    has_bad_event_id = np.zeros(len(verdict), np.bool_)
    if is_annotation.any():
        is_long = is_annotation & (lengths["event_id"] == UUID_CHARACTERS)
        event_id, is_uuid = uuids(facts.data, facts.at["event_id"], is_long)
        key[is_annotation] = event_id[is_annotation]
        has_bad_event_id = is_annotation & ~is_uuid

    faults: tuple[Mask, ...] = (
        (lengths["trace_id"] > 0) & ~(is_trace & has_trace),
        is_span & (lengths["trace_id"] == 0),
        is_span & ~(is_span_id & (span_id[:, 0] != 0)),
        is_span & ~is_parent & (lengths["parent_span_id"] > 0),
        has_bad_event_id,
        (facts.timestamp_us <= 0) | (facts.timestamp_us > TIMESTAMP_MAX_US),
        (facts.duration_us < 0) | (facts.duration_us > DURATION_MAX_US),
        (facts.trace_flags < 0) | (facts.trace_flags > 255),
        lengths["module"] == 0,
        lengths["name"] == 0,
    )
    for code, fault in enumerate(faults, start=1):
        if fault.any():
            verdict[fault & (verdict == 0)] = code
    return Identity(trace_id, key, span_id[:, 0], parent_id[:, 0]), verdict


def detail(facts: Facts, row: int, reason: str) -> str:
    """Return what was found in the field that `reason` is about, cut to a bounded length."""
    name = reason.split("_", 1)[1]
    numbers = {
        "timestamp": facts.timestamp_us,
        "duration": facts.duration_us,
        "trace_flags": facts.trace_flags,
    }
    found = int(numbers[name][row]) if name in numbers else facts.text(name, row)
    return f"{name} {found!r}"[:_DETAIL_CHARACTERS]
