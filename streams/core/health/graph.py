"""Who owes what to whom: the contract's graph, and what the traffic shows besides (row S2-58).

Owns the dependencies between modules, and what stands behind each. A module that cannot do without
another depends on it for its availability; one that gets records from another, or by way of others,
depends on it for its throughput. Invariant: every answer ends on a cyclic graph; modules that stand
before and behind each other, as a layer between all others does, are upstream of each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, NamedTuple

from streams.core.incidents.topology import Edge, Place, Topology, grouped, reach

Affects = Literal["AVAILABILITY", "THROUGHPUT"]
AVAILABILITY: Final = "AVAILABILITY"
THROUGHPUT: Final = "THROUGHPUT"


class Traffic(NamedTuple):
    """What an edge carried lately, as its windows of fidelity say.

    Attributes:
        edge: which one.
        expected: records that were at its near stage and had to come to the far one.
        observed: those that did.
        burn_rate_short, burn_rate_long: how fast its error budget burns; None where nobody knows.
    """

    edge: Edge
    expected: int
    observed: int
    burn_rate_short: float | None = None
    burn_rate_long: float | None = None


class Dependency(NamedTuple):
    """One module's need of another.

    Attributes:
        from_module: whose trouble it would be.
        to_module: who would have it then.
        affects: what of it.
        edges: those that lead from the one right into the other.
    """

    from_module: str
    to_module: str
    affects: tuple[Affects, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Graph:
    """Stages and modules in the way that work goes.

    Attributes:
        topology: what the contract says.
        traffic: what edges carried, of which the contract need not know.
        handovers: (from, to) modules, for a pipeline of which nothing else is known.
    """

    topology: Topology = field(default_factory=Topology)
    traffic: tuple[Traffic, ...] = ()
    handovers: tuple[tuple[str, str], ...] = ()

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """All modules: the contract's in its order, then the others by name."""
        seen = {self.module_of(place) for place in self._places} - {""}
        seen.update(name for pair in self.handovers for name in pair)
        seen.update(name for pair in self.topology.calls for name in pair)
        known = self.topology.modules
        return (*known, *sorted(seen.difference(known)))

    def module_of(self, place: Place) -> str:
        """Return the module of a stage, "" for one that has none."""
        return self.topology.module_of(*place)

    @cached_property
    def dependencies(self) -> tuple[Dependency, ...]:
        """Each pair of modules of which one needs the other or gets records from it, in order."""
        edges: dict[tuple[str, str], list[Edge]] = {}
        for edge in self._edges:
            near = self.topology.module_of(edge.flow, edge.from_stage)
            far = self.topology.module_of(edge.flow, edge.to_stage)
            if near and far and near != far:
                edges.setdefault((near, far), []).append(edge)
        pairs = {*edges, *((n, f) for n, f in self.handovers if n != f)}
        needs = (*self._needs.items(), *self._component_needs.items())
        needed = {(need, name) for name, others in needs for need in others}
        at = {name: number for number, name in enumerate(self.modules)}
        found = []
        for near, far in sorted(
            pairs | {pair for pair in needed if at.keys() >= set(pair)},
            key=lambda pair: (at[pair[0]], at[pair[1]]),
        ):
            affects: list[Affects] = []
            if (near, far) in needed:
                affects.append(AVAILABILITY)
            if (near, far) in pairs or far in {self.module_of(p) for p in self._behind(near)}:
                affects.append(THROUGHPUT)
            found.append(Dependency(near, far, tuple(affects), tuple(edges.get((near, far), ()))))
        return tuple(found)

    @cached_property
    def _upstream(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        behind = {name: {self.module_of(p) for p in self._behind(name)} for name in self.modules}
        givers = grouped((far, near) for near, far in self.handovers)
        for name in self.modules:
            before = {other for other in self.modules if name in behind[other]}
            before |= reach({name}, givers)
            found[name] = (reach(before | {name}, self._needs) | before) - {name}
        return found

    def upstream(self, module: str) -> frozenset[str]:
        """Return the modules whose trouble can become this one's."""
        return self._upstream.get(module, frozenset())

    @cached_property
    def _hurting(self) -> dict[str, frozenset[str]]:
        steps = {name: self.upstream(name).union(self._needed_by(name)) for name in self.modules}
        return {name: reach({name}, steps) - {name} for name in steps}

    def may_hurt(self, module: str, other: str) -> bool:
        """Say whether a module's trouble can become another's.

        It can from upstream, and against the way of records too: where a component needs one that
        lies behind it, which does not take its work, as the contract says.
        """
        return module in self._hurting.get(other, ())

    def is_above(self, module: str, other: str) -> bool:
        """Say whether a module is upstream of another, and none of it needs one of the other's."""
        before = self.upstream(module).union(self._needed_by(module))
        return module in self.upstream(other) and other not in before

    def risk_ratio(self, module: str) -> float:
        """Return the share of what other modules do that waits for this one.

        What they do are the stages of all flows, each as often as records lately were to come to
        it, or all alike where none were; of modules of which no stage is known, themselves. It is
        the share that would be hurt if the module stopped, whether it is well or not.
        """
        hurt = {module, *reach({module}, self._needed)}
        if not self._places:
            others = [name for name in self.modules if name != module]
            after = reach(hurt, grouped(self.handovers)) | hurt
            return len(after.intersection(others)) / len(others) if others else 0.0
        behind = {place for name in hurt for place in self._behind(name)}
        weights = {p: w for p, w in self._weights.items() if self.module_of(p) != module}
        total = sum(weights.values())
        at_risk = sum(w for p, w in weights.items() if p in behind or self.module_of(p) in hurt)
        return min(1.0, at_risk / total) if total else 0.0

    def path(self, start: str, end: str) -> tuple[str, ...]:
        """Return the shortest way of trouble from a module to another; () where there is none."""
        before: dict[str, str] = {}
        edge = [start]
        while edge and end not in before:
            edge = self._step(edge, before, start)
        if end not in before:
            return ()
        way = [end]
        while way[-1] != start:
            way.append(before[way[-1]])
        return tuple(reversed(way))

    def _step(self, edge: Iterable[str], before: dict[str, str], start: str) -> list[str]:
        found = []
        for near in edge:
            for one in self.dependencies:
                far = one.to_module
                if one.from_module == near and far not in before and far != start:
                    before[far] = near
                    found.append(far)
        return found

    # --- the graph ------------------------------------------------------------------------------

    @cached_property
    def _edges(self) -> tuple[Edge, ...]:
        return tuple(dict.fromkeys((*self.topology.edges, *(one.edge for one in self.traffic))))

    @cached_property
    def _places(self) -> dict[Place, None]:
        found = dict.fromkeys(self.topology.stage_module)
        for edge in self._edges:
            found[Place(edge.flow, edge.from_stage)] = None
            found[Place(edge.flow, edge.to_stage)] = None
        return found

    @cached_property
    def _far(self) -> dict[Place, tuple[Place, ...]]:
        return grouped(
            (Place(e.flow, e.from_stage), Place(e.flow, e.to_stage)) for e in self._edges
        )

    @cached_property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        """By module those that it cannot do without: declared, or called as traces showed."""
        pairs = [(name, n) for name, m in self.topology.modules.items() for n in m.depends_on]
        return grouped(pair for pair in (*pairs, *self.topology.calls) if pair[0] != pair[1])

    @cached_property
    def _component_needs(self) -> dict[str, tuple[str, ...]]:
        """By module those that one of its components cannot do without one of.

        They are no part of `_needs`: a layer has many components, and who needs one of them does
        not need what the others do.
        """
        needs = self.topology.propagation.needs
        pairs = ((near, far) for (near, _), others in needs.items() for far, _ in others)
        return grouped(pair for pair in pairs if pair[0] != pair[1])

    def _needed_by(self, module: str) -> tuple[str, ...]:
        return self._component_needs.get(module, ())

    @cached_property
    def _needed(self) -> dict[str, tuple[str, ...]]:
        return grouped((need, name) for name, needs in self._needs.items() for need in needs)

    @cached_property
    def _weights(self) -> dict[Place, int]:
        """How many records each stage was to have; one each where there were none at all."""
        found = dict.fromkeys(self._places, 0)
        into = {Place(one.edge.flow, one.edge.to_stage) for one in self.traffic}
        for one in self.traffic:
            near = Place(one.edge.flow, one.edge.from_stage)
            far = Place(one.edge.flow, one.edge.to_stage)
            found[far] = max(found[far], one.expected)
            if near not in into:  # an entry: what leaves it was there
                found[near] = max(found[near], one.expected)
        return found if any(found.values()) else dict.fromkeys(found, 1)

    @cached_property
    def _behind_of(self) -> dict[str, frozenset[Place]]:
        own: dict[str, set[Place]] = {}
        for place in self._places:
            own.setdefault(self.module_of(place), set()).add(place)
        return {name: reach(places, self._far) for name, places in own.items()}

    def _behind(self, module: str) -> frozenset[Place]:
        """Return the stages that a way leads to from one of a module's."""
        return self._behind_of.get(module, frozenset())
