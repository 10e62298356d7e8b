"""A small pipeline that counts itself: records, faults, and the partials a join would send.

Everything is counted by plain loops from a seeded walk, so that the global stage can be tried
without a broker, a codec or a join. A fault changes what is seen, never what is counted how.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from streams.core.alerts.settings import RuleSettings
from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.engine.fidelity import FidelitySettings, FidelityTask
from streams.engine.fragments import FragmentSettings, FragmentTask
from streams.engine.incidents import IncidentTask

SECOND = 1_000_000
EPOCH = 1_700_000_000 * SECOND
STAGES = {
    "connection": "ALPHA",
    "parser": "ALPHA",
    "buffer": "ALPHA",
    "transfer_alpha_beta": "INTEGRATION",
    "schema_mapping": "BETA",
    "enrichment": "BETA",
    "quality_scoring": "BETA",
    "transfer_beta_gamma": "INTEGRATION",
    "rendering": "GAMMA",
    "delivery": "GAMMA",
    "acknowledgment": "GAMMA",
}
ORDER = list(STAGES)
NEAR = dict(zip(ORDER[1:], ORDER, strict=False))
MODULES = (*dict.fromkeys(STAGES.values()), "EPSILON", "PHI")
PARTITIONS = 3
WAIT = 5 * SECOND
DEADLINE = SECOND // 4

TOPOLOGY = Topology(
    modules={
        "ALPHA": ModuleInfo("ingestion-team", "#ingestion", "ingestion"),
        "BETA": ModuleInfo("transformation-team", "#beta", "beta", ("ALPHA", "INTEGRATION")),
        "GAMMA": ModuleInfo("output-team", "#gamma", "output", ("BETA", "INTEGRATION")),
        "INTEGRATION": ModuleInfo("integration-team", "#integration", "propagation"),
        "EPSILON": ModuleInfo("cache-team", "#cache", "cache"),
        "PHI": ModuleInfo("orchestration-team", "#phi", "phi"),
    },
    edges=tuple(Edge("record", near, far) for far, near in NEAR.items()),
    stage_module={Place("record", stage): module for stage, module in STAGES.items()},
    required=frozenset(Place("record", stage) for stage in STAGES),
    acknowledgment=frozenset({Place("record", "acknowledgment")}),
)
FIDELITY = FidelitySettings(
    MergeSettings(
        window_us=SECOND,
        rollup_us=10 * SECOND,
        short_us=5 * SECOND,
        long_us=30 * SECOND,
        amend_us=60 * SECOND,
        wall_limit_us=10 * SECOND,
    ),
    RuleSettings(silent_us=3 * SECOND, quiet_us=3 * SECOND, warm_up_us=2 * SECOND),
)
INCIDENTS = IncidentSettings.matching(FIDELITY.merge, quiet_us=3 * SECOND)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where ("stage>stage" or a module), and when in seconds of the run."""

    kind: str
    where: str
    start: float
    end: float
    share: float = 0.3

    def holds(self, time_us: int) -> bool:
        return self.start <= (time_us - EPOCH) / SECOND < self.end


@dataclass
class Trace:
    """What arrived under one trace id: (start, end, is_error) by stage."""

    trace_id: str
    record_id: str
    spans: dict[str, tuple[int, int, bool]] = field(default_factory=dict)

    @cached_property
    def start_us(self) -> int:
        return min(span[0] for span in self.spans.values())

    @cached_property
    def is_whole(self) -> bool:
        return len(self.spans) == len(STAGES)

    @cached_property
    def closes_us(self) -> int:
        end_us = max(span[1] for span in self.spans.values())
        return end_us + SECOND // 5 if self.is_whole else max(end_us, self.start_us + WAIT)

    @cached_property
    def partition(self) -> int:
        return int(self.trace_id[:4], 16) % PARTITIONS


class Pipeline:
    """Walks records through the stages and counts what a join would count."""

    def __init__(
        self, faults: list[Fault], seconds: int = 60, rate: int = 40, seed: int = 1
    ) -> None:
        self.faults = faults
        self.random = Random(seed)
        self.seconds = seconds
        self.traces: list[Trace] = []
        # (window, module) -> counter -> n, by partition of the event
        self.events: list[dict[tuple[int, str], dict[str, int]]] = [
            defaultdict(lambda: defaultdict(int)) for _ in range(PARTITIONS)
        ]
        for i in range(seconds * rate):
            self._walk(i, EPOCH + i * SECOND // rate)
        for second in range(seconds):
            for module in MODULES:
                for i in range(4):
                    self._event(module, EPOCH + second * SECOND + i * SECOND // 4, i)

    def _hit(self, kind: str, where: str, time_us: int) -> bool:
        """Say whether a fault of this kind takes hold of a record here and now."""
        return any(
            f.kind == kind
            and f.where == where
            and f.holds(time_us)
            and self.random.random() < f.share
            for f in self.faults
        )

    def _is_silent(self, module: str, time_us: int) -> bool:
        return any(
            f.kind == "module_silent" and f.where == module and f.holds(time_us)
            for f in self.faults
        )

    def _walk(self, number: int, time_us: int) -> None:
        trace = self._trace(number)
        for stage, module in STAGES.items():
            time_us += self.random.randrange(20, 60) * 1000
            near = NEAR.get(stage, "")
            if self._hit("context_dropped", f"{near}>{stage}", time_us):
                break
            if self._hit("context_restarted", f"{near}>{stage}", time_us):
                trace = self._trace(number)
            duration_us = self.random.randrange(10, 40) * 1000
            if self._hit("slow", stage, time_us):
                duration_us += SECOND // 2
            is_lost = self._hit("acknowledgments_lost", f"{near}>{stage}", time_us)
            if not is_lost and not self._is_silent(module, time_us):
                self._span(trace, stage, (time_us, time_us + duration_us))
            time_us += duration_us

    def _span(self, trace: Trace, stage: str, times: tuple[int, int]) -> None:
        near = NEAR.get(stage, "")
        module = STAGES[stage]
        skewed = any(
            f.kind == "clock_skew"
            and module == STAGES[f.where.partition(">")[2]]
            and f.holds(times[0])
            for f in self.faults
        )
        shift_us = -400_000 if skewed else 0
        assert near or not skewed
        is_error = self.random.random() < 0.001
        trace.spans[stage] = (times[0] + shift_us, times[1] + shift_us, is_error)
        self._event(module, times[0] + shift_us, trace.partition)

    def _event(self, module: str, time_us: int, partition: int) -> None:
        if self._is_silent(module, time_us):
            return
        counts = self.events[partition % PARTITIONS][time_us // SECOND * SECOND, module]
        counts["events"] += 1
        if self.random.random() < 0.0005 or self._hit("duplicate_storm", module, time_us):
            counts["events"] += 1
            counts["duplicate"] += 1

    def _trace(self, number: int) -> Trace:
        trace = Trace(f"{self.random.getrandbits(128):032x}", f"record-{number}")
        self.traces.append(trace)
        return trace


class Counting:
    """The windows of one partition, as a join counts them."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.sequence = 0
        self.windows: dict[int, dict[tuple[str, ...], dict[str, int]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(int))
        )
        self.samples: dict[int, dict[tuple[str, ...], list[Any]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def close(self, trace: Trace) -> set[int]:
        start_us = trace.start_us // SECOND * SECOND
        window = self.windows[start_us]

        def count(scope: tuple[str, ...], counter: str, n: int = 1) -> None:
            window[scope][counter] += n
            if counter.startswith(("missing.", "errors", "deadline_missed", "gap_negative")):
                self.samples[start_us][scope].append((counter, trace))

        count(("total", "", "", "", ""), "traces")
        count(("flow", "record", "", "", ""), "expected")
        count(("flow", "record", "", "", ""), "observed", int(trace.is_whole))
        for far, near in NEAR.items():
            if near not in trace.spans:
                continue
            scope = ("edge", "record", near, far, STAGES[far])
            count(scope, "expected")
            if far not in trace.spans:
                count(scope, "missing.NEVER_ARRIVED")
                continue
            gap_us = trace.spans[far][0] - trace.spans[near][0]
            count(scope, "observed")
            count(scope, "gap_count")
            count(scope, "gap_sum_us", gap_us)
            if gap_us < 0:
                count(scope, "gap_negative")
        for stage, (_, end_us, is_error) in trace.spans.items():
            scope = ("stage", "record", "", stage, STAGES[stage])
            count(scope, "spans")
            if is_error:
                count(scope, "errors")
            near = NEAR.get(stage, "")
            if near in trace.spans and end_us - trace.spans[near][1] > DEADLINE:
                count(scope, "deadline_missed")
        return {start_us}

    def partial(self, start_us: int, watermark_us: int) -> dict[str, Any]:
        self.sequence += 1
        names = ("kind", "flow", "from_stage", "to_stage", "module")
        return {
            "window_start": start_us,
            "window_us": SECOND,
            "partition": self.partition,
            "partitions_total": PARTITIONS,
            "sequence": self.sequence,
            "watermark": watermark_us,
            "contract_version": "1",
            "scopes": [
                {
                    **dict(zip(names, scope, strict=True)),
                    "counters": dict(counts),
                    "samples": self._samples(start_us, scope),
                }
                for scope, counts in self.windows.get(start_us, {}).items()
            ],
        }

    def _samples(self, start_us: int, scope: tuple[str, ...]) -> list[dict[str, Any]]:
        kept: dict[str, list[Trace]] = defaultdict(list)
        for counter, trace in sorted(
            self.samples[start_us][scope], key=lambda item: (item[0], item[1].trace_id)
        ):
            kept[counter].append(trace)
        return [
            {
                "counter": counter,
                "trace_id": trace.trace_id,
                "record_id": trace.record_id,
                "batch_id": "",
                "timestamp": trace.start_us,
            }
            for counter, traces in kept.items()
            for trace in traces[:5]
        ]


def fragment(trace: Trace) -> dict[str, Any]:
    seen = [stage for stage in ORDER if stage in trace.spans]
    return {
        "trace_id": trace.trace_id,
        "revision": 1,
        "flow": "record",
        "record_id": trace.record_id,
        "batch_id": "",
        "has_first": ORDER[0] in trace.spans,
        "has_last": ORDER[-1] in trace.spans,
        "first_stage": seen[0],
        "last_stage": seen[-1],
        "start": trace.start_us,
        "end": max(span[1] for span in trace.spans.values()),
        "stages": seen,
        "partition": 0,
        "first_span_id": "",
        "last_span_id": "",
        "contract_version": "1",
    }


@dataclass
class Run:
    """What came out of the global stage."""

    alerts: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    stats: list[dict[str, Any]] = field(default_factory=list)

    @property
    def incidents(self) -> list[dict[str, Any]]:
        """The highest version of each incident, in the order in which they opened."""
        last = {event["incident_id"]: event for event in self.events}
        return sorted(last.values(), key=lambda event: event["opened_at"])


def run(
    pipeline: Pipeline,
    after: int = 20,
    restart_every: int = 0,
    shuffle_alerts: Random | None = None,
) -> Run:
    """Send a pipeline's partials through the three tasks, twice a second, and on after its end.

    Args:
        pipeline: what happens.
        after: how many seconds time goes on after the last record.
        restart_every: after how many steps each task is written as JSON and read back; 0 for never.
        shuffle_alerts: puts the alerts of each step in another order.
    """
    fidelity = FidelityTask(FIDELITY, TOPOLOGY)
    incidents = IncidentTask(INCIDENTS, TOPOLOGY)
    halves = FragmentSettings(window_us=SECOND)
    fragments = FragmentTask(halves, TOPOLOGY)
    out = Run()
    restarted: list[dict[str, Any]] = []
    for tick, (now_us, partials, closed) in enumerate(steps(pipeline, after)):
        broken = [fragment(trace) for trace in closed if not trace.is_whole]
        outputs = fidelity.step(restarted + partials, now_us, True)
        told = fragments.step(broken, now_us, True)
        restarted = [o.record for o in told if o.topic_kind == "restarts"]
        alerts = [o.record for o in outputs if o.topic_kind == "alerts"]
        out.stats += [o.record for o in outputs if o.topic_kind == "stats"]
        out.alerts += alerts
        if shuffle_alerts:
            shuffle_alerts.shuffle(alerts)
        told_incidents = incidents.step(alerts, now_us, True)
        out.events += [o.record for o in told_incidents if o.topic_kind == "incidents"]
        if restart_every and tick % restart_every == 0:
            saved = json.loads(
                json.dumps([task.snapshot() for task in (fidelity, incidents, fragments)])
            )
            fidelity = FidelityTask.restore(FIDELITY, TOPOLOGY, saved[0])
            incidents = IncidentTask.restore(INCIDENTS, TOPOLOGY, saved[1])
            fragments = FragmentTask.restore(halves, TOPOLOGY, saved[2])
    return out


def steps(
    pipeline: Pipeline, after: int
) -> Iterator[tuple[int, list[dict[str, Any]], list[Trace]]]:
    """Yield (now, partials of all partitions, traces that closed) for every half second."""
    counting = [Counting(partition) for partition in range(PARTITIONS)]
    waiting = sorted((t for t in pipeline.traces if t.spans), key=lambda t: -t.closes_us)
    queues = [[t for t in waiting if t.partition == p] for p in range(PARTITIONS)]
    for tick in range(2 * (pipeline.seconds + after)):
        now_us = EPOCH + (tick + 1) * SECOND // 2
        closed: list[Trace] = []
        partials: list[dict[str, Any]] = []
        for counts, queue in zip(counting, queues, strict=True):
            mine = []
            while queue and queue[-1].closes_us <= now_us:
                mine.append(queue.pop())
            closed += mine
            dirty = {start for trace in mine for start in counts.close(trace)}
            events = pipeline.events[counts.partition]
            for key in [k for k in events if k[0] + SECOND <= now_us]:
                for counter, n in events.pop(key).items():
                    counts.windows[key[0]]["module", "", "", "", key[1]][counter] += n
                dirty.add(key[0])
            # The longest wait bounds how far back a trace can be open.
            open_us = [t.start_us for t in queue[-400:] if t.start_us <= now_us]
            watermark_us = min([*open_us, now_us - SECOND])
            starts = sorted(dirty) or [EPOCH - SECOND]
            partials += [counts.partial(start, watermark_us) for start in starts]
        yield now_us, partials, closed
