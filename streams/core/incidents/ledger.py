"""The noise ledger: how many alert states came in, what became of them, and what people heard.

Owns the rows, one for each day, rule and owner, and the rates that say whether few is also right.
Invariant: every alert state is counted in exactly one `became` of one row.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from streams.units import HOUR_US, SECOND_US

DAY_US = 24 * HOUR_US


class RowKey(NamedTuple):
    """What a row of the ledger is about; the day is its first moment, UTC, in event time."""

    day_us: int
    rule: str
    owner: str


@dataclass(slots=True)
class Row:
    """One row.

    Attributes:
        alerts: alert states received.
        became: the same by what became of them; see docs/incidents.md.
        events: incident events told, by name.
        incidents: incidents that were opened.
    """

    alerts: int = 0
    became: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    incidents: int = 0


class Ledger:
    """The rows of the last days.

    Attributes:
        rows: by key.
        unpublished: keys of rows that changed since they were published.
        changed: keys of rows that changed since somebody wrote them down and cleared this.
    """

    def __init__(self, max_days: int) -> None:
        self.rows: dict[RowKey, Row] = {}
        self.unpublished: set[RowKey] = set()
        self.changed: set[RowKey] = set()
        self._max_days = max_days

    def take(self, time_us: int, rule: str, owner: str, became: str, states: int) -> None:
        """Count alert states of a rule."""
        row = self._row(time_us, rule, owner)
        row.alerts += states
        row.became[became] += states

    def tell(self, time_us: int, rule: str, owner: str, event: str) -> None:
        """Count an incident event, for the rule that leads the incident."""
        row = self._row(time_us, rule, owner)
        row.events[event] += 1
        row.incidents += event == "OPENED"

    def forget(self, time_us: int) -> list[RowKey]:
        """Drop the rows of days that are over for good; return them."""
        oldest_us = time_us // DAY_US * DAY_US - (self._max_days - 1) * DAY_US
        gone = [key for key in self.rows if key.day_us < oldest_us and key not in self.unpublished]
        for key in gone:
            del self.rows[key]
        self.changed.update(gone)
        return gone

    def publish(self) -> list[tuple[RowKey, dict[str, Any]]]:
        """Return the rows that changed since the last call, whole, in a fixed order."""
        keys = sorted(self.unpublished)
        self.unpublished.clear()
        self.changed.update(keys)
        return [(key, record_of(key, self.rows[key])) for key in keys]

    def _row(self, time_us: int, rule: str, owner: str) -> Row:
        key = RowKey(time_us // DAY_US * DAY_US, rule, owner)
        self.unpublished.add(key)
        self.changed.add(key)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row()
        return row


def record_of(key: RowKey, row: Row) -> dict[str, Any]:
    """Return a row as a record in the shape of schemas/noise_ledger.v1.avsc."""
    return {
        "day": day_text(key.day_us),
        "rule": key.rule,
        "owner": key.owner,
        "alerts": row.alerts,
        "became": dict(sorted(row.became.items())),
        "events": dict(sorted(row.events.items())),
        "incidents": row.incidents,
    }


def day_text(time_us: int) -> str:
    """Write the day of an event time, UTC: 2026-01-31."""
    return datetime.fromtimestamp(time_us // SECOND_US, tz=UTC).strftime("%Y-%m-%d")


def key_text(key: RowKey) -> str:
    """Return a row's key in its topic."""
    return f"{day_text(key.day_us)}|{key.rule}|{key.owner}"


def reduction(alerts: int, events: int) -> float:
    """Return which share of the alert states people were spared, 0 to 1; 0 without alerts."""
    return max(0.0, 1 - events / alerts) if alerts else 0.0
