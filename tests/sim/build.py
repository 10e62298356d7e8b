"""Makes the runners of a simulated worker: the real ones, on a random plan and small bounds."""

from functools import cache
from typing import Any

import numpy as np

from streams.codec.assembled import TraceEncoder
from streams.codec.events import EventDecoder
from streams.codec.hashes import value_hash
from streams.codec.records import decode_body
from streams.codec.schemas import default_schemas
from streams.core.alerts.settings import RuleSettings
from streams.core.columns import Operations
from streams.core.fidelity.merge import RESTART_PARTITION_BASE, MergeSettings
from streams.core.fidelity.plan import Plan
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.core.signals.counts import SignalBounds
from streams.core.signals.series import SeriesBook
from streams.core.traces.opentraces import TraceBounds
from streams.core.traces.progress import ProgressSettings
from streams.core.traces.waits import WaitSettings
from streams.engine.fidelity import FidelitySettings, FidelityTask
from streams.engine.fragments import FragmentSettings, FragmentTask
from streams.engine.incidents import IncidentTask
from streams.engine.join import JoinTask
from streams.engine.join_state import JoinSettings
from streams.runtime.cause_inputs import CauseInputs
from streams.runtime.join_runner import JoinRunner, OutputTopics
from streams.runtime.keyed_runner import KeyedRunner
from streams.runtime.runner import Runner
from streams.runtime.sources import Sources
from streams.runtime.stage_runner import StageRunner
from streams.runtime.topics import CAUSE_INPUTS
from streams.runtime.traces_out import TraceWriter
from tests.sim.features import Features
from tests.sim.load import LINKS, MS_US, OTHER, TELEMETRY, topic_of_module
from tests.sim.tasks import TRACES, TaskName

FRAGMENTS, PARTIALS, REJECTED, SIGNALS = (
    "traces.fragments.v1",
    "fidelity.partials.v1",
    "telemetry.rejected.v1",
    "signals.partials.v1",
)
STATS, ALERTS, INCIDENTS = "fidelity.stats.v1", "alerts.raised.v1", "incidents.events.v1"
AUDIT, LEDGER = "incidents.audit.v1", "incidents.ledger.v1"
SOURCES = {
    "join": TELEMETRY,
    "fragments": (FRAGMENTS,),
    "fidelity": (PARTIALS,),
    "incidents": (ALERTS,),
}
FOR_EVER_US = 1 << 55
RESTART_BASE = RESTART_PARTITION_BASE
WINDOW_US = 200 * MS_US
MERGE = MergeSettings(
    window_us=WINDOW_US,
    rollup_us=5 * WINDOW_US,
    short_us=2 * WINDOW_US,
    long_us=5 * WINDOW_US,
    slo_ratio=0.9,
    wall_limit_us=2_000 * MS_US,
    amend_us=300 * WINDOW_US,
)
RULES = RuleSettings(
    burn_rate=0.5,
    min_missing=1,
    min_expected=1,
    min_errors=1,
    min_deadline_missed=1,
    min_duplicates=1,
    min_gaps=1,
    min_restarted=1,
    silent_us=2 * WINDOW_US,
    min_silent_events=1,
    quiet_us=3 * WINDOW_US,
    warm_up_us=0,
)


def join_settings(features: Features) -> JoinSettings:
    """Return the bounds and waits of a run, small where a feature says so."""
    given: dict[str, Any] = {}
    if "trace_bound" in features:
        given["bounds"] = TraceBounds(rows_max=3, bytes_max=4 << 20)
    if "open_bound" in features:
        given["open_traces_max"] = 1
    if "bytes_bound" in features:
        given["open_bytes_max"] = 600
    if "closed_bound" in features:
        given["closed_max"] = 1
    retention_us = 300 * MS_US if "short_retention" in features else FOR_EVER_US
    delay_us = 60 * MS_US if "delay_bound" in features else FOR_EVER_US
    return JoinSettings(
        **given,
        closed_retention_us=retention_us,
        window_us=WINDOW_US,
        signals=SignalBounds(windows_max=1 << 20, retention_us=FOR_EVER_US),
        progress=ProgressSettings(disorder_max_us=40 * MS_US, delay_max_us=delay_us),
        waits=WaitSettings(
            initial_us=150 * MS_US,
            floor_us=5 * MS_US,
            ceiling_us=300 * MS_US,
            traces_min=2 if "learned_wait" in features else 1 << 40,
        ),
    )


def topology_of(plan: Plan) -> Topology:
    """Return what the global stage knows of a plan."""
    edges, modules, required = [], {}, set()
    for flow in plan.flows:
        for i, stage in enumerate(flow.stage_id):
            place = Place(flow.name, stage)
            modules[place] = plan.stage_operation[int(flow.stage_code[i])].module
            if flow.is_required[i]:
                required.add(place)
        edges += [
            Edge(flow.name, flow.stage_id[near], flow.stage_id[far])
            for near, far in flow.edges.tolist()
        ]
    infos = {module: ModuleInfo(owner=f"{module}-team") for module in plan.modules}
    return Topology(infos, tuple(edges), modules, frozenset(required))


_hash_of = cache(value_hash)


class Process:
    """What one worker process makes once: names, decoder, and from them its tasks."""

    def __init__(self, plan: Plan, features: Features) -> None:
        self._plan = plan
        self._features = features
        self._schemas = default_schemas()
        self._operations = Operations()
        self._series = SeriesBook()
        self._decoder = EventDecoder(
            self._schemas, self._operations, dimensions=plan.dimensions, series=self._series
        )
        self._settings = join_settings(features)
        self._topology = topology_of(plan)
        self._conditions = {
            c.bit: np.array([_hash_of(v) for v in c.values], np.uint64) for c in plan.conditions
        }

    def make(self, name: TaskName) -> Runner:
        """Return the runner of a task, without state."""
        kinds = {
            "join": self._join,
            "fragments": self._fragments,
            "fidelity": self._fidelity,
            "incidents": self._incidents,
        }
        return kinds[name.kind](name.partition)

    def _join(self, partition: int) -> Runner:
        partitions = self._features.partitions
        task = JoinTask(
            self._plan,
            self._operations,
            TELEMETRY,
            topic_of_module(),
            other=OTHER,
            silent=(LINKS,),
            settings=self._settings,
            describe=self._describe,
            condition_hashes=self._conditions,
            partition=partition,
            partitions=partitions,
            series=self._series,
        )
        encoder = TraceEncoder(self._schemas)
        return JoinRunner(
            task,
            self._decoder,
            TraceWriter(self._plan, self._operations, encoder, TRACES),
            Sources(TELEMETRY, TELEMETRY),
            partition,
            partitions,
            names=OutputTopics(TRACES, FRAGMENTS, PARTIALS, REJECTED, SIGNALS),
            inputs=CauseInputs(
                CAUSE_INPUTS, 4, self._operations, self._schemas.id_of("telemetry_event")
            ),
        )

    def _describe(self, body: bytes) -> tuple[str, str]:
        event = decode_body(self._schemas.current("telemetry_event"), body)
        return event["record_id"], event["batch_id"]

    def _fragments(self, partition: int) -> Runner:
        topology = self._topology
        settings = FragmentSettings(
            partition,
            self._features.partitions,
            WINDOW_US,
            retention_us=FOR_EVER_US,
            tells_links=False,  # what an oracle of the input alone knows nothing of
        )
        return StageRunner(
            FragmentTask(settings, topology),
            lambda snapshot: FragmentTask.restore(settings, topology, snapshot),
            {"restarts": (PARTIALS, "fidelity_partial", 0)},
        )

    def _fidelity(self, _partition: int) -> Runner:
        settings, topology = FidelitySettings(MERGE, RULES), self._topology
        return StageRunner(
            FidelityTask(settings, topology),
            lambda snapshot: FidelityTask.restore(settings, topology, snapshot),
            {"stats": (STATS, "fidelity_stats", 0), "alerts": (ALERTS, "alert", 0)},
        )

    def _incidents(self, _partition: int) -> Runner:
        settings = IncidentSettings.matching(MERGE, RULES.quiet_us)
        topology = self._topology
        return KeyedRunner(
            IncidentTask(settings, topology),
            lambda snapshot: IncidentTask.restore(settings, topology, snapshot),
            {
                "incidents": (INCIDENTS, "incident_event", 0),
                "audit": (AUDIT, "telemetry_event", 0),
                "ledger": (LEDGER, "noise_ledger", 0),
            },
        )


def task_names(features: Features) -> list[TaskName]:
    """Return the tasks of a run's group."""
    partitions = range(features.partitions)
    names = [TaskName("join", p) for p in partitions]
    if "global_stage" in features:
        names += [TaskName("fragments", p) for p in partitions]
        names += [TaskName("fidelity", 0), TaskName("incidents", 0)]
    return names
