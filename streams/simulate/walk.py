"""One record, batch or job on its way through a flow: which spans it leaves, when, in which trace.

Owns the passing on of trace context from stage to stage, and the faults that strike a hop. Knows
nothing of topics or delivery. Invariant: without a fault a walk is one tree with one root, and all
required stages are in it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from streams.simulate.behaviour import behaviour_of, draw_duration_us
from streams.simulate.events import Event, span_id_from, trace_id_from
from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CONTEXT_DROPPED,
    CONTEXT_RESTARTED,
    SLOW_ENRICHMENT,
    FaultTable,
)
from streams.simulate.layout import FlowSpec, StageSpec
from streams.simulate.modules.model import PipelineModel

ERROR_RATIO: Final = 0.001
"""Spans that fail for no planted reason: noise that must not become an incident."""
RETRY_RATIO: Final = 0.004
"""Deliveries that fail once, wait in the error queue and then succeed."""
HOP_US: Final = (500, 5_000)
"""Shortest and longest time between the end of a stage and the start of the next."""
SLOW_FACTOR: Final = (3.0, 4.0)
"""How many deadlines a slow span takes."""
NO_DEADLINE_US: Final = 300_000
"""What counts as the deadline of a slow stage that has none."""


@dataclass(slots=True)
class Unit:
    """One thing that leaves telemetry: a record, a batch, a job, or one second of a module's life.

    Attributes:
        born_us: when it starts, true time, Unix microseconds.
        rng: decides what it is; transport decides how its events travel; chance decides which
            faults hit it. Three generators, so that a fault changes nothing but what it hits.
        record_id, batch_id, correlation_id: as in TelemetryEvent.
        profile: see `draw_profile`.
        links: span links of its first span.
        effects: how many of its events each fault changed, by the fault's number.
    """

    born_us: int
    rng: Random
    transport: Random
    chance: Random
    record_id: str = ""
    batch_id: str = ""
    correlation_id: str = ""
    profile: dict[str, str] = field(default_factory=dict)
    links: list[Event] = field(default_factory=list)
    effects: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Step:
    """One passage through a stage; times are true times, Unix microseconds.

    A step without a trace id has lost its context: it leaves a log line instead of a span. One that
    is refused failed for a fault's sake.
    """

    stage: StageSpec
    start_us: int
    end_us: int
    trace_id: str
    span_id: str
    parent_span_id: str
    dimensions: dict[str, str]
    is_error: bool
    is_refused: bool = False


class Walk:
    """Takes one unit through its flow; `steps` then holds what happened, in the order it began.

    Args:
        unit: what walks.
        flow: which way.
        faults: what may happen to it on the way.
        model: how the stages do at which time.
        is_record: whether the flow is the one whose edges can be broken.
    """

    def __init__(
        self,
        unit: Unit,
        flow: FlowSpec,
        faults: FaultTable,
        model: PipelineModel,
        *,
        is_record: bool = True,
    ) -> None:
        self.steps: list[Step] = []
        self._unit = unit
        self._flow = flow
        self._faults = faults
        self._model = model
        self._is_record = is_record
        self._last: dict[str, Step] = {}
        # Stages that do not stand in line: they happen inside another, or only for a retry.
        self._inside: dict[str, list[StageSpec]] = {}
        self._apart: set[str] = set()
        for stage in flow.stages:
            behaviour = behaviour_of(stage.id)
            if behaviour.inside and flow.stage(behaviour.inside):
                self._inside.setdefault(behaviour.inside, []).append(stage)
                self._apart.add(stage.id)
            if behaviour.kept_in:
                self._apart.add(behaviour.kept_in)

    def run(self) -> list[Step]:
        """Walk all stages of the flow, predecessors first, and return the steps."""
        for stage in self._flow.stages:
            if stage.id not in self._apart and self._happens(stage):
                self._arrive(stage)
        return self.steps

    def _happens(self, stage: StageSpec) -> bool:
        """Say whether the record needs the stage, or takes it although it is optional."""
        behaviour, rng, profile = behaviour_of(stage.id), self._unit.rng, self._unit.profile
        if stage.when is not None:
            of, dimension, values = stage.when
            return of in self._last and self._last[of].dimensions.get(dimension) in values
        if stage.is_required:
            return True
        skipped = behaviour.skipped_when
        if skipped is not None and profile.get(skipped[0]) == skipped[1]:
            return False
        return rng.random() < behaviour.probability

    def _arrive(self, stage: StageSpec) -> None:
        """Go on from the latest predecessor; a record that got to none of them ends here."""
        seen = [self._last[near] for near in stage.after if near in self._last]
        if not stage.after:
            self._enter(stage, self._unit.born_us, trace_id_from(self._unit.rng), "")
        elif seen:
            before = max(seen, key=lambda step: step.end_us)
            start_us = before.end_us + self._unit.rng.randint(*HOP_US)
            self._enter(stage, start_us, before.trace_id, before.span_id)

    def _enter(self, stage: StageSpec, start_us: int, trace_id: str, parent: str) -> None:
        """Cross the edge into the stage, faults and all, and do its work."""
        near = [stage_id for stage_id in stage.after if stage_id in self._last]
        if self._is_hit(ACKNOWLEDGMENTS_LOST, near, stage, start_us):
            return
        if trace_id and self._is_hit(CONTEXT_DROPPED, near, stage, start_us):
            trace_id, parent = "", ""
        if trace_id and self._is_hit(CONTEXT_RESTARTED, near, stage, start_us):
            trace_id, parent = trace_id_from(self._unit.chance), ""
        for _ in range(stage.min_count):
            step = self._work(stage, start_us, trace_id, parent)
            start_us = step.end_us + HOP_US[0]
        keeper = self._flow.stage(behaviour_of(stage.id).kept_in)
        if keeper is None:
            return
        # One draw a record, whether or not it failed: what follows must not depend on it.
        is_unlucky = self._unit.rng.random() < RETRY_RATIO
        if is_unlucky or step.is_refused:
            step.is_error = True
            kept = self._work(keeper, start_us, trace_id, step.span_id)
            retry_us = kept.end_us + HOP_US[0]
            again = self._work(stage, retry_us, trace_id, kept.span_id, attempt="2")
            again.is_error = again.is_refused
            if again.is_refused:
                del self._last[stage.id]  # the queue keeps it: nothing follows in this trace

    def _work(
        self, stage: StageSpec, start_us: int, trace_id: str, parent: str, attempt: str = "1"
    ) -> Step:
        """Leave one step of the stage, and those of the stages that happen inside it."""
        unit = self._unit
        profile = {**unit.profile, "attempt": attempt}
        wanted = behaviour_of(stage.id).dimensions
        dimensions = {key: profile[key] for key in wanted if key in profile}
        for name in dimensions:
            said, share = self._model.at(start_us).says.get((stage.id, name), ("", 0.0))
            if share > 0 and unit.chance.random() < share:
                dimensions[name] = said
        duration_us = draw_duration_us(stage, dimensions, unit.rng)
        factor, fails = self._condition(stage, dimensions, start_us)
        duration_us = int(duration_us * factor)
        slow = self._faults.at_module(SLOW_ENRICHMENT, stage.module, start_us)
        if slow is not None and self._is_slow(slow, dimensions):
            deadline_us = stage.deadline_us or NO_DEADLINE_US
            duration_us = int(deadline_us * unit.chance.uniform(*SLOW_FACTOR))
        span_id = span_id_from(unit.rng)  # drawn with or without a trace: what follows is the same
        step = Step(
            stage=stage,
            start_us=start_us,
            end_us=start_us + duration_us,
            trace_id=trace_id,
            span_id=span_id if trace_id else "",
            parent_span_id=parent if trace_id else "",
            dimensions=dimensions,
            is_error=unit.rng.random() < ERROR_RATIO,
        )
        self.steps.append(step)
        # The draw comes from the unit's own chance: a fault elsewhere must change nothing here.
        if fails > 0 and unit.chance.random() < fails:
            step.is_error = step.is_refused = True
            if behaviour_of(stage.id).ends_on_error:
                return step  # refused: nothing follows
        self._last[stage.id] = step
        for inner in self._inside.get(stage.id, ()):
            if self._happens(inner):
                self._enter(inner, start_us + HOP_US[0], step.trace_id, step.span_id)
                if inner.id in self._last:
                    step.end_us = max(step.end_us, self._last[inner.id].end_us + HOP_US[0])
        return step

    def _condition(
        self, stage: StageSpec, dimensions: dict[str, str], at_us: int
    ) -> tuple[float, float]:
        """Return how many times longer the stage takes now, and with which probability it fails."""
        second = self._model.at(at_us)
        if not second.slow and not second.fails:
            return 1.0, 0.0
        keys = [(stage.id, "", ""), *((stage.id, *item) for item in dimensions.items())]
        factor = math.prod(second.slow.get(key, 1.0) for key in keys)
        return factor, max(second.fails.get(key, 0.0) for key in keys)

    def _is_slow(self, number: int, dimensions: dict[str, str]) -> bool:
        fault = self._faults.faults[number]
        if dimensions.get(fault.dimension) != fault.value:
            return False
        return self._draw(number)

    def _is_hit(self, kind: str, near: Sequence[str], stage: StageSpec, at_us: int) -> bool:
        """Draw whether a fault of that kind on the way into the stage hits this record."""
        if not self._is_record:
            return False
        number = self._faults.at_edge(kind, near, stage.id, at_us)
        return number is not None and self._draw(number)

    def _draw(self, number: int) -> bool:
        hit = self._unit.chance.random() < self._faults.faults[number].share
        if hit:
            self._unit.effects[number] += 1
        return hit
