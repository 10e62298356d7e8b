"""What the SDK says of itself, and the totals of the pipeline's counters: now and then, as METRICs.

Owns what was told last. Invariant: each change is told once: a report is the difference to the one
before, so that the sum over a window and over all processes of a module is right.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from streams.sdk.encode import Point
from streams.sdk.options import Options
from streams.sdk.place import Place

COMPONENT: Final = "telemetry"
SERIES_MAX: Final = 1_000
"""Counters of a process by name and dimensions; further ones are not counted."""
Series = tuple[Place, str, str, tuple[tuple[str, str], ...]]
"""Place, full metric name, unit and dimensions of a counter."""


class Counts(NamedTuple):
    """What became of the events of this process, own reports aside.

    Attributes:
        made: handed over; `sent` + all of `dropped` + `waiting`.
        sent: acknowledged by the broker.
        dropped: by reason; `delivery_timeout` may have reached the broker all the same.
        waiting: in the queue, or on their way.
        unsampled: spans that were not handed over because their trace is not sampled.
        unsampled_traces: traces that began here and are not sampled.
        cut: texts, dimensions, links and counters beyond their bound.
        refused: metrics against the naming rule or without a number, severities that are none.
    """

    made: int
    sent: int
    dropped: dict[str, int]
    waiting: int
    unsampled: int
    unsampled_traces: int
    cut: int
    refused: int


class Counting(Protocol):
    """Whose counts are told.

    Attributes:
        options: its bounds.
        cut: how many texts, dimensions and links were beyond their bound.
    """

    options: Options
    cut: int

    def counts(self) -> Counts:
        """Return what became of the events so far."""

    def start(self) -> bool:
        """See that somebody tells."""


class Reports:
    """Owns totals and what was told of them.

    Args:
        emitter: whose counts are told.
    """

    def __init__(self, emitter: Counting) -> None:
        self._emitter = emitter
        self.home: Place | None = None
        self.forked()

    def forked(self) -> None:
        """Begin anew."""
        self._told: dict[str, int] = {}
        self._totals: dict[Series, float] = {}
        self._changed: set[Series] = set()
        self._next = time.monotonic() + self._emitter.options.report_seconds
        self._lock = threading.RLock()

    def count(self, series: Series, by: float) -> None:
        """Add to a counter."""
        with self._lock:
            if series not in self._totals and len(self._totals) >= SERIES_MAX:
                self._emitter.cut += 1
                return
            self._totals[series] = self._totals.get(series, 0.0) + by
            self._changed.add(series)
        self._emitter.start()

    def is_due(self, *, is_last: bool) -> bool:
        """Whether it is time for the next report."""
        return is_last or time.monotonic() >= self._next

    def points(self) -> Iterator[Point]:
        """Yield the report."""
        self._next = time.monotonic() + self._emitter.options.report_seconds
        with self._lock:
            changed = [(series, self._totals[series]) for series in self._changed]
            self._changed.clear()
        for (place, name, unit, dimensions), total in changed:
            yield _metric(place, name, total, unit, dict(dimensions))
        home = self.home
        if home is None:
            return
        counts = self._emitter.counts()
        now = {
            "events_sent": counts.sent,
            "spans_unsampled": counts.unsampled,
            "traces_unsampled": counts.unsampled_traces,
            "values_cut": counts.cut,
            "points_refused": counts.refused,
            **{f"events_dropped/{reason}": n for reason, n in counts.dropped.items()},
        }
        for key, total in now.items():
            grown = total - self._told.get(key, 0)
            self._told[key] = total
            if grown:
                name, _, reason = key.partition("/")
                full = f"pipeline.{home.module.lower()}.{COMPONENT}.histogram.{name}"
                yield _metric(
                    home, full, grown, "1", {"error_category": reason} if reason else None
                )


def _metric(
    place: Place, name: str, value: float, unit: str, dimensions: dict[str, str] | None
) -> Point:
    return Point(
        place=place,
        event_type="METRIC",
        severity="INFO",
        name=name,
        value=value if math.isfinite(value) else 0.0,
        unit=unit,
        dimensions=dimensions,
        trace_id=0,
        span_id=0,
        flags=0,
        record_id="",
        batch_id="",
        correlation_id="",
        operation="",
        actor="",
        time_ns=time.time_ns(),
        baggage=None,
        characters=0,
    )
