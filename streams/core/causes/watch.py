"""Watches windows of columns, says when something is wrong, and ranks its causes while it lasts.

Owns the state that evidence needs: the recent windows, the baselines, the learned call graph.
Invariant: what it says at a time is a function of what came before that time.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.core.causes.changes import Change, change_evidence
from streams.core.causes.evidence import Cause, Evidence
from streams.core.causes.metric_evidence import MetricBaseline, Sample
from streams.core.causes.parameters import PARAMETERS, CauseParameters
from streams.core.causes.rank import rank
from streams.core.causes.senders import laid_on_senders
from streams.core.causes.strength import ScoreTails, alarms, by_module, strength
from streams.core.causes.trace_evidence import TraceBaseline, Unusual
from streams.core.causes.trace_partials import (
    Call,
    Operation,
    TracePartial,
    from_json,
    merged,
    to_json,
)
from streams.core.incidents.topology import ModuleInfo, Topology

Place = Operation | Call


@dataclass(slots=True)
class Recent:
    """One window not yet learned, and what was unusual while it was recent."""

    at_us: int
    partial: TracePartial
    skip: set[Place] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    Attributes:
        evidence: all that is unusual now.
        alarms: modules whose trouble is beyond doubt, with the score that says so.
    """

    evidence: tuple[Evidence, ...]
    alarms: dict[str, float]


class CauseWatch:
    """Takes windows in order of time; says what is unusual, and why it may be."""

    def __init__(self, parameters: CauseParameters = PARAMETERS) -> None:
        self.parameters = parameters
        self.traces = TraceBaseline(parameters)
        self.metrics = MetricBaseline(parameters)
        self.tails = ScoreTails(parameters)
        self.calls: dict[Call, float] = {}
        self._recent: deque[Recent] = deque()
        self._pending: deque[Recent] = deque()
        self._lump = TracePartial()
        self._lump_us = 0
        self._lump_unusual: set[Place] = set()
        self._unusual_us: dict[Place, tuple[int, int]] = {}

    def step(
        self, now_us: int, partial: TracePartial | None, samples: Iterable[Sample] = ()
    ) -> Finding:
        """Take in what came since the last step, up to `now_us`, and say what is unusual."""
        if partial is not None and partial.operations:
            recent = Recent(now_us, partial)
            self._recent.append(recent)
            self._pending.append(recent)
            for call, count in partial.calls.items():
                self.calls[call] = self.calls.get(call, 0.0) + count
        self.metrics.observe(samples)
        self._learn(now_us)
        unusual = self._unusual(now_us, now_us - self.parameters.window_us)
        self._exclude(now_us, unusual.places)
        raw = [*unusual.evidence, *self.metrics.evidence(now_us)]
        lasting = [*unusual.evidence, *self.metrics.evidence(now_us, lasting=True)]
        topology = self.topology()
        laid = laid_on_senders(self.tails.rated(lasting), topology)
        firing = alarms(by_module(laid), self.parameters)
        found = self.tails.rated(raw)
        self.tails.observe(now_us, laid_on_senders(raw, topology), firing, self._places())
        return Finding(tuple(found), firing)

    def _places(self) -> int:
        known = {series.module for series in self.metrics.series}
        return len(known | {module for module, _ in self.traces.operations})

    def causes(
        self,
        now_us: int,
        since_us: int,
        topology: Topology | None = None,
        alerts: Sequence[Mapping[str, Any]] = (),
        changes: Iterable[Change] = (),
    ) -> list[Cause]:
        """Rank the causes of an incident that began at `since_us`, from all that came since.

        Args:
            now_us: the time; nothing later is known.
            since_us: where to look from, no further back than `incident_window_us`.
            topology: who needs whom; else the learned call graph.
            alerts: of the incident, if rules raised some.
            changes: that were told of so far.
        """
        evidence = self.evidence(now_us, since_us)
        evidence += self.changes(now_us, evidence, changes)
        return rank(alerts, evidence, topology or self.topology(), self.parameters)

    def changes(
        self, now_us: int, evidence: Sequence[Evidence], changes: Iterable[Change]
    ) -> list[Evidence]:
        """Return the changes that came before the onset of what else is seen of their module."""
        first: dict[str, int] = {}
        ordered = sorted(evidence, key=lambda e: -strength(e, self.parameters))
        for item in ordered:
            first.setdefault(item.module, item.since_us)
        onset_us = ordered[0].since_us if ordered else now_us
        return change_evidence(changes, first, onset_us, self.parameters)

    def evidence(self, now_us: int, since_us: int) -> list[Evidence]:
        """Return what is unusual since a time, with its rarity."""
        oldest_us = max(since_us, now_us - self.parameters.incident_window_us)
        found = self._unusual(now_us, oldest_us).evidence
        return self.tails.rated([*found, *self.metrics.evidence(now_us)])

    def topology(self) -> Topology:
        """Return the learned call graph: a caller needs what it calls."""
        needs: dict[str, set[str]] = {}
        for caller, callee in {*self.calls, *self.metrics.calls()}:
            needs.setdefault(caller, set()).add(callee)
        return Topology(
            {m: ModuleInfo(depends_on=tuple(sorted(n))) for m, n in sorted(needs.items())}
        )

    def _unusual(self, now_us: int, since_us: int) -> Unusual:
        parts = [r.partial for r in self._recent if since_us < r.at_us <= now_us]
        return self.traces.evidence(merged(parts), since_us)

    def _learn(self, now_us: int) -> None:
        """Learn what is old enough that trouble in it would have shown by now."""
        parameters = self.parameters
        while self._recent and self._recent[0].at_us <= now_us - parameters.incident_window_us:
            self._recent.popleft()
        while self._pending and self._pending[0].at_us <= now_us - parameters.window_us:
            recent = self._pending.popleft()
            if recent.at_us - self._lump_us >= parameters.window_us:
                self._learn_lump(recent.at_us)
            self._lump.add(recent.partial)
            self._lump_unusual |= recent.skip
        if now_us - parameters.window_us - self._lump_us >= parameters.window_us:
            self._learn_lump(now_us - parameters.window_us)

    def _learn_lump(self, next_us: int) -> None:
        self.traces.learn(self._lump, self._lump_unusual)
        self._lump, self._lump_us, self._lump_unusual = TracePartial(), next_us, set()

    def _exclude(self, now_us: int, places: Iterable[Place]) -> None:
        """Keep what is unusual now out of the baseline, unless it has been so for long."""
        parameters = self.parameters
        for place in places:
            first_us, last_us = self._unusual_us.get(place, (now_us, now_us))
            if now_us - last_us > parameters.incident_window_us:
                first_us = now_us
            self._unusual_us[place] = (first_us, now_us)
            if now_us - first_us <= parameters.excluded_us:
                for recent in self._pending:
                    recent.skip.add(place)

    def forget(self, operations: Iterable[Operation]) -> None:
        """Let go of operations, and of the calls of modules that have none left."""
        for operation in operations:
            self.traces.operations.pop(operation, None)
            self._unusual_us.pop(operation, None)
        modules = {module for module, _ in self.traces.operations}
        for calls in (self.calls, self.traces.network):
            for call in [call for call in calls if not modules.issuperset(call)]:
                del calls[call]
                self._unusual_us.pop(call, None)

    # --- state

    def snapshot(self) -> dict[str, Any]:
        """Return what is known as JSON-able data; `restore` gives a watch that says the same."""
        waiting = {id(recent) for recent in self._pending}
        kept = {id(recent) for recent in self._recent}
        windows = [*(r for r in self._pending if id(r) not in kept), *self._recent]
        return {
            "traces": self.traces.snapshot(),
            "metrics": self.metrics.snapshot(),
            "tails": self.tails.snapshot(),
            "calls": [[*call, count] for call, count in self.calls.items()],
            "windows": [
                [
                    recent.at_us,
                    to_json(recent.partial),
                    sorted(recent.skip),
                    id(recent) in waiting,
                    id(recent) in kept,
                ]
                for recent in windows
            ],
            "lump": [to_json(self._lump), self._lump_us, sorted(self._lump_unusual)],
            "unusual": [[*place, *times] for place, times in self._unusual_us.items()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a snapshot."""
        self.traces.restore(snapshot["traces"])
        self.metrics.restore(snapshot["metrics"])
        self.tails.restore(snapshot["tails"])
        self.calls = {(near, far): count for near, far, count in snapshot["calls"]}
        for at_us, partial, skip, is_waiting, is_kept in snapshot["windows"]:
            recent = Recent(at_us, from_json(partial), {(m, n) for m, n in skip})
            if is_waiting:
                self._pending.append(recent)
            if is_kept:
                self._recent.append(recent)
        lump, self._lump_us, places = snapshot["lump"]
        self._lump, self._lump_unusual = from_json(lump), {(m, n) for m, n in places}
        self._unusual_us = {(m, n): (first, last) for m, n, first, last in snapshot["unusual"]}
