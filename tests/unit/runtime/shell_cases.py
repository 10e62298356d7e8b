"""Fakes around a task host: a source, a runner, a changelog and commits, all in memory.

The fakes keep what they were told, so that a test reads like the exchange it is about.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streams.codec.recordbatch import Record
from streams.runtime import recovery as recovery_module
from streams.runtime.changelog import Restored
from streams.runtime.chunk import Chunk
from streams.runtime.commit import Cut, OutRecord
from streams.runtime.host import RecallJob, TaskHost
from streams.runtime.pace import Pace
from streams.runtime.task import Connection, HostSettings, TaskId
from streams.state.segment import Segment, scalars_segment
from tests.record_batches import batch

PARTITION = 3
QUICK = HostSettings(coalesce_seconds=0.0, cut_interval_seconds=3600.0)


def chunk(topic: str, start: int, end: int, offsets: Sequence[int] | None = None) -> Chunk:
    """Return a chunk with a record at every offset of [start, end), or at those given."""
    at = range(start, end) if offsets is None else offsets
    records = [Record(offset, 0, None, b"v") for offset in at]
    return Chunk(topic, PARTITION, start, end, [batch(records)] if records else [])


class FakeSource:
    """A consumer that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.held: set[str] = set()
        self.first: dict[str, int] = {}
        self.out: dict[str, int] = {}
        self.memberships: list[bool | None] = []
        """What the next questions are answered; then that we are a member."""
        self.while_asked: Callable[[], None] | None = None

    def read_to_end_at_us(self, topic: str, partition: int, position: int) -> int:
        return position * 10

    async def again(self, topic: str, partition: int, position: int) -> None:
        self.asked.append(("again", topic, position))

    async def beginning(self, topic: str, partition: int) -> int:
        return self.first.get(topic, 0)

    def handed_out(self, topic: str, partition: int) -> int:
        return self.out.get(topic, 0)

    def hold(self, topic: str, partition: int) -> None:
        self.asked.append(("hold", topic, partition))
        assert topic not in self.held
        self.held.add(topic)

    def release(self, topic: str, partition: int) -> None:
        self.asked.append(("release", topic, partition))
        self.held.remove(topic)

    def group_metadata(self) -> bytes | None:
        return b"metadata"

    async def is_member(self) -> bool | None:
        if self.while_asked is not None:
            self.while_asked()
        return self.memberships.pop(0) if self.memberships else True


class FakeRunner:
    """A task that takes everything and remembers it; its state is its positions."""

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.topic_ids: dict[str, str] = {}
        self.is_dirty = False
        self.held: frozenset[str] = frozenset()
        self.rows = 0
        self.last_cut_ms = 0
        self.offsets: dict[str, list[int]] = {}
        self.caught_up: list[dict[str, int]] = []
        self.fails: BaseException | None = None
        self.fails_to_collect: Exception | None = None
        self.recalls: list[tuple[bytes, int, int]] = []
        self.given: list[tuple[bytes, Sequence[bytes] | None]] = []

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        if self.fails is not None:
            raise self.fails
        self.caught_up.append(dict(caught_up_us))
        for one in chunks:
            assert one.start == self.positions.get(one.topic, 0), "chunks are contiguous"
            self.positions[one.topic] = one.end
            self.offsets.setdefault(one.topic, []).extend(r.offset for r in one.records)
            self.rows += one.rows
            self.is_dirty = True

    def collect(self, cut_ms: int) -> tuple[list[OutRecord], Segment]:
        if self.fails_to_collect is not None:
            raise self.fails_to_collect
        self.is_dirty = False
        record = OutRecord("out", PARTITION, None, b"o")
        return [record], scalars_segment({"positions": self.positions, "topic_ids": self.topic_ids})

    def load(self, segments: Sequence[Segment]) -> None:
        if segments:
            self.positions = dict(segments[-1].scalars["positions"])
            self.topic_ids = dict(segments[-1].scalars["topic_ids"])

    def status(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def pending_recalls(self) -> list[tuple[bytes, int, int]]:
        return list(self.recalls)

    def recalled(self, trace_id: bytes, bodies: Sequence[bytes] | None) -> None:
        self.given.append((trace_id, bodies))
        self.recalls = [one for one in self.recalls if one[0] != trace_id]


class FakeBroker:
    """What outlives a task: the committed segments and offsets; and what the next commits meet."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.commits: list[Cut] = []
        self.meets: list[BaseException] = []
        self.fails_to_restore: Exception | None = None
        self.low: dict[str, int] = {}
        self.closed = 0
        self.starts = 0
        self.disk_is_full = False

    def start(self) -> None:
        self.starts += 1

    call_seconds = 0.0

    def commit(self, cut: Cut, metadata: bytes | None) -> None:
        assert metadata == b"metadata"
        if self.meets:
            raise self.meets.pop(0)
        self.commits.append(cut)


class FakeChangelog:
    """A changelog that takes a segment over when its commit has gone through."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._pending: list[Segment] = []
        self._is_behind = False

    def restore(self, if_empty: Callable[[], None]) -> Restored:
        if self._broker.fails_to_restore is not None:
            raise self._broker.fails_to_restore
        segments = list(self._broker.segments)
        if not segments:
            if_empty()
        return Restored(segments, len(segments), 0, 0.0)

    def records(self, segment: Segment) -> list[OutRecord]:
        self._pending.append(segment)
        return [OutRecord("changelog", PARTITION, b"0/0", b"piece")]

    def committed(self, cut: Cut) -> None:
        self._broker.segments.append(self._pending.pop())
        self.catch_up()

    @property
    def waiting_for(self) -> str:
        return "disk_full" if self._is_behind else ""

    def catch_up(self) -> None:
        self._is_behind = self._broker.disk_is_full

    def close(self) -> None:
        self._broker.closed += 1


class Shell:
    """A task host among fakes, restored and ready to be fed."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        topics: Sequence[str] = ("a",),
        settings: HostSettings = QUICK,
        recall: RecallJob | None = None,
        broker: FakeBroker | None = None,
        pace: Pace | None = None,
        ids: Mapping[str, str] | None = None,
        recall_pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self.broker = broker or FakeBroker()
        self.source = FakeSource()
        monkeypatch.setattr(recovery_module, "publisher_for", lambda *_: self.broker)
        monkeypatch.setattr(recovery_module, "Changelog", lambda *_: FakeChangelog(self.broker))
        self.stood: dict[str, int] = {}
        monkeypatch.setattr(recovery_module, "stood_at", lambda *_: self.stood)
        monkeypatch.setattr(
            recovery_module,
            "beginnings",
            lambda _base, names, _partition: {name: self.broker.low.get(name, 0) for name in names},
        )
        self.host = TaskHost(
            TaskId("join", PARTITION),
            tuple(topics),
            FakeRunner,
            Connection({}, "group", Path("unused"), topic_ids=lambda _names: ids or {}),
            self.source,
            ThreadPoolExecutor(1),
            settings,
            recall,
            pace,
            recall_pool,
        )
        self.restore()

    def restore(self) -> None:
        """Do what a takeover does, without a source that is sought."""
        self.host.fence()
        self.host.adopt(self.host.recover())
        self.host.begin()

    @property
    def runner(self) -> FakeRunner:
        """The task as it is now; a restart makes another one."""
        runner = self.host.runner
        assert isinstance(runner, FakeRunner)
        return runner

    async def step(self) -> None:
        """Let the host step once."""
        self.host._step()
        await self.host._steer()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; what never does fails."""
    async with asyncio.timeout(120):
        while not holds():
            await asyncio.sleep(0.005)


async def is_blocked(task: asyncio.Task[None]) -> bool:
    """Say whether a task is still waiting after everything else had its turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()
