"""One life of a worker in a simulated group: the real `Worker` and consumer on a simulated client.

What is real: `Worker` with its assignments, its watch and its end, `Takeovers`, `TaskHost`, and of
the consumer what decides which chunk is handed out: seeks, spans, gaps, held and paused partitions.
What is simulated: Faust's app around them, and the client's thread.
"""

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from faust.types.tuples import TP

from streams.errors import SpanloomError
from streams.runtime.chunk import Chunk
from streams.runtime.fetching import Polled, handed_out
from streams.runtime.join_runner import JoinRunner
from streams.runtime.pace import Pace
from streams.runtime.refetch import AGAIN_SECONDS
from streams.runtime.task import TaskId
from streams.runtime.transport import ChunkConsumer, NoOffsets
from streams.runtime.worker import JOIN, Worker
from streams.settings import WorkerSettings
from tests.record_batches import batch
from tests.sim import build
from tests.sim.laws import Observer
from tests.sim.load import TELEMETRY
from tests.sim.shell_broker import Backend, Process, recall
from tests.sim.shell_loop import SimulatedPool
from tests.sim.storage import LocalCopy
from tests.sim.tasks import CutInFlight, Task, TaskName

HANG_SECONDS = 20.0
THREADS_MAX = 1_000
"""As good as one for each call."""
POLLED_MAX = 20


class Fetched:
    """What aiokafka knows of an assigned partition."""

    def __init__(self, position: int) -> None:
        self.position = self.handed_to = position
        self.has_valid_position = True
        self.highwater = self.lso = -1
        self.timestamp: int | None = None
        self.known_ms: int | None = None


class Client:
    """Stands for the thread of the Kafka client, and what it knows of the group."""

    def __init__(self, member: "Member", backend: Backend, rng: random.Random) -> None:
        self._member, self._backend, self._rng = member, backend, rng
        self.fetched: dict[TP, Fetched] = {}
        self._consumer = None  # aiokafka's
        self._turn = asyncio.Lock()

    async def call_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call in the client's thread, which may be busy."""
        async with self._turn:  # one call after the other
            await asyncio.sleep(self._rng.choice((0.0, 0.001, 0.01, 0.1)))
            if "client_hangs" in self._backend.faults.on and self._rng.random() < 0.05:
                await asyncio.sleep(HANG_SECONDS)
            result = await call(*args)
        await asyncio.sleep(self._rng.choice((0.0, 0.001, 0.01)))
        return result

    async def seek_assigned(self, positions: dict[TP, int]) -> list[TP]:
        """Seek those partitions that are assigned; return them."""
        assigned = [tp for tp in positions if tp in self.fetched]
        for tp in assigned:
            self.fetched[tp] = Fetched(positions[tp])
        sought = {f"{tp.topic}/{tp.partition}": positions[tp] for tp in assigned}
        self._backend.note(f"{self._member}: seeks {sought}")
        return assigned

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        """Return where partitions begin: nothing expires."""
        return await self.call_thread(self._beginnings, tps)  # type: ignore[no-any-return]

    async def _beginnings(self, tps: tuple[TP, ...]) -> dict[TP, int]:
        return dict.fromkeys(tps, 0)

    async def is_member(self) -> bool | None:
        """Ask the broker, which tells who was put out that it was."""
        if self._backend.is_away:
            return None
        return self._member.ask_membership()

    async def leave_group(self) -> None:
        """Leave the group."""
        self._member.leave()

    def assignment(self) -> set[TP]:
        """Return what is assigned."""
        return set(self.fetched)

    def highwater(self, tp: TP) -> int:
        """Return where a partition ends."""
        return self._backend.broker.log(*tp).end

    async def getmany(self, active: set[TP] | None, timeout: float) -> dict[TP, Polled]:
        """Return what the fetcher has; it moves on before what it had is handed over."""
        rng, out = self._rng, {}
        await asyncio.sleep(rng.choice((0.02, timeout, timeout)))
        if self._backend.is_away:
            return {}
        for tp, state in self.fetched.items():
            if tp not in (active or ()):
                continue
            log = self._backend.broker.log(*tp)
            records = log.read(state.position, rng.choice((1, 3, POLLED_MAX)))
            if records:
                first = log.first_at(state.position)
                if first and rng.random() < 0.1:  # a batch that was sought into
                    records = [log.records[first - 1], *records]
                state.position = log.next_position(records, past_holes=rng.random() < 0.5)
                out[tp] = handed_out(state, [batch(records)], len(records))
            state.timestamp = state.known_ms = self._backend.clock.true_us // 1_000
            is_shown = log.visible == len(log.records)
            state.highwater = log.end
            state.lso = log.end if is_shown else log.records[log.visible].offset
            if is_shown and not log.read(state.position, 1):
                state.position = max(state.position, log.end)
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.01, 0.05)))
        return out


class SimulatedConsumer(ChunkConsumer):
    """The real consumer without Faust's services around it."""

    def __init__(self, member: "Member", client: Client) -> None:
        self.app = cast(Any, member.app)
        self._thread = cast(Any, client)
        self._read_offset = NoOffsets()
        self._wanted = asyncio.Event()
        self._held = set()
        self.taken = {}
        self._end_seen_us = {}
        self.scheduler = cast(Any, SimpleNamespace(iterate=_each))
        self.can_resume_flow, self.suspend_flow = cast(Any, (asyncio.Event(), asyncio.Event()))
        self.not_waiting_next_records = cast(Any, asyncio.Event())
        self._reset_state()
        self._member = member
        self._client = client
        self.log = cast(Any, SimpleNamespace(dev=_unsaid, warning=_unsaid))

    @property
    def should_stop(self) -> bool:
        """Whether the service was stopped: never, its tasks are cancelled."""
        return False

    async def wait(self, *waits: Any, timeout: Any = None) -> Any:
        """Wait for a signal."""
        await waits[0].wait()

    async def sleep(self, n: Any, **_: Any) -> None:
        """Wait."""
        await asyncio.sleep(float(n))

    def assignment(self) -> set[TP]:
        """Return what is assigned."""
        return self._client.assignment()

    def _partition_state(self, tp: TP) -> Any:
        return self._client.fetched.get(tp)

    def membership(self) -> tuple[int, str, str | None] | None:
        """Return the membership as the client knows it."""
        return self._member.generation, str(self._member), None


def _unsaid(*_: Any) -> None:
    """Say nothing: Faust's own log is not looked at."""


def _each(records: Any) -> Any:
    return [(tp, record) for tp, found in records.items() for record in found]


class SimulatedMonitor:
    """Knows the phase, and finds nothing to complain of."""

    def __init__(self) -> None:
        self.view = SimpleNamespace(phase="starting")

    def enter(self, phase: str) -> None:
        """Take note of a phase."""
        self.view.phase = phase

    def end(self, _error: object) -> None:
        """Take note of the end."""

    def note_ready(self) -> None:
        """Do nothing."""

    look_now_and_then = failure = note_ready


class SimulatedWorker(Worker):
    """The real worker, on simulated pools and a simulated broker.

    Args:
        member: of the group.
        backend: broker and disks.
        rng: of this life.
        make: makes the runner of a partition.
    """

    def __init__(
        self,
        member: "Member",
        backend: Backend,
        rng: random.Random,
        make: Callable[[int], Any],
        settings: WorkerSettings,
    ) -> None:
        super().__init__(cast(Any, SimpleNamespace(settings=settings)))
        self._base = {"process": member.process}
        self._topic_ids = lambda _names: {}
        self._vanished = cast(Any, SimpleNamespace(look=lambda: None, error=None))
        self.pools = [SimulatedPool(rng, threads) for threads in (2, 2, 2, THREADS_MAX)]
        pools: Any = self.pools
        self._pool, self._recall_pool, self._takeovers._pool, self._commits = pools
        clock, given = backend.clock.monotonic, settings
        self._pace = Pace(
            given.cut_interval_seconds, given.cut_cpu_share, given.cuts_at_once, clock
        )
        self.monitor = cast(Any, SimulatedMonitor())
        self._member, self._backend = member, backend
        self._app = cast(Any, member.app)
        self._add_kind(JOIN, TELEMETRY, make, member.partitions)

    @property
    def consumer(self) -> ChunkConsumer:
        """The consumer of this life."""
        return self._member.consumer

    def _recall(self, partition: int, wanted: list[tuple[bytes, int, int]]) -> Any:
        return recall(self._backend, self._member.process, partition, wanted)

    async def live(self, starting: asyncio.Task[None]) -> None:
        """Do what `run` does between start and end."""
        try:
            await self._watch(starting)
        finally:
            if not self._member.process.is_dead:
                self._name_cause()
                await self._shut_down(cast(Any, self._member.app), starting)


class Member:
    """One life of a worker: from its start to its end, or until it is killed."""

    def __init__(
        self,
        number: int,
        life: int,
        backend: Backend,
        seed: str,
        make: Callable[[], build.Process],
        settings: WorkerSettings,
        partitions: int,
        ask: Callable[[], None],
    ) -> None:
        self.number, self.life, self.partitions = number, life, partitions
        self.rng = random.Random(f"{seed}/{number}/{life}")
        self.process = Process(number, settings.broker_timeout_seconds)
        self._backend, self._ask, self._make = backend, ask, make()
        self.app = SimpleNamespace(
            crashed=False,
            crash_reason=None,
            consumer_generation_id=0,
            client_only=False,
            in_recovery=False,
            monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None),
            stop=self._stop_app,
        )
        client = Client(self, backend, self.rng)
        self.consumer = SimulatedConsumer(self, client)
        self.consumer.stop_flow()
        self.app._consumer = self.app.consumer = self.consumer
        self.worker = SimulatedWorker(self, backend, self.rng, self._runner, settings)
        self.app.seats = self.worker
        self.client = client
        self.generation = -1
        self.is_in_group = self.has_left = self.is_put_out = False
        self.is_rebalancing = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._queue: asyncio.Queue[Chunk] = asyncio.Queue(self.rng.choice((1, 4, 100)))
        self._drops_from: dict[TP, float] = {}
        self._lock = asyncio.Lock()
        self._first = asyncio.Event()
        self._flows: list[asyncio.Task[None]] = []

    def __str__(self) -> str:
        return f"worker {self.number}"

    # --- life

    async def live(self) -> None:
        """Live until the worker ends; what ended it is in its `error`."""
        loop = asyncio.get_running_loop()
        starting = loop.create_task(self._start())
        self._flows = [loop.create_task(self._fetch()), loop.create_task(self._take())]
        for flow in self._flows:
            flow.add_done_callback(self._flow_ended)
        self._ask()
        try:
            await self.worker.live(starting)
        finally:
            self.leave()
            await self._stop_app()

    def _flow_ended(self, flow: asyncio.Task[None]) -> None:
        """End the app when a service of it breaks, as Faust does."""
        if not flow.cancelled() and (error := flow.exception()) is not None:
            self.app.crashed, self.app.crash_reason = True, error

    async def _start(self) -> None:
        await self._first.wait()

    async def _stop_app(self) -> None:
        for flow in self._flows:
            flow.cancel()

    def kill(self) -> None:
        """End as by SIGKILL: nothing of it runs on."""
        self.process.is_dead = True
        self.is_in_group = False
        for pool in self.worker.pools:
            pool.kill()
        for task in sorted(self.tasks, key=lambda task: int(task.get_name()[5:])):
            task.cancel()
        for key in [key for key in self._backend.holders if key[0] == self.number]:
            del self._backend.holders[key]

    def leave(self) -> None:
        """Leave the group."""
        was_in, self.is_in_group, self.has_left = self.is_in_group, False, True
        if was_in:
            self._ask()

    def ask_membership(self) -> bool:
        """Answer a heartbeat; who was put out hears of it and joins again."""
        if self.is_put_out:
            self._ask()
        return not self.is_put_out and not self.is_rebalancing

    # --- the flow

    async def _fetch(self) -> None:
        while True:
            async for _, message in self.consumer.getmany(1.0):
                await self._queue.put(cast(Any, message).value)
            await asyncio.sleep(0)

    async def _take(self) -> None:
        while True:
            chunk = await self._queue.get()
            tp = TP(chunk.topic, chunk.partition)
            host = self.worker._host(tp)
            if host is not None and not self._is_dropped(tp):
                host.put(chunk)

    def _is_dropped(self, tp: TP) -> bool:
        """Whether a chunk is lost on its way; another one comes, with which the gap is seen."""
        if "drops" not in self._backend.faults.on or self.rng.random() >= 0.05:
            return False
        now = self._backend.clock.seconds
        log, state = self._backend.broker.log(*tp), self.client.fetched.get(tp)
        if state is None or not log.read(state.position, 1) or now < self._drops_from.get(tp, 0.0):
            return False
        self._drops_from[tp] = now + 2 * AGAIN_SECONDS
        return True

    # --- rebalances, as Faust goes through them

    async def revoked(self) -> None:
        """Give everything back for a rebalance."""
        async with self._lock:
            tps = self.consumer.assignment()
            await self.worker.revoked(tps)
            self.consumer._active_partitions.difference_update(tps)
            self.consumer._paused_partitions.difference_update(tps)
            self.consumer.stop_flow()
            self.consumer.pause_partitions(tps)
            while not self._queue.empty():
                self._queue.get_nowait()

    async def assigned(self, partitions: set[int], generation: int) -> None:
        """Take an assignment."""
        async with self._lock:
            ordered = [TP(topic, p) for topic in TELEMETRY for p in sorted(partitions)]
            tps = cast(set[TP], dict.fromkeys(ordered).keys())  # a set in the same order each time
            self.generation = self.app.consumer_generation_id = generation
            offsets = self._backend.broker.offsets
            self.client.fetched = {tp: Fetched(offsets.get(tuple(tp), 0)) for tp in tps}
            try:
                await self.worker.assigned(tps)
            except SpanloomError:
                return  # the worker ends of it
            self.consumer._paused_partitions.intersection_update(tps)
            self.consumer._set_active_tps(set(tps))
            await asyncio.sleep(self.rng.choice((0.0, 0.01, 0.3)))
            try:
                await self.consumer.perform_seek()
            except Exception as error:  # as in Faust, where it ends the app
                self.app.crashed, self.app.crash_reason = True, error
                return
            self.consumer.resume_partitions(tps)
            self.consumer.resume_flow()
            self._first.set()

    # --- the runner

    def _runner(self, partition: int) -> JoinRunner:
        """Return a real runner; what it does is seen by the observer."""
        runner = cast(JoinRunner, self._make.make(TaskName("join", partition)))
        step, collect = runner.step, runner.collect
        task = Task(
            TaskName("join", partition),
            TELEMETRY,
            lambda: runner,
            self._backend.broker,
            LocalCopy(),
        )
        task.runner = runner

        def stepped(*args: Any) -> None:
            step(*args)
            self.observer.stepped(task)

        def collected(cut_ms: int) -> Any:
            outputs, segment = collect(cut_ms)
            flight = CutInFlight(outputs, segment, cut_ms, dict(runner.positions))
            flight.open_events = runner.task.state.open_events()
            self._backend.flights[self.process, partition, cut_ms] = flight
            return outputs, segment

        runner.step, runner.collect = stepped, collected  # type: ignore[method-assign]
        return runner

    @property
    def observer(self) -> Observer:
        """Who checks the laws."""
        return self._backend.observer

    def host_of(self, partition: int) -> Any:
        """Return the host of a partition's join, None without one."""
        return self.worker.hosts.get(TaskId(JOIN, partition))
