"""Takes over the tasks of an assignment, beside the flow of those that stay.

Owns the restores that go on. Each task is fenced and read back in threads of their own, then its
partitions are sought to where its state stands, and only then fetched and joined: what stays with
the worker does not wait for what comes to it, however large that is.

Invariant: after `fenced` no restore of ours can fence another worker, so that a rebalance may go
on; before it the partitions are ours.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from streams.codec.panics import FAILURES
from streams.errors import SpanloomError, StateError, said_of
from streams.runtime.cancelling import own_cancels_only
from streams.runtime.host import TaskHost
from streams.runtime.recovery import Recovered
from streams.runtime.task import TaskId

log = structlog.get_logger()
RESTORES_AT_ONCE: Final = 8
GoOn = Callable[[TaskHost], Awaitable[None]]
"""Seeks a task's partitions to where its state stands and lets them be fetched."""


class Takeovers:
    """The tasks that are being restored.

    Args:
        go_on: called for each task when its state is there.
        on_done: called after each.
    """

    def __init__(self, go_on: GoOn, on_done: Callable[[], None]) -> None:
        self._go_on = go_on
        self._on_done = on_done
        self._pool = ThreadPoolExecutor(RESTORES_AT_ONCE, thread_name_prefix="spanloom-restore")
        self._running: dict[TaskId, asyncio.Task[None]] = {}
        self._fences: set[asyncio.Future[None]] = set()
        self._leaving: dict[TaskId, set[asyncio.Task[None]]] = {}
        """Of tasks that went while they were read: what still reads, and has their local copy."""

    def begin(self, hosts: Iterable[TaskHost]) -> None:
        """Restore tasks that were assigned; returns at once."""
        # All are fenced before any is read: a revoke waits for that and for no more.
        begun = [(host, asyncio.wrap_future(self._pool.submit(host.fence))) for host in hosts]
        for host, fence in begun:
            self._fences.add(fence)
            fence.add_done_callback(self._fences.discard)
            take = self._take_over(host, fence, self._leaving.pop(host.id, set()))
            running = asyncio.get_running_loop().create_task(take)
            self._running[host.id] = running

    def is_restoring(self, task_id: TaskId) -> bool:
        """Whether the state of a task is not there yet."""
        return task_id in self._running

    async def fenced(self) -> None:
        """Wait until no restore can fence another worker any more."""
        if self._fences:
            await asyncio.wait(list(self._fences))

    async def leave(self, host: TaskHost) -> None:
        """Give up a task that went to another worker; its local copy is closed.

        Where its state is still being read, that ends by itself: the others of this worker wait for
        the assignment. The task itself waits for it, should it come again.
        """
        running = self._running.pop(host.id, None)
        await host.stop(cut=False)
        reading = {one for one in (running, host.coming_back) if one is not None}
        if left := {one for one in reading if not one.done()}:
            self._leaving[host.id] = left

    def end(self) -> None:
        """Wait for nobody any more; threads that still read are left to the end of the process."""
        for running in itertools.chain(self._running.values(), *self._leaving.values()):
            running.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _take_over(
        self, host: TaskHost, fence: asyncio.Future[None], leaving: set[asyncio.Task[None]]
    ) -> None:
        try:
            with own_cancels_only():
                await fence
                if leaving:
                    await asyncio.wait(leaving)
                found: Recovered = await asyncio.wrap_future(self._pool.submit(host.recover))
            if host.is_closed:
                found.changelog.close()
                return
            self._say(host, found)
            host.adopt(found)
        except SpanloomError as error:
            host.failed = error
            return
        except FAILURES as error:
            log.exception("restore_failed", task=str(host.id))
            host.failed = StateError(
                f"the state of task {host.id} cannot be restored ({said_of(error)})."
                " Operator action: run the version that wrote it; else report this with the log, "
                "and start a new group."
            )
            return
        finally:
            # From here on an assignment seeks it and lets it be fetched like any other task.
            if self._running.get(host.id) is asyncio.current_task():
                del self._running[host.id]
        try:
            with own_cancels_only():
                await self._go_on(host)
        except FAILURES as error:
            host.fail(error)
            return
        host.begin()
        host.start()
        self._on_done()

    def _say(self, host: TaskHost, found: Recovered) -> None:
        restored = found.restored
        log.info(
            "task_restored",
            task=str(host.id),
            segments=restored.live_segments,
            pieces=restored.pieces,
            size_bytes=restored.size_bytes,
            from_local=restored.from_local,
            seconds=round(restored.seconds, 3),
            load_seconds=round(found.load_seconds, 3),
        )
