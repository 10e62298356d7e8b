"""One run of simulated workers in a group: what happens to them, and what must hold of it.

Each action draws from a generator of its own, as in `tests.sim.world`. In the end all faults are
over, nobody is helped by a rebalance or a restart, and everything must be joined and published
within `END_SECONDS`: what is not stands still.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import structlog

from streams.errors import BrokerError
from streams.settings import WorkerSettings
from tests.sim import build
from tests.sim.laws import LawBrokenError, Observer, demand
from tests.sim.load import MS_US, TELEMETRY, Load
from tests.sim.shell_broker import Backend, Faults, stand_ins
from tests.sim.shell_features import ShellFeatures
from tests.sim.shell_loop import Clock, StandsStillError, VirtualLoop, clocked
from tests.sim.shell_member import Member

END_SECONDS = 150.0
"""More than all time-outs and retries in a row: a call to the client takes 15 s at most, a cut
that cannot be seen yet is asked for again for 30 s, a topic is fetched again after 5 s."""
REBALANCE_SECONDS = 10.0
LOOK_SECONDS = 0.25
LIFE_SECONDS = 2.0
STOPPED_ALONE = "a task's loop ends with a word"
_MEMBER: ContextVar[Member | None] = ContextVar("member", default=None)


class ShellWorld:
    """Everything of one run.

    Args:
        seed: of the schedule.
        load: the input.
        features: what may happen.
        skipped: numbers of actions that are left out.
    """

    def __init__(
        self, seed: int, load: Load, features: ShellFeatures, skipped: frozenset[int] = frozenset()
    ) -> None:
        self.load, self.features = load, features
        self.lines: list[str] = []
        self.clock = Clock(load.begin_ms * MS_US)
        self._seed, self._skipped = seed, skipped
        self._faults = Faults(features.on, hidden="hidden" in features.on)
        partitions = features.load.partitions
        rng = random.Random(f"{seed}/shell")
        self.backend = Backend(rng, self.clock, partitions, self._faults, self.note)
        self.observer = Observer(load, features.load, self.backend.reader)
        self.backend.observer = self.observer
        self._produce(random.Random(f"{seed}/offsets"))
        self._settings = self._draw_settings(random.Random(f"{seed}/settings"))
        self._members: dict[int, Member] = {}
        self._lives = 0
        self._broken: list[BaseException] = []
        self._background: set[asyncio.Task[Any]] = set()

    def note(self, text: str) -> None:
        """Add a line to the log of the schedule."""
        self.lines.append(f"{self.clock.seconds:8.3f} s  {text}")

    def _produce(self, rng: random.Random) -> None:
        for arrival in self.load.arrivals:
            log = self.backend.broker.log(TELEMETRY[arrival.topic], arrival.partition)
            if "holes" in self.features.load and rng.random() < 0.2:
                log.end += rng.randint(1, 3)
            log.append(arrival.at_ms, arrival.key, arrival.value)

    def _draw_settings(self, rng: random.Random) -> WorkerSettings:
        is_small = "small_inbox" in self.features.on
        return WorkerSettings.model_construct(  # neither the environment nor bounds say anything
            group="simulated",
            coalesce_seconds=rng.choice((0.02, 0.2, 1.0)),
            step_rows_max=rng.choice((1, 3, 10_000)),
            inbox_rows_max=rng.choice((1, 3)) if is_small else 40_000,
            cut_interval_seconds=rng.choice((0.05, 0.3, 0.3, 1.0)),
            broker_timeout_seconds=rng.choice((10.0, 30.0)),
        )

    # --- the run

    def run(self) -> None:
        """Do all actions, then set everything right and wait until all is joined.

        Raises:
            LawBrokenError: a law does not hold.
        """
        with ExitStack() as around:
            for name, stand_in in stand_ins(self.backend).items():
                around.enter_context(patch(f"streams.runtime.recovery.{name}", stand_in))
            around.enter_context(clocked(self.clock))
            around.enter_context(self._listening())
            for name, value in self.features.bounds().items():
                around.enter_context(patch(name, value))
            loop = VirtualLoop(self.clock)
            loop.set_exception_handler(self._unhandled)
            loop.set_task_factory(_owned)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._story())
        self.observer.read(self.backend.broker)
        self.observer.ended()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Put what the shell logs into the schedule."""
        processors = structlog.get_config()["processors"]
        kept = processors.copy()

        def listen(_logger: Any, _method: str, event: Any) -> Any:
            member = _MEMBER.get()
            words = " ".join(f"{k}={v}" for k, v in event.items() if k not in ("event", "exc_info"))
            self.note(f"{member or '-'}: {event['event']} {words}")
            raise structlog.DropEvent

        processors[:] = [listen]
        try:
            yield
        finally:
            processors[:] = kept

    def _unhandled(self, _loop: Any, context: dict[str, Any]) -> None:
        """Take note of an error that nobody would have heard of."""
        task = context.get("task") or context.get("future")
        member = getattr(task, "member", None)
        if member is not None and member.process.is_dead:
            return
        error = context.get("exception") or RuntimeError(context["message"])
        self.note(f"unhandled: {context['message']}: {error!r}")
        self._broken.append(error)

    async def _story(self) -> None:
        loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        for story in (self._arrive(), self._coordinate(), self._look(), self._see()):
            self._keep(loop.create_task(story))
        try:
            for number in range(self.features.workers):
                self._begin_life(number)
            for number in range(self.features.actions):
                if number not in self._skipped:
                    await self._act(random.Random(f"{self._seed}/action/{number}"), number)
            await self._end()
        finally:
            for member in list(self._members.values()):
                member.kill()
            for task in list(self._background):
                task.cancel()
            await asyncio.sleep(0)
        self._raise_broken()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            member = getattr(task, "member", None)
            if member is None or not member.process.is_dead:
                self._broken.append(error)

    def _raise_broken(self) -> None:
        for error in self._broken:
            if isinstance(error, LawBrokenError | StandsStillError):
                raise error
            raise LawBrokenError(f"no error is left unsaid: {error!r}") from error

    async def _arrive(self) -> None:
        """Let telemetry be seen when its time has come."""
        for arrival in self.load.arrivals:
            due = (arrival.at_ms - self.load.begin_ms) / 1_000
            await asyncio.sleep(max(0.0, due - self.clock.seconds))
            self.backend.broker.log(TELEMETRY[arrival.topic], arrival.partition).visible += 1

    async def _see(self) -> None:
        """Let readers see what is committed, sooner or later."""
        rng = random.Random(f"{self._seed}/seen")
        while True:
            await asyncio.sleep(rng.choice((0.1, 0.5, 3.0)) if self._faults.hidden else 0.1)
            self.backend.show()

    # --- lives

    def _begin_life(self, number: int) -> None:
        self._lives += 1
        member = Member(
            number,
            self._lives,
            self.backend,
            str(self._seed),
            self._process,
            self._settings,
            self.features.load.partitions,
            self._wanted.set,
        )
        self._members[number] = member
        self.note(f"{member} starts")
        self._keep(self._in(member, self._live(member)))

    def _process(self) -> build.Process:
        process = build.Process(self.load.plan, self.features.load)
        if "no_halves" in self.features.on:
            process._settings = replace(process._settings, halves_bytes_max=0)
        return process

    def _in(self, member: Member, story: Any) -> asyncio.Task[Any]:
        """Begin something that ends with a life."""
        token = _MEMBER.set(member)
        try:
            return asyncio.get_running_loop().create_task(story)
        finally:
            _MEMBER.reset(token)

    async def _live(self, member: Member) -> None:
        try:
            await member.live()
        finally:
            if not member.process.is_dead:
                self._judge_end(member)
                self._bury(member)

    def _judge_end(self, member: Member) -> None:
        """A worker ends when it is told to, or names what the world did to it."""
        error = member.worker.error
        self.note(f"{member} ends: {error}")
        law = "a worker ends by the broker, by what was done to it, or when told to"
        if error is None:
            demand(member.worker._ending.is_set(), law, "nobody told it to")
        elif not isinstance(error, BrokerError) or member.app.crashed:
            demand(self.features.breaks_tasks, law, error)

    def _bury(self, member: Member) -> None:
        """End what is left of a life, and begin another a while later."""
        member.kill()
        asyncio.get_running_loop().call_later(LIFE_SECONDS, self._begin_life, member.number)

    # --- the group

    async def _coordinate(self) -> None:
        rng = random.Random(f"{self._seed}/group")
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(rng.choice((0.0, 0.05, 0.5)))
            await self._rebalance(rng)

    async def _rebalance(self, rng: random.Random) -> None:
        members = [m for m in self._members.values() if not m.process.is_dead and not m.has_left]
        revokes = {m: self._in(m, m.revoked()) for m in members}
        for member in members:
            member.is_rebalancing = True
        if revokes:
            await asyncio.wait(revokes.values(), timeout=REBALANCE_SECONDS)
        ready = [m for m, done in revokes.items() if done.done() and self._may_join(m, done)]
        self.backend.broker.generation += 1
        generation = self.backend.broker.generation
        for member, revoke in revokes.items():
            if member in ready:
                member.is_in_group, member.is_put_out = True, False
                member.is_rebalancing = False  # the join is over before it is told what it has
            else:  # it took too long: it is put out, hears of it, and joins again
                member.is_put_out, member.is_in_group = True, False
                member.generation = -1
                revoke.add_done_callback(lambda _: self._wanted.set())
        self._hand_out(rng, ready, generation)

    def _may_join(self, member: Member, revoke: asyncio.Task[None]) -> bool:
        if revoke.cancelled() or member.process.is_dead or member.has_left:
            return False
        if (error := revoke.exception()) is not None:  # as in Faust, where it ends the app
            member.app.crashed, member.app.crash_reason = True, error
        return error is None

    def _hand_out(self, rng: random.Random, ready: list[Member], generation: int) -> None:
        owned: dict[Member, set[int]] = {member: set() for member in ready}
        for partition in range(self.features.load.partitions) if ready else ():
            holders = [m for m in ready if m.host_of(partition) is not None]
            is_sticky = holders and rng.random() < 0.5
            owned[rng.choice(holders if is_sticky else ready)].add(partition)
        told = ", ".join(f"{m}: {sorted(p)}" for m, p in owned.items())
        self.note(f"generation {generation}: {told}")
        for member, partitions in owned.items():
            self._in(member, member.assigned(partitions, generation))

    # --- what happens

    async def _act(self, rng: random.Random, number: int) -> None:
        await asyncio.sleep(rng.choice((0.02, 0.2, 1.0, 4.0)) * rng.random())
        self.note(f"-- action {number}")
        happens: dict[str, Callable[[random.Random], None]] = {
            "rebalances": lambda _: self._wanted.set(),
            "evictions": self._evict,
            "kills": self._kill,
            "restarts": self._stop,
            "broker_away": self._go_away,
            "disk_full": self._fill_a_disk,
            "clock_steps": self._step_clock,
            "cancelled": self._cancel,
        }
        for name, act in happens.items():
            chance, own = rng.random(), random.Random(rng.getrandbits(64))
            if name in self._faults.on and chance < 0.35:
                self.note(f"it happens: {name}")
                act(own)

    def _alive(self) -> list[Member]:
        return [m for m in self._members.values() if not m.process.is_dead]

    def _evict(self, rng: random.Random) -> None:
        """The broker takes a member for dead, which does not know it until it asks."""
        if members := [m for m in self._alive() if m.is_in_group]:
            member = rng.choice(members)
            member.is_put_out, member.is_in_group = True, False
            self.backend.broker.generation += 1
            delay = rng.choice((0.1, 3.0))
            asyncio.get_running_loop().call_later(delay, self._wanted.set)

    def _kill(self, rng: random.Random) -> None:
        if members := self._alive():
            member = rng.choice(members)
            self._bury(member)
            self._wanted.set()

    def _stop(self, rng: random.Random) -> None:
        if members := self._alive():
            rng.choice(members).worker.stop()

    def _go_away(self, rng: random.Random) -> None:
        self._faults.away_until = self.clock.seconds + rng.choice((0.5, 3.0, 12.0, 40.0))

    def _fill_a_disk(self, rng: random.Random) -> None:
        number = rng.randrange(self.features.workers)
        self._faults.full_disks.add(number)
        free = self._faults.full_disks.discard
        asyncio.get_running_loop().call_later(rng.choice((0.5, 5.0)), free, number)

    def _step_clock(self, rng: random.Random) -> None:
        self.clock.ahead_ns = rng.randint(-1_500, 1_500) * 1_000_000

    def _cancel(self, rng: random.Random) -> None:
        """Cancel something that a worker awaits, as nobody should."""
        awaited = [
            waited
            for member in self._alive()
            for host in member.worker.hosts.values()
            for task in (host._loop_task, host._recalling)
            if task is not None and (waited := getattr(task, "_fut_waiter", None)) is not None
        ]
        if awaited:
            rng.choice(awaited).cancel()

    # --- what must hold all the time, and in the end

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for member in self._alive():
                for host in member.worker.hosts.values():
                    task = host._loop_task
                    is_over = task is not None and task.done() and not host.is_closed
                    demand(not is_over or host.failed is not None, STOPPED_ALONE, member, host.id)

    async def _end(self) -> None:
        self.note("-- the end: all is set right")
        self._faults.set_right()
        until = max(self.clock.seconds, (self.load.end_ms - self.load.begin_ms) / 1_000)
        until += END_SECONDS
        while self.clock.seconds < until:
            await asyncio.sleep(LOOK_SECONDS)
            gc.collect(0)
            self._raise_broken()
            if all(self._why_open(p) == "" for p in range(self.features.load.partitions)):
                return
        why = [self._why_open(p) for p in range(self.features.load.partitions)]
        demand(False, "nothing stands still when the world is well again", *filter(None, why))

    def _why_open(self, partition: int) -> str:
        """Return what a partition still waits for, "" for nothing."""
        holders = [m for m in self._alive() if m.is_in_group and m.host_of(partition) is not None]
        if len(holders) != 1:
            return f"join-{partition} has {len(holders)} holders"
        host = holders[0].host_of(partition)
        state = host.runner.task.state
        of = f"{holders[0]} join-{partition}"
        for topic in TELEMETRY:
            log = self.backend.broker.log(topic, partition)
            at = host.runner.positions.get(topic, 0)
            if log.visible < len(log.records) or not log.is_read_to_end(at):
                return f"{of} is at {at} of {topic}, which ends at {log.end}; it is '{host.rest}'"
        if host.rest or holders[0].worker._takeovers.is_restoring(host.id):
            return f"{of} rests: {host.rest}"
        if len(state.open) or state.counts.has_changed() or state.pending_recalls():
            return f"{of} has {len(state.open)} open traces, {len(state.pending_recalls())} recalls"
        is_over = host.is_settled and not host.runner.is_dirty
        return "" if is_over else f"{of} has something to commit"


def _owned(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task that belongs to the life in which it was begun."""
    task: asyncio.Task[Any] = _OwnedTask(coro, loop=loop, **options)
    member = _MEMBER.get()
    vars(task)["member"] = member
    if member is not None:
        member.tasks.add(task)
        task.add_done_callback(member.tasks.discard)
        if member.process.is_dead:
            task.cancel()
    return task


class _OwnedTask(asyncio.tasks._PyTask):  # type: ignore[misc,name-defined]
    """A task that says to whom it belongs."""

    member: Member | None = None
