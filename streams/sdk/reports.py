"""What the SDK says of itself, and the totals of the pipeline's counters: now and then, as METRICs.

Owns what was told last. Invariant: each change is told once: a report is the difference to the one
before, so that the sum over a window and over all processes of a module is right. What did not
arrive is told again; where a message timed out, that may be once too often.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
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
        unsampled_traces: traces that began here and are not sampled, those included of which
            something was sent all the same (errors, audit entries, log lines).
        cut: texts, dimensions, links and counters beyond their bound.
        baggage_cut: entries of a baggage that did not go over a hop, in or out: it was too large.
        refused: what cannot be: metrics against the naming rule or without a number, severities,
            kinds, contexts and types of messages that are none.
        waits_told: how often it was logged that events wait and the broker takes none.
    """

    made: int
    sent: int
    dropped: dict[str, int]
    waiting: int
    unsampled: int
    unsampled_traces: int
    cut: int
    baggage_cut: int
    refused: int
    waits_told: int


class Unsampled:
    """What a place did not send because it is not sampled.

    Attributes:
        place: whose spans they are.
        spans: that were not sent.
        traces: that began there, those included of which some was sent all the same.
    """

    __slots__ = ("place", "spans", "traces")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.spans = 0
        self.traces = 0


class Counting(Protocol):
    """Whose counts are told.

    Attributes:
        options: its bounds.
        unsampled_by: what was not sampled, by place.
        cut: how many texts, dimensions and links were beyond their bound.
    """

    options: Options
    unsampled_by: dict[bytes, Unsampled]
    cut: int

    def counts(self) -> Counts:
        """Return what became of the events so far."""

    def start(self) -> bool:
        """See that somebody tells."""


class _Told(NamedTuple):
    """What a point tells: whose, which number, and of which component or reason."""

    place: Place
    name: str
    dimension: tuple[str, str] | None = None


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
        self._told: dict[_Told, int] = {}
        self._homes: dict[tuple[str, str], Place] = {}
        self._totals: dict[Series, float] = {}
        self._changed: set[Series] = set()
        self._next = time.monotonic() + self._emitter.options.report_seconds
        self._lock = threading.RLock()

    def count(self, series: Series, by: float) -> None:
        """Add to a counter."""
        with self._lock:
            totals = self._totals
            if series not in totals:
                if len(totals) >= SERIES_MAX:
                    self._emitter.cut += 1
                    return
                totals.setdefault(series, 0.0)
            totals[series] += by  # no call amid it: a signal handler may add to the same
            self._changed.add(series)
        self._emitter.start()

    def is_due(self, *, is_last: bool) -> bool:
        """Whether it is time for the next report."""
        return is_last or time.monotonic() >= self._next

    def points(self) -> Iterator[tuple[Point, Callable[[], None]]]:
        """Yield the report: each point, and what to call when it did not arrive."""
        self._next = time.monotonic() + self._emitter.options.report_seconds
        with self._lock:
            changed = [(series, self._totals[series]) for series in self._changed]
            self._changed.clear()
        for series, total in changed:
            place, name, unit, dimensions = series
            point = _metric(place, name, total, unit, dict(dimensions))
            yield point, partial(self._changed.add, series)
        if self.home is None:
            return
        for told, total in self._totals_of_ourselves(self.home):
            grown = total - self._told.get(told, 0)
            if grown:
                self._told[told] = total
                place, name, dimension = told
                full = f"pipeline.{place.module.lower()}.{COMPONENT}.histogram.{name}"
                point = _metric(place, full, grown, "1", dict([dimension]) if dimension else None)
                yield point, partial(self._untell, told, grown)

    def _totals_of_ourselves(self, home: Place) -> Iterator[tuple[_Told, int]]:
        counts = self._emitter.counts()
        yield _Told(home, "events_sent"), counts.sent
        for reason, dropped in counts.dropped.items():
            yield _Told(home, "events_dropped", ("error_category", reason)), dropped
        yield _Told(home, "values_cut"), counts.cut
        yield _Told(home, "baggage_cut"), counts.baggage_cut
        yield _Told(home, "points_refused"), counts.refused
        yield _Told(home, "waits_told"), counts.waits_told
        for one in list(self._emitter.unsampled_by.values()):
            place, by = self._home_of(one.place), ("component", one.place.component)
            yield _Told(place, "spans_unsampled", by), one.spans
            yield _Told(place, "traces_unsampled", by), one.traces

    def _home_of(self, place: Place) -> Place:
        """Return where what is said of a place is said: its module's part that tells of itself."""
        at = place.module, place.topic
        if at not in self._homes:
            self._homes[at] = Place(place.emitter, place.module, COMPONENT, place.topic)
        return self._homes[at]

    def _untell(self, told: _Told, grown: int) -> None:
        self._told[told] -= grown


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
