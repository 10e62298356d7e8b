"""The engine's part for restarted contexts as one world: joins, the fragment task, topics between.

Each task reads logs and commits its outputs with its position and state, or loses all of it: what
a crash between any two commits leaves behind is what a transaction would leave.
"""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from streams.core.columns import Operation
from streams.core.fidelity.plan import Plan
from streams.core.incidents.topology import Edge, Place, Topology
from streams.engine.fragments import FragmentSettings, FragmentTask
from tests.join_cases import FOR_EVER_US, Event, Published, World

NOW_US = 1 << 50


def topology_of(plan: Plan) -> Topology:
    """Return what the fragment task knows of a plan with one flow."""
    (flow,) = plan.flows
    edges = tuple(
        Edge(flow.name, *(flow.stage_id[i] for i in edge)) for edge in flow.edges.tolist()
    )
    required = frozenset(
        Place(flow.name, stage)
        for stage, is_required in zip(flow.stage_id, flow.is_required, strict=True)
        if is_required
    )
    modules = {
        Place(flow.name, stage): plan.stage_operation[code].module
        for stage, code in zip(flow.stage_id, flow.stage_code.tolist(), strict=True)
    }
    return Topology(edges=edges, stage_module=modules, required=required)


def link_of(event: dict[str, Any], kafka_us: int) -> Event:
    """Return a synthetic span as the worlds of the join take it."""
    said = event["dimensions"] | {"linked": ",".join(o["trace_id"] for o in event["links"])}
    return Event(
        trace=int(event["trace_id"][16:], 16),
        number=int(event["span_id"], 16),
        operation=Operation(event["module"], event["component"], event["name"]),
        at_us=event["timestamp"],
        kafka_us=kafka_us,
        parent=int(event["parent_span_id"] or "0", 16),
        duration_us=event["duration_us"],
        padding=json.dumps(said, sort_keys=True),
        record=event["record_id"],
    )


@dataclass
class Fragments:
    """The fragment task, with what it committed."""

    plan: Plan
    log: list[dict[str, Any]] = field(default_factory=list)
    committed: int = 0
    saved: str = ""
    waiting: list[tuple[int, Event]] = field(default_factory=list)
    partials: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = FragmentSettings(window_us=50, retention_us=FOR_EVER_US)
        self.begin()

    def begin(self) -> None:
        """Take over what the last cut committed."""
        topology = topology_of(self.plan)
        self.task = FragmentTask(self.settings, topology)
        if self.saved:
            self.task = FragmentTask.restore(self.settings, topology, json.loads(self.saved))
        self.at = self.committed
        self.waiting = []

    def step(self, count: int) -> None:
        """Take some fragments in."""
        chunk = self.log[self.at : self.at + count]
        self.at += len(chunk)
        for kind, key, record, partition in self.task.step(chunk, NOW_US, True):
            if kind == "links":
                assert key == record["trace_id"]
                assert partition is not None
                self.waiting.append((partition, link_of(record, NOW_US)))
            else:
                self.partials.append(record)

    def cut(self) -> list[tuple[int, Event]]:
        """Commit; return the links by partition."""
        self.saved, self.committed = json.dumps(self.task.snapshot()), self.at
        out, self.waiting = self.waiting, []
        return out


class Engine:
    """Joins of several partitions and one fragment task, over their logs."""

    def __init__(self, plan: Plan, partitions: int) -> None:
        self.joins = [World(plan) for _ in range(partitions)]
        self.telemetry: list[list[Event]] = [[] for _ in range(partitions)]
        self.links: list[list[Event]] = [[] for _ in range(partitions)]
        self.fragments = Fragments(plan)

    def send(self, events: list[Event]) -> None:
        """Put events into the partitions of their traces."""
        for event in events:
            self.telemetry[event.trace % len(self.joins)].append(event)

    def feed(self, partition: int, events: int, links: int) -> None:
        """Let a join take some of what waits for it, links last."""
        join = self.joins[partition]
        at = join.fed - join.links
        chunk = self.telemetry[partition][at : at + events]
        join.feed(chunk + self.links[partition][join.links : join.links + links])

    def cut(self, partition: int, *, full: bool = False) -> None:
        """Commit a join's traces and fragments."""
        join = self.joins[partition]
        join.cut(full=full)
        self.fragments.log += [f | {"partition": partition} for f in join.fragments]
        join.fragments = []

    def crash(self, partition: int) -> None:
        """Lose what a join did since its last cut."""
        self.joins[partition].restart()
        self.joins[partition].fragments = []

    def tell(self, twice: float = 0.0, rng: random.Random | None = None) -> None:
        """Commit the fragment task's links; some of them are delivered twice."""
        for partition, link in self.fragments.cut():
            again = rng is not None and rng.random() < twice
            self.links[partition] += [link] * (1 + again)

    def is_settled(self) -> bool:
        """Whether all is read, closed and told."""
        return self.fragments.committed == len(self.fragments.log) and all(
            join.fed - join.links == len(telemetry)
            and join.links == len(links)
            and not len(join.task.state.open)
            for join, telemetry, links in zip(self.joins, self.telemetry, self.links, strict=True)
        )

    def finish(self) -> None:
        """Let time pass until nothing is open and nothing is left to tell."""
        for _ in range(30):
            for partition, join in enumerate(self.joins):
                self.feed(partition, 1 << 30, 1 << 30)
                join.tick(NOW_US)
                self.cut(partition)
                join.recall()
                join.tick(NOW_US)
                self.cut(partition)
            self.fragments.step(1 << 30)
            self.tell()
            if self.is_settled():
                return
        raise AssertionError("the engine talks to itself for ever")

    def final(self) -> dict[int, Published]:
        """Return the highest revision of each trace."""
        return {t: one for join in self.joins for t, one in join.final().items()}

    def highest_fragments(self) -> dict[str, dict[str, Any]]:
        """Return the last fragment of each trace."""
        last: dict[str, dict[str, Any]] = {}
        for fragment in self.fragments.log:
            last[fragment["trace_id"]] = fragment
        return last
