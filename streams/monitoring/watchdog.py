"""Ends a process that cannot end itself: its loop does not turn, or its stop takes too long.

Owns one thread, which looks once a second. It counts only time in which it ran itself: a process
that was stopped as a whole (SIGSTOP, a frozen container) finds that its loop has not turned either,
and must not die of it.

Invariant: what ends the process this way was not committed, and is read again by the next start.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from streams.monitoring import stacks

LOOK_SECONDS: Final = 1.0
"""Between two looks, which are two signs of life as well."""
EXIT_CODE: Final = 3


def end_process(text: str) -> None:
    """Say why, and end the process at once: neither threads nor handlers are waited for."""
    with contextlib.suppress(OSError):  # whoever reads it may have ended; so do we
        os.write(sys.stderr.fileno(), f"spanloom: {text}\n".encode())
    os._exit(EXIT_CODE)


class Watchdog:
    """Watches the loop of a worker, and its stop.

    Args:
        blocked_seconds: for how long the loop may not turn.
        stop_seconds: how long a stop may take.
        end: called once with a sentence when one of them took longer; must not return in earnest.
        sign: called at every look: whoever waits for it sees that this thread runs, and that what
            it watches is therefore watched.
    """

    def __init__(
        self,
        blocked_seconds: float,
        stop_seconds: float,
        end: Callable[[str], None] = end_process,
        sign: Callable[[], None] = lambda: None,
    ) -> None:
        self.blocked_seconds = 0.0
        """For how long the loop has not turned, seconds."""
        self._blocked_seconds_max = blocked_seconds
        self._stop_seconds_max = stop_seconds
        self._stopping_seconds: float | None = None
        self._why = ""
        self._end = end
        self._sign = sign
        self._has_loop = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def live(self) -> None:
        """Begin to give signs; there is no loop to be watched yet."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, name="spanloom-watchdog", daemon=True
            )
            self._thread.start()

    def start(self) -> None:
        """Begin to watch; the thread ends with the process."""
        self.turned()
        self._has_loop = True
        self.live()

    def turned(self) -> None:
        """Note that the loop turns."""
        self.blocked_seconds = 0.0

    def stopping(self, why: str = "") -> None:
        """Note that the stop has begun; from now on only its deadline counts.

        Args:
            why: the error that the process ends with, which is said again should it be cut short.
        """
        self._why = self._why or why
        if self._stopping_seconds is None:
            self._stopping_seconds = 0.0

    def over(self) -> None:
        """End the watch: the worker is done, or lives on without one."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * LOOK_SECONDS)

    def _watch(self) -> None:
        last = time.monotonic()
        self._sign()
        while not self._over.wait(LOOK_SECONDS):
            now = time.monotonic()
            self._sign()
            if self._has_loop:
                self.look(min(now - last, 2 * LOOK_SECONDS))
            last = now

    def look(self, elapsed_seconds: float) -> None:
        """Count the time since the last look, and end the process when it is too much."""
        self.blocked_seconds += elapsed_seconds
        if self._stopping_seconds is not None:
            self._stopping_seconds += elapsed_seconds
            if self._stopping_seconds > self._stop_seconds_max:
                self._end(
                    (self._why and f"{self._why} Moreover, ")
                    + f"the stop took longer than {self._stop_seconds_max:g} s (stop_seconds_max) "
                    "and was cut short. Operator action: none; what was not committed is read "
                    "again by the next start."
                )
        elif self.blocked_seconds > self._blocked_seconds_max:
            self._end(
                f"the worker's loop has not turned for {self.blocked_seconds:.0f} s; it stands at "
                f"{stacks.of_main_thread()}. Operator action: look at the disk of --state-dir and "
                "at the machine's load; a restart goes on from the last commit."
            )
