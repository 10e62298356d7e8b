"""What a host's threads call: the simulated broker and disk, with waits, failures and zombies.

Everything here runs in a job of a `SimulatedPool` and gives way at each step of a call: a commit
begins, counts, is heard of and is copied at four times, and anything may happen between them.
"""

import random
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from greenlet import GreenletExit

from streams.codec.recalled import TraceReader
from streams.errors import BrokerError, StateError
from streams.runtime.commit import CommitRefusedError, Cut
from streams.state.local import NoRoomError, Record
from tests.sim.broker import Broker, Log
from tests.sim.laws import Observer
from tests.sim.shell_loop import Clock, wait_in_thread
from tests.sim.storage import LocalCopy, SimulatedChangelog
from tests.sim.tasks import TRACES, CutInFlight, Task, TaskName, read_back

RECALL_SECONDS = 10.0
AWAY_POLL_SECONDS = 0.25


class GroupBroker(Broker):
    """A broker that takes a commit without a generation, as Kafka does: the epoch alone fences."""

    def refusal(self, transactional_id: str, epoch: int, generation: int) -> str:
        """Return why a producer may not commit, "" when it may."""
        given = self.generation if generation < 0 else generation
        return super().refusal(transactional_id, epoch, given)


@dataclass
class Faults:
    """What goes wrong just now; the end of the run puts an end to it all.

    Attributes:
        on: the features of the run, see `shell_features`.
        away_until: until when the broker does not answer, in seconds of the run.
        full_disks: the workers whose disk is full.
        hidden: whether what is committed stays unseen for a while.
    """

    on: frozenset[str]
    away_until: float = 0.0
    full_disks: set[int] = field(default_factory=set)
    hidden: bool = False

    def set_right(self) -> None:
        """End all faults."""
        self.on, self.away_until, self.hidden = frozenset(), 0.0, False
        self.full_disks.clear()


class Backend:
    """The broker and the disks, as all processes of a run see them.

    Args:
        rng: draws waits and failures.
        note: takes a line for the log of the schedule.
    """

    def __init__(
        self,
        rng: random.Random,
        clock: Clock,
        partitions: int,
        faults: Faults,
        note: Callable[[str], None],
    ) -> None:
        self.rng, self.clock, self.faults, self.note = rng, clock, faults, note
        self.broker = GroupBroker(partitions)
        self.observer: Observer
        self.reader = TraceReader()
        self.copies: dict[tuple[int, str], LocalCopy] = {}
        self.holders: dict[tuple[int, str], object] = {}
        self.flights: dict[tuple[object, int, int], CutInFlight] = {}

    @property
    def is_away(self) -> bool:
        """Whether the broker does not answer now."""
        return self.clock.seconds < self.faults.away_until

    def call(self, process: "Process", patience_seconds: float, slow: str = "") -> None:
        """Wait as a call to the broker does, longer with a feature on.

        Raises:
            BrokerError: it does not answer for so long.
        """
        waits = (0.0, 0.002, 0.02, 0.1)
        if slow in self.faults.on:
            waits = (0.0, 0.02, 0.5, 3.0)
        wait_in_thread(self.rng.choice(waits))
        deadline = self.clock.seconds + patience_seconds
        while self.is_away:
            if self.clock.seconds > deadline:
                raise BrokerError("the simulated broker is away")
            wait_in_thread(AWAY_POLL_SECONDS)
        if process.is_dead:
            raise GreenletExit

    def show(self) -> None:
        """Let readers see everything that is committed, but telemetry, which has its own time."""
        for (topic, _), log in self.broker.logs.items():
            if not topic.startswith(("telemetry.", "spanloom.links")) or topic.startswith(
                "telemetry.rejected"
            ):
                log.show_all()


@dataclass(eq=False)
class Process:
    """One life of a worker."""

    number: int
    patience_seconds: float
    is_dead: bool = False


class SimulatedPublisher:
    """A transactional producer of one task."""

    def __init__(self, backend: Backend, process: Process, name: TaskName) -> None:
        self._backend, self._process, self._name = backend, process, name
        self._epoch = 0
        self._calls_since: float | None = None

    @property
    def call_seconds(self) -> float:
        """For how long a commit has hung."""
        since = self._calls_since
        return 0.0 if since is None else self._backend.clock.seconds - since

    def start(self) -> None:
        """Fence earlier holders."""
        backend = self._backend
        backend.call(self._process, self._process.patience_seconds, "slow_restores")
        self._epoch = backend.broker.init_transactions(str(self._name))
        backend.note(f"worker {self._process.number}: {self._name} fenced, epoch {self._epoch}")
        backend.call(self._process, self._process.patience_seconds)

    def commit(self, cut: Cut, metadata: bytes | None) -> None:
        """Commit, be refused, or leave it open which."""
        backend, process, on = self._backend, self._process, self._backend.faults.on
        rng = backend.rng
        backend.call(process, process.patience_seconds, "slow_cuts")
        if "refusals" in on and rng.random() < 0.1:
            backend.broker.abort(cut)
            raise CommitRefusedError("a commit is aborted")
        self._hang()
        generation = -1 if metadata is None else struct.unpack("=i", metadata[7:11])[0]
        hide = backend.faults.hidden and rng.random() < 0.5
        flight = backend.flights[process, self._name.partition, cut.cut_ms]
        backend.broker.commit(str(self._name), self._epoch, generation, cut, hide=hide)
        task = Task(self._name, (), lambda: None, backend.broker, LocalCopy())  # type: ignore
        backend.observer.committed(task, flight)
        backend.note(f"worker {process.number}: {self._name} committed {len(cut.outputs)} outputs")
        backend.call(process, process.patience_seconds, "slow_cuts")
        if "unknown" in on and rng.random() < 0.03:
            raise BrokerError("the outcome of a commit stays unknown")
        self._hang()

    def _hang(self) -> None:
        """Do not return from a call, or much later than anybody waits for it."""
        backend = self._backend
        if "commit_hangs" not in backend.faults.on or backend.rng.random() >= 0.03:
            return
        backend.note(f"worker {self._process.number}: {self._name} hangs in a call")
        self._calls_since = backend.clock.seconds
        wait_in_thread(backend.rng.choice((20.0, 45.0, 45.0, 1e6)))
        self._calls_since = None
        if self._process.is_dead:
            raise GreenletExit


class HeldCopy:
    """One changelog's hold on a local copy: as with RocksDB, one at a time."""

    def __init__(self, backend: Backend, process: Process, name: str) -> None:
        self._backend, self._process, self._key = backend, process, (process.number, name)
        self._copy = backend.copies.setdefault(self._key, LocalCopy())
        self.free_bytes_min = 0

    def _open(self) -> LocalCopy:
        wait_in_thread(self._backend.rng.choice((0.0, 0.005, 0.05)))
        if self._process.is_dead:
            raise GreenletExit
        holder = self._backend.holders.setdefault(self._key, self)
        if holder is not self:
            raise StateError(f"the copy of {self._key[1]} is held by another changelog")
        return self._copy

    def load(self) -> tuple[list[tuple[bytes, bytes]], int] | None:
        """Return the records and where the changelog goes on."""
        return self._open().load()

    def get(self, key: bytes) -> bytes | None:
        """Return one value."""
        return self._open().get(key)

    def write(self, records: Sequence[Record], changelog_offset: int, *, replace: bool) -> None:
        """Put records on top, unless the disk is full."""
        copy = self._open()
        if self._process.number in self._backend.faults.full_disks:
            raise NoRoomError("the simulated disk is full")
        copy.write(records, changelog_offset, replace=replace)

    def wipe(self) -> None:
        """Delete the copy."""
        self._open().wipe()

    def close(self) -> None:
        """Let go."""
        if self._backend.holders.get(self._key) is self:
            del self._backend.holders[self._key]


class ShellChangelog(SimulatedChangelog):
    """The changelog of a task, read over a broker that may be slow or away."""

    def __init__(self, backend: Backend, process: Process, topic: str, partition: int) -> None:
        log = backend.broker.log(topic, partition)
        copy = HeldCopy(backend, process, f"{topic}/{partition}")
        super().__init__(topic, partition, log, cast(LocalCopy, copy))
        self._backend, self._process = backend, process

    def _end(self) -> int:
        self._backend.call(self._process, RECALL_SECONDS)
        return super()._end()

    def _read(self, start: int) -> tuple[list[Record], int]:
        self._backend.call(self._process, RECALL_SECONDS, "slow_restores")
        found = super()._read(start)
        self._backend.call(self._process, RECALL_SECONDS, "slow_restores")
        return found


Made = Mapping[str, Callable[..., Any]]


def stand_ins(backend: Backend) -> Made:
    """Return what takes the place of the names that `streams.runtime.recovery` calls."""

    def process_of(base: Mapping[str, Any]) -> Process:
        process: Process = base["process"]
        return process

    def publisher_for(_delivery: str, base: Any, name: str, _patience: float) -> Any:
        kind, _, partition = name.rpartition("-")
        task = TaskName(kind.rpartition("-")[2], int(partition))
        return SimulatedPublisher(backend, process_of(base), task)

    def changelog(base: Any, topic: str, partition: int, _folder: Path, *_: Any) -> Any:
        return ShellChangelog(backend, process_of(base), topic, partition)

    def beginnings(base: Any, topics: Iterable[str], _partition: int) -> dict[str, int]:
        backend.call(process_of(base), RECALL_SECONDS)
        return dict.fromkeys(topics, 0)

    def stood_at(base: Any, *_: Any) -> dict[str, int]:
        backend.call(process_of(base), RECALL_SECONDS)
        return {}

    return {
        "publisher_for": publisher_for,
        "Changelog": changelog,
        "beginnings": beginnings,
        "stood_at": stood_at,
    }


def recall(
    backend: Backend, process: Process, partition: int, wanted: Sequence[tuple[bytes, int, int]]
) -> dict[bytes, list[bytes] | None]:
    """Read traces back as the real `recall` does: late, in any order, or not at all.

    Raises:
        BrokerError: the topic cannot be read.
    """
    rng, on = backend.rng, backend.faults.on
    backend.call(process, RECALL_SECONDS, "slow_recalls")
    if "recalls_fail" in on and rng.random() < 0.3:
        raise BrokerError("the simulated traces cannot be read back")
    log: Log = backend.broker.log(TRACES, partition)
    found: dict[bytes, list[bytes] | None] = {}
    for trace, cut_ms, revision in rng.sample(list(wanted), len(wanted)):
        bodies = read_back(log, backend.reader, trace, cut_ms, revision)
        if bodies is not None or log.visible == len(log.records):  # else: hidden, ask again
            found[trace] = bodies
    backend.note(f"worker {process.number}: {len(found)} of {len(wanted)} traces were read back")
    backend.call(process, RECALL_SECONDS, "slow_recalls")
    if "recalls_fail" in on and rng.random() < 0.1:
        raise BrokerError("the simulated broker went away while traces were read back")
    return found
