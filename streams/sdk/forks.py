"""Processes that fork: a child begins with its own ids, its own queue and its own connection.

A Kafka client has threads, which a child does not have: to end it there would wait for ever. So the
child lets go of it without ending it. Nor has it the thread that imports the client, or makes one:
locks that are held meanwhile would be held in the child for ever, and whoever imports or makes a
client there would wait. So a fork waits until that is done.
"""

from __future__ import annotations

import logging  # noqa: F401  # see the end
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol
from weakref import WeakSet

from streams.sdk.span import chance


class Own(Protocol):
    """What belongs to one process: a child must not share it with its parent."""

    def forked(self) -> None:
        """Begin anew: we are in the child."""

    def begin_close(self) -> None:
        """Begin to end, without waiting for it."""

    def close(self) -> object:
        """Send what waits, for so long as may be: the process ends."""


EMITTERS: Final[WeakSet[Own]] = WeakSet()
LOAD_SECONDS_MAX: Final = 1.0
"""A fork waits no longer for whoever imports the client; that takes a tenth of a second.
In a signal handler it may be the import itself that waits for us."""


class _Loading(threading.local):
    """Who loads the client and who forks: one at a time.

    Attributes:
        lock: of whoever does it; the same for all threads.
        is_held: whether this thread forks, and holds it.
    """

    lock = threading.RLock()  # a signal handler may fork while its thread holds it
    is_held = False


_loading: Final = _Loading()


@contextmanager
def loading() -> Iterator[None]:
    """Let forks wait until the block is over: it imports the client, or makes one."""
    with _loading.lock:
        yield


def abandon(thing: object) -> None:
    """Keep an object for ever, over the interpreter's end too: its destructor must not run."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def close_all() -> None:
    """Close every emitter of the process at its end: all at once, each within its own bound."""
    emitters = tuple(EMITTERS)
    for emitter in emitters:
        emitter.begin_close()
    for emitter in emitters:
        emitter.close()


def at_end_of_child() -> None:
    """Close all when a child of multiprocessing ends: it runs no `atexit`."""
    if "multiprocessing.util" not in sys.modules:
        return
    from multiprocessing import parent_process, util

    if parent_process() is not None:
        util.Finalize(None, close_all, exitpriority=10)


def _before() -> None:
    _loading.is_held = False
    _loading.is_held = _loading.lock.acquire(timeout=LOAD_SECONDS_MAX)


def _in_parent() -> None:
    if _loading.is_held:
        _loading.is_held = False
        _loading.lock.release()


def _in_child() -> None:
    _Loading.lock = threading.RLock()
    chance.seed()
    for emitter in tuple(EMITTERS):
        emitter.forked()


# Whoever is registered last is called first before a fork. Logging is registered before us, so that
# its lock, which the import needs, is not taken yet while we wait.
os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
