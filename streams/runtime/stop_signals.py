"""How a worker is told to end: a signal, twice for at once, or the end of its supervisor.

Invariant: the first word asks for an orderly stop; nothing but a second one of a person, or the
stop's deadline, makes it a hard one.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from streams.monitoring.watchdog import end_process

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last is what a terminal says that is closed, or a session that ends."""
ECHO_SECONDS: Final = 1.0
"""A terminal and a wrapper may both pass one Ctrl-C on: so soon after the first it is the same."""


def heeded() -> list[signal.Signals]:
    """Return the signals to listen to: what `nohup` let a process ignore, it goes on ignoring."""
    is_immune = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [name for name in SIGNALS if not (is_immune and name is signal.SIGHUP)]


class StopSignals:
    """Listens to signals while a worker runs; made on its loop, in the main thread.

    Args:
        stop: asks the worker to end.
        is_hard: a second signal ends the process at once; False where others live in it.
        is_supervised: a supervisor tells this worker what to do. Then a second signal is nothing
            (the supervisor and whoever told it may both send one), and the end of standard input,
            which the supervisor holds open, is the first one.
    """

    def __init__(self, stop: Callable[[], None], *, is_hard: bool, is_supervised: bool) -> None:
        self._stop = stop
        self._is_hard = is_hard and not is_supervised
        self._is_supervised = is_supervised
        self._told_at: float | None = None
        self._heeded = heeded()

    def install(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        for name in self._heeded:
            loop.add_signal_handler(name, self._told)
        if self._is_supervised:
            loop.add_reader(sys.stdin.fileno(), self._read)

    def _told(self) -> None:
        if self._told_at is None:
            self._told_at = time.monotonic()
            if self._is_hard:  # from here on without the loop, which the stop may block
                for name in self._heeded:
                    signal.signal(name, self._told_again)
        self._stop()

    def _told_again(self, number: int, _frame: FrameType | None) -> None:
        assert self._told_at is not None
        if time.monotonic() - self._told_at < ECHO_SECONDS:
            return
        end_process(
            f"told to stop a second time ({signal.Signals(number).name}), so stopped at once. "
            "Operator action: none; what was not committed is read again by the next start."
        )

    def _read(self) -> None:
        try:
            said = os.read(sys.stdin.fileno(), 1024)
        except ConnectionResetError:  # its end, while a sign of life there was not read yet
            said = b""
        if not said:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._told()
