"""The laws of a run: what must hold at every commit, at every restore, and in the end.

The `Observer` is the reader outside: it sees what is committed and nothing else, and what is known
of the input. It shares no rule with the engine.
"""

import json
from collections import Counter, defaultdict
from typing import Any

from streams.codec.recalled import TraceReader
from streams.codec.records import decode
from streams.core.signals.counts import read_row
from streams.core.signals.series import Series
from streams.engine.join_state import ACCOUNTS
from streams.runtime.stage_runner import StageRunner
from tests.sim import build
from tests.sim.broker import Broker
from tests.sim.features import Features
from tests.sim.load import TELEMETRY, Load, trace_number
from tests.sim.tasks import TRACES, CutInFlight, Task, TaskName

IDENTITY = {
    TRACES: ("trace_id",),
    build.FRAGMENTS: ("trace_id",),
    build.PARTIALS: ("partition",),
    build.SIGNALS: ("partition",),
    build.STATS: (
        *("window_start", "window_us", "kind", "flow", "from_stage", "to_stage", "module"),
    ),
    build.ALERTS: ("fingerprint",),
    build.INCIDENTS: ("incident_id",),
    build.REJECTED: ("topic", "partition", "offset"),
}
VERSION = {
    TRACES: "revision",
    build.FRAGMENTS: "revision",
    build.PARTIALS: "sequence",
    build.SIGNALS: "sequence",
    build.STATS: "revision",
    build.ALERTS: "version",
    build.INCIDENTS: "version",
}
GAPS_ALLOWED = frozenset({build.FRAGMENTS})
"""Only the revisions that need it have a fragment."""


class LawBrokenError(AssertionError):
    """A law does not hold; the message says which, and where."""


def demand(holds: object, law: str, *facts: object) -> None:
    """Raise unless a law holds."""
    if not holds:
        raise LawBrokenError(f"{law}: " + ", ".join(map(str, facts)) if facts else law)


class Observer:
    """Reads what is committed, and checks it.

    Attributes:
        last: by topic and identity, the highest version of each record.
        partials: all of them, in order.
        records: how many were committed.
        all_reported: whether every partition has told how far it has come.
        accounts: by partition, as committed last.
    """

    def __init__(self, load: Load, features: Features, reader: TraceReader) -> None:
        self.load = load
        self.features = features
        self.last: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
        self.records = 0
        self.all_reported = False
        self.partials: list[dict[str, Any]] = []
        self.accounts: dict[int, dict[str, int]] = {}
        self._reader = reader
        self._read: Counter[tuple[str, int]] = Counter()
        self._joined: Counter[int] = Counter()
        self._rejected: Counter[int] = Counter()
        self._points: dict[tuple[int, int, Series], int] = {}
        self._bodies: dict[tuple[Any, ...], frozenset[bytes]] = {}
        self._state: dict[TaskName, Any] = {}
        self._positions: dict[TaskName, dict[str, int]] = {}

    # --- at every commit

    def committed(self, task: Task, flight: CutInFlight) -> None:
        """Take in what a transaction made visible."""
        before = self._positions.get(task.name, {})
        for topic, position in flight.positions.items():
            demand(position >= before.get(topic, 0), "positions never go back", task.name, topic)
        self._positions[task.name] = dict(flight.positions)
        self._state[task.name] = flight.fingerprint
        self.read(task.broker)
        if task.name.kind == "join":
            self._check_accounts(task, flight)

    def read(self, broker: Broker) -> None:
        """Read what has become visible of the derived topics."""
        for (topic, partition), log in broker.logs.items():
            if topic not in IDENTITY:
                continue
            begin = self._read[topic, partition]
            self._read[topic, partition] = len(log.records)
            for record in log.records[begin:]:
                self._take(topic, partition, record.value or b"")

    def _take(self, topic: str, partition: int, value: bytes) -> None:
        self.records += 1
        record = decode(value)
        identity = tuple(record[name] for name in IDENTITY[topic])
        known = self.last[topic].get(identity)
        version = VERSION.get(topic)
        if version is None:
            demand(known is None, "a record is published once", topic, identity)
        else:
            before = known[version] if known else 0
            law = f"each {version} of {topic} is published once, without gaps"
            follows = record[version] == before + 1
            if topic in GAPS_ALLOWED:
                follows = record[version] > before
            demand(follows, law, identity, f"{record[version]} after {before}")
        if topic == TRACES:
            self._take_trace(partition, known, record, value)
        if topic == build.PARTIALS:
            self.partials.append(record)
        if topic == build.SIGNALS:
            self._take_signals(record)
        self._rejected[partition] += topic == build.REJECTED
        self.last[topic][identity] = record

    def _take_signals(self, record: dict[str, Any]) -> None:
        for series, cell in map(read_row, record["series"]):
            key = record["partition"], record["window_start"], series
            known = self._points.get(key, 0)
            law = "points of a window and series are told as absolute counts that only grow"
            demand(series.kind == "STAGE" or cell.points > known, law, key, cell.points, known)
            self._points[key] = cell.points

    def _take_trace(
        self, partition: int, known: dict[str, Any] | None, record: dict[str, Any], value: bytes
    ) -> None:
        identity = (record["trace_id"],)
        _, bodies = self._reader.read(value)
        events = frozenset(bodies)
        before = self._bodies.get(identity, frozenset())
        demand(len(events) == len(bodies), "a revision holds an event once", identity)
        demand(before <= events, "a revision holds all events of the one before", identity)
        is_new = len(before) < len(events)
        is_new |= known is not None and record["evicted_count"] > known["evicted_count"]
        demand(is_new, "a revision says something new", identity)
        home = trace_number(record["trace_id"]) % self.features.partitions
        demand(partition == home, "a trace is joined in one partition", identity)
        self._joined[partition] += len(events) - len(before)
        self._bodies[identity] = events

    def _check_accounts(self, task: Task, flight: CutInFlight) -> None:
        accounts = flight.segment.scalars["accounts"]
        partition = task.name.partition
        read = sum(
            task.broker.log(topic, partition).first_at(flight.positions[topic])
            for topic in TELEMETRY
        )
        law = "the accounts of a cut balance"
        outcomes = sum(accounts[name] for name in ACCOUNTS if name != "accepted")
        demand(accounts["accepted"] == read, law, task.name, "accepted", accounts, read)
        demand(read == outcomes + flight.open_events, law, accounts, flight.open_events)
        joined, rejected = self._joined[partition], self._rejected[partition]
        demand(accounts["joined"] == joined, law, task.name, "joined", accounts, joined)
        demand(accounts["rejected"] == rejected, law, task.name, "rejected", accounts, rejected)
        self.accounts[partition] = accounts

    # --- at every restore, and at every step

    def restored(self, task: Task) -> None:
        """Compare a state that was read back with the one that was committed last."""
        committed = self._positions.get(task.name, {})
        positions = {topic: n for topic, n in task.runner.positions.items() if n}
        law = "state read back is the state that was committed"
        demand(positions == {t: n for t, n in committed.items() if n}, law, task.name, "positions")
        known = self._state.get(task.name)
        if known is not None:
            demand(fingerprint(task) == known, law, task.name)

    def stepped(self, task: Task) -> None:
        """Check that a task keeps to the bounds of its memory."""
        join = task.join
        if join is None:
            return
        state = join.task.state
        waiting = len(state.pending_recalls()) + _unpublished(state)
        settings = state.settings
        law = "memory is bounded"
        # What was read back after a step is looked at by the next one.
        again = waiting + len(state.open.reopened)
        demand(len(state.open) <= settings.open_traces_max + again, law, "open traces")
        if not waiting and not state.open.reopened:
            demand(state.open.live_bytes <= settings.open_bytes_max, law, "open bytes")
        accounts = state.accounting()
        demand(sum(accounts.values()) == 2 * accounts["accepted"], "the accounts balance", accounts)

    # --- in the end

    def ended(self) -> None:
        """Compare what stands in the end with what the input says."""
        total = Counter[str]()
        for accounts in self.accounts.values():
            total.update(accounts)
        law = "nothing is lost when all is read and the waits are over"
        demand(total["accepted"] == len(self.load.arrivals), law, "accepted", dict(total))
        demand(sum(total.values()) == 2 * total["accepted"], law, "open in the end", dict(total))
        bad = sum(a.event is None for a in self.load.arrivals)
        untraced = sum(a.event is not None and not a.event.trace for a in self.load.arrivals)
        demand(total["rejected"] == bad, law, "rejected", dict(total))
        demand(total["untraced"] == untraced, law, "untraced", dict(total))
        lines = sum(a.event is not None and not a.event.is_span for a in self.load.arrivals)
        points = Counter[str]()
        for (_, _, series), count in self._points.items():
            points[series.kind] += count
        law = "every log line and every rejected event counts once for its series"
        demand(points["LOG"] == lines, law, points["LOG"], lines)
        demand(points["REJECTED"] == bad, law, points["REJECTED"], bad)
        sent = {event.trace: set[bytes]() for event in self.load.bodies if event.trace}
        for event, body in self.load.bodies.items():
            if event.trace:
                sent[event.trace].add(body)
        found = {trace_number(i): bodies for (i,), bodies in self._bodies.items()}
        if self.features.forgets:
            for trace, bodies in found.items():
                demand(bodies <= sent[trace], "a trace holds its own events", trace)
            return
        demand(total["late"] == total["evicted"] == 0, law, dict(total))
        for trace, bodies in sent.items():
            missing = len(bodies - found.get(trace, frozenset()))
            demand(not missing, law, f"trace {trace} lacks {missing} events")
        demand(found == sent, "a trace holds its own events and no other")


def _unpublished(state: Any) -> int:
    """Return how many traces are open again before the revision before was published."""
    slots = state.open.slots
    live = state.open.live_slots()
    return int(((slots["revision"][live] > 0) & (slots["cut_ms"][live] == 0)).sum())


def fingerprint(task: Task) -> Any:
    """Return the whole state of a task in a canonical order; equal for equal states."""
    if isinstance(task.runner, StageRunner):
        return json.dumps(task.runner.task.snapshot())
    join = task.join
    assert join is not None
    state = join.task.state
    whole = state.segment(full=True)
    rows, closed = whole.rows, whole.closed
    ends = closed.size.cumsum().tolist()
    slots = state.open.slots
    return (
        sorted(
            zip(
                map(tuple, rows.trace_id.tolist()),
                rows.topic.tolist(),
                rows.kafka_us.tolist(),
                rows.is_late.tolist(),
                rows.is_recalled.tolist(),
                rows.body,
                strict=True,
            )
        ),
        sorted(
            (
                tuple(key),
                int(closed.revision[i]),
                int(closed.closed_us[i]),
                int(closed.cut_ms[i]),
                bool(closed.is_truncated[i]),
                closed.known[i].tolist(),
                sorted(closed.events[ends[i] - int(closed.size[i]) : ends[i]].tolist()),
            )
            for i, key in enumerate(closed.trace_id.tolist())
        ),
        sorted(whole.reopened),
        list(whole.rejected),
        json.dumps(_without_bound(whole.scalars), sort_keys=True),
        sorted(
            (state.open.key(slot), *(slots[name][slot].tolist() for name in _OF_SLOT))
            for slot in state.open.live_slots().tolist()
        ),
    )


def _without_bound(scalars: dict[str, Any]) -> dict[str, Any]:
    """Leave out from when on entries of the closed set live: a batch without any says less."""
    return {name: value for name, value in scalars.items() if name != "closed_from_ms"}


_OF_SLOT = ("mask", "entry_flow", "first_us", "last_us", "rows", "bytes")
