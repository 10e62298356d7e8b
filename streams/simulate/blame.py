"""Who is to blame for a fault, and which components it can reach: the truth incidents are held to.

Pure; knows the contract's layout, the faults and the model, nothing of what the engine says. What a
fault of a component reaches is measured and not claimed: the pipeline's model runs with the fault
and without it, on the same noise, and whatever differs is the fault's doing. Invariant: a cause
names components that the contract has, and what a fault reaches holds its cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.simulate.behaviour import behaviour_of
from streams.simulate.faults import (
    CLOCK_SKEW,
    DUPLICATE_STORM,
    MODULE_SILENT,
    SLOW_ENRICHMENT,
    Fault,
)
from streams.simulate.layout import Layout
from streams.simulate.modules.model import PipelineModel
from streams.simulate.modules.parts import Second
from streams.units import SECOND_US

Component = tuple[str, str]
"""(module, component)."""

BEFORE_S: Final = 5
AFTER_S: Final = 15
"""How long before a fault and after it the model is watched, in seconds."""
DIFFERS_RATIO: Final = 0.1
"""Least change of a value that counts, as a share of what it is without the fault."""


@dataclass(frozen=True, slots=True)
class Blame:
    """The truth about one fault.

    Attributes:
        causes: the components that are its cause; of an edge both ends, of a whole module all.
        reached: when it first shows at each component, Unix microseconds; the causes among them.
        since_us, until_us: when it strikes, [since, until).
        is_module: whether a whole module is to blame, so that its name alone is the answer.
    """

    causes: frozenset[Component]
    reached: Mapping[Component, int]
    since_us: int
    until_us: int
    is_module: bool = False


def blame(layout: Layout, fault: Fault, rate: float = 20.0) -> Blame:
    """Return whom a fault is to be blamed on, and how far it reaches at a rate of records."""
    causes = causes_of(layout, fault)
    reached = dict.fromkeys(causes, fault.start_us)
    for component, since_us in _measured(layout, fault, rate).items():
        reached.setdefault(component, since_us)
    is_module = fault.kind in (MODULE_SILENT, DUPLICATE_STORM, CLOCK_SKEW)
    return Blame(causes, reached, fault.start_us, fault.end_us, is_module)


def candidates(layout: Layout) -> frozenset[Component]:
    """Return every component of the contract: what a blind guess would choose from."""
    return frozenset((m, c) for m, components in layout.components.items() for c in components)


def stage_component(layout: Layout, flow: str, stage_id: str) -> Component | None:
    """Return who leaves the span of a stage; of any flow when none is named; None if nobody."""
    flows = [layout.flows[flow]] if flow in layout.flows else list(layout.flows.values())
    for spec in flows:
        stage = spec.stage(stage_id)
        if stage is not None:
            return stage.module, stage.component
    return None


def causes_of(layout: Layout, fault: Fault) -> frozenset[Component]:
    """Return the components that are a fault's cause, wherever and whenever it strikes."""
    if fault.component is not None:
        return frozenset((fault.component,))
    if fault.edge is not None:
        ends = (stage_component(layout, layout.record.name, stage) for stage in fault.edge)
        both = [end for end in ends if end is not None]
        if fault.kind == CLOCK_SKEW:  # a clock is the whole module's
            return _of_module(layout, both[-1][0])
        return frozenset(both)
    if fault.kind == SLOW_ENRICHMENT:
        slow = [
            (stage.module, stage.component)
            for stage in layout.record.stages
            if stage.module == fault.where and fault.dimension in behaviour_of(stage.id).dimensions
        ]
        return frozenset(slow) or _of_module(layout, fault.where)
    return _of_module(layout, fault.where)


def _of_module(layout: Layout, module: str) -> frozenset[Component]:
    return frozenset((module, component) for component in layout.components[module])


def _measured(layout: Layout, fault: Fault, rate: float) -> dict[Component, int]:
    """Return when a fault of a component first shows at each component, by the model."""
    if fault.component is None:
        return {}
    start_us = fault.start_us - BEFORE_S * SECOND_US
    seconds = (fault.end_us - start_us) // SECOND_US + AFTER_S
    with_it, without = (
        PipelineModel(layout, 0, rate, start_us, faults) for faults in ((fault,), ())
    )
    names = {module.lower(): module for module in layout.topics}
    stage = {s.id: (s.module, s.component) for f in layout.flows.values() for s in f.stages}
    found: dict[Component, int] = {}
    first: dict[_Series, float] = {}
    for number in range(seconds):
        at_us = start_us + number * SECOND_US
        pair = with_it.at(at_us), without.at(at_us)
        moved = {_component_of(names, series) for series in _moved(pair, first, number)}
        moved |= {stage[key[0]] for key in (*pair[0].slow, *pair[0].fails) if key[0] in stage}
        for component in moved:
            found.setdefault(component, max(at_us, fault.start_us))
    return found


_Series = tuple[str, tuple[str, ...]]


def _moved(pair: tuple[Second, Second], first: dict[_Series, float], number: int) -> list[_Series]:
    """Return the series whose value of this second, or whose rise until then, the fault changed.

    A total is compared by how far it has come from what it would be, in units of what it usually
    gains in ten seconds: of itself a total is always near its earlier self.

    Args:
        pair: the second with the fault and without it.
        first: the totals of the first second, filled in here.
        number: of the second, from 0.
    """
    values = [{(p.name, p.labels): p.value for p in second.points} for second in pair]
    moved = []
    for series, usual in values[1].items():
        apart = abs(values[0][series] - usual)
        least = DIFFERS_RATIO * abs(usual) + 1e-9
        if ".counter." in series[0]:
            gained = 10 * (usual - first.setdefault(series, usual)) / max(1, number)
            least = max(2.0, DIFFERS_RATIO * gained)
        if apart >= least:
            moved.append(series)
    return moved


def _component_of(names: Mapping[str, str], series: _Series) -> Component:
    _, module, component, _, _ = series[0].split(".")
    return names[module], component
