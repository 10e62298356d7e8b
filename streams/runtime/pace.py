"""How often the tasks of a process commit, and how many of them at once.

A commit costs the client the same CPU however little is in it, and many at once delay each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

COMMIT_CPU_SECONDS = 0.0017
"""Measured: 1.5 to 1.9 ms of client CPU a transaction, whatever its size."""
_BUSY_SECONDS = 10.0
"""A task counts as busy for so long after a cut; an idle one costs nothing."""


class Turn:
    """Held while a task commits; given back early by one that only waits."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._is_held = False

    async def __aenter__(self) -> Turn:
        await self._turns.acquire()
        self._is_held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Let another task commit; again it does nothing."""
        if self._is_held:
            self._is_held = False
            self._turns.release()


class Pace:
    """Shared by the hosts of a process.

    Args:
        interval_seconds: least time between two cuts of a task.
        cpu_share: share of a core that commits may take, above 0.
        at_once: how many tasks may commit at the same time.
        clock: gives seconds that only grow.
    """

    def __init__(
        self,
        interval_seconds: float,
        cpu_share: float = 0.1,
        at_once: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._interval_seconds = interval_seconds
        self._cpu_share = cpu_share
        self._clock = clock
        self._cut_at: dict[str, float] = {}

    def turn(self) -> Turn:
        """Return a turn to commit, which has to be waited for."""
        return Turn(self._turns)

    def note_cut(self, task: str) -> None:
        """Remember that a task has cut."""
        self._cut_at[task] = self._clock()

    def seconds(self, collect_seconds: float) -> float:
        """Return the time between two cuts of a task whose state took so much CPU to collect."""
        recent = self._clock() - _BUSY_SECONDS
        busy = sum(at > recent for at in self._cut_at.values())
        return max(
            self._interval_seconds,
            collect_seconds / self._cpu_share,
            busy * COMMIT_CPU_SECONDS / self._cpu_share,
        )
