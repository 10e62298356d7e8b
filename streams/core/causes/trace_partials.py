"""What one window of traces says about each operation, in a form that adds up.

A *visit* is one stay of a trace in a module: the largest connected part of its span tree within
the module, entered at one span, whose name is the visit's *operation*. A *feature* is something a
visit has or lacks: a span inside (`S:name`), a call to another module (`C:module:operation`), a log
template (`L:SEVERITY:template`), an error of its own (`E:own`) or one of a module that it called
(`E:passed`). Owns the counts of visits and features per operation. Invariant: merging is
commutative and associative, and the merge of two windows' partials is the partial of both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any, Final

FEATURES_MAX: Final = 400
"""Bound on the features of one operation in a window; what is rarer is counted as one."""
SAMPLES_MAX: Final = 3
OTHER: Final = "O:other"

Operation = tuple[str, str]
"""Module, and the name of the span by which it is entered."""
Call = tuple[str, str]
"""The caller's module, and the callee's."""


@dataclass(slots=True)
class LogTimes:
    """Sums over the log2 of durations (in microseconds, at least 1): they give mean and spread."""

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    micros: float = 0.0

    def add(self, other: "LogTimes") -> None:
        """Take other sums in."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.micros += other.micros

    def scale(self, factor: float) -> None:
        """Let what is known fade."""
        self.count *= factor
        self.total *= factor
        self.squares *= factor
        self.micros *= factor

    def row(self) -> list[float]:
        """Return the sums, in the order of the fields."""
        return [self.count, self.total, self.squares, self.micros]

    @property
    def mean(self) -> float:
        """Return the mean log2; 0 without a duration."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Return the variance of the log2; 0 without a duration."""
        return max(0.0, self.squares / self.count - self.mean**2) if self.count else 0.0


def rarest_as_one(features: dict[str, float], most: int) -> list[str]:
    """Count the rarest features beyond a bound as one, `OTHER`; return which those were."""
    rarest = nsmallest(len(features) - most, features, key=lambda name: (features[name], name))
    for name in rarest:
        features[OTHER] = features.get(OTHER, 0.0) + features.pop(name)
    return rarest


@dataclass(slots=True)
class OperationCounts:
    """One operation in a window.

    Attributes:
        visits: how many visits entered by it.
        broken: of those, how many in a trace that is known to lack spans.
        failing: of those, how many in a trace with an error.
        features: visits that have a feature.
        failing_features: of those, how many in a trace with an error.
        samples: the smallest trace ids, for each feature.
        duration, self_time: of the visits; self time is what no called module accounts for.
    """

    visits: float = 0.0
    broken: float = 0.0
    failing: float = 0.0
    features: dict[str, float] = field(default_factory=dict)
    failing_features: dict[str, float] = field(default_factory=dict)
    samples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    duration: LogTimes = field(default_factory=LogTimes)
    self_time: LogTimes = field(default_factory=LogTimes)

    def add(self, other: "OperationCounts") -> None:
        """Take the counts of other visits in."""
        self.visits += other.visits
        self.broken += other.broken
        self.failing += other.failing
        for name, count in other.features.items():
            self.features[name] = self.features.get(name, 0.0) + count
        for name, count in other.failing_features.items():
            self.failing_features[name] = self.failing_features.get(name, 0.0) + count
        for name, ids in other.samples.items():
            both = {*self.samples.get(name, ()), *ids}
            self.samples[name] = tuple(nsmallest(SAMPLES_MAX, both))
        self.duration.add(other.duration)
        self.self_time.add(other.self_time)

    def bound(self) -> int:
        """Count the rarest features beyond `FEATURES_MAX` as one; return how many those were."""
        rarest = rarest_as_one(self.features, FEATURES_MAX)
        for name in rarest:
            self.failing_features.pop(name, None)
            self.samples.pop(name, None)
        return len(rarest)


@dataclass(slots=True)
class TracePartial:
    """What the traces that closed in one window say.

    Attributes:
        traces, failing: traces, and those with an error.
        operations: counts of each operation.
        network: time between a caller's client span and the span that it caused, by call.
        calls: how many calls went from one module to another.
    """

    traces: float = 0.0
    failing: float = 0.0
    operations: dict[Operation, OperationCounts] = field(default_factory=dict)
    network: dict[Call, LogTimes] = field(default_factory=dict)
    calls: dict[Call, float] = field(default_factory=dict)

    def add(self, other: "TracePartial") -> None:
        """Take another window's, or another partition's, partial in."""
        self.traces += other.traces
        self.failing += other.failing
        for operation, counts in other.operations.items():
            self.operations.setdefault(operation, OperationCounts()).add(counts)
        for call, times in other.network.items():
            self.network.setdefault(call, LogTimes()).add(times)
        for call, count in other.calls.items():
            self.calls[call] = self.calls.get(call, 0.0) + count


def merged(partials: Iterable[TracePartial]) -> TracePartial:
    """Return the partial of all windows together; the arguments stay as they are."""
    total = TracePartial()
    for partial in partials:
        total.add(partial)
    return total


def to_json(partial: TracePartial) -> dict[str, Any]:
    """Return a partial as plain JSON values, in a canonical order."""
    return {
        "traces": partial.traces,
        "failing": partial.failing,
        "operations": [
            [*operation, _counts_json(counts)]
            for operation, counts in sorted(partial.operations.items())
        ],
        "network": [[*call, times.row()] for call, times in sorted(partial.network.items())],
        "calls": [[*call, count] for call, count in sorted(partial.calls.items())],
    }


def from_json(value: Mapping[str, Any]) -> TracePartial:
    """Return the partial that `to_json` wrote."""
    return TracePartial(
        float(value["traces"]),
        float(value["failing"]),
        {(row[0], row[1]): _counts(row[2]) for row in value["operations"]},
        {(row[0], row[1]): LogTimes(*row[2]) for row in value["network"]},
        {(row[0], row[1]): float(row[2]) for row in value["calls"]},
    )


def _counts_json(counts: OperationCounts) -> dict[str, Any]:
    return {
        "visits": counts.visits,
        "broken": counts.broken,
        "failing": counts.failing,
        "features": [
            [name, n, counts.failing_features.get(name, 0.0), list(counts.samples.get(name, ()))]
            for name, n in sorted(counts.features.items())
        ],
        "duration": counts.duration.row(),
        "self_time": counts.self_time.row(),
    }


def _counts(value: Mapping[str, Any]) -> OperationCounts:
    features = value["features"]
    return OperationCounts(
        float(value["visits"]),
        float(value["broken"]),
        float(value["failing"]),
        {row[0]: float(row[1]) for row in features},
        {row[0]: float(row[2]) for row in features if row[2]},
        {row[0]: tuple(row[3]) for row in features if row[3]},
        LogTimes(*value["duration"]),
        LogTimes(*value["self_time"]),
    )
