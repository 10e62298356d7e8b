"""Hosts one task: its inbox, its producer, its steps, its cuts, its restarts.

Invariant: what a task holds in memory is either committed or ahead of the last commit by exactly
the chunks since; after any refused commit the memory is thrown away and read back.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from streams.codec.panics import FAILURES
from streams.errors import BrokerError, SpanloomError, StateError, said_of
from streams.monitoring.meter import Meter
from streams.runtime import refusals
from streams.runtime.cancelling import own_cancels_only
from streams.runtime.changelog import Changelog
from streams.runtime.chunk import Chunk
from streams.runtime.commit import CommitRefusedError, Cut
from streams.runtime.committing import OwnThreads, Threads, published
from streams.runtime.delivery import Publisher
from streams.runtime.inbox import Inbox
from streams.runtime.pace import Pace, Turn
from streams.runtime.recall import Recalled, settled
from streams.runtime.recovery import Recovered, fence, recover
from streams.runtime.refetch import Refetch
from streams.runtime.restarts import Restarts
from streams.runtime.runner import Runner
from streams.runtime.source import Held, Source
from streams.runtime.task import Connection, HostSettings, TaskId

log = structlog.get_logger()
COLLECT_SECONDS = 0.05
"""Chunks of several topics come at their own times: so long a step waits for the others."""
DISK_RETRY_SECONDS = 1.0
"""How often a full disk is looked at again."""
LEAVE_SECONDS = 5.0
"""How long a commit's call may last while the group or the end of the process waits for it."""
MEMBER_RETRY_SECONDS = 0.5
"""How often a broker is asked again that did not say whether we are a member of the group."""

RecallJob = Callable[[int, list[tuple[bytes, int, int]]], Recalled]


class TaskHost:
    """Runs one task for as long as its partitions are ours."""

    def __init__(
        self,
        task_id: TaskId,
        topics: tuple[str, ...],
        make: Callable[[], Runner],
        connection: Connection,
        source: Source,
        pool: ThreadPoolExecutor,
        settings: HostSettings,
        recall: RecallJob | None = None,
        pace: Pace | None = None,
        recall_pool: ThreadPoolExecutor | None = None,
        commits: Threads | None = None,
    ) -> None:
        self.id = task_id
        self.topics = topics
        self.runner = make()
        self.cuts = 0
        self._restarts = Restarts(settings.restart_window_seconds)
        self.meter = Meter()
        self.local_rebuilds: Counter[str] = Counter()
        self.load_seconds = 0.0
        self.waiting_for = ""
        """What keeps the task from taking anything in, such as "disk_full"; "" for nothing."""
        self.stepped_at: tuple[float, float] | None = None
        self._make = make
        self._connection = connection
        self._source = source
        self._pool = pool
        self._settings = settings
        self._recall = recall
        # A recall may wait for a dead worker's transaction: no commit shall wait for its thread.
        self._recall_pool = recall_pool or pool
        self._commits = commits or OwnThreads()
        self._pace = pace or Pace(settings.cut_interval_seconds)
        self._recalling: asyncio.Task[None] | None = None
        self._refetch = Refetch(task_id, source, lambda: self.runner, self._may_ask_again)
        self._inbox = Inbox(
            topics, settings.inbox_rows_max, settings.inbox_bytes_max, self._refetch.missed
        )
        self._cutting = asyncio.Lock()
        self._last_cut = time.monotonic()
        self._last_cut_ms = 0
        self._in_flight_ms = 0
        """Kafka timestamp of the cut that is being committed, 0 for none: while a broker is away
        nothing of it is there to be read back, and that must not pass for a trace that is gone."""
        self._collect_seconds = 0.0
        self._held = Held(source, task_id.partition)
        """What runs ahead, or all topics of a full inbox."""
        self.is_paused = False
        """Between a revoke and the next assignment nothing is stepped or cut: another worker may
        hold the task, and a cut of ours would fence it."""
        self.is_refused = False
        """The memory was thrown away, and the task is not known to be ours any more: the next
        assignment takes it away, or lets it be restored."""
        self._closed = False
        self._ready = False
        self._takes_in = False
        """From when the memory is there, before `_ready`: the source may be sought, and its first
        records come, before the one who seeks hears of it. Nobody would miss a topic's last."""
        self._lost_at_restores = 0
        self._publisher: Publisher | None = None
        self._changelog: Changelog | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self.coming_back: asyncio.Task[None] | None = None  # reads back; no stop waits for it
        self.failed: SpanloomError | None = None

    # --- life

    def fence(self) -> None:
        """Keep earlier holders from committing; blocking.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        self._publisher = fence(self.id, self._connection)

    def recover(self) -> Recovered:
        """Read the state back, beside what the host holds; blocking, after `fence`.

        Raises:
            BrokerError, StateError: it cannot be read.
        """
        began = time.monotonic()
        found = recover(self.id, self.topics, self._make, self._connection, self.local_rebuilds)
        self.meter.restore_seconds.add(time.monotonic() - began)
        return found

    def adopt(self, found: Recovered) -> None:
        """Hold what was read; the source is to be sought to its positions, then `begin`."""
        self.runner, self._changelog = found.runner, found.changelog
        self.load_seconds = found.load_seconds
        self._lost_at_restores += found.lost_records
        self.is_refused = False
        self._in_flight_ms = 0
        self._inbox.clear()
        self._takes_in = True
        self._note_waiting()

    def begin(self) -> None:
        """Let the task step from now on."""
        self._ready = not self._closed

    def start(self) -> None:
        """Take care of the task from now on; called again it does nothing."""
        if self._loop_task is None and not self._closed:
            self._loop_task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, *, cut: bool) -> None:
        """Stop stepping; with `cut`, commit what is done first."""
        self._closed = True
        self._inbox.news.set()
        for task in (self._loop_task, self._recalling, *self._refetch.running):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._held.be(frozenset())  # whoever has the partition next begins without it
        if cut and self.failed is None:
            await self.cut()
        async with self._cutting:
            self._ready = False  # a cut that still waits for its turn would open the copy again
            if self._changelog is not None:
                await self._in_thread(self._changelog.close)

    @property
    def lost_to_retention(self) -> int:
        """Records that expired before they were read, since this worker has the task."""
        return self._lost_at_restores + self._refetch.lost_records

    @property
    def is_closed(self) -> bool:
        """Whether it was stopped."""
        return self._closed

    @property
    def may_cut(self) -> bool:
        """Whether the task holds a memory that may be committed."""
        return self._ready

    @property
    def is_settled(self) -> bool:
        """Whether no chunk waits, no cut is in flight and no state is being read back."""
        return self._ready and self._inbox.is_empty and not self._cutting.locked()

    @property
    def rest(self) -> str:
        """Why the task may not step now, "" when it may."""
        if not self._ready:
            return "restoring"
        return "rebalancing" if self.is_paused else self.waiting_for

    @property
    def recent_restarts(self) -> int:
        """Refused commits that count against the bound."""
        return self._restarts.recent(time.monotonic())

    @property
    def inbox(self) -> tuple[int, int]:
        """Records and bytes that were fetched and have not been joined."""
        return self._inbox.amount

    def put(self, chunk: Chunk) -> None:
        """Take a chunk into the inbox; a full one has no more fetched.

        Nobody waits for room: all tasks share one reader, and a task may not get on for a while.
        """
        if not self._closed and self._takes_in:  # else it is fetched from where the state stands
            self._inbox.put(chunk)
            if self._inbox.is_full:
                self._held.be(frozenset(self.topics))

    # --- stepping

    async def _run(self) -> None:
        try:
            with own_cancels_only():
                await self._run_until_closed()
        except FAILURES as error:
            self.fail(error)

    async def _run_until_closed(self) -> None:
        while not self._closed:
            if self.waiting_for:
                await self._wait_for_room()
                continue
            await self._wait_for_news()
            self._step()
            await self._steer()
            if self._is_cut_due():
                await self._settled_cut()
                asyncio.get_running_loop().create_task(self.cut())
            await asyncio.sleep(0)

    def fail(self, error: BaseException) -> None:
        """Stop on an error, with a word on what to do where nobody foresaw it."""
        if isinstance(error, SpanloomError):
            self.failed = error
            return
        log.exception("task_failed", task=str(self.id))
        self.failed = StateError(
            f"task {self.id} failed: {said_of(error)}. Operator action: report "
            "this with the log; nothing uncommitted was published, a restart is safe."
        )

    async def _wait_for_news(self) -> None:
        try:
            await asyncio.wait_for(self._inbox.news.wait(), 2 * COLLECT_SECONDS)
        except TimeoutError:
            return
        await self._collect()
        self._inbox.news.clear()

    async def _collect(self) -> None:
        """Let chunks gather until a cut is due: nothing is seen before it.

        A step costs about 10 ms of CPU however little is in it, as much as some thousand records.
        """
        settings = self._settings
        began = time.monotonic()
        last = began + settings.coalesce_seconds
        until = min(max(began + COLLECT_SECONDS, self._last_cut + self._cut_seconds()), last)
        inbox = self._inbox
        while inbox.takeable_rows < settings.step_rows_max and not inbox.is_full:
            left = until - time.monotonic()
            if left <= 0 or self._closed:  # a cancel just as news came is lost in `wait_for`
                return
            await asyncio.sleep(min(left, COLLECT_SECONDS))

    def _step(self) -> None:
        if not self._ready or self.is_paused:  # the state is being read back, or is not ours to use
            return
        runner, rows_max = self.runner, self._settings.step_rows_max
        chunks = self._inbox.take(runner.positions, runner.held, rows_max)
        now_us = time.time_ns() // 1000
        caught_up = {topic: self._read_to_end(topic) for topic in self.topics}
        before = self.runner.rows
        self.runner.step(chunks, caught_up, now_us)
        if self.runner.rows > before:
            self.stepped_at = time.monotonic(), time.process_time()

    def _read_to_end(self, topic: str) -> int:
        if self._inbox.has(topic):
            return 0
        position = self.runner.positions.get(topic, 0)
        return self._source.read_to_end_at_us(topic, self.id.partition, position)

    def _may_ask_again(self, topic: str) -> bool:
        return self._ready and not self.is_paused and not self._inbox.has(topic)

    async def _steer(self) -> None:
        """Hold the topics that run ahead, release the others, ask for recalls."""
        held = frozenset(self.topics) if self.waiting_for else self.runner.held
        self._inbox.hold(held)
        self._refetch.look(self.topics)
        if self._held.be(frozenset(self.topics) if self._inbox.is_full else held):
            self._inbox.news.set()
        if self._recall is None or (self._recalling is not None and not self._recalling.done()):
            return
        wanted = self.runner.pending_recalls()  # type: ignore[attr-defined]
        pending = [w for w in wanted if not self._in_flight_ms or w[1] < self._in_flight_ms]
        if pending:
            self._recalling = asyncio.get_running_loop().create_task(self._recall_all(pending))

    async def _recall_all(self, pending: list[tuple[bytes, int, int]]) -> None:
        assert self._recall is not None
        runner = self.runner
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._recall_pool, self._recall, self.id.partition, pending
            )
            if self.runner is runner and not self._take_recalled(found, pending):
                await asyncio.sleep(0.5)  # before what is not visible yet is asked for again
        except BrokerError as error:
            log.warning("recall_failed", task=str(self.id), error=str(error))
            await asyncio.sleep(1.0)
        except FAILURES as error:  # nobody waits for this: it would be asked for again for ever
            log.exception("recall_broke", task=str(self.id))
            self.failed = StateError(
                f"task {self.id} cannot read its own traces back: {said_of(error)}. "
                "Operator action: report this with the log; look who else writes the traces topic."
            )

    def _take_recalled(self, found: Recalled, pending: list[tuple[bytes, int, int]]) -> bool:
        answers = settled(found, pending, time.time_ns() // 1_000_000)
        # Meanwhile a trace may have had its events from memory, closed, and want a later
        # revision: this one for that would lose what came between.
        wanted = set(self.runner.pending_recalls())  # type: ignore[attr-defined]
        for trace_id in [one[0] for one in pending if one in wanted and one[0] in answers]:
            self.runner.recalled(trace_id, answers[trace_id])  # type: ignore[attr-defined]
        self._inbox.news.set()
        return len(answers) == len(pending)

    # --- cutting

    def _is_cut_due(self) -> bool:
        waited = time.monotonic() - self._last_cut
        if not self.runner.is_dirty or self.is_paused:
            return False
        return waited >= self._cut_seconds()

    def _cut_seconds(self) -> float:
        return self._pace.seconds(self._collect_seconds)

    async def _settled_cut(self) -> None:
        """Wait for the cut in flight, so that at most one chunk of work runs ahead of it."""
        async with self._cutting:
            self._last_cut = time.monotonic()

    async def cut(self) -> None:
        """Commit outputs, state and positions since the last cut; a refusal restarts the task.

        A revoke that comes meanwhile waits until nobody can be fenced any more, as all who cut wait
        for their turn, and not for what is read back then: nothing of that is to be cut.
        """
        try:
            async with self._cutting:
                rests = not self._ready or not self.runner.is_dirty or self.failed is not None
                if rests or not await self._is_thrown_away():
                    return
                began = time.monotonic()
            self.coming_back = asyncio.get_running_loop().create_task(self._come_back(began))
            await self.coming_back
        except FAILURES as error:  # a cut runs beside the steps: nobody else would hear of it
            self.fail(error)

    async def _is_thrown_away(self) -> bool:
        """Commit; return whether it was refused, and the task is fenced and to be read back."""
        try:
            async with self._pace.turn() as turn:
                with own_cancels_only():
                    await self._commit(turn)
        except CommitRefusedError as error:
            return await self._throw_away(str(error))
        self.cuts += 1
        self._pace.note_cut(str(self.id))
        return False

    async def _commit(self, turn: Turn) -> None:
        assert self._changelog is not None
        assert self._publisher is not None
        self._last_cut = time.monotonic()
        # It grows from cut to cut even when the clock steps back: traces are found by it.
        last_ms = max(self._last_cut_ms, self.runner.last_cut_ms)
        self._last_cut_ms = max(last_ms + 1, time.time_ns() // 1_000_000)
        self._in_flight_ms = self._last_cut_ms
        began = time.thread_time()
        outputs, segment = self.runner.collect(self._last_cut_ms)
        self._collect_seconds = time.thread_time() - began
        positions = {(t, self.id.partition): o for t, o in self.runner.positions.items()}
        metadata = self._source.group_metadata()
        changelog, publisher, cut_ms = self._changelog, self._publisher, self._last_cut_ms

        cut = Cut(cut_ms, outputs, [], positions)

        def publish() -> None:
            cut.changelog = changelog.records(segment)
            publisher.commit(cut, metadata)

        def note() -> None:
            changelog.committed(cut)
            self.meter.cut(time.monotonic() - self._last_cut, cut.outputs, cut.changelog)

        def seconds_max() -> float:
            is_awaited = self._closed or self.is_paused
            return LEAVE_SECONDS if is_awaited else self._settings.call_seconds_max

        slow = turn.give_back
        if not await published(self._commits, publish, note, publisher, seconds_max, slow):
            self.meter.given_up += 1
            raise CommitRefusedError("the client does not come back from a call")
        self._in_flight_ms = 0
        self._note_waiting()

    def _note_waiting(self) -> None:
        self.waiting_for = self._changelog.waiting_for if self._changelog is not None else ""

    async def _wait_for_room(self) -> None:
        """Take nothing in until the disk has room for what is committed already."""
        await self._steer()
        await asyncio.sleep(DISK_RETRY_SECONDS)
        # Shielded: a stop must not begin its cut while a thread still writes the copy.
        await asyncio.shield(asyncio.get_running_loop().create_task(self._catch_up()))

    async def _catch_up(self) -> None:
        async with self._cutting:
            if self._changelog is not None and not self._closed:
                await self._in_thread(self._changelog.catch_up)
                self._note_waiting()

    async def _throw_away(self, why: str) -> bool:
        """Throw the memory away, which is ahead of what is committed; return whether to read it."""
        # What the refused cut collected is gone: a later cut of this memory would commit past it.
        self._ready = self._takes_in = False
        self._inbox.clear()  # it is fetched again
        self.meter.restarts += 1
        count = self._restarts.note(time.monotonic())
        log.warning("commit_refused", task=str(self.id), error=why, restarts=count)
        if count > self._settings.restarts_max:
            raise BrokerError(
                f"task {self.id}: {count} commits refused in "
                f"{self._settings.restart_window_seconds:g} s, {refusals.of_commits(why)}"
            )
        changelog, self._changelog = self._changelog, None  # a stop needs no thread to close it
        if changelog is not None:
            await self._in_thread(changelog.close)
        self.is_refused = True
        if not await self._is_still_ours():
            log.info("task_waits_for_assignment", task=str(self.id))
            return False
        await self._in_thread(self.fence)
        self.is_refused = False
        return True

    async def _come_back(self, began: float) -> None:
        """Read back what is committed, and go on from there."""
        found = await self._in_thread(self.recover)
        if self._closed:
            await self._in_thread(found.changelog.close)
            return
        self.adopt(found)
        if not self.is_paused:  # else the assignment seeks it, where it stands now
            for topic in self.topics:
                at = self.runner.positions.get(topic, 0)
                await self._source.again(topic, self.id.partition, at)
        self.begin()
        log.info("task_restarted", task=str(self.id), seconds=round(time.monotonic() - began, 3))

    async def _is_still_ours(self) -> bool:
        """Return whether no other worker can hold the task.

        A restore fences whoever holds it. A worker that was refused because it lost its place in
        the group would fence the one that has the task now, and throw its work away.
        """

        def is_left() -> bool:  # a revoke waits for this cut, and then we join again
            return self._closed or self.is_paused

        while not is_left():
            is_ours = await self._source.is_member()
            if is_ours is not None:
                return is_ours and not is_left()
            await asyncio.sleep(MEMBER_RETRY_SECONDS)
        return False

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)
