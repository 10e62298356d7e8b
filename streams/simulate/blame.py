"""Who is to blame for a fault, and which components it can reach: the truth incidents are held to.

Pure; knows the contract's layout and the faults, nothing of what the engine says. Invariant: a
cause names components that the contract has, and what a fault reaches holds its cause.
"""

from dataclasses import dataclass

from streams.simulate.behaviour import behaviour_of
from streams.simulate.faults import (
    CLOCK_SKEW,
    DUPLICATE_STORM,
    MODULE_SILENT,
    SLOW_ENRICHMENT,
    Fault,
)
from streams.simulate.layout import Layout

Component = tuple[str, str]
"""(module, component)."""


@dataclass(frozen=True, slots=True)
class Blame:
    """The truth about one fault.

    Attributes:
        causes: the components that are its cause; of an edge both ends, of a whole module all.
        reached: the components whose telemetry it changes, the causes among them.
        since_us, until_us: when it strikes, [since, until).
        is_module: whether a whole module is to blame, so that its name alone is the answer.
    """

    causes: frozenset[Component]
    reached: frozenset[Component]
    since_us: int
    until_us: int
    is_module: bool = False


def blame(layout: Layout, fault: Fault) -> Blame:
    """Return whom a fault is to be blamed on, and how far it reaches."""
    causes = _causes(layout, fault)
    is_module = fault.kind in (MODULE_SILENT, DUPLICATE_STORM, CLOCK_SKEW)
    return Blame(causes, causes, fault.start_us, fault.end_us, is_module)


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


def _causes(layout: Layout, fault: Fault) -> frozenset[Component]:
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
