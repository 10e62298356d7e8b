"""Hosts one task: its inbox, its producer, its steps, its cuts, its restarts.

Invariant: what a task holds in memory is either committed or ahead of the last commit by exactly
the chunks since; after any refused commit the memory is thrown away and read back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog
from confluent_kafka import Producer

from streams.errors import BrokerError, SpanloomError, StateError
from streams.runtime.changelog import Changelog, Restored, beginnings
from streams.runtime.chunk import Chunk
from streams.runtime.commit import (
    CommitRefusedError,
    Cut,
    OutRecord,
    commit_cut,
    init_transactions,
    producer_for,
)
from streams.runtime.crashpoints import reached
from streams.runtime.recall import settled
from streams.runtime.runner import Runner

log = structlog.get_logger()
CUT_CPU_SHARE = 0.1
"""A large state is cut less often, so that collecting it takes at most this share of a core."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host paces its task.

    Attributes:
        coalesce_seconds: how long chunks are collected before a step.
        step_rows_max: a step is not made larger than this by waiting.
        inbox_rows_max, inbox_bytes_max: beyond these the source is told to wait.
        cut_interval_seconds: time between cuts.
        restarts_max: refused commits in five minutes before the worker gives up.
    """

    coalesce_seconds: float = 0.05
    step_rows_max: int = 10_000
    inbox_rows_max: int = 40_000
    inbox_bytes_max: int = 64 << 20
    cut_interval_seconds: float = 0.3
    restarts_max: int = 10


class Source(Protocol):
    """What a host asks of the consumer."""

    def read_to_end_at_us(self, topic: str, partition: int, position: int) -> int:
        """Return when the partition was last known to be read to its end; 0 while it is behind."""

    async def again(self, topic: str, partition: int, position: int) -> None:
        """Fetch again from a position."""

    def hold(self, topic: str, partition: int) -> None:
        """Stop fetching a partition for now."""

    def release(self, topic: str, partition: int) -> None:
        """Fetch a held partition again."""

    def group_metadata(self) -> bytes | None:
        """Return the consumer group metadata as of now."""


@dataclass(frozen=True, slots=True)
class TaskId:
    """A task of the worker: its kind, and the partition of its sources."""

    kind: str
    partition: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.partition}"


@dataclass(frozen=True)
class Connection:
    """How to reach the broker: client settings, group and state folder."""

    base: Mapping[str, object] = field(repr=False)  # it may hold a password
    group: str
    state_dir: Path


RecallJob = Callable[[int, list[tuple[bytes, int, int]]], dict[bytes, list[bytes] | None]]


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
    ) -> None:
        self.id = task_id
        self.topics = topics
        self.runner = make()
        self.cuts = 0
        self.restarts: deque[float] = deque()
        self.stepped_at: tuple[float, float] | None = None
        self._make = make
        self._connection = connection
        self._source = source
        self._pool = pool
        self._settings = settings
        self._recall = recall
        self._recalling: asyncio.Task[None] | None = None
        self._inbox: dict[str, deque[tuple[Chunk, int]]] = {topic: deque() for topic in topics}
        self._inbox_rows = dict.fromkeys(topics, 0)
        self._inbox_bytes = dict.fromkeys(topics, 0)
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._cutting = asyncio.Lock()
        self._last_cut = time.monotonic()
        self._last_cut_ms = 0
        self._collect_seconds = 0.0
        self._held: frozenset[str] = frozenset()
        self._asked_again: dict[str, float] = {}
        self.is_paused = False
        """Between a revoke and the next assignment nothing is stepped or cut: another worker may
        hold the task, and a cut of ours would fence it."""
        self._closed = False
        self._ready = False
        self.lost_to_retention = 0
        self._producer: Producer | None = None
        self._changelog: Changelog | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self.failed: SpanloomError | None = None

    # --- life

    def restore(self) -> Restored:
        """Fence earlier holders, then read the state; blocking, before the flow resumes."""
        connection = self._connection
        self._producer = producer_for(connection.base, f"{connection.group}-{self.id}")
        init_transactions([self._producer])
        reached("after_init_transactions")
        self._changelog = Changelog(
            connection.base,
            changelog_topic(connection.group, self.id.kind),
            self.id.partition,
            connection.state_dir / connection.group / str(self.id),
        )
        restored = self._changelog.restore()
        self.runner.load(restored.segments)
        for topic, low in beginnings(connection.base, self.topics, self.id.partition).items():
            position = self.runner.positions.setdefault(topic, low)
            if position < low:
                log.error(
                    "telemetry_lost_to_retention",
                    task=str(self.id),
                    topic=topic,
                    records=low - position,
                )
                self.lost_to_retention += low - position
                self.runner.positions[topic] = low
        self._ready = True
        return restored

    def start(self) -> None:
        """Begin to step; the state has been restored."""
        self._loop_task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, *, cut: bool) -> None:
        """Stop stepping; with `cut`, commit what is done first."""
        self._closed = True
        self._news.set()
        for task in (self._loop_task, self._recalling):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._room.set()
        if cut and self.failed is None:
            await self.cut()
        async with self._cutting:
            self._ready = False  # a cut that still waits for its turn would open the copy again
            if self._changelog is not None:
                await self._in_thread(self._changelog.close)

    @property
    def is_settled(self) -> bool:
        """Whether no chunk waits and no cut is in flight."""
        return not any(self._inbox.values()) and not self._cutting.locked()

    async def put(self, chunk: Chunk) -> None:
        """Take a chunk into the inbox; waits while the inbox is full."""
        while not self._room.is_set() and chunk.topic not in self._held and not self._closed:
            await self._room.wait()
        if self._closed:
            return
        size_bytes = chunk.size_bytes
        self._inbox[chunk.topic].append((chunk, size_bytes))
        self._inbox_rows[chunk.topic] += chunk.rows
        self._inbox_bytes[chunk.topic] += size_bytes
        self._note_room()
        self._news.set()

    def _note_room(self) -> None:
        settings = self._settings
        full = (
            self._takeable(self._inbox_rows) >= settings.inbox_rows_max
            or self._takeable(self._inbox_bytes) >= settings.inbox_bytes_max
        )
        (self._room.clear if full else self._room.set)()

    def _takeable(self, amounts: Mapping[str, int]) -> int:
        """Return how much waits of the topics that are not held.

        A held topic waits for another one: if it filled the inbox, that one could never come in.
        """
        return sum(n for topic, n in amounts.items() if topic not in self._held)

    # --- stepping

    async def _run(self) -> None:
        try:
            while not self._closed:
                await self._wait_for_news()
                self._step()
                await self._steer()
                if self._is_cut_due():
                    await self._settled_cut()
                    asyncio.get_running_loop().create_task(self.cut())
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise
        except SpanloomError as error:
            self.failed = error
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Stop on an error that nobody foresaw, with a word on what to do."""
        log.exception("task_failed", task=str(self.id))
        self.failed = StateError(
            f"task {self.id} failed: {type(error).__name__}: {error}. Operator action: report "
            "this with the log; nothing uncommitted was published, a restart is safe."
        )

    async def _wait_for_news(self) -> None:
        settings = self._settings
        try:
            await asyncio.wait_for(self._news.wait(), settings.coalesce_seconds * 2)
        except TimeoutError:
            return
        if self._takeable(self._inbox_rows) < settings.step_rows_max:
            await asyncio.sleep(settings.coalesce_seconds)
        self._news.clear()

    def _step(self) -> None:
        if not self._ready or self.is_paused:  # the state is being read back, or is not ours to use
            return
        chunks = self._take()
        now_us = time.time_ns() // 1000
        caught_up = {topic: self._read_to_end(topic) for topic in self.topics}
        before = self.runner.rows
        self.runner.step(chunks, caught_up, now_us)
        if self.runner.rows > before:
            self.stepped_at = time.monotonic(), time.process_time()

    def _read_to_end(self, topic: str) -> int:
        if self._inbox[topic]:
            return 0
        position = self.runner.positions.get(topic, 0)
        return self._source.read_to_end_at_us(topic, self.id.partition, position)

    def _take(self) -> list[Chunk]:
        """Return contiguous chunks from the inbox, up to one step's size, held topics left out."""
        chunks: list[Chunk] = []
        rows = 0
        at = dict(self.runner.positions)
        for topic in self.topics:
            waiting = self._inbox[topic]
            while waiting and topic not in self.runner.held and rows < self._settings.step_rows_max:
                chunk, size_bytes = waiting.popleft()
                self._inbox_rows[topic] -= chunk.rows
                self._inbox_bytes[topic] -= size_bytes
                fitting = self._fit(chunk, at.get(topic, 0))
                if fitting is not None:
                    chunks.append(fitting)
                    rows += fitting.rows
                    at[topic] = fitting.end
        if any(self._inbox.values()):
            self._news.set()
        self._note_room()
        return chunks

    def _fit(self, chunk: Chunk, position: int) -> Chunk | None:
        """Return the part of a chunk that is new, None when there is none or a gap before it."""
        if chunk.end <= position:
            return None
        if chunk.start > position:
            # Records between were dropped on their way (a rebalance does that): fetch them again.
            now = time.monotonic()
            if now - self._asked_again.get(chunk.topic, 0.0) > 5.0:
                self._asked_again[chunk.topic] = now
                log.warning(
                    "chunk_gap_seen",
                    task=str(self.id),
                    topic=chunk.topic,
                    at=position,
                    got=chunk.start,
                )
                asyncio.get_running_loop().create_task(
                    self._source.again(chunk.topic, self.id.partition, position)
                )
            return None
        return chunk.after(position) if chunk.start < position else chunk

    async def _steer(self) -> None:
        """Hold the topics that run ahead, release the others, ask for recalls."""
        held = self.runner.held
        for topic in held - self._held:
            self._source.hold(topic, self.id.partition)
        for topic in self._held - held:
            self._source.release(topic, self.id.partition)
            self._news.set()
        self._held = held
        self._note_room()
        if self._recall is None or (self._recalling is not None and not self._recalling.done()):
            return
        pending: list[tuple[bytes, int, int]]
        pending = self.runner.pending_recalls()  # type: ignore[attr-defined]
        if pending:
            self._recalling = asyncio.get_running_loop().create_task(self._recall_all(pending))

    async def _recall_all(self, pending: list[tuple[bytes, int, int]]) -> None:
        assert self._recall is not None
        runner = self.runner
        try:
            found = await self._in_thread(self._recall, self.id.partition, pending)
        except BrokerError as error:
            log.warning("recall_failed", task=str(self.id), error=str(error))
            await asyncio.sleep(1.0)
            return
        except Exception as error:
            log.exception("recall_broke", task=str(self.id))
            self.failed = StateError(
                f"task {self.id} cannot read its own traces back: {type(error).__name__}: {error}. "
                "Operator action: report this with the log; look who else writes the traces topic."
            )
            return
        if self.runner is runner:
            answers = settled(found, pending, time.time_ns() // 1_000_000)
            for trace_id, bodies in answers.items():
                runner.recalled(trace_id, bodies)  # type: ignore[attr-defined]
            self._news.set()
            if len(answers) < len(found):
                await asyncio.sleep(0.5)  # before what is not visible yet is asked for again

    # --- cutting

    def _is_cut_due(self) -> bool:
        waited = time.monotonic() - self._last_cut
        interval = max(self._settings.cut_interval_seconds, self._collect_seconds / CUT_CPU_SHARE)
        return self.runner.is_dirty and waited >= interval and not self.is_paused

    async def _settled_cut(self) -> None:
        """Wait for the cut in flight, so that at most one chunk of work runs ahead of it."""
        async with self._cutting:
            self._last_cut = time.monotonic()

    async def cut(self) -> None:
        """Commit outputs, state and positions since the last cut; a refusal restarts the task."""
        async with self._cutting:
            if not self._ready or not self.runner.is_dirty or self.failed is not None:
                return
            try:
                try:
                    await self._commit()
                    self.cuts += 1
                except CommitRefusedError as error:
                    await self._restart(str(error))
            except SpanloomError as error:
                self.failed = error
            except Exception as error:  # a cut runs beside the steps: nobody else would hear of it
                self._fail(error)

    async def _commit(self) -> None:
        assert self._changelog is not None
        assert self._producer is not None
        full = self._changelog.wants_full()
        self._last_cut = time.monotonic()
        # It grows from cut to cut even when the clock steps back: traces are found by it.
        last_ms = max(self._last_cut_ms, self.runner.last_cut_ms)
        self._last_cut_ms = max(last_ms + 1, time.time_ns() // 1_000_000)
        began = time.thread_time()
        outputs, segment = self.runner.collect(self._last_cut_ms, full=full)
        self._collect_seconds = time.thread_time() - began
        positions = {(t, self.id.partition): o for t, o in self.runner.positions.items()}
        metadata = self._source.group_metadata()
        changelog, producer, cut_ms = self._changelog, self._producer, self._last_cut_ms

        def commit() -> None:
            records: list[OutRecord] = changelog.records(segment, full=full)
            cut = Cut(cut_ms, outputs, records, positions)
            commit_cut(producer, cut, metadata)
            changelog.committed(cut, full=full)

        await self._in_thread(commit)

    async def _restart(self, why: str) -> None:
        """Throw the memory away, which is ahead of what is committed, and read it back."""
        # What the refused cut collected is gone: a later cut of this memory would commit past it.
        self._ready = False
        now = time.monotonic()
        self.restarts.append(now)
        while self.restarts and self.restarts[0] < now - 300:
            self.restarts.popleft()
        log.warning("commit_refused", task=str(self.id), error=why, restarts=len(self.restarts))
        if len(self.restarts) > self._settings.restarts_max:
            self.failed = BrokerError(
                f"task {self.id}: {len(self.restarts)} commits refused in five minutes, the last: "
                f"{why}. Operator action: look for a second worker with this group, "
                "and at the broker."
            )
            return
        if self._changelog is not None:
            await self._in_thread(self._changelog.close)
        if self._closed:
            return
        runner = self._make()
        old, self.runner = self.runner, runner
        try:
            await self._in_thread(self.restore)
        except SpanloomError as error:
            self.runner = old
            self.failed = error
            return
        for topic in self.topics:
            self._inbox[topic].clear()
            self._inbox_rows[topic] = self._inbox_bytes[topic] = 0
            await self._source.again(topic, self.id.partition, runner.positions.get(topic, 0))
        self._note_room()

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)


def changelog_topic(group: str, kind: str) -> str:
    """Return the name of the changelog of one kind of task."""
    return f"spanloom.{group}.{kind}.state.v1"
