"""The pipeline's shape: which module owns a stage, which stage follows which, who depends on whom.

Owns the one answer to "is this place upstream of that one"; it is plain data, built by the runtime
from the contract. Invariant: every question has an answer for unknown names too (telemetry may
name stages and modules that the contract does not), and no question loops on a cyclic graph.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from streams.core.incidents.propagation import Propagation

K = TypeVar("K")
V = TypeVar("V")


class Edge(NamedTuple):
    """Two stages of a flow in order. `Edge(flow, "", "")` stands for the flow as a whole."""

    flow: str
    from_stage: str
    to_stage: str


class Place(NamedTuple):
    """One stage of one flow."""

    flow: str
    stage: str


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """Who answers for a module: owner, where to reach them, what to do, and what it needs.

    Attributes:
        depends_on: the modules this one needs, that is its upstream.
    """

    owner: str = ""
    channel: str = ""
    playbook: str = ""
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Topology:
    """Modules, stages and edges of a contract; the empty topology stands for running without one.

    Attributes:
        modules: what is known of each module, by name.
        edges: the edges of all flows.
        stage_module: the module of each stage of each flow.
        stage_component: the component of each, within its module.
        required: the stages that a complete trace must have, without condition.
        acknowledgment: the stages whose span says that the far side has taken the record.
        slo_ratio: objectives other than the default one, by edge, or by `Edge(flow, "", "")`.
        calls: (caller, callee) modules of a learned call graph, for a pipeline that declares no
            flows: a caller needs its callee.
        propagation: how trouble travels between components, as far as the contract says.
    """

    modules: Mapping[str, ModuleInfo] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    stage_module: Mapping[Place, str] = field(default_factory=dict)
    required: frozenset[Place] = frozenset()
    acknowledgment: frozenset[Place] = frozenset()
    slo_ratio: Mapping[Edge, float] = field(default_factory=dict)
    calls: tuple[tuple[str, str], ...] = ()
    stage_component: Mapping[Place, str] = field(default_factory=dict)
    propagation: Propagation = field(default_factory=Propagation)

    def module_of(self, flow: str, stage: str) -> str:
        """Return the module of a stage; a learned label `module:name` names it itself; else ""."""
        known = self.stage_module.get(Place(flow, stage))
        if known is not None:
            return known
        module, colon, _ = stage.partition(":")
        return module if colon else ""

    def component_of(self, flow: str, stage: str) -> str:
        """Return the component of a stage; "" for one that the contract does not name."""
        return self.stage_component.get(Place(flow, stage), "")

    def slo(self, flow: str, from_stage: str, to_stage: str, default_ratio: float) -> float:
        """Return the objective of an edge, else of its flow, else the default one."""
        of_flow = self.slo_ratio.get(Edge(flow, "", ""), default_ratio)
        return self.slo_ratio.get(Edge(flow, from_stage, to_stage), of_flow)

    def is_hop(self, edge: Edge) -> bool:
        """Say whether an edge leads from one module into another."""
        near = self.module_of(edge.flow, edge.from_stage)
        return near != self.module_of(edge.flow, edge.to_stage)

    def near_stages(self, flow: str, stage: str) -> tuple[str, ...]:
        """Return the stages right before a stage, in the contract's order."""
        return self._near.get(Place(flow, stage), ())

    def far_stages(self, flow: str, stage: str) -> tuple[str, ...]:
        """Return the stages right after a stage, in the contract's order."""
        return self._far.get(Place(flow, stage), ())

    def is_before(self, flow: str, stage: str, other: str) -> bool:
        """Say whether a path of at least one edge leads from `stage` to `other`."""
        return other in self._after.get(Place(flow, stage), frozenset())

    def stages_of(self, module: str) -> tuple[Place, ...]:
        """Return the stages of a module over all flows."""
        return self._stages.get(module, ())

    def flows_of(self, module: str) -> tuple[str, ...]:
        """Return the flows that pass through a module, sorted."""
        return tuple(sorted({place.flow for place in self.stages_of(module)}))

    def depth(self, flow: str, stage: str) -> int:
        """Return the longest path from the flow's entry to a stage; unknown stages come last."""
        return self._depth.get(Place(flow, stage), len(self._depth))

    def module_depth(self, module: str) -> int:
        """Return the depth of a module's most upstream stage; modules without a stage come last."""
        return min((self.depth(*place) for place in self.stages_of(module)), default=10**6)

    def upstream(self, module: str) -> frozenset[str]:
        """Return every module that this one needs, directly or not, without itself."""
        return reach((module,), self._upstream) - {module}

    def downstream(self, module: str) -> frozenset[str]:
        """Return every module that needs this one, directly or not, without itself."""
        return reach((module,), self._downstream) - {module}

    def are_neighbours(self, module: str, other: str) -> bool:
        """Say whether one of two modules hands over to, or depends on, the other."""
        return other in self._upstream.get(module, ()) or module in self._upstream.get(other, ())

    def needs(self, module: str, other: str) -> bool:
        """Say whether a module takes from another one, calls it or depends on it, directly."""
        return other in self._upstream.get(module, ())

    def neighbours(self, module: str) -> tuple[str, ...]:
        """Return the modules that this one needs directly, or that need it so; sorted."""
        beside = {*self._upstream.get(module, ()), *self._downstream.get(module, ())}
        return tuple(sorted(beside - {module}))

    @cached_property
    def _near(self) -> dict[Place, tuple[str, ...]]:
        return grouped((Place(e.flow, e.to_stage), e.from_stage) for e in self.edges)

    @cached_property
    def _far(self) -> dict[Place, tuple[str, ...]]:
        return grouped((Place(e.flow, e.from_stage), e.to_stage) for e in self.edges)

    @cached_property
    def _after(self) -> dict[Place, frozenset[str]]:
        graphs: dict[str, dict[str, tuple[str, ...]]] = {}
        for place, far in self._far.items():
            graphs.setdefault(place.flow, {})[place.stage] = far
        return {p: reach((p.stage,), graphs[p.flow]) for p in self._far}

    @cached_property
    def _stages(self) -> dict[str, tuple[Place, ...]]:
        return grouped((module, place) for place, module in self.stage_module.items())

    @cached_property
    def _depth(self) -> dict[Place, int]:
        places = dict.fromkeys(self.stage_module)
        for edge in self.edges:
            places.update(
                {Place(edge.flow, edge.from_stage): None, Place(edge.flow, edge.to_stage): None}
            )
        waiting = {place: len(self.near_stages(*place)) for place in places}
        depth = {place: 0 for place, count in waiting.items() if count == 0}
        ready = deque(depth)
        while ready:
            place = ready.popleft()
            for stage in self.far_stages(*place):
                far = Place(place.flow, stage)
                waiting[far] -= 1
                if waiting[far] == 0:
                    depth[far] = 1 + max(
                        depth[Place(far.flow, near)] for near in self.near_stages(*far)
                    )
                    ready.append(far)
        # What is left sits on a cycle, which only learned rules can have: it has no order.
        return depth

    @cached_property
    def _upstream(self) -> dict[str, tuple[str, ...]]:
        pairs = [(name, up) for name, info in self.modules.items() for up in info.depends_on]
        for edge in self.edges:
            near = self.module_of(edge.flow, edge.from_stage)
            far = self.module_of(edge.flow, edge.to_stage)
            if near and far and near != far:
                pairs.append((far, near))
        pairs += [(caller, callee) for caller, callee in self.calls if caller != callee]
        return grouped(pairs)

    @cached_property
    def _downstream(self) -> dict[str, tuple[str, ...]]:
        return grouped((up, name) for name, ups in self._upstream.items() for up in ups)


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, tuple[V, ...]]:
    """Return the second ones of pairs by the first, each once, in their order."""
    groups: dict[K, dict[V, None]] = {}
    for key, value in pairs:
        groups.setdefault(key, {})[value] = None
    return {key: tuple(values) for key, values in groups.items()}


def reach(start: Iterable[K], graph: Mapping[K, Iterable[K]]) -> frozenset[K]:
    """Return what a path of at least one edge leads to; a cycle may lead to its own start."""
    seen: set[K] = set()
    waiting = [far for node in start for far in graph.get(node, ())]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(graph.get(node, ()))
    return frozenset(seen)
