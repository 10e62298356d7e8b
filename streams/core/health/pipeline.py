"""The health of a pipeline in one answer: modules, what they owe each other, what is coming.

Owns how what is known becomes one status a module, and whose trouble it is (rows S2-28, S2-29).
Invariants: both shares lie within 0 and 1; one more open incident never makes anything better;
what was not seen lately is never called healthy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.core.health.graph import AVAILABILITY, THROUGHPUT, Affects, Dependency, Graph, Traffic
from streams.core.health.indicators import Indicator
from streams.core.health.status import (
    DEGRADED,
    HEALTHY,
    UNHEALTHY,
    UNKNOWN,
    Status,
    is_bad,
    of_severity,
    weight,
    worst,
)
from streams.core.health.troubles import Trouble
from streams.units import SECOND_US

SILENT_US: Final = 120 * SECOND_US
"""What said nothing for so long is unknown. Telemetry is told within seconds, and a trace that
stays open adds its wait: half a minute unless the contract says otherwise."""
CASCADE_RATIO: Final = 0.5
"""A module whose trouble is by half or more that of others is said to have it from them."""
_WEIGHT: Final[Mapping[Status, int]] = {DEGRADED: 1, UNHEALTHY: 3}
"""Of an indicator beyond its threshold, beside incidents: that of WARN, and of CRITICAL."""


Heard = Mapping[tuple[str, str], int]
"""When each (module, component) was heard last, in us of event time."""


class Burn(NamedTuple):
    """Burn rates of an error budget that are bad; both windows must be there."""

    slow_rate: float = 6.0
    fast_rate: float = 14.4


_BURN: Final = Burn()


@dataclass(frozen=True)
class Seen:
    """What is known of a pipeline.

    Attributes:
        graph: who stands where.
        troubles: what open incidents say.
        indicators: of components and of flows.
        last_us: when each component was heard last; "" stands for whatever else of a module.
        burn: which rates are bad, as the contract says.
    """

    graph: Graph = field(default_factory=Graph)
    troubles: tuple[Trouble, ...] = ()
    indicators: tuple[Indicator, ...] = ()
    last_us: Heard = field(default_factory=dict)
    burn: Burn = _BURN


class ComponentHealth(NamedTuple):
    """One component.

    Attributes:
        status: the worst of what is known; UNKNOWN when it was not heard lately.
        incident_ids: open, with an alert here.
        indicators: types of those that are bad.
        last_seen: event time, in us; 0 for never within what was looked at.
    """

    status: Status
    incident_ids: tuple[str, ...]
    indicators: tuple[str, ...]
    last_seen: int


class ModuleHealth(NamedTuple):
    """One module (row S2-29).

    Attributes:
        status: the worst of its components that were heard, and of what is said of the whole; it is
            UNKNOWN when nothing of it was heard lately and nothing worse is known.
        components: by name.
        upstream_impact: the share of its trouble that comes from upstream; 0.0 without trouble.
        downstream_risk: the share of what other modules do that waits for this one.
        incident_ids: open, with an alert here.
        last_seen: event time, in us; 0 for never within what was looked at.
    """

    status: Status
    components: dict[str, ComponentHealth]
    upstream_impact: float
    downstream_risk: float
    incident_ids: tuple[str, ...]
    last_seen: int


class DependencyHealth(NamedTuple):
    """What one module has from another.

    Attributes:
        from_module, to_module: whose trouble becomes whose.
        affects: AVAILABILITY, THROUGHPUT, or both.
        status: of availability the first module's own, of throughput that of the edges between.
        expected, observed: records of the edges that lead right from one to the other, lately.
        ratio: of these; None where none were expected.
    """

    from_module: str
    to_module: str
    affects: tuple[Affects, ...]
    status: Status
    expected: int
    observed: int
    ratio: float | None


class Cascade(NamedTuple):
    """A module whose trouble began elsewhere.

    Attributes:
        module: that has it.
        from_module: where most of it comes from.
        upstream_impact: the share of it that comes from upstream.
        path: the modules that it came by, from there to here.
        incident_ids: that tell of it.
    """

    module: str
    from_module: str
    upstream_impact: float
    path: tuple[str, ...]
    incident_ids: tuple[str, ...]


class PipelineHealth(NamedTuple):
    """All of it (row S2-28).

    Attributes:
        overall_status: the worst of the modules, of what their dependencies lose, of the
            indicators of whole flows, and of incidents that are of no module.
        module_health: by module.
        dependency_graph: an entry a dependency.
        predictive_indicators: the worst first, then those that will be bad the soonest.
        cascades: modules that have their trouble from others.
    """

    overall_status: Status
    module_health: dict[str, ModuleHealth]
    dependency_graph: tuple[DependencyHealth, ...]
    predictive_indicators: tuple[Indicator, ...]
    cascades: tuple[Cascade, ...]


def heard(spans: Heard, others: Heard, judged_us: int) -> Heard:
    """Return when each component was heard last, and the worker with it.

    Args:
        spans: of closed traces, which a worker has judged.
        others: metric points, log lines and audit entries, which it may not have come to.
        judged_us: until when a worker has judged what came. What came later could be in trouble
            that nobody has told yet, so it is not heard.
    """
    found = dict(spans)
    for at, us in others.items():
        found[at] = max(found.get(at, 0), min(us, judged_us))
    return found


def health_of(seen: Seen, now_us: int) -> PipelineHealth:
    """Return the health of a pipeline.

    Args:
        seen: what is known of it.
        now_us: wall time.
    """
    names = [*seen.graph.modules]
    others = {t.module for t in seen.troubles} | {module for module, _ in seen.last_us}
    others |= {one.module for one in seen.indicators}
    names += sorted(others.difference(names, ("",)))
    blames = {name: _blame(seen, name) for name in names}
    modules = {name: _module(seen, name, blames[name], now_us) for name in names}
    dependencies = tuple(_dependency(seen, one, modules) for one in seen.graph.dependencies)
    lost = (_edges_status(seen, one) for one in seen.graph.dependencies)
    flows = (one.status for one in seen.indicators if not one.module)
    anywhere = (of_severity(one.severity) for one in seen.troubles)  # some are of no module
    return PipelineHealth(
        worst(
            (
                UNKNOWN if not modules else HEALTHY,
                *(one.status for one in modules.values()),
                *(status for status in lost if is_bad(status)),
                *flows,
                *anywhere,
            )
        ),
        modules,
        dependencies,
        tuple(sorted(seen.indicators, key=_urgency)),
        tuple(_cascades(seen, modules, blames)),
    )


def _urgency(one: Indicator) -> tuple[bool, float, str, str, str, str]:
    """Return where an indicator stands in the list."""
    left = float("inf") if one.time_to_threshold is None else one.time_to_threshold
    return (not is_bad(one.status), left, one.module, one.component, one.flow, one.indicator_type)


# --- modules --------------------------------------------------------------------------------------


def _module(seen: Seen, name: str, blame: Mapping[str, float], now_us: int) -> ModuleHealth:
    troubles = [one for one in seen.troubles if one.module == name]
    components = {part: _component(seen, name, part, now_us) for part in _parts(seen, name)}
    last_us = max((us for (m, _), us in seen.last_us.items() if m == name), default=0)
    status = worst(
        (
            HEALTHY if now_us - last_us < SILENT_US else UNKNOWN,
            *(one.status for one in components.values() if one.status != UNKNOWN),
            *(of_severity(one.severity) for one in troubles),
        )
    )
    return ModuleHealth(
        status,
        components,
        min(1.0, sum(blame.values())),
        seen.graph.risk_ratio(name),
        _ids(troubles),
        last_us,
    )


def _parts(seen: Seen, module: str) -> list[str]:
    """Return the components of a module: of the contract, of what was heard, of trouble."""
    topology = seen.graph.topology
    places = [place for place, name in topology.stage_module.items() if name == module]
    found = {topology.component_of(*place) for place in places}
    found.update(part for name, part in seen.last_us if name == module)
    found.update(one.component for one in seen.troubles if one.module == module)
    return sorted(found - {""})


def _component(seen: Seen, module: str, name: str, now_us: int) -> ComponentHealth:
    at = (module, name)
    troubles = [one for one in seen.troubles if (one.module, one.component) == at]
    own = [one for one in seen.indicators if (one.module, one.component) == at]
    last_us = seen.last_us.get(at, 0)
    status = worst(
        (
            HEALTHY if now_us - last_us < SILENT_US else UNKNOWN,
            *(of_severity(one.severity) for one in troubles),
            *(one.status for one in own),
        )
    )
    bad = tuple(one.indicator_type for one in own if is_bad(one.status))
    return ComponentHealth(status, _ids(troubles), bad, last_us)


def _ids(troubles: Iterable[Trouble]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.incident_id for one in troubles))


# --- whose trouble it is --------------------------------------------------------------------------


def _blame(seen: Seen, module: str) -> dict[str, float]:
    """Return the share of a module's trouble that comes from each module that may hurt it.

    Each open incident's word on a place of it counts by its severity, each bad indicator by its
    status. Of an incident the share is what it says itself: the alert that explains the one here,
    or the probabilities of its causes. Of an indicator it is how far the same quantity has gone
    upstream, where the way between is one way: what has gone as far there explains all of it here.
    """
    total = 0.0
    found: dict[str, float] = {}
    for trouble in seen.troubles:
        if trouble.module == module:
            heavy = weight(trouble.severity)
            total += heavy
            for other, share in trouble.blamed.items():
                if seen.graph.may_hurt(other, module):
                    found[other] = found.get(other, 0.0) + heavy * share
    for one in seen.indicators:
        if one.module == module and is_bad(one.status):
            heavy = _WEIGHT[one.status]
            total += heavy
            other, share = _explained(seen, one)
            if share:
                found[other] = found.get(other, 0.0) + heavy * share
    return {name: part / total for name, part in sorted(found.items())} if total else {}


def _explained(seen: Seen, one: Indicator) -> tuple[str, float]:
    """Return the module upstream in which the same has gone farthest, and how much it explains."""
    others = [
        (other.excess, other.module)
        for other in seen.indicators
        if other.indicator_type == one.indicator_type
        and other.module
        and seen.graph.is_above(other.module, one.module)
    ]
    excess, module = max(others, default=(0.0, ""))
    return module, min(1.0, excess / one.excess) if one.excess else 0.0


def _cascades(
    seen: Seen, modules: Mapping[str, ModuleHealth], blames: Mapping[str, Mapping[str, float]]
) -> Iterable[Cascade]:
    for name, one in modules.items():
        if is_bad(one.status) and one.upstream_impact >= CASCADE_RATIO:
            blame = blames[name]
            first = max(blame, key=lambda other: (blame[other], other))
            path = seen.graph.path(first, name)
            yield Cascade(name, first, one.upstream_impact, path, one.incident_ids)


# --- dependencies ---------------------------------------------------------------------------------


def _dependency(
    seen: Seen, one: Dependency, modules: Mapping[str, ModuleHealth]
) -> DependencyHealth:
    statuses: list[Status] = []
    if AVAILABILITY in one.affects:
        statuses.append(modules[one.from_module].status)
    if THROUGHPUT in one.affects and one.edges:
        statuses.append(_edges_status(seen, one))
    carried = _carried(seen, one)
    expected = sum(traffic.expected for traffic in carried)
    observed = sum(traffic.observed for traffic in carried)
    return DependencyHealth(
        one.from_module,
        one.to_module,
        one.affects,
        worst(statuses) if statuses else UNKNOWN,
        expected,
        observed,
        observed / expected if expected else None,
    )


def _carried(seen: Seen, one: Dependency) -> list[Traffic]:
    return [traffic for traffic in seen.graph.traffic if traffic.edge in one.edges]


def _edges_status(seen: Seen, one: Dependency) -> Status:
    """Return the worst of the edges of which it is known; UNKNOWN where that is none."""
    known: list[Status] = []
    for traffic in _carried(seen, one):
        short, long = traffic.burn_rate_short, traffic.burn_rate_long
        if short is not None and long is not None and traffic.expected:
            rate = min(short, long)
            is_slow, is_fast = rate >= seen.burn.slow_rate, rate >= seen.burn.fast_rate
            known.append(UNHEALTHY if is_fast else DEGRADED if is_slow else HEALTHY)
    return worst(known) if known else UNKNOWN
