"""Evidence from traces: what visits have or lack, and how long they take, against a baseline.

Owns the baseline of each operation and call. Invariant: the evidence is a function of the current
partial and of what was learned, so it can be computed anew at any time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Final, NamedTuple, Self

from streams.core.causes.edges import blame
from streams.core.causes.evidence import (
    LOG_CHANGED,
    LOG_NEW,
    MISSING_EDGE,
    NEW_EDGE,
    SELF_TIME,
    TRACE_ERRORS,
    TRACE_SLOW,
    Evidence,
)
from streams.core.causes.parameters import CauseParameters
from streams.core.causes.statistics import mean_score, share_residual, share_score
from streams.core.causes.trace_partials import (
    FEATURES_MAX,
    Call,
    LogTimes,
    Operation,
    OperationCounts,
    TracePartial,
    rarest_as_one,
)

_NEW_SHARE: Final = 0.02
_PER_KIND: Final = 2
PRIOR_WINDOWS: Final = 10.0
"""The dispersion starts from 1, as if so many windows had shown it."""
BASELINE_FEATURES_MAX: Final = 2 * FEATURES_MAX
"""Names with an id in them are new with each visit."""
RESIDUAL_MAX: Final = 9.0
"""One window's squared deviation counts at most so much in the dispersion."""
_HEALS: Final = ("E:", "L:ERROR:", "L:CRITICAL:")
"""Features whose fall is no trouble."""
_LOUD: Final = ("L:WARN:", "L:ERROR:", "L:CRITICAL:")
PASSED_WEIGHT: Final = 0.5
_MIXED: Final = 0.05
MIX_WEIGHT: Final = 0.6
"""A step that some visits have and some lack in normal running depends on what callers ask for."""


@dataclass(slots=True)
class Level:
    """A time's baseline: its sums, and how much more its windows scatter than its visits."""

    times: LogTimes = field(default_factory=LogTimes)
    residuals: float = 0.0
    windows: float = 0.0

    def learn(self, times: LogTimes, is_usual: bool = True) -> None:
        """Take one window in; of an unusual one only how far it scattered, within bounds."""
        if not times.count:
            return
        if self.times.count:
            residual = mean_score(
                times.mean, times.count, self.times.mean, self.times.variance, self.times.count, 1.0
            )
            self.residuals += min(RESIDUAL_MAX, residual**2)
            self.windows += 1
        if is_usual:
            self.times.add(times)

    def score(self, times: LogTimes) -> float:
        """Return how many standard errors a window's mean log2 lies above the baseline's."""
        base = self.times
        dispersion = (PRIOR_WINDOWS + self.residuals) / (PRIOR_WINDOWS + self.windows)
        return mean_score(times.mean, times.count, base.mean, base.variance, base.count, dispersion)

    def scale(self, factor: float) -> None:
        """Let what is known fade."""
        self.times.scale(factor)
        self.residuals *= factor
        self.windows *= factor

    def row(self) -> list[float]:
        """Return what is known as JSON-able data."""
        return [*self.times.row(), self.residuals, self.windows]

    @classmethod
    def read(cls, row: Sequence[float]) -> Self:
        """Return the level that `row` told."""
        *times, residuals, windows = row
        return cls(LogTimes(*times), residuals, windows)


@dataclass(slots=True)
class OperationBaseline:
    """One operation's normal visits.

    Attributes:
        visits, features: counts, as in `OperationCounts`.
        residuals: of each feature, the sum of its windows' squared deviations.
        windows: how many windows were learned.
        duration, self_time: levels of the visits' times.
    """

    visits: float = 0.0
    features: dict[str, float] = field(default_factory=dict)
    residuals: dict[str, float] = field(default_factory=dict)
    windows: float = 0.0
    duration: Level = field(default_factory=Level)
    self_time: Level = field(default_factory=Level)

    def learn(self, counts: OperationCounts, visits_max: int, is_usual: bool = True) -> None:
        """Take one window in; older visits fade beyond `visits_max`.

        Of an unusual window only the scatter is learned, within bounds: shares that keep failing
        now and then must not be news each time, and a fault must not become the normal.
        """
        for name in sorted({*self.features, *counts.features}):
            known = self.features.get(name, 0.0)
            now = counts.features.get(name, 0.0)
            residual = share_residual(now, counts.visits, known, self.visits)
            self.residuals[name] = self.residuals.get(name, 0.0) + min(RESIDUAL_MAX, residual)
            if is_usual:
                self.features[name] = known + now
        self.windows += 1
        self.duration.learn(counts.duration, is_usual)
        self.self_time.learn(counts.self_time, is_usual)
        if is_usual:
            self.visits += counts.visits
        if self.visits > visits_max:
            self._fade(visits_max / self.visits)

    def bound(self) -> int:
        """Count the rarest features beyond the bound as one; return how many those were."""
        rarest = rarest_as_one(self.features, BASELINE_FEATURES_MAX)
        if rarest:
            self.residuals = {n: r for n, r in self.residuals.items() if n in self.features}
        return len(rarest)

    def dispersion(self, name: str) -> float:
        """Return how much more a feature's windows scatter than binomial ones, >= 1."""
        residuals = self.residuals.get(name, 0.0)
        return max(1.0, (PRIOR_WINDOWS + residuals) / (PRIOR_WINDOWS + self.windows))

    def row(self) -> list[Any]:
        """Return what is known as JSON-able data."""
        return [
            self.visits,
            self.features,
            self.residuals,
            self.windows,
            self.duration.row(),
            self.self_time.row(),
        ]

    @classmethod
    def read(cls, row: Sequence[Any]) -> Self:
        """Return the baseline that `row` told."""
        visits, features, residuals, windows, duration, self_time = row
        levels = Level.read(duration), Level.read(self_time)
        return cls(visits, dict(features), dict(residuals), windows, *levels)

    def _fade(self, factor: float) -> None:
        self.visits *= factor
        self.windows *= factor
        self.features = {n: c * factor for n, c in self.features.items() if c * factor > 0.01}
        self.residuals = {n: self.residuals[n] * factor for n in self.features}
        self.duration.scale(factor)
        self.self_time.scale(factor)


class Deviation(NamedTuple):
    """One feature of an operation that changed."""

    feature: str
    score: float
    share: float
    base_share: float
    visits: float


class Unusual(NamedTuple):
    """What one window shows: its evidence, and the places that must not be learned from it."""

    evidence: list[Evidence]
    places: frozenset[Operation | Call]


class TraceBaseline:
    """What is normal for each operation and call, and what is not in a window."""

    def __init__(self, parameters: CauseParameters) -> None:
        self.parameters = parameters
        self.operations: dict[Operation, OperationBaseline] = {}
        self.network: dict[Call, Level] = {}
        self.left_out = 0
        """Features that the bound counted as one."""

    def learn(self, partial: TracePartial, unusual: Collection[Operation | Call] = ()) -> None:
        """Take a window in; of the operations and calls that were unusual in it, the scatter."""
        for operation, counts in sorted(partial.operations.items()):
            base = self.operations.setdefault(operation, OperationBaseline())
            base.learn(counts, self.parameters.baseline_visits_max, operation not in unusual)
            self.left_out += base.bound()
        for call, times in sorted(partial.network.items()):
            self.network.setdefault(call, Level()).learn(times, call not in unusual)

    def snapshot(self) -> dict[str, Any]:
        """Return what is known as JSON-able data."""
        return {
            "operations": [[*op, base.row()] for op, base in self.operations.items()],
            "network": [[*call, level.row()] for call, level in self.network.items()],
            "left_out": self.left_out,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a snapshot."""
        for module, name, row in snapshot["operations"]:
            self.operations[module, name] = OperationBaseline.read(row)
        for caller, callee, row in snapshot["network"]:
            self.network[caller, callee] = Level.read(row)
        self.left_out = snapshot["left_out"]

    def evidence(self, partial: TracePartial, since_us: int) -> Unusual:
        """Return what is unusual in a window: the strongest evidence of each module and kind."""
        found: list[Evidence] = []
        places: set[Operation | Call] = set()
        excess = self._excess(partial)
        total = sum(excess.values())
        for operation, counts in sorted(partial.operations.items()):
            base = self._usable(operation, counts)
            if base is None:
                continue
            share = excess.get(operation, 0.0) / total if total else 0.0
            own = [
                *(
                    _feature_evidence(operation, counts, deviation, since_us)
                    for deviation in self.deviations(counts, base)
                ),
                *self._slow(operation, counts, base, share, since_us),
            ]
            if any(e.score >= self.parameters.learn_score for e in own):
                places.add(operation)
            found.extend(own)
        for call, score in self._slow_calls(partial).items():
            if score >= self.parameters.learn_score:
                places.add(call)
        found.extend(self._network(partial, since_us))
        return Unusual(strongest(found), frozenset(places))

    def deviations(self, counts: OperationCounts, base: OperationBaseline) -> list[Deviation]:
        """Return the features whose share changed, by size and beyond chance."""
        found = []
        for name in sorted({*counts.features, *base.features}):
            k, base_k = counts.features.get(name, 0.0), base.features.get(name, 0.0)
            share, base_share = k / counts.visits, base_k / base.visits
            change = abs(share - base_share)
            few = change * counts.visits < self.parameters.affected_min
            if few or change < self.parameters.effect_min:
                continue
            score = share_score(k, counts.visits, base_k, base.visits, base.dispersion(name))
            score *= sqrt(change)
            if score < 0 and name.startswith(_HEALS):
                continue
            if abs(score) >= self.parameters.evidence_score:
                found.append(Deviation(name, score, share, base_share, counts.visits))
        return found

    def _usable(self, operation: Operation, counts: OperationCounts) -> OperationBaseline | None:
        base = self.operations.get(operation)
        if base is None or counts.visits < self.parameters.visits_min:
            return None
        return base if base.visits >= self.parameters.baseline_visits_min else None

    def _excess(self, partial: TracePartial) -> dict[Operation, float]:
        """Return the microseconds of self time beyond the baseline, where they grew."""
        excess = {}
        for operation, counts in partial.operations.items():
            base = self._usable(operation, counts)
            if base is None or not base.self_time.times.count:
                continue
            normal = base.self_time.times.micros / base.self_time.times.count
            grown = counts.self_time.micros - normal * counts.visits
            if grown > 0:
                excess[operation] = grown
        return excess

    def _slow(
        self,
        operation: Operation,
        counts: OperationCounts,
        base: OperationBaseline,
        share: float,
        since_us: int,
    ) -> Iterable[Evidence]:
        for kind, now, level, weight in (
            (SELF_TIME, counts.self_time, base.self_time, 0.3 + 0.7 * share),
            (TRACE_SLOW, counts.duration, base.duration, 1.0),
        ):
            grown = now.mean - level.times.mean
            score = level.score(now)
            if grown < self.parameters.slow_log2_min or score < self.parameters.evidence_score:
                continue
            what = "own time" if kind == SELF_TIME else "duration"
            tail = f", {share:.0%} of all time added" if kind == SELF_TIME else ""
            yield Evidence(
                kind,
                operation[0],
                name=operation[1],
                since_us=since_us,
                score=score,
                weight=weight * _fidelity(counts),
                sentence=f"{operation[0]} {operation[1]}: {what} {2**grown:.1f} times the usual "
                f"in {counts.visits:.0f} visits{tail}",
            )

    def _slow_calls(self, partial: TracePartial) -> dict[Call, float]:
        """Return the calls whose time on the way grew, with their scores."""
        scores: dict[Call, float] = {}
        for call, times in sorted(partial.network.items()):
            level = self._level(call)
            if level is None:
                continue
            score, grown = level.score(times), times.mean - level.times.mean
            if grown >= self.parameters.slow_log2_min and score >= self.parameters.evidence_score:
                scores[call] = score
        return scores

    def _level(self, call: Call) -> Level | None:
        level = self.network.get(call)
        known = level is not None and level.times.count >= self.parameters.baseline_visits_min
        return level if known else None

    def _network(self, partial: TracePartial, since_us: int) -> Iterable[Evidence]:
        measured = [call for call in partial.network if self._level(call) is not None]
        blamed = blame(self._slow_calls(partial), measured)
        for module, (score, part, (caller, callee)) in sorted(blamed.items()):
            grown = partial.network[caller, callee].mean - self.network[caller, callee].times.mean
            yield Evidence(
                SELF_TIME,
                module,
                name="network time",
                from_stage=f"{caller}:",
                to_stage=f"{callee}:",
                since_us=since_us,
                score=score,
                weight=part,
                sentence=f"time between {caller} and {callee}: {2**grown:.1f} times the usual",
            )


def strongest(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return the strongest few of each module and kind, in a fixed order."""
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for item in evidence:
        groups.setdefault((item.module, item.kind), []).append(item)
    return [
        item
        for key in sorted(groups)
        for item in sorted(groups[key], key=lambda e: (-e.score * e.weight, e.name, e.sentence))[
            :_PER_KIND
        ]
    ]


def _fidelity(counts: OperationCounts) -> float:
    """Return how far an operation's counts can be trusted: broken traces tell less."""
    return 1.0 - 0.5 * counts.broken / counts.visits


def _feature_evidence(
    operation: Operation, counts: OperationCounts, deviation: Deviation, since_us: int
) -> Evidence:
    module, name = operation
    feature, score = deviation.feature, deviation.score
    mark, _, text = feature.partition(":")
    rose = score > 0
    weight = _fidelity(counts)
    if _MIXED < deviation.base_share < 1 - _MIXED:
        weight *= MIX_WEIGHT
    to_stage = ""
    if mark == "L":
        is_new = rose and deviation.base_share <= _NEW_SHARE
        kind = LOG_NEW if is_new and feature.startswith(_LOUD) else LOG_CHANGED
        what = f"log {text}"
    elif mark == "E":
        kind = TRACE_ERRORS
        weight *= PASSED_WEIGHT if feature == "E:passed" else 1.0
        what = "errors of its own" if feature == "E:own" else "errors of modules it calls"
    else:
        kind = NEW_EDGE if rose else MISSING_EDGE
        to_stage = text if mark == "C" else f"{module}:{text}"
        what = f"call of {text}" if mark == "C" else f"step {text}"
    doubt = f"; {counts.broken:.0f} of the traces lack spans" if counts.broken else ""
    return Evidence(
        kind,
        module,
        name=text if mark == "L" else name,
        from_stage=f"{module}:{name}",
        to_stage=to_stage,
        since_us=since_us,
        score=abs(score),
        weight=weight,
        sentence=f"{module} {name}: {what} in {deviation.share:.0%} of {deviation.visits:.0f} "
        f"visits, usually in {deviation.base_share:.0%}{doubt}",
        trace_ids=counts.samples.get(feature, ()),
    )
