"""The whole engine in one process, without a broker: events in, incident events out.

Owns topics that are lists, a clock that the caller sets, and the order in which tasks are stepped.
The tasks are the worker's own, made by the worker's own factories, and what passes between them is
encoded and decoded as it is on a broker. Invariant: same events at the same times, same incidents.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from streams.codec.recordbatch import Record, RecordBatch
from streams.codec.records import decode, encode
from streams.codec.varints import varint
from streams.runtime import topics
from streams.runtime.build import JoinFactory, Pipeline, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.global_stage import GlobalFactory
from streams.runtime.join_runner import JoinRunner
from streams.runtime.runner import Runner
from streams.settings import WorkerSettings, load_settings
from streams.simulate.events import Emission
from streams.units import SECOND_US

CUT_US: Final = SECOND_US
"""How much simulated time passes between two steps of every task."""
HELD_US: Final = SECOND_US // 10
"""How long after a step the incident task alone is stepped once more: a worker steps it all the
time, so that an incident opens when its hold is over and not with what the next window brings."""
ROUNDS: Final = 2
"""How often each task is stepped at a time: a second time for what the first made of it."""
SETTLE_US: Final = 120 * SECOND_US
"""How long the clock runs on after the last event: waits end, alerts and incidents are resolved."""


def lab_settings(contract: str, **given: Any) -> WorkerSettings:
    """Return a worker's settings, in a tenth of its time: windows of one second, and rules so."""
    scale = {
        "window_seconds": 1.0,
        "burn_short_seconds": 5.0,
        "burn_long_seconds": 30.0,
        "quiet_seconds": 4.0,
        "warm_up_seconds": 2.0,
        "rule_time_ratio": 0.1,
        "incident_hold_seconds": 0.1,
        "incident_update_seconds": 3.0,
        "incident_refresh_seconds": 30.0,
        "flap_half_life_seconds": 30.0,
    }
    return load_settings(contract=contract, **(scale | given))


class Written(NamedTuple):
    """One record of a derived topic, and when it was written, by the simulated clock."""

    at_us: int
    record: dict[str, Any]


class Log:
    """One topic of one partition; each record is kept until every reader has passed it."""

    def __init__(self) -> None:
        self.begin = 0
        self.records: list[Record] = []

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return self.begin + len(self.records)

    def append(self, at_ms: int, key: bytes | None, value: bytes | None) -> None:
        """Add a record."""
        self.records.append(Record(self.end, at_ms, key, value))

    def since(self, position: int) -> list[Record]:
        """Return the records from an offset on, which is not forgotten."""
        return self.records[position - self.begin :]

    def forget(self, before: int) -> None:
        """Drop the records before an offset."""
        del self.records[: before - self.begin]
        self.begin = max(self.begin, before)


class Engine:
    """All tasks of a worker with one partition.

    Args:
        settings: what the worker would be given; see `lab_settings`.
        kept: derived topics whose records are decoded and kept in `out`.

    Attributes:
        out: by topic the records that were written to it, decoded, in their order.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        kept: Sequence[str] = (topics.ALERTS, topics.INCIDENTS),
    ) -> None:
        self.pipeline: Pipeline = load_pipeline(settings)
        joins, stage = JoinFactory(self.pipeline, 1), GlobalFactory(self.pipeline, 1)
        self._tasks: list[tuple[Runner, tuple[str, ...]]] = [
            (joins.make(0), self.pipeline.telemetry)
        ]
        small = {kind: (stage.make(kind, 0), named) for kind, named in stage.kinds().items()}
        self._tasks += small.values()
        self._incidents = small["incidents"]
        self._logs: dict[str, Log] = {name: Log() for _, named in self._tasks for name in named}
        for runner, named in self._tasks:
            runner.positions.update(dict.fromkeys(named, 0))
        self._traces: dict[bytes, bytes] = {}
        self._reader = joins.reader()
        self.out: dict[str, list[Written]] = {name: [] for name in kept}

    def feed(self, emissions: Iterable[Emission]) -> int:
        """Append events to their topics; return how many."""
        count = 0
        for emission in emissions:
            value = encode("telemetry_event", emission.event)
            log = self._logs[emission.topic]
            log.append(emission.emit_us // 1000, emission.key.encode(), value)
            count += 1
        return count

    def tick(self, now_us: int) -> None:
        """Step every task at a time by the clock, and hand on what it wrote."""
        for _ in range(ROUNDS):
            for runner, named in self._tasks:
                self._step(runner, named, now_us)
        self._step(*self._incidents, now_us + HELD_US)
        for name, log in self._logs.items():
            log.forget(min(r.positions[name] for r, named in self._tasks if name in named))

    def accounting(self) -> dict[str, int]:
        """Return what became of the events."""
        accounts: dict[str, int] = self._tasks[0][0].status()["accounting"]
        return accounts

    def counters(self) -> dict[str, int]:
        """Return how much was not used by the small tasks, by reason, zeros left out."""
        found: dict[str, int] = {}
        for runner, _ in self._tasks[1:]:
            for name, n in runner.status()["reasons"].items():
                if n:
                    found[name] = found.get(name, 0) + n
        return found

    # --- stepping

    def _step(self, runner: Runner, named: Sequence[str], now_us: int) -> None:
        chunks = []
        for topic in named:
            position, log = runner.positions[topic], self._logs[topic]
            records = log.since(position)
            if records and topic not in runner.held:
                chunks.append(Chunk(topic, 0, position, log.end, [batch_of(records)]))
        ahead = dict(runner.positions) | {chunk.topic: chunk.end for chunk in chunks}
        caught_up = {t: now_us * (ahead[t] == self._logs[t].end) for t in named}
        runner.step(chunks, caught_up, now_us)
        if isinstance(runner, JoinRunner):
            self._recall(runner)
        if runner.is_dirty:
            outputs, _ = runner.collect(now_us // 1000)
            for record in outputs:
                self._take(record, now_us)

    def _recall(self, join: JoinRunner) -> None:
        for trace_id, _, revision in join.pending_recalls():
            value = self._traces.get(trace_id.hex().encode())
            known, bodies = (0, []) if value is None else self._reader.read(value)
            join.recalled(trace_id, bodies if known == revision else None)

    def _take(self, record: OutRecord, now_us: int) -> None:
        if record.topic in self._logs:
            self._logs[record.topic].append(now_us // 1000, record.key, record.value)
        if record.topic in self.out:
            self.out[record.topic].append(Written(now_us, decode(record.value)))
        if record.topic == self.pipeline.derived(topics.TRACES):
            assert record.key is not None, "a trace is written under its id"
            assert record.value is not None, "traces are never deleted"
            self._traces[record.key] = record.value


def batch_of(records: Sequence[Record]) -> RecordBatch:
    """Return the records as the batch in which a producer would have sent them."""
    first = records[0]
    payload = b"".join(_record(r, first) for r in records)
    return RecordBatch(
        first.offset, records[-1].offset + 1, first.timestamp, -1, len(records), payload
    )


def _record(record: Record, first: Record) -> bytes:
    body = (
        b"\0"
        + varint(record.timestamp - first.timestamp)
        + varint(record.offset - first.offset)
        + _bytes(record.key)
        + _bytes(record.value)
        + b"\0"
    )
    return varint(len(body)) + body


def _bytes(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value
