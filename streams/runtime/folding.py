"""The base that a task's changelog is folded into, made beside its cuts.

Owns the compaction in the making and the thread that drives it. One thread folds for all tasks of a
process: a cut does not wait for a fold, and of the interpreter the folds of all tasks together take
no more than one does.

Invariant: at most one step of a task runs, and what it made is handed over at a cut; what cuts owe
is folded before they have owed `OWED_BYTES_MAX` more.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Final

from streams.state.compaction import (
    STEP_BYTES_MAX,
    STEP_FACTOR_MIN,
    Compaction,
    step_bytes,
)
from streams.state.live import Base, Line

OWED_BYTES_MAX: Final = int(STEP_BYTES_MAX / STEP_FACTOR_MIN)
"""So much of cuts may wait for being paid for; more would make one step too large for the memory,
and a thread that folds less than comes would never be noticed."""

Made = list[tuple[bytes, bytes | None]]
"""Keys and values of a base's pieces."""


class Folding:
    """One base in the making.

    Args:
        line: what it replaces, at least one delta.
        generation: whose base it will be.
        read: returns a committed piece by its changelog key; called in the thread of the pool.
        pool: runs the steps, one thread for all tasks; None runs each at once.
    """

    def __init__(
        self,
        line: Line,
        generation: int,
        read: Callable[[bytes], bytes],
        pool: Executor | None = None,
    ) -> None:
        self._compaction = Compaction(line, generation, read)
        self._pool = pool
        self._running: Future[Made] | None = None
        self._owed_bytes = 0
        self.base: Base | None = None
        """What was made, once all of it was handed over."""

    @property
    def replaced(self) -> Line:
        """What the base replaces."""
        return self._compaction.replaced

    def go_on(self, cut_bytes: int) -> Made:
        """Let the next step begin after a cut, and return what was made since the last call.

        Args:
            cut_bytes: how large the cut was; what it owes is folded by the next step.

        Raises:
            StateError, NoRoomError, DamagedCopyError: what is folded cannot be read.
        """
        self._owed_bytes += cut_bytes
        made = self._taken()
        if self._running is None and self.base is None:
            self._begin(step_bytes(self._owed_bytes))
            self._owed_bytes = 0
            if self._pool is None:
                made += self._taken()
        return made

    def drop(self) -> list[bytes]:
        """Give the base up; return the keys of what was handed over, and of some that was not."""
        if self._running is not None and not self._running.cancel():
            wait([self._running])
        return self._compaction.published()

    def _taken(self) -> Made:
        running = self._running
        if running is None or not (running.done() or self._owed_bytes > OWED_BYTES_MAX):
            return []
        made = running.result()
        self._running = None
        self.base = self._compaction.base
        return made

    def _begin(self, size_bytes: int) -> None:
        def step() -> Made:
            return list(self._compaction.step(size_bytes))

        if self._pool is not None:
            self._running = self._pool.submit(step)
            return
        self._running = Future()
        try:
            self._running.set_result(step())
        except Exception as error:
            self._running.set_exception(error)
