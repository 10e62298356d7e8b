"""Named places where a test may have the worker die, as a power cut would end it there.

Owns the names. Nothing happens at any of them unless SPANLOOM_CRASH_POINT says where; a worker that
is armed says so in its log when it starts. Invariant: without that variable `reached` does nothing.
"""

import os
import signal
import threading
from typing import Final, Protocol

import structlog

from streams.errors import ConfigError

log = structlog.get_logger()
VARIABLE: Final = "SPANLOOM_CRASH_POINT"
COMMIT_POINTS: Final = (
    "before_begin",
    "after_begin",
    "after_produce",
    "after_changelog",
    "after_offsets",
    "after_commit",
    "in_local_write",
    "after_local_write",
)
RESTORE_POINTS: Final = ("after_init_transactions", "after_changelog_read")
POINTS: Final = COMMIT_POINTS + RESTORE_POINTS


class Flushing(Protocol):
    """A client that has a queue."""

    def flush(self) -> object:
        """Send what is queued."""


class _Armed:
    """Where this process is to die: at the `left`-th visit of a point from now."""

    def __init__(self) -> None:
        self.name = ""
        self.left = 0
        self.is_flushed = False
        self.lock = threading.Lock()


_armed = _Armed()


def arm(text: str) -> None:
    """Arm a point: `name:n` dies at the n-th visit, `name:n:flushed` sends first what is queued.

    Raises:
        ConfigError: no such point, or n is no number over 0.
    """
    name, _, rest = text.partition(":")
    number, _, option = rest.partition(":")
    if name not in POINTS or not number.isdecimal() or int(number) < 1 or option not in _OPTIONS:
        raise ConfigError(
            f"{VARIABLE} {text!r} is no point:n or point:n:flushed, n > 0: unset it, or take a "
            f"point out of {', '.join(POINTS)}"
        )
    _armed.name, _armed.left, _armed.is_flushed = name, int(number), option == "flushed"
    log.warning("crash_point_armed", point=name, visits=_armed.left, is_flushed=_armed.is_flushed)


_OPTIONS: Final = ("", "flushed")


def arm_from_environment() -> None:
    """Arm what SPANLOOM_CRASH_POINT names, if it is set.

    Raises:
        ConfigError: it names no point.
    """
    text = os.environ.get(VARIABLE)
    if text:
        arm(text)


def reached(name: str, client: Flushing | None = None) -> None:
    """Die here by SIGKILL when it is this point's turn; else do nothing.

    Args:
        name: one of `POINTS`.
        client: is flushed before a death that asks for it, so that the broker has the records of
            a transaction that never ends.
    """
    if _armed.name != name:
        return
    with _armed.lock:
        _armed.left -= 1
        if _armed.left:
            return
        if client is not None and _armed.is_flushed:
            client.flush()
        os.kill(os.getpid(), signal.SIGKILL)
