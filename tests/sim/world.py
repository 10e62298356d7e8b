"""One simulated run: workers, their clocks and disks, and what happens to them, from one seed.

Every action draws from a generator of its own, named by seed and number, so that leaving one out
changes nothing about the others: that is how a failing run is made smaller.
"""

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from unittest.mock import patch

from streams.codec.recalled import TraceReader
from streams.engine.fidelity import FidelityTask
from streams.runtime.commit import CommitRefusedError
from streams.runtime.runner import Runner
from streams.runtime.stage_runner import StageRunner
from tests.sim.broker import Broker
from tests.sim.build import MERGE, SOURCES, Process, task_names
from tests.sim.features import Features
from tests.sim.laws import Observer, demand, fingerprint
from tests.sim.load import TELEMETRY, Load
from tests.sim.storage import LocalCopy
from tests.sim.tasks import Task, TaskName

MS_US = 1_000
END_ROUNDS_MAX = 40


@dataclass
class Worker:
    """A machine with its disk, and the worker process on it.

    Attributes:
        clock_us: how far its clock is ahead of the broker's.
        process: made when it first has a task; None after a crash.
        generation: of the group, as it knows it.
        is_stopped: it does not run, and does not know it (SIGSTOP, a long pause).
    """

    number: int
    process: Process | None = None
    tasks: dict[TaskName, Task] = field(default_factory=dict)
    copies: dict[TaskName, LocalCopy] = field(default_factory=dict)
    clock_us: int = 0
    drift_ppm: int = 0
    generation: int = 0
    is_stopped: bool = False

    def __str__(self) -> str:
        return f"worker {self.number}"


class World:
    """Everything of one run.

    Args:
        seed: of the schedule.
        load: the input.
        features: what may happen.
        skipped: numbers of actions that are left out.
    """

    def __init__(
        self, seed: int, load: Load, features: Features, skipped: frozenset[int] = frozenset()
    ) -> None:
        self.features = features
        self.load = load
        self.broker = Broker(features.partitions)
        self.now_us = load.begin_ms * MS_US
        self.lines: list[str] = []
        self._seed = seed
        self._skipped = skipped
        self._names = task_names(features)
        self._reader = TraceReader()
        self.observer = Observer(load, features, self._reader)
        self._is_fingerprinted = random.Random(f"{seed}/fingerprint").random() < 0.5
        self._produce(random.Random(f"{seed}/offsets"))
        self.workers = [Worker(n) for n in range(features.workers)]
        self._hidden = "hidden" in features
        self._last_us = max((event.at_us for event in load.bodies), default=0)

    def _process(self) -> Process:
        return Process(self.load.plan, self.features)

    def _produce(self, rng: random.Random) -> None:
        """Write the input; it is seen when its time comes."""
        for arrival in self.load.arrivals:
            log = self.broker.log(TELEMETRY[arrival.topic], arrival.partition)
            if "holes" in self.features and rng.random() < 0.2:
                log.end += rng.randint(1, 3)
            log.append(arrival.at_ms, arrival.key, arrival.value)
        if "backlog" in self.features:
            self.now_us = (self.load.end_ms + 1) * MS_US

    def note(self, text: str) -> None:
        """Add a line to the log of the schedule."""
        self.lines.append(f"{(self.now_us // MS_US - self.load.begin_ms) / 1000:8.3f} s  {text}")

    # --- the run

    def run(self) -> None:
        """Do all actions, then set everything right and read to the end.

        Raises:
            LawBrokenError: a law does not hold.
        """
        with ExitStack() as bounds:
            for name, value in self._bounds().items():
                bounds.enter_context(patch(name, value))
            self._run()
        self.observer.ended()

    def _bounds(self) -> dict[str, int]:
        """Return fixed bounds of the engine that are too large for a small world to reach."""
        if "small_segments" not in self.features:
            return {}
        return {
            "streams.state.compaction.FLOOR_BYTES": 1,
            "streams.state.compaction.FACTOR": 1,
            "streams.state.compaction.STEP_BYTES": 1,
            "streams.core.traces.opentraces.COMPACT_MIN_ROWS": 1,
        }

    def _run(self) -> None:
        self._rebalance(random.Random(f"{self._seed}/first"))
        for number in range(self.features.actions):
            if number in self._skipped:
                continue
            rng = random.Random(f"{self._seed}/{number}")
            self.note(f"-- action {number}")
            self._pass_time(rng)
            self._act(rng)
        self._end(random.Random(f"{self._seed}/end"))
        self.observer.read(self.broker)

    def _act(self, rng: random.Random) -> None:
        """Let something happen, then let some worker work."""
        happens: list[tuple[str, Callable[[random.Random], None], float]] = [
            ("crashes", self._crash, 0.25),
            ("zombies", self._stop_or_go_on, 0.3),
            ("rebalances", self._rebalance, 0.25),
            ("local_faults", self._harm_a_disk, 0.3),
            ("compaction", self._compact, 0.3),
            ("clock_steps", self._step_a_clock, 0.3),
        ]
        for name, act, share in happens:
            # Drawn whether it is used or not: without a feature the rest happens as before.
            chance, own = rng.random(), random.Random(rng.getrandbits(64))
            if name in self.features and chance < share:
                act(own)
        if rng.random() < 0.3:
            self.broker.show_all()
            self._arrive()
        for worker in rng.sample(self.workers, len(self.workers)):
            if not worker.is_stopped and rng.random() < 0.7:
                self._work(rng, worker)

    def _pass_time(self, rng: random.Random) -> None:
        span_ms = rng.choice((1, 20, 100, 300, 600, 1_500))
        self.now_us += rng.randint(0, span_ms) * MS_US
        self._arrive()

    def _arrive(self) -> None:
        now_ms = self.now_us // MS_US
        for topic in TELEMETRY:
            for partition in range(self.features.partitions):
                log = self.broker.log(topic, partition)
                while log.visible < len(log.records):
                    if log.records[log.visible].timestamp > now_ms:
                        break
                    log.visible += 1

    def clock_us(self, worker: Worker) -> int:
        """Return what a worker's clock says."""
        elapsed_us = self.now_us - self.load.begin_ms * MS_US
        return self.now_us + worker.clock_us + elapsed_us * worker.drift_ppm // 1_000_000

    # --- work

    def _work(self, rng: random.Random, worker: Worker) -> None:
        for task in rng.sample(list(worker.tasks.values()), len(worker.tasks)):
            if rng.random() < 0.3:
                self._answer(task, worker)
            if rng.random() < 0.8:
                self._step(rng, worker, task, rng.choice((1, 3, 100)))
            if task.runner.is_dirty and task.in_flight is None and rng.random() < 0.7:
                self._collect(worker, task)
                if rng.random() < 0.3:
                    self._step(rng, worker, task, 3)  # beside the cut in flight
            if task.in_flight is not None and rng.random() < 0.8:
                self._commit(rng, worker, task)
                if not worker.tasks:
                    return  # the worker died of it
            if rng.random() < 0.5 and (asked := task.ask()):
                self.note(f"{worker}: {task.name} asks for {asked} traces")

    def _step(self, rng: random.Random, worker: Worker, task: Task, most: int) -> None:
        chunks = task.read(rng, most)
        now_us = self.clock_us(worker)
        # Progress by the clock needs the end to have been seen at that time, not now.
        task.step(chunks, now_us, now_us - rng.choice((0, 0, 50, 300)) * MS_US)
        rows = sum(len(chunk.records) for chunk in chunks)
        self.note(f"{worker}: {task.name} takes {rows} records")
        self.observer.stepped(task)

    def _answer(self, task: Task, worker: Worker) -> None:
        if task.asked is None:
            return
        wanted = len(task.asked.wanted)
        now_ms = self.clock_us(worker) // MS_US
        answered = task.answer(self._reader, now_ms, self._is_lost)
        self.note(f"{worker}: {task.name} gets {answered} of {wanted} traces back")

    def _is_lost(self, trace: bytes) -> bool:
        return "recalls_lost" in self.features and trace[-1] % 2 == 1

    def _collect(self, worker: Worker, task: Task) -> None:
        flight = task.collect(self.clock_us(worker) // MS_US)
        if task.join is not None:
            flight.open_events = task.join.task.state.open_events()
        if self._is_comparable(task):
            flight.fingerprint = fingerprint(task)
        self.note(f"{worker}: {task.name} collects {len(flight.outputs)} outputs")

    def _is_comparable(self, task: Task) -> bool:
        if task.join is None:
            return True
        # What the closed set forgot by time is in no segment: it is forgotten again by the rows.
        return self._is_fingerprinted and "short_retention" not in self.features

    def _commit(self, rng: random.Random, worker: Worker, task: Task) -> None:
        if "unknown" in self.features and rng.random() < 0.1:
            self.note(f"{worker}: the outcome of a commit of {task.name} stays unknown")
            self._die(rng, worker)
            return
        if "refusals" in self.features and rng.random() < 0.15:
            self.broker.abort(task.transaction())
            self._read_back(rng, worker, task, "a commit is aborted")
            return
        self._commit_now(rng, worker, task, copied=True, hide=self._hidden and rng.random() < 0.5)

    def _commit_now(
        self,
        rng: random.Random,
        worker: Worker,
        task: Task,
        *,
        copied: bool,
        hide: bool = False,
    ) -> None:
        flight, cut = task.in_flight, task.transaction()
        assert flight is not None
        try:
            self.broker.commit(str(task.name), task.epoch, worker.generation, cut, hide=hide)
        except CommitRefusedError as error:
            self._read_back(rng, worker, task, str(error))
            return
        self.note(f"{worker}: {task.name} commits" + ("" if copied else ", and says it to nobody"))
        task.committed(cut, copied=copied)
        self.observer.committed(task, flight)

    def _read_back(self, rng: random.Random, worker: Worker, task: Task, why: str) -> None:
        """Throw the memory away and read it back; another holder is fenced by that."""
        if worker.generation != self.broker.generation and rng.random() < 0.7:
            self.note(f"{worker}: {why}; it learns that it is not a member any more")
            worker.tasks.clear()
            return
        pieces = task.restore()
        self.note(f"{worker}: {why}; {task.name} reads {pieces} pieces back")
        self.observer.restored(task)

    # --- what happens

    def _crash(self, rng: random.Random) -> None:
        self._die(rng, rng.choice(self.workers))

    def _die(self, rng: random.Random, worker: Worker) -> None:
        """Kill a worker at any point of its commits, start it again, and spread the tasks anew."""
        self.note(f"{worker} dies")
        for task in worker.tasks.values():
            if task.in_flight is None:
                continue
            point = rng.choice(("before", "produced", "committed"))
            if point == "produced":
                self.broker.abort(task.transaction())
            elif point == "committed" and not worker.is_stopped:
                cut, flight = task.transaction(), task.in_flight
                try:
                    self.broker.commit(
                        str(task.name), task.epoch, worker.generation, cut, hide=False
                    )
                except CommitRefusedError:
                    continue
                self.note(f"{worker}: {task.name} was committed, and nobody was told")
                self.observer.committed(task, flight)
        worker.tasks.clear()
        if "local_faults" in self.features and rng.random() < 0.5:
            self._harm(rng, worker)
        worker.process = None
        worker.is_stopped = False
        self._rebalance(rng)

    def _stop_or_go_on(self, rng: random.Random) -> None:
        worker = rng.choice(self.workers)
        worker.is_stopped = not worker.is_stopped
        self.note(f"{worker} {'stands still' if worker.is_stopped else 'goes on'}")
        if worker.is_stopped and rng.random() < 0.7:
            self._rebalance(rng)  # its session is over: others take its tasks

    def _rebalance(self, rng: random.Random) -> None:
        """Spread all tasks over the members that answer; those that are moved are cut before."""
        members = [w for w in self.workers if not w.is_stopped]
        if not members:
            return
        owner = {name: rng.choice(members) for name in self._names}
        for worker in members:
            owner |= {name: worker for name in worker.tasks if rng.random() < 0.4}
        for worker in members:
            is_member = worker.generation == self.broker.generation
            for name, task in list(worker.tasks.items()):
                if owner[name] is worker and is_member:
                    continue
                if is_member and rng.random() < 0.8:
                    self._last_cut(rng, worker, task)
                worker.tasks.pop(name, None)
        self.broker.generation += 1
        self.note(f"generation {self.broker.generation}: {len(members)} members")
        for worker in members:
            worker.generation = self.broker.generation
        for name, worker in owner.items():
            if name not in worker.tasks:
                self._take_over(worker, name)

    def _last_cut(self, rng: random.Random, worker: Worker, task: Task) -> None:
        if task.in_flight is not None:
            self._commit_now(rng, worker, task, copied=True)
        if task.runner.is_dirty and task.name in worker.tasks:
            self._collect(worker, task)
            self._commit_now(rng, worker, task, copied=True)

    def _take_over(self, worker: Worker, name: TaskName) -> None:
        copy = worker.copies.setdefault(name, LocalCopy())
        process = worker.process = worker.process or self._process()
        task = Task(name, SOURCES[name.kind], lambda: process.make(name), self.broker, copy)
        pieces = task.restore()
        worker.tasks[name] = task
        self.note(f"{worker}: takes {name} over, {pieces} pieces")
        self.observer.restored(task)

    def _harm_a_disk(self, rng: random.Random) -> None:
        self._harm(rng, rng.choice(self.workers))

    def _harm(self, rng: random.Random, worker: Worker) -> None:
        for name, copy in worker.copies.items():
            if name in worker.tasks:
                continue  # a live database cannot be exchanged under its owner
            if rng.random() < 0.3:
                copy.wipe()
                self.note(f"{worker}: the copy of {name} vanishes")
            elif copy.go_back(rng.randint(1, 3)):
                self.note(f"{worker}: the copy of {name} is an older one")

    def _compact(self, rng: random.Random) -> None:
        for (topic, partition), log in self.broker.logs.items():
            if ".state." in topic and rng.random() < 0.5:
                gone = log.compact(rng.randint(0, len(log.records)))
                self.note(f"{topic}/{partition} is compacted: {gone} records less")

    def _step_a_clock(self, rng: random.Random) -> None:
        worker = rng.choice(self.workers)
        worker.clock_us = rng.randint(-1_500, 1_500) * MS_US
        worker.drift_ppm = rng.choice((0, 0, -50_000, 50_000))
        self.note(f"{worker}: clock {worker.clock_us / 1e6:+.3f} s, {worker.drift_ppm} ppm")

    # --- the end

    def _end(self, rng: random.Random) -> None:
        """Let all go on, read everything, and let the waits pass."""
        self.note("-- the end: all is set right")
        self._hidden = False
        for worker in self.workers:
            worker.is_stopped = False
        self._rebalance(rng)
        self.now_us = max(self.now_us, (self.load.end_ms + 1) * MS_US)
        for _ in range(END_ROUNDS_MAX):
            self._arrive()
            for name in self._names:
                worker = next(w for w in self.workers if name in w.tasks)
                self._finish(rng, worker, worker.tasks[name])
            # A clock an hour ahead holds its trace open for five minutes.
            self.now_us += (60_000 if "wild_clock" in self.features else 1_100) * MS_US
            if self._is_over():
                return
        demand(False, "everything closes when it is read and the waits are over")

    def _finish(self, rng: random.Random, worker: Worker, task: Task) -> None:
        if task.in_flight is not None:
            self._commit_now(rng, worker, task, copied=True)
        if name_gone := task.name not in worker.tasks:
            demand(not name_gone, "a member keeps its tasks", task.name)
        chunks = task.read(rng, 1_000)
        now_us = self.clock_us(worker)
        task.step(chunks, now_us, now_us)
        self.observer.stepped(task)
        if task.runner.is_dirty:
            self._collect(worker, task)
            self._commit_now(rng, worker, task, copied=True)
        self.broker.show_all()
        if task.ask():
            self._answer(task, worker)

    def _is_over(self) -> bool:
        tasks = [task for worker in self.workers for task in worker.tasks.values()]
        for task in tasks:
            if task.runner.is_dirty or task.asked is not None or not task.is_caught_up:
                return False
            if task.join is not None:
                state = task.join.task.state
                if len(state.open) or state.counts.has_changed():
                    return False
            if task.name.kind == "fidelity" and not self._all_ended(task.runner):
                return False
        return True

    def _all_ended(self, runner: Runner) -> bool:
        """Whether every window of the input, and the minute around it, has been published."""
        assert isinstance(runner, StageRunner)
        assert isinstance(runner.task, FidelityTask)
        windows, ended_us = runner.task.windows, runner.task.windows.ended_us or 0
        self.observer.all_reported = windows.progress.low_us() is not None
        if not self.observer.all_reported:  # a partition that brought nothing tells no time
            return all(start_us + MERGE.window_us <= ended_us for start_us in windows.windows)
        return ended_us > self._last_us + MERGE.rollup_us
