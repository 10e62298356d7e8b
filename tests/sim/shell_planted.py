"""Bugs planted in the shell: the simulated shell must catch each of them."""

import asyncio
import time
from typing import Any

from streams.errors import BrokerError
from streams.runtime.chunk import Chunk
from streams.runtime.host import TaskHost
from streams.runtime.recall import settled
from tests.sim.planted import BUGS

_commit = TaskHost._commit


async def _recall_any(self: TaskHost, pending: list[tuple[bytes, int, int]]) -> None:
    """Take an answer for whatever revision the trace wants by now."""
    assert self._recall is not None
    runner: Any = self.runner
    try:
        found = await asyncio.get_running_loop().run_in_executor(
            self._recall_pool,  # type: ignore[arg-type]
            self._recall,
            self.id.partition,
            pending,
        )
    except BrokerError:
        await asyncio.sleep(1.0)
        return
    if self.runner is runner:
        answers = settled(found, pending, time.time_ns() // 1_000_000 if not found else 0)
        for trace_id in {one[0] for one in runner.pending_recalls()} & answers.keys():
            runner.recalled(trace_id, answers[trace_id])
        self._inbox.news.set()


async def _put_when_ready(self: TaskHost, chunk: Chunk) -> None:
    while not self._inbox.has_room(chunk.topic) and not self._closed:
        await self._inbox.room.wait()
    if not self._closed and self._ready:
        self._inbox.put(chunk)


async def _fetched_once(self: TaskHost, topic: str, position: int) -> None:
    await self._source.again(topic, self.id.partition, position)
    await asyncio.sleep(5.0)


async def _restart_nothing(self: TaskHost, why: str) -> None:
    self._ready = True


async def _broker_error_swallowed(self: TaskHost) -> None:
    try:
        await _commit(self)
    except BrokerError:
        self._in_flight_ms = 0


SHELL_BUGS: dict[str, tuple[type, str, Any]] = {
    "recall_of_another": (TaskHost, "_recall_all", _recall_any),
    "dropped_before_ready": (TaskHost, "put", _put_when_ready),
    "fetched_once": (TaskHost, "_fetch_missing", _fetched_once),
    "refusal_ignored": (TaskHost, "_restart", _restart_nothing),
    "error_swallowed": (TaskHost, "_commit", _broker_error_swallowed),
}
"""Name -> what is replaced: an answer read back for one revision taken for another; records that
come before a task may step thrown away; a gap fetched once, whatever comes of it; a refused commit
passed over; an unknown outcome of a commit told to nobody."""

BUGS.update(SHELL_BUGS)
