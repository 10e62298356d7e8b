"""Virtual time: an event loop, a clock and pools of threads that nothing but a seed drives.

Owns the only clock of a simulated shell. A job of a pool runs as a coroutine of its own (a
greenlet): where a thread would wait it gives way, and goes on when the loop's time has come. So
whatever can come between two waits of a thread comes there in some seed, always the same way.

Invariant: the loop never sleeps; when nothing is left that could happen, the run stands still.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from greenlet import GreenletExit, getcurrent, greenlet

_CLOCKED = (
    "streams.runtime.host",
    "streams.runtime.changelog",
    "streams.runtime.recovery",
    "streams.runtime.rebalance",
    "streams.runtime.worker",
    "streams.runtime.pace",
)


TURNS_MAX = 20_000
"""So many turns of the loop without time passing are no work any more."""


class StandsStillError(AssertionError):
    """Nothing is left that could ever happen."""


class Clock:
    """Stands for the module `time` in what is simulated.

    Attributes:
        seconds: since the run began; only grows.
        ahead_ns: how far the wall clock is ahead of what it should be.
    """

    def __init__(self, begin_us: int) -> None:
        self.seconds = 0.0
        self.ahead_ns = 0
        self._begin_us = begin_us

    @property
    def true_us(self) -> int:
        """The time of the broker, which nobody sets."""
        return self._begin_us + int(self.seconds * 1e6)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self.seconds + 1_000.0  # an uptime: nothing may take 0 for "never"

    def time_ns(self) -> int:
        """Return the wall clock."""
        return self.true_us * 1_000 + self.ahead_ns

    def thread_time(self) -> float:
        """Return no CPU time: how quick this machine is must change nothing."""
        return 0.0

    process_time = thread_time


class _Selector:
    """Lets the time pass for which a loop has nothing to do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StandsStillError("nothing is left that could happen")
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > TURNS_MAX:
            raise StandsStillError("something is busy and never lets the time pass")
        self._clock.seconds += max(0.0, timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose time passes when everything waits."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._selector = _Selector(clock)

    def time(self) -> float:
        """Return the virtual time."""
        return self._clock.seconds

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def wait_in_thread(seconds: float) -> None:
    """Let a job of a pool wait; called from within a job only."""
    job = getcurrent()
    assert job.parent is not None, "the loop itself must not block"
    asyncio.get_running_loop().call_later(seconds, _Job.go_on, job)
    job.parent.switch()


class _Job(greenlet):
    """A call in a pool, on a stack of its own."""

    def go_on(self) -> None:
        """Run until it waits or ends; one that was killed meanwhile stays dead."""
        if not self.dead:
            self.switch()


class SimulatedPool:
    """Stands for a `ThreadPoolExecutor`: so many jobs at once, begun and ended at seeded times.

    Args:
        rng: draws how long beginning and ending take.
        threads: how many jobs run at once; others wait.
    """

    def __init__(self, rng: random.Random, threads: int) -> None:
        self._rng = rng
        self._idle = threads
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._jobs: set[_Job] = set()
        self._is_over = False

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run a call as soon as a thread is idle."""
        if self._is_over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: call(*args)))
        self._begin()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; what runs goes on."""
        self._is_over = True
        while cancel_futures and self._waiting:
            self._waiting.popleft()[0].cancel()

    def kill(self) -> None:
        """End every job where it waits, as the end of the process does."""
        self.shutdown(cancel_futures=True)
        for job in list(self._jobs):
            job.throw(GreenletExit)
        self._jobs.clear()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and self._waiting:
            future, call = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._idle -= 1
            job = _Job(lambda future=future, call=call: self._run(future, call))
            self._jobs.add(job)
            loop.call_later(self._rng.choice((0.0, 0.0, 0.001, 0.02)), job.go_on)

    def _run(self, future: Future[Any], call: Callable[[], Any]) -> None:
        try:
            result, error = call(), None
        except GreenletExit:
            return
        except BaseException as raised:  # as a thread pool does: it is the caller's
            result, error = None, raised
        self._jobs.discard(getcurrent())  # type: ignore[arg-type]
        self._idle += 1
        loop = asyncio.get_running_loop()
        if error is None:
            loop.call_soon(future.set_result, result)
        else:
            loop.call_soon(future.set_exception, error)
        self._begin()


@contextmanager
def clocked(clock: Clock) -> Iterator[None]:
    """Let the shell's modules see the virtual time."""
    with ExitStack() as patches:
        for name in _CLOCKED:
            patches.enter_context(patch(f"{name}.time", clock))
        yield
