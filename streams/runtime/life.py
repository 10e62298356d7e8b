"""Signs of life of a supervised worker: how it gives them, and how their absence is counted.

A thread of the worker writes a byte a second into the socket that is its standard input. It needs
the process to be scheduled and the interpreter's lock to be free for a moment, and nothing else:
neither the loop, nor a broker, nor a disk. So a worker that waits for a commit, reads a state back,
collects garbage or steps through a backlog gives signs; one that was stopped as a whole (SIGSTOP),
or hangs in a native call that holds the lock, gives none.

Invariant: silence is counted only while both could run: the supervisor itself, and the worker's
threads. A machine that lets them wait for a processor makes nobody silent; one that never gives one
to a thread does, since the kernel counts a wait when it ends.
"""

import contextlib
import faulthandler
import os
import signal
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 1.0
LOOK_SECONDS_MAX: Final = 2 * LOOK_SECONDS
"""More than this between two looks is time in which the supervisor did not run."""
FIRST_SIGN_FACTOR: Final = 5.0
"""So many limits may pass before the first sign: until then a cold disk gives the interpreter.

And what the command imports itself. The sign comes before the contract is read and Faust is loaded.
"""
TELL_SIGNAL: Final = signal.SIGUSR2
"""Has a worker write where its threads stand; without the lock, which it may never get."""
STATES: Final = {
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "D": "waits for a disk, or a file system that is away",
    "R": "computes, and does not let its other threads run",
    "S": "sleeps, and does not let its other threads run",
}


def give(fd: int = 0) -> Callable[[], None]:
    """Return what gives a sign of life; it waits for nobody and raises nothing.

    Args:
        fd: the socket to the supervisor; anything else is left alone, since nobody listens there.
    """
    try:
        is_line = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        is_line = False
    if not is_line:
        return lambda: None

    def sign() -> None:
        # A full line is one that the supervisor does not read now, a broken one ends the worker
        # by the end of its standard input: neither is ours to mend.
        with contextlib.suppress(OSError):
            line = socket.socket(fileno=fd)
            try:
                line.send(b".", socket.MSG_DONTWAIT)
            finally:
                line.detach()

    return sign


def tell_where_it_stands() -> None:
    """Have `TELL_SIGNAL` write the stacks of all threads on standard error; no values are in it."""
    faulthandler.register(TELL_SIGNAL, all_threads=True, chain=False)


def heard(line: socket.socket) -> bool:
    """Whether signs came since this was last asked; all of them are taken."""
    has_come = False
    with contextlib.suppress(OSError):  # nothing more, or the other end is closed
        while line.recv(1 << 12, socket.MSG_DONTWAIT):
            has_come = True
    return has_come


class Silence:
    """For how long a worker could have given a sign and gave none, seconds.

    Args:
        limit_seconds: how long that may be; 0 for as long as it likes.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.seconds = 0.0
        self._limit_seconds = limit_seconds
        self._has_signed = False
        self._waited: Mapping[str, float] = {}

    @property
    def limit_seconds(self) -> float:
        """How long it may be now."""
        return self._limit_seconds * (1.0 if self._has_signed else FIRST_SIGN_FACTOR)

    @property
    def is_over(self) -> bool:
        """Whether it has lasted for too long."""
        return 0 < self.limit_seconds < self.seconds

    def look(
        self, elapsed_seconds: float, has_signed: bool, waited: Callable[[], Mapping[str, float]]
    ) -> None:
        """Count the time since the last look.

        Args:
            elapsed_seconds: >= 0; beyond `LOOK_SECONDS_MAX` it does not count.
            has_signed: whether a sign came since then.
            waited: gives by thread for how long it has wanted a processor and had none, seconds
                since its start; asked only while there is silence.
        """
        if has_signed:
            self.seconds, self._has_signed, self._waited = 0.0, True, {}
            return
        before, self._waited = self._waited, waited()
        starved = max((s - before[t] for t, s in self._waited.items() if t in before), default=0.0)
        self.seconds += max(0.0, min(elapsed_seconds, LOOK_SECONDS_MAX) - starved)


def waited_of(pid: int, proc: Path = Path("/proc")) -> dict[str, float]:
    """Return by thread for how long it has waited for a processor, seconds since its start.

    Empty where the system does not tell.

    Source: Linux, Documentation/scheduler/sched-stats: the second figure of `schedstat`.
    """
    waited = {}
    with contextlib.suppress(OSError):
        for task in (proc / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):  # a thread that has ended
                waited[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return waited


def state_of(pid: int, proc: Path = Path("/proc")) -> str:
    """Return what a process does, as far as the system tells, in words."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    letter = text.rpartition(")")[2].split()[0]
    return STATES.get(letter, letter)
