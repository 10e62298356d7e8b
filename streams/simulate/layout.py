"""The contract as the simulator walks it: flows as lists of stages in an order that can happen.

Owns no rule of its own; stage ids, modules, components, span names, conditions and deadlines are
the contract's. Invariant: a stage stands after everything it comes after.
"""

from dataclasses import dataclass
from typing import Final

from streams.contract.model import Contract, Flow, Stage
from streams.errors import ConfigError

RECORD_FLOW: Final = "record"
"""The flow that records take; a contract without one has its first flow for that."""
BATCH_FLOW: Final = "batch"
JOB_FLOW: Final = "job"


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of a flow: the span that it leaves, and what it waits for.

    Attributes:
        id: the stage's label in its flow.
        module, component, name: what its span says of itself.
        after: ids of the stages it follows; empty for the entry.
        is_required: whether every trace of the flow needs it, condition aside.
        when: (stage, dimension, values) that make it required; None for no condition.
        min_count: how many spans it leaves, >= 1.
        deadline_us: see the contract's `deadline_ms`; 0 for none.
        acknowledges: whether it confirms what an earlier stage did.
    """

    id: str
    module: str
    component: str
    name: str
    after: tuple[str, ...]
    is_required: bool
    when: tuple[str, str, tuple[str, ...]] | None
    min_count: int
    deadline_us: int
    acknowledges: bool


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow: its stages in topological order and the edges that a trace must cross.

    Attributes:
        name: the flow's id.
        stages: the stages, predecessors first.
        edges: (near, far) of every edge whose far stage is required, always or by condition.
    """

    name: str
    stages: tuple[StageSpec, ...]
    edges: tuple[tuple[str, str], ...]

    def stage(self, stage_id: str) -> StageSpec | None:
        """Return the stage with that id, None when the flow has none."""
        return next((stage for stage in self.stages if stage.id == stage_id), None)


@dataclass(frozen=True)
class Layout:
    """All that the simulator needs to know of a contract.

    Attributes:
        version, name: the contract's.
        record_flow: id of the flow that a record takes.
        topics: topic of each module, in the contract's order.
        components: components of each module that flows and signals name, in their order.
        flows: by id.
    """

    version: str
    name: str
    record_flow: str
    topics: dict[str, str]
    components: dict[str, tuple[str, ...]]
    flows: dict[str, FlowSpec]

    @property
    def record(self) -> FlowSpec:
        """The flow that a record takes."""
        return self.flows[self.record_flow]

    def stage_modules(self) -> dict[str, str]:
        """Return the module of every stage id; the record flow's where flows share an id."""
        others = [flow for name, flow in self.flows.items() if name != self.record_flow]
        return {s.id: s.module for flow in (*others, self.record) for s in flow.stages}


def read_layout(contract: Contract) -> Layout:
    """Return the contract as flows in walking order.

    Raises:
        ConfigError: the contract has no flow.
    """
    if not contract.flows:
        raise ConfigError(
            f"contract {contract.name!r}: the simulator needs a flow that records take; add one, "
            "or simulate the contract 'seed'"
        )
    record_flow = RECORD_FLOW if RECORD_FLOW in contract.flows else next(iter(contract.flows))
    flows = {name: _flow(name, flow) for name, flow in contract.flows.items()}
    components: dict[str, tuple[str, ...]] = {}
    for module in contract.modules:
        named = [s.component for f in flows.values() for s in f.stages if s.module == module]
        named += [s.component for s in contract.signals if s.module == module.lower()]
        components[module] = tuple(dict.fromkeys(named)) or (module.lower(),)
    return Layout(
        version=contract.version,
        name=contract.name,
        record_flow=record_flow,
        topics={module: contract.topic(module) for module in contract.modules},
        components=components,
        flows=flows,
    )


def _flow(name: str, flow: Flow) -> FlowSpec:
    stages = tuple(_stage(stage) for stage in _ordered(flow.stages))
    must_come = (s for s in stages if s.is_required or s.when is not None)
    edges = tuple((near, stage.id) for stage in must_come for near in stage.after)
    return FlowSpec(name, stages, edges)


def _ordered(stages: tuple[Stage, ...]) -> list[Stage]:
    """Sort predecessors first; ties keep the order of the file. The contract has no cycles."""
    placed: dict[str, Stage] = {}
    while len(placed) < len(stages):
        ready = next(s for s in stages if s.id not in placed and all(a in placed for a in s.after))
        placed[ready.id] = ready
    return list(placed.values())


def _stage(stage: Stage) -> StageSpec:
    when = stage.when
    return StageSpec(
        id=stage.id,
        module=stage.module,
        # A stage of any component still has to come from one.
        component=stage.component or stage.id,
        name=stage.name,
        after=stage.after,
        is_required=stage.required,
        when=None if when is None else (when.stage, when.dimension, when.values),
        min_count=stage.min_count,
        deadline_us=(stage.deadline_ms or 0) * 1000,
        acknowledges=stage.acknowledges,
    )
