"""What a recording held, and which of its rows were refused, where and why.

Owns the account of one reading. Invariant: every row that was read is an event, is part of one and
counted as merged, or is counted under a reason; examples are bounded, counts are not.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from streams.codec.treating import WITHHELD
from streams.errors import ConfigError

EXAMPLES_MAX: Final = 20
"""Refused rows that are kept to be shown; a person corrects these and comes back."""
_DETAIL_CHARACTERS: Final = 120
QUOTES_NOTHING: Final = frozenset(
    {
        "cut_line", "cut_message", "event_too_large", "too_many_tags", "wrong_cell_count",
        "zipkin_v1",
    }
)  # fmt: skip
"""Reasons whose details say counts, and no value of a row."""

EVENTS_MAX: Final = 2_000_000
"""They are put in order of time before the first is sent; so many take some 4 GB."""

Event = dict[str, Any]
"""A TelemetryEvent record, ready to encode."""


class RowError(Exception):
    """One row is no honest row of its kind.

    Args:
        reason: a bounded name: `invalid_time`, `invalid_id`, ...
        detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:_DETAIL_CHARACTERS]


def bound_events(count: int) -> None:
    """Refuse recordings that do not fit into memory.

    Raises:
        ConfigError: there are more than `EVENTS_MAX`.
    """
    if count > EVENTS_MAX:
        raise ConfigError(f"more than {EVENTS_MAX:,} events; send the files in parts")


class Refused(NamedTuple):
    """A row that was refused; `place` is FILE:LINE."""

    place: str
    reason: str
    detail: str


@dataclass(slots=True)
class Account:
    """Counts of a reading.

    Attributes:
        rows: rows read: spans of a trace file, lines of a table.
        refused: refused rows by reason.
        merged: rows that told more of a span that another row began.
        left_out: rows that the mapping leaves out.
        hashed_ids: ids that were no hex number and became their hash.
        examples: the first refused rows.
        withholds: what details quote may be personal, and standard error becomes a log somewhere.
    """

    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    merged: int = 0
    left_out: int = 0
    hashed_ids: int = 0
    examples: list[Refused] = field(default_factory=list)
    withholds: bool = False

    def refuse(self, place: str, error: RowError) -> None:
        """Count a row that is not read."""
        self.refused[error.reason] += 1
        if len(self.examples) < EXAMPLES_MAX:
            is_plain = not self.withholds or error.reason in QUOTES_NOTHING
            detail = error.detail if is_plain else WITHHELD
            self.examples.append(Refused(place, error.reason, detail))


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """The events that a recording holds of one trace.

    Attributes:
        place: FILE:LINE where it begins.
        trace_id: as it is sent, 32 hex digits.
        events: its spans and what is told of them, in the order of the recording.
    """

    place: str
    trace_id: str
    events: Sequence[Event]
