"""Processes that fork: a child begins with its own ids, its own queue and its own connection.

A Kafka client has threads, which a child does not have: to end it there would wait for ever. So the
child lets go of it without ending it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakSet

from streams.sdk.span import chance


class Own(Protocol):
    """What belongs to one process: a child must not share it with its parent."""

    def forked(self) -> None:
        """Begin anew: we are in the child."""

    def close(self) -> object:
        """Send what waits, for so long as may be: the process ends."""


EMITTERS: Final[WeakSet[Own]] = WeakSet()


def abandon(thing: object) -> None:
    """Keep an object for ever, over the interpreter's end too: its destructor must not run."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def at_end_of_child(close: Callable[[], object]) -> None:
    """Close when a child of multiprocessing ends: it runs no `atexit`."""
    if "multiprocessing.util" not in sys.modules:
        return
    from multiprocessing import parent_process, util

    if parent_process() is not None:
        util.Finalize(None, close, exitpriority=10)


def _in_child() -> None:
    chance.seed()
    for emitter in tuple(EMITTERS):
        emitter.forked()


os.register_at_fork(after_in_child=_in_child)
