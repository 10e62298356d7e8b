"""Builds the tasks of the global stage: what crosses partitions has one home of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from streams.codec.records import decode_as
from streams.contract.incident_rules import IncidentRules
from streams.contract.model import Contract
from streams.core.alerts.settings import RuleSettings
from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.commands import read_command
from streams.core.incidents.propagation import Component, Propagation, Spot
from streams.core.incidents.settings import DampingSettings, IncidentSettings
from streams.core.incidents.silences import WINDOW, Silence
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.engine.causes import CausesTask
from streams.engine.external import ExternalTask
from streams.engine.fidelity import FidelitySettings, FidelityTask
from streams.engine.fragments import FragmentSettings, FragmentTask
from streams.engine.incidents import IncidentTask
from streams.engine.signals import SignalsTask
from streams.runtime import topics
from streams.runtime.build import Pipeline
from streams.runtime.cause_runner import CauseRunner
from streams.runtime.external_runner import ExternalRunner
from streams.runtime.keyed_runner import KeyedRunner
from streams.runtime.runner import Runner
from streams.runtime.signal_stage import (
    cause_parameters,
    cause_settings,
    external_settings,
    graph_of,
    signal_settings,
)
from streams.runtime.stage_runner import StageRunner
from streams.settings import WorkerSettings
from streams.units import MINUTE_US, SECOND_US

AMEND_SECONDS = 900
"""How long, in event time, an ended window still takes corrections ..."""
AMEND_WINDOWS = 90
"""... and of how many windows at most: they are the state of the task."""

_SCHEMAS: Final = {
    topics.FRAGMENTS: ("trace_fragment",),
    topics.PARTIALS: ("fidelity_partial",),
    topics.SIGNALS: ("signal_partial",),
    topics.CAUSE_INPUTS: ("signal_partial", "assembled_trace", "telemetry_event"),
    topics.ALERTS: ("alert",),
    topics.EVIDENCE: ("cause_evidence",),
}
"""Of the topics that these tasks read: a record of another schema is not theirs, and is counted."""


class GlobalFactory:
    """Makes the runners of all tasks but the join."""

    def __init__(self, pipeline: Pipeline, partitions: int) -> None:
        self._pipeline = pipeline
        self._partitions = partitions
        self._topology = topology_of(pipeline.contract)
        self._fidelity = fidelity_settings(pipeline.settings, pipeline.contract)
        self._incidents = incident_settings(
            pipeline.settings, pipeline.contract, self._fidelity.merge
        )

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Return the source topics of each kind of task."""
        derived = self._pipeline.derived
        return {
            "fragments": (derived(topics.FRAGMENTS),),
            "fidelity": (derived(topics.PARTIALS),),
            "signals": (derived(topics.SIGNALS),),
            "causes": (derived(topics.CAUSE_INPUTS),),
            "incidents": (
                derived(topics.ALERTS),
                derived(topics.COMMANDS),
                derived(topics.EVIDENCE),
            ),
            "external": (derived(topics.EXTERNAL),),
        }

    def _readers(self) -> dict[str, Callable[[bytes | None], dict[str, Any]]]:
        """Return how the values of each topic are read."""
        derived = self._pipeline.derived
        readers = {derived(topic): partial(decode_as, names) for topic, names in _SCHEMAS.items()}
        return {**readers, derived(topics.COMMANDS): read_command}

    def make(self, kind: str, partition: int) -> Runner:
        """Make the runner of one task, without state."""
        return {
            "fragments": self._fragments,
            "fidelity": self._merge,
            "signals": self._signals,
            "causes": self._causes,
            "external": self._external,
            "incidents": self._group,
        }[kind](partition)

    def _fragments(self, partition: int) -> Runner:
        topology = self._topology
        derived = self._pipeline.derived
        settings = FragmentSettings(
            partition,
            self._partitions,
            window_us=self._fidelity.merge.window_us,
            tells_links=derived(topics.LINKS) in self._pipeline.telemetry,
        )
        return StageRunner(
            FragmentTask(settings, topology),
            lambda snapshot: FragmentTask.restore(settings, topology, snapshot),
            {
                "restarts": (derived(topics.PARTIALS), "fidelity_partial", 0),
                "links": (derived(topics.LINKS), "telemetry_event", -1),
            },
            self._readers(),
        )

    def _merge(self, _partition: int) -> Runner:
        settings, topology, derived = self._fidelity, self._topology, self._pipeline.derived
        return StageRunner(
            FidelityTask(settings, topology),
            lambda snapshot: FidelityTask.restore(settings, topology, snapshot),
            {
                "stats": (derived(topics.STATS), "fidelity_stats", 0),
                "alerts": (derived(topics.ALERTS), "alert", 0),
            },
            self._readers(),
        )

    def _signals(self, _partition: int) -> Runner:
        contract = self._pipeline.contract
        settings = signal_settings(self._pipeline.settings, contract)
        graph = graph_of(contract, self._topology)
        return StageRunner(
            SignalsTask(settings, graph),
            lambda snapshot: SignalsTask.restore(settings, graph, snapshot),
            {
                "alerts": (self._pipeline.derived(topics.ALERTS), "alert", 0),
                "windows": (self._pipeline.derived(topics.CAUSE_INPUTS), "signal_partial", 0),
            },
            self._readers(),
        )

    def _causes(self, _partition: int) -> Runner:
        settings = cause_settings(self._pipeline.settings, self._pipeline.contract)
        return CauseRunner(
            CausesTask(settings),
            lambda snapshot: CausesTask.restore(settings, snapshot),
            {"evidence": (self._pipeline.derived(topics.EVIDENCE), "cause_evidence", 0)},
            self._readers(),
        )

    def _external(self, _partition: int) -> Runner:
        settings, topology = external_settings(self._pipeline.contract), self._topology
        derived, privacy = self._pipeline.derived, self._pipeline.privacy
        return ExternalRunner(
            ExternalTask(settings, topology, privacy),
            lambda snapshot: ExternalTask.restore(settings, topology, snapshot, privacy),
            {
                "alerts": (derived(topics.ALERTS), "alert", 0),
                "rejected": (derived(topics.REJECTED), "rejected_event", 0),
            },
        )

    def _group(self, _partition: int) -> Runner:
        settings, topology, derived = self._incidents, self._topology, self._pipeline.derived
        return KeyedRunner(
            IncidentTask(settings, topology),
            lambda snapshot: IncidentTask.restore(settings, topology, snapshot),
            {
                "incidents": (derived(topics.INCIDENTS), "incident_event", 0),
                "audit": (derived(topics.AUDIT), "telemetry_event", 0),
                "ledger": (derived(topics.LEDGER), "noise_ledger", 0),
            },
            self._readers(),
        )


def topology_of(contract: Contract | None) -> Topology:
    """Return what the global stage knows of the pipeline."""
    if contract is None:
        return Topology()
    playbooks = contract.playbooks
    modules = {
        name: ModuleInfo(
            module.owner,
            module.channel,
            playbooks.get(module.playbook or "", module.playbook or ""),
            tuple(module.depends_on),
        )
        for name, module in contract.modules.items()
    }
    edges: list[Edge] = []
    stage_module: dict[Place, str] = {}
    stage_component: dict[Place, str] = {}
    required: set[Place] = set()
    acknowledgment: set[Place] = set()
    slo_ratio: dict[Edge, float] = {}
    for flow_id, flow in contract.flows.items():
        edges += [Edge(flow_id, near, far) for near, far in flow.edges]
        slo_ratio[Edge(flow_id, "", "")] = contract.objective(flow_id)
        for stage in flow.stages:
            place = Place(flow_id, stage.id)
            stage_module[place] = stage.module
            stage_component[place] = stage.component
            if stage.required and stage.when is None:
                required.add(place)
            if stage.acknowledges:
                acknowledgment.add(place)
    for objective in contract.slos.edges:
        edge = Edge(objective.flow, objective.from_stage, objective.to_stage)
        slo_ratio[edge] = objective.fidelity
    return Topology(
        modules,
        tuple(edges),
        stage_module,
        frozenset(required),
        frozenset(acknowledgment),
        slo_ratio,
        calls=_calls(contract),
        stage_component=stage_component,
        propagation=_propagation(contract),
    )


def _propagation(contract: Contract) -> Propagation:
    """Return how trouble travels between the components that the contract names."""
    needs: dict[Component, tuple[Component, ...]] = {}
    reporters: set[Component] = set()
    for name, module in contract.modules.items():
        for component, known in module.components.items():
            if known.reports:
                reporters.add((name, component))
            pairs = (needed.partition(".") for needed in known.needs)
            needs[name, component] = tuple((m, c) for m, _, c in pairs)
    if not needs:
        return Propagation()
    handovers: dict[tuple[Spot, Spot], None] = {}
    for flow_id, flow in contract.flows.items():
        spots = {s.id: Spot((s.module, s.component), (flow_id, s.id)) for s in flow.stages}
        for near, far in flow.edges:
            handovers[spots[near], spots[far]] = None
    return Propagation(needs, tuple(handovers), frozenset(reporters))


def _calls(contract: Contract) -> tuple[tuple[str, str], ...]:
    """Return (caller, callee) modules as the learned rules have seen them."""
    if contract.operations is None:
        return ()
    pairs = {(n.parent[0], n.child[0]) for n in contract.operations.nesting}
    return tuple(sorted((caller, callee) for caller, callee in pairs if caller != callee))


def fidelity_settings(settings: WorkerSettings, contract: Contract | None) -> FidelitySettings:
    """Return windows and thresholds: the worker's settings where given, else the contract's."""
    window_us = round(settings.window_seconds * SECOND_US)
    short_s = settings.burn_short_seconds or (contract.slos.short_s if contract else 300)
    long_s = settings.burn_long_seconds or (contract.slos.long_s if contract else 3600)
    short_us, long_us = (_aligned(s, window_us) for s in (short_s, long_s))
    merge = MergeSettings(
        window_us=window_us,
        rollup_us=_aligned(60, window_us),
        short_us=short_us,
        long_us=long_us,
        slo_ratio=contract.slos.fidelity if contract else 0.999,
        amend_us=max(
            min(_aligned(AMEND_SECONDS, window_us), AMEND_WINDOWS * window_us), 2 * short_us
        ),
    )
    if contract is None:
        return FidelitySettings(merge, RuleSettings())
    t = contract.thresholds
    rules = RuleSettings(
        burn_rate=contract.slos.burn_rate,
        min_expected=contract.slos.min_count,
        error_ratio=t.error_ratio,
        deadline_ratio=t.deadline_ratio,
        duplicate_ratio=t.duplicate_ratio,
        min_duplicates=t.min_count,
        min_gaps=t.min_count,
        silent_us=round(t.silent_s * SECOND_US),
        quiet_us=round(settings.quiet_seconds * SECOND_US),
        warm_up_us=round(settings.warm_up_seconds * SECOND_US),
    )
    return FidelitySettings(merge, rules)


def incident_settings(
    settings: WorkerSettings, contract: Contract | None, merge: MergeSettings
) -> IncidentSettings:
    """Return how alerts become incidents: times from the settings, rules from the contract."""
    rules = contract.incidents if contract is not None else IncidentRules()
    return IncidentSettings.matching(
        merge,
        round(settings.quiet_seconds * SECOND_US),
        DampingSettings(half_life_us=round(settings.flap_half_life_seconds * SECOND_US)),
        hold_us=round(settings.incident_hold_seconds * SECOND_US),
        update_us=round(settings.incident_update_seconds * SECOND_US),
        refresh_us=round(settings.incident_refresh_seconds * SECOND_US),
        escalate_us={
            severity: round(minutes * MINUTE_US)
            for severity, minutes in rules.escalate_minutes.items()
        },
        occurrences=rules.occurrences,
        maintenance=tuple(
            Silence(
                f"{WINDOW}{window.name}",
                window.matcher,
                window.from_us,
                window.until_us,
                "contract",
                window.reason,
            )
            for window in rules.maintenance
        ),
        min_occurrences=settings.incident_occurrences,
        causes=cause_parameters(settings),
    )


def _aligned(seconds: float, window_us: int) -> int:
    """Return a span of time as a whole number of windows, at least one."""
    return max(1, round(seconds * SECOND_US / window_us)) * window_us
