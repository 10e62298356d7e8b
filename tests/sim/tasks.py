"""The tasks of a simulated worker: real runners, each with its epoch, its changelog and its cuts.

`Task` does what the worker's host does, one call at a time, so that anything can happen between
two calls: reading, stepping, collecting a cut, committing it, reading traces back.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.codec.recalled import TraceReader
from streams.runtime.chunk import Chunk
from streams.runtime.commit import Cut, OutRecord
from streams.runtime.join_runner import JoinRunner
from streams.runtime.recall import Recalled, settled
from streams.runtime.runner import Runner
from streams.state.segment import Segment
from tests.sim.broker import Broker, Log
from tests.sim.load import chunk_of
from tests.sim.storage import LocalCopy, SimulatedChangelog

TRACES = "traces.assembled.v1"


class TaskName(NamedTuple):
    """A task of the group: its kind, and the partition of its sources."""

    kind: str
    partition: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.partition}"


@dataclass
class CutInFlight:
    """What was collected and is not committed yet."""

    outputs: list[OutRecord]
    segment: Segment
    cut_ms: int
    positions: dict[str, int]
    fingerprint: Any = None
    open_events: int = 0


@dataclass
class Asked:
    """Traces to be read back, as they were asked for."""

    runner: Runner
    wanted: list[tuple[bytes, int, int]]


@dataclass
class Task:
    """One task on one worker.

    Attributes:
        topics: its sources; one topic's partition is that of the name, or 0 for a single one.
        make: makes a runner without state.
        copy: the worker's local copy for this task; outlives the task.
    """

    name: TaskName
    topics: tuple[str, ...]
    make: Callable[[], Runner]
    broker: Broker
    copy: LocalCopy
    epoch: int = 0
    in_flight: CutInFlight | None = None
    asked: Asked | None = None
    runner: Runner = field(init=False)
    changelog: SimulatedChangelog = field(init=False)
    read_again: int = 0

    @property
    def join(self) -> JoinRunner | None:
        """The runner of a join task, None for another one."""
        return self.runner if isinstance(self.runner, JoinRunner) else None

    def restore(self) -> int:
        """Fence earlier holders, then read the state; return how many pieces there were."""
        self.runner = self.make()
        self.in_flight = self.asked = None
        self.epoch = self.broker.init_transactions(str(self.name))
        topic = f"spanloom.simulated.{self.name.kind}.state.v1"
        log = self.broker.log(topic, self.name.partition)
        self.changelog = SimulatedChangelog(topic, self.name.partition, log, self.copy)
        restored = self.changelog.restore()
        self.runner.load(restored.segments)
        for topic in self.topics:
            self.runner.positions.setdefault(topic, 0)
        return restored.pieces

    # --- stepping

    def read(self, rng: random.Random, most: int) -> list[Chunk]:
        """Return contiguous chunks of the topics that are not held, as some polls gave them."""
        chunks = []
        for topic in rng.sample(self.topics, len(self.topics)):
            position = self.runner.positions[topic]
            for _ in range(rng.choice((1, 1, 2))):
                records = self.broker.log(topic, self.name.partition).read(
                    position, rng.randint(0, most)
                )
                if topic in self.runner.held or not records:
                    break
                end = self.broker.log(topic, self.name.partition).next_position(
                    records, past_holes=rng.random() < 0.5
                )
                chunks.append(chunk_of(topic, self.name.partition, position, end, records))
                position = end
        return chunks

    def step(self, chunks: list[Chunk], now_us: int, fetched_us: int) -> None:
        """Step the runner; `fetched_us` is when the topics were last seen to be read to the end."""
        after = dict(self.runner.positions) | {chunk.topic: chunk.end for chunk in chunks}
        caught_up = {
            topic: fetched_us * self.is_read_to_end(topic, after[topic]) for topic in self.topics
        }
        self.runner.step(chunks, caught_up, now_us)

    def is_read_to_end(self, topic: str, position: int) -> bool:
        """Whether a source has nothing more to read at a position."""
        return self.broker.log(topic, self.name.partition).is_read_to_end(position)

    @property
    def is_caught_up(self) -> bool:
        """Whether all that is visible of its sources was taken in."""
        return all(self.is_read_to_end(t, self.runner.positions[t]) for t in self.topics)

    # --- cutting

    def collect(self, now_ms: int) -> CutInFlight:
        """Begin a cut; what is stepped from here on belongs to the next one."""
        assert self.in_flight is None
        cut_ms = max(self.runner.last_cut_ms + 1, now_ms)
        outputs, segment = self.runner.collect(cut_ms)
        positions = dict(self.runner.positions)
        self.in_flight = CutInFlight(outputs, segment, cut_ms, positions)
        return self.in_flight

    def transaction(self) -> Cut:
        """Number and encode the segment in flight: what its transaction carries."""
        flight = self.in_flight
        assert flight is not None
        records = self.changelog.records(flight.segment)
        offsets = {(t, self.name.partition): o for t, o in flight.positions.items()}
        return Cut(flight.cut_ms, flight.outputs, records, offsets)

    def committed(self, cut: Cut, *, copied: bool) -> None:
        """End a cut that was committed; `copied` writes the local copy."""
        assert self.in_flight is not None
        if copied:
            self.changelog.committed(cut)
        self.in_flight = None

    # --- reading traces back

    def ask(self) -> int:
        """Ask for the traces that the join wants back; return how many."""
        join = self.join
        wanted = join.pending_recalls() if join is not None else []
        self.asked = Asked(self.runner, wanted) if wanted else None
        return len(wanted)

    def answer(self, reader: TraceReader, now_ms: int, lost: Callable[[bytes], bool]) -> int:
        """Answer what was asked from what readers see by now; return how many were answered."""
        asked, self.asked = self.asked, None
        join = self.join
        if asked is None or join is None or asked.runner is not self.runner:
            return 0
        log = self.broker.log(TRACES, self.name.partition)
        found = {
            trace: None if lost(trace) else read_back(log, reader, trace, cut_ms, revision)
            for trace, cut_ms, revision in asked.wanted
        }
        answers: Recalled = settled(found, asked.wanted, now_ms)
        answers |= {trace: None for trace in found if lost(trace)}
        for trace, bodies in answers.items():
            join.recalled(trace, bodies)
        return len(answers)


def read_back(
    log: Log, reader: TraceReader, trace: bytes, cut_ms: int, revision: int
) -> list[bytes] | None:
    """Return the events of a trace's revision, None while readers of the traces do not see it."""
    key = trace.hex().encode()
    for record in log.records[: log.visible]:
        if record.timestamp < cut_ms:
            continue
        if record.timestamp > cut_ms:
            return None
        if record.key == key:
            found, bodies = reader.read(record.value or b"")
            if found == revision:
                return bodies
    return None
