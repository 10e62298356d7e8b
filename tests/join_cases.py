"""Logs and worlds for the tests of the join: a task, its published traces, its changelog."""

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from streams.core.columns import (
    EventColumns,
    Operation,
    Operations,
)
from streams.core.fidelity.judge import TRACE_STATUSES
from streams.core.fidelity.missing import CAUSES, NO_OPERATION
from streams.core.fidelity.plan import Plan
from streams.core.traces.opentraces import TraceBounds
from streams.core.traces.progress import ProgressSettings
from streams.core.traces.waits import WaitSettings
from streams.engine.effects import AssembledBatch, JoinEffects
from streams.engine.join import JoinTask
from streams.engine.join_state import JoinSettings
from streams.state.live import LiveSegments
from streams.state.segment import PIECE_BYTES_MAX, Segment, SegmentRows, encode_pieces
from streams.units import SECOND_US
from tests.join_events import (
    LINKS,
    OTHER,
    TOPIC_OF_MODULE,
    TOPICS,
    Event,
    columns_of,
    event_of,
    told_by_body,
    trace_key,
)
from tests.judge_cases import MODULES, likely_trace, plan_of, random_trace, value_hash
from tests.oracle_judge import OracleSpan

__all__ = ["LINKS", "OTHER", "TOPICS", "TOPIC_OF_MODULE", "Event", "event_of", "trace_key"]
"""Of the events' module, for the tests of worlds; besides all that stands below."""

FOR_EVER_US = 1 << 55
BEGIN_US = 1_760_000_000 * 1_000_000


# --- random logs


def random_events(rng: random.Random, plan: Plan, traces: int) -> list[Event]:
    """Return the distinct events of some traces: spans, annotations, and events without a trace."""
    events: list[Event] = []
    for trace in range(1, traces + 1):
        begin = rng.randrange(1_000, 1_400)
        for span in rng.choice((random_trace, likely_trace, likely_trace))(rng, plan):
            events.append(_event(trace, span, begin))
        for number in range(rng.choice((0, 0, 1, 2))):
            note = Operation(rng.choice((*MODULES, "DELTA")), "log", "line")
            at_us = begin + rng.randrange(-3, 30)
            is_in = rng.random() < 0.7
            events.append(Event(trace, 900 + number, note, at_us, is_span=False, is_sampled=is_in))
    for number in range(rng.choice((0, 2))):
        gauge = Operation(rng.choice(MODULES), "gauge", "rate")
        events.append(Event(0, number, gauge, rng.randrange(1_000, 1_400), is_span=False))
    return events


def _event(trace: int, span: OracleSpan, begin: int) -> Event:
    return Event(
        trace=trace,
        number=span.span_id,
        operation=span.operation,
        at_us=begin + span.start_us,
        parent=span.parent_id,
        duration_us=span.duration_us,
        is_error=span.is_error,
        is_sampled=span.is_sampled,
        tier=span.dimension.get("tier", ""),
    )


def delivered(
    rng: random.Random, events: Sequence[Event], *, late: float = 0.1, twice: float = 0.15
) -> list[Event]:
    """Return the events in order of arrival, each once or more often, a few of them very late."""
    copies = [
        e for e in events for _ in range(1 + (rng.random() < twice) + (rng.random() < twice / 3))
    ]
    arrivals = []
    for event in copies:
        delay = rng.randrange(12) if rng.random() >= late else rng.randrange(2_000)
        arrivals.append(replace(event, kafka_us=event.at_us + event.duration_us + delay))
    return sorted(arrivals, key=lambda e: (e.kafka_us, rng.random()))


def random_cuts(rng: random.Random, length: int) -> list[slice]:
    """Return slices that cover 0 .. length: at once, one by one, or anyhow; some are empty."""
    style = rng.randrange(4)
    if style == 0:
        marks: list[int] = []
    elif style == 1:
        marks = list(range(length))
    else:
        marks = sorted(rng.randrange(length + 1) for _ in range(rng.randrange(1, 9)))
    return [slice(a, b) for a, b in pairwise([0, *marks, length])]


# --- a world around one task


def settings_of(**changes: object) -> JoinSettings:
    """Return settings in the scale of the random logs: all is remembered, nothing learned."""
    given: dict[str, object] = {
        "closed_retention_us": FOR_EVER_US,
        "window_us": 50,
        "progress": ProgressSettings(disorder_max_us=40, delay_max_us=FOR_EVER_US),
        "waits": WaitSettings(initial_us=150, traces_min=1 << 40),
        "bounds": TraceBounds(),
    }
    return JoinSettings(**{**given, **changes})  # type: ignore[arg-type]


Missing = tuple[int, Operation | None, str, str, str]


@dataclass(frozen=True)
class Published:
    """One revision of one trace as a reader sees it."""

    trace: int
    revision: int
    status: str
    closed_by: int
    flow: int
    missing: tuple[Missing, ...]
    bodies: tuple[bytes, ...]
    evicted: int

    @property
    def events(self) -> list[Event]:
        """Its events, synthetic spans left out."""
        return [e for e in map(event_of, self.bodies) if not e.is_link]

    @property
    def links(self) -> list[Event]:
        """Its synthetic spans."""
        return [e for e in map(event_of, self.bodies) if e.is_link]

    @property
    def numbers(self) -> frozenset[int]:
        """The identities of its events."""
        return frozenset(json.loads(body)["number"] for body in self.bodies)


class World:
    """A join task, and what surrounds it: the reader of its traces, its changelog, its recalls.

    Every step is followed by the checks that must hold at every moment: the accounts balance, and
    each trace's revisions come from 1 without a gap, none of them twice.
    """

    shared: Sequence[int] = ()
    """Topics that carry events of any module."""

    def __init__(self, plan: Plan, settings: JoinSettings | None = None) -> None:
        self.plan = plan
        self.settings = settings or settings_of()
        self.published: dict[bytes, list[Published]] = {}
        self.fed = 0
        self.rejected = 0
        self.cuts = 0
        self.cut_of: dict[tuple[bytes, int], int] = {}
        self.changelog: list[bytes] = []
        self._committed: dict[bytes, list[Published]] = {}
        self._fresh: list[tuple[bytes, int]] = []
        self._generation = self._number = 0
        self._segment: Segment | None = None
        self.fragments: list[dict[str, object]] = []
        self.links = 0
        self._begin()

    def _begin(self) -> None:
        self.operations = Operations()
        self.task = JoinTask(
            self.plan,
            self.operations,
            TOPICS,
            TOPIC_OF_MODULE,
            other=OTHER,
            silent=(LINKS,),
            shared=self.shared,
            settings=self.settings,
            describe=lambda body: (event_of(body).record or f"r{event_of(body).trace}", ""),
            read_link=told_by_body,
            condition_hashes={
                c.bit: np.array([value_hash(v) for v in c.values], np.uint64)
                for c in self.plan.conditions
            },
        )

    # --- what comes in

    def feed(
        self, events: Sequence[Event] = (), caught_up_us: Sequence[int] = (), *, rejected: int = 0
    ) -> JoinEffects:
        """Take one step and check what must hold after it."""
        self.fed += len(events) + rejected
        self.links += sum(e.is_link for e in events)
        self.rejected += rejected
        ticks = list(caught_up_us) or [0] * len(TOPICS)
        effects = self.task.step(
            columns_of(events, self.operations),
            {"input": self.fed, **({"links": self.links} if self.links else {})},
            rejected={"bad": rejected} if rejected else {},
            caught_up_us=ticks,
        )
        for batch in effects.traces:
            self._publish(batch)
        self.fragments += effects.fragments
        self.check()
        self._write()
        return effects

    def tick(self, now_us: int) -> JoinEffects:
        """Let the clock say that all topics are read to their end."""
        return self.feed((), [now_us] * len(TOPICS))

    def check(self) -> None:
        """Check the accounts against each other and against what was fed."""
        accounts = self.task.state.accounting()
        assert accounts["accepted"] == self.fed - self.links
        assert self.task.state.reasons.get("link_accepted", 0) == self.links
        assert self.task.state.open_links() >= 0
        assert accounts["rejected"] == self.rejected
        assert accounts["open"] >= 0
        assert sum(accounts.values()) == 2 * accounts["accepted"], accounts
        open_ = self.task.state.open
        rows, _ = open_.gather(open_.live_slots())
        assert len(rows) == open_.live_rows
        assert len(open_.bodies(rows).joined()) == open_.live_bytes

    def _publish(self, batch: AssembledBatch) -> None:
        for published, key in zip(revisions_of(batch, self.operations), batch.keys, strict=True):
            before = self.published.setdefault(key, [])
            assert published.revision == len(before) + 1, "revisions come from 1 without gaps"
            if before:
                assert set(before[-1].events) <= set(published.events), (
                    "a revision holds all events"
                )
            before.append(published)
            self._fresh.append((key, published.revision))

    # --- cuts, recalls, restarts

    def cut(self, *, full: bool = False) -> None:
        """Commit the outputs and a segment, which is written while the next chunk is joined."""
        self._write()
        self.cuts += 1
        state = self.task.state
        for name in self._fresh:
            self.cut_of[name] = self.cuts
        self._fresh = []
        state.stamp_cut(self.cuts)
        full = full or not self.cuts - 1
        self._segment = state.segment(full=full)
        if full:
            self._generation, self._number = self._generation + 1, 0
        state.sealed()
        self._committed = {key: list(value) for key, value in self.published.items()}

    def _write(self) -> None:
        if self._segment is None:
            return
        pieces = encode_pieces(self._segment, self._generation, self._number)
        assert all(len(piece) <= PIECE_BYTES_MAX for piece in pieces)
        self.changelog += pieces
        self._number += 1
        self._segment = None

    def restart(self) -> None:
        """Lose the memory: a fresh task takes over what the last cut committed."""
        self._write()
        live = LiveSegments()
        live.add(self.changelog)
        self.published = {key: list(value) for key, value in self._committed.items()}
        self._fresh = []
        self._begin()
        for segment in live.segments():
            self.task.apply(segment, self._decode)
        state = self.task.state
        self.fed = state.positions.get("input", 0)
        self.links = state.positions.get("links", 0)
        self.rejected = state.accounts["rejected"]
        self.check()

    def restarted(self) -> "World":
        """Return the world of another process that takes over what the last cut committed."""
        self._write()
        other = World(self.plan, self.settings)
        other._committed = {key: list(value) for key, value in self._committed.items()}
        other.changelog = list(self.changelog)
        other.cuts, other.cut_of = self.cuts, dict(self.cut_of)
        other._generation, other._number = self._generation, self._number
        other.restart()
        return other

    def _decode(self, rows: SegmentRows) -> EventColumns:
        events = [
            event_of(body, int(kafka_us))
            for body, kafka_us in zip(rows.body, rows.kafka_us, strict=True)
        ]
        return columns_of(events, self.operations, rows.topic)

    def recall(self, lost: Collection[bytes] = ()) -> int:
        """Answer the pending recalls from what was published; those in `lost` cannot be read."""
        pending = self.task.state.pending_recalls()
        for key, cut_ms, revision in pending:
            assert self.cut_of[key, revision] == cut_ms, "the cut named is the one that published"
            if key in lost:
                self.task.recall_failed(key)
            else:
                bodies = self._committed[key][revision - 1].bodies
                self.task.recalled(key, columns_of([event_of(b) for b in bodies], self.operations))
            self.check()
        return len(pending)

    def finish(self, now_us: int = 1 << 50, lost: Collection[bytes] = ()) -> None:
        """Let time pass until nothing is open."""
        for _ in range(20):
            self.tick(now_us)
            self.cut()
            self.recall(lost)
            if not len(self.task.state.open) and not self._fresh:
                return
        raise AssertionError("traces stay open for ever")

    def final(self) -> dict[int, Published]:
        """Return the highest revision of each trace, with causes that follow from its events."""
        last = [revisions[-1] for revisions in self.published.values()]
        return {
            one.trace: replace(one, missing=tuple(map(without_knowledge, one.missing)))
            for one in last
        }

    def first(self) -> dict[int, frozenset[int]]:
        """Return the events of the first revision of each trace."""
        return {revisions[0].trace: revisions[0].numbers for revisions in self.published.values()}

    def windows(self, without: Sequence[str] = ()) -> dict[tuple[object, ...], dict[str, int]]:
        """Return the counters of all scopes that count something; see `without_knowledge`."""
        names = ("kind", "flow", "from_stage", "to_stage", "module")
        out = {}
        for part in self.task.state.counts.take_changed(1 << 60):
            for scope in part["scopes"]:
                kept = {k: n for k, n in scope["counters"].items() if k not in without}
                if silent := kept.pop("missing.MODULE_SILENT", 0):
                    kept["missing.NEVER_ARRIVED"] = silent + kept.get("missing.NEVER_ARRIVED", 0)
                if kept:
                    out[(part["window_start"], *(scope[n] for n in names))] = kept
        return out


def without_knowledge(missing: Missing) -> Missing:
    """Return a missing span with the cause it has when nothing is known of topics and bounds.

    Whether a module was silent and a trace still in flight depends on when the trace was closed.
    """
    *rest, cause = missing
    if cause == "IN_FLIGHT" and missing[1] is None:
        cause = "ORPHANED"
    elif cause in ("IN_FLIGHT", "MODULE_SILENT"):
        cause = "NEVER_ARRIVED"
    return (*rest, cause)  # type: ignore[return-value]


def revisions_of(batch: AssembledBatch, operations: Operations) -> list[Published]:
    """Return the traces of a batch as a reader sees them."""
    judgement, lost = batch.judgement, batch.judgement.missing
    bodies = list(batch.body.packed())
    out = []
    for t in range(len(batch.keys)):
        missing = [
            (
                int(lost.span_id[i]),
                None if lost.operation[i] == NO_OPERATION else operations[int(lost.operation[i])],
                lost.labels[lost.from_label[i]],
                lost.labels[lost.to_label[i]],
                CAUSES[lost.cause[i]],
            )
            for i in np.flatnonzero(lost.trace == t).tolist()
        ]
        out.append(
            Published(
                trace=int.from_bytes(batch.keys[t][8:], "big"),
                revision=int(batch.revision[t]),
                status=TRACE_STATUSES[batch.status[t]],
                closed_by=int(batch.closed_by[t]),
                flow=int(judgement.flow[t]),
                missing=tuple(missing),
                bodies=tuple(bodies[batch.offset[t] : batch.offset[t + 1]]),
                evicted=int(batch.evicted_count[t]),
            )
        )
    return out


# --- a pipeline of three modules, in seconds


def three_stages(*, optional: str = "", wait_seconds: int = 30) -> Plan:
    """Return a flow a, b, c in ALPHA, BETA, GAMMA: wait 30 s, settling time 200 ms."""
    plan = plan_of("abc", "ab bc", optional=optional)
    flow = replace(plan.flows[0], wait_us=wait_seconds * SECOND_US, settle_us=SECOND_US // 5)
    stages = tuple(
        operation._replace(module=module)
        for operation, module in zip(plan.stage_operation, MODULES, strict=True)
    )
    return replace(plan, stage_operation=stages, flows=(flow,), modules=MODULES)


def at(
    name: str, trace: int, seconds: float, *, came: float | None = None, **more: object
) -> Event:
    """Return the span of stage a, b or c of a trace, which came `came` seconds after the start."""
    number = 1 + "abc".index(name)
    fields: dict[str, object] = {
        "parent": number - 1,
        "kafka_us": BEGIN_US + round((seconds if came is None else came) * SECOND_US),
        **more,
    }
    operation = Operation(MODULES["abc".index(name)], "main", name)
    at_us = BEGIN_US + round(seconds * SECOND_US)
    return Event(trace, number, operation, at_us, **fields)  # type: ignore[arg-type]


def stage_of_alpha(trace: int, at_us: int) -> Event:
    """Return a root span of module ALPHA."""
    return Event(trace, 1, Operation("ALPHA", "main", "a"), at_us, kafka_us=at_us)
