"""What models are made of: queues, breakers, the faults of a second, and the record of it.

Invariant: a `Recorder` is called for the same series in the same order every second, whatever the
state: its noise is drawn call by call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from streams.simulate.faults import Fault

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
STATES: Final = ("CLOSED", "HALF_OPEN", "OPEN")
HIGH_WATERMARK: Final = 0.7
"""Part of its capacity from which on a queue counts as full ..."""
LOW_WATERMARK: Final = 0.3
"""... until it has fallen to this part."""
NOISE: Final = 0.04
"""Standard deviation of the logarithm of a measured value."""

Labels = tuple[str, ...]
StageKey = tuple[str, str, str]
"""(stage id, dimension, value); dimension and value are "" for all spans of the stage."""


class Point(NamedTuple):
    """One value of one series: the signal's name, the values of its dimensions in their order."""

    name: str
    labels: Labels
    value: float


class Happening(NamedTuple):
    """A named event that a module tells of: a breaker that opens, back-pressure that begins.

    Attributes:
        module, component, name: who tells it, and what.
        event_type: LOG or AUDIT.
        severity: as in TelemetryEvent.
        dimensions: what it is about.
        value: its magnitude, NaN for none.
        unit: of the value.
        operation: of an AUDIT event.
    """

    module: str
    component: str
    name: str
    event_type: str
    severity: str
    dimensions: dict[str, str]
    value: float
    unit: str = ""
    operation: str = ""


@dataclass
class Second:
    """What the modules did in one second.

    Attributes:
        points: a value of each series.
        happenings: named events.
        slow: how many times longer spans take.
        fails: with which probability spans fail, beyond the usual.
        says: by (stage id, dimension) another value of it, and the share of the spans that have it.
    """

    points: list[Point] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    slow: dict[StageKey, float] = field(default_factory=dict)
    fails: dict[StageKey, float] = field(default_factory=dict)
    says: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def slower(self, stage: str, factor: float, dimension: str = "", value: str = "") -> None:
        """Make spans take longer; factors of one key multiply."""
        if factor > 1.02:
            key = (stage, dimension, value)
            self.slow[key] = self.slow.get(key, 1.0) * factor

    def fail(self, stage: str, ratio: float, dimension: str = "", value: str = "") -> None:
        """Make a share of the spans fail; of several shares the largest counts."""
        if ratio > 0:
            key = (stage, dimension, value)
            self.fails[key] = max(self.fails.get(key, 0.0), min(1.0, ratio))


class Knobs:
    """The faults that strike in one second."""

    def __init__(self, faults: Sequence[Fault], at_us: int) -> None:
        self._on = [fault for fault in faults if fault.is_on(at_us)]

    def on(self, kind: str, value: str = "", where: str = "") -> float:
        """Return how hard a kind strikes, 0 for not at all; anywhere unless a place is named."""
        return max(
            (
                fault.share
                for fault in self._on
                if fault.kind == kind and value in ("", fault.value) and where in ("", fault.where)
            ),
            default=0.0,
        )

    def starting(self, kind: str, at_us: int, second_us: int) -> list[Fault]:
        """Return the faults of a kind that began within the second."""
        return [f for f in self._on if f.kind == kind and 0 <= at_us - f.start_us < second_us]


class Recorder:
    """Turns state into values: counters into totals, measured values into noisy ones.

    Args:
        seed: of the noise.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._rng = Random(seed)
        self._totals: dict[tuple[str, Labels], float] = {}
        self.second = Second()

    def begin(self, number: int) -> None:
        """Begin the second of that number."""
        self._rng = Random(f"{self._seed}/{number}")
        self.second = Second()

    def count(self, place: str, name: str, increment: float, *labels: str) -> None:
        """Add to a counter; its value is the total since the start, a whole number."""
        full = f"pipeline.{place}.counter.{name}"
        noisy = max(0.0, increment) * self._noise()
        total = self._totals.get((full, labels), 0.0) + noisy
        self._totals[full, labels] = total
        self.second.points.append(Point(full, labels, float(int(total))))

    def gauge(self, place: str, name: str, value: float, *labels: str) -> None:
        """Say how much there is of something now."""
        self._measured(f"pipeline.{place}.gauge.{name}", value * self._noise(), labels)

    def ratio(self, place: str, name: str, value: float, *labels: str) -> None:
        """Say a share, which noise takes neither below 0 nor above 1."""
        part = min(1.0, max(0.0, value))
        # The noise is that of the smaller part: 99.9 % is not known to within 4 %.
        small = min(part, 1 - part) * self._noise()
        noisy = small if part <= 0.5 else 1 - small
        self._measured(f"pipeline.{place}.gauge.{name}", noisy, labels)

    def state(self, place: str, name: str, value: float, *labels: str) -> None:
        """Say a setting or a state, which has no noise."""
        self._measured(f"pipeline.{place}.gauge.{name}", value, labels)

    def time(self, place: str, name: str, value: float, *labels: str) -> None:
        """Say the mean of what a histogram saw in this second."""
        self._measured(f"pipeline.{place}.histogram.{name}", value * self._noise(), labels)

    def _noise(self) -> float:
        return self._rng.lognormvariate(0.0, NOISE)

    def _measured(self, name: str, value: float, labels: Labels) -> None:
        self.second.points.append(Point(name, labels, round(value, 6)))


class Passage(NamedTuple):
    """What went through a queue in a second: records, and how long they waited in seconds."""

    served: float
    dropped: float
    wait_s: float


@dataclass
class Queue:
    """A bounded queue of fluid records.

    Attributes:
        capacity: most that it holds.
        level: how many wait.
        is_full: over the high watermark, and not yet back at the low one.
        crossings: how often it became full in the last step: 0 or 1.
    """

    capacity: float
    level: float = 0.0
    is_full: bool = False
    crossings: int = 0

    def step(self, arriving: float, servable: float) -> Passage:
        """Take in one second's records and let out as many as can be served."""
        held = self.level + arriving
        served = min(held, servable)
        dropped = max(0.0, held - served - self.capacity)
        self.level = held - served - dropped
        was_full = self.is_full
        mark = LOW_WATERMARK if was_full else HIGH_WATERMARK
        self.is_full = self.level >= mark * self.capacity
        self.crossings = int(self.is_full and not was_full)
        return Passage(served, dropped, min(10.0, self.level / max(served, 0.05 * self.capacity)))

    @property
    def fill(self) -> float:
        """Part of the capacity that is taken."""
        return self.level / self.capacity


@dataclass
class Breaker:
    """A circuit breaker: opens on errors, tries again after a while.

    Attributes:
        opens_at: share of failing calls from which on it opens.
        open_seconds: how long it stays open before it lets a few calls through.
        state: CLOSED, HALF_OPEN or OPEN.
    """

    opens_at: float = 0.4
    open_seconds: int = 4
    state: int = CLOSED
    _seconds: int = 0

    def step(self, error_ratio: float, *, is_forced: bool = False) -> bool:
        """Look at one second's calls; return whether the state changed."""
        before = self.state
        self._seconds += 1
        is_bad = error_ratio >= self.opens_at or is_forced
        if self.state == OPEN:
            if self._seconds >= self.open_seconds and not is_forced:
                self.state = HALF_OPEN
        else:
            self.state = OPEN if is_bad else CLOSED
        if self.state != before:
            self._seconds = 0
        return self.state != before

    @property
    def is_open(self) -> bool:
        """Whether it lets no calls through."""
        return self.state == OPEN
