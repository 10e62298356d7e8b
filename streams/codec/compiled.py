"""Whether the compiled loops are there: a process that reads much loads them, once.

Owns their loading. Without them everything is read by polars and numpy, to the same result: a
process that reads little, a machine for which there is no compiler, the first second of a worker.
"""

import importlib
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

import numpy as np
import structlog

from streams.codec.plan import LIST, TEXT
from streams.errors import said_of

log = structlog.get_logger()
MODULE: Final = "streams.codec.kernels"
_loading: Final = threading.Lock()
_loaded: list["Loops"] = []
"""What is loaded: one or none."""


class Loops(Protocol):
    """What `streams.codec.kernels` has, and says."""

    walk: Callable[..., bool]
    entries: Callable[..., None]


def loops() -> Loops | None:
    """Return the compiled loops, None where they are not loaded."""
    return _loaded[0] if _loaded else None


def load() -> bool:
    """Load the loops; blocking: half a second, or some five where they were never compiled.

    Called again it does nothing. What keeps them from being compiled is logged, and no error.

    Returns:
        Whether they are there.
    """
    with _loading:
        if _loaded:
            return True
        began = time.monotonic()
        try:
            made = cast(Loops, importlib.import_module(MODULE))
            _try(made)
        except Exception as error:  # a compiler may fail in any way, and nothing needs it
            log.warning("compiled_loops_missing", error=said_of(error), effect="reads slower")
            return False
        _loaded.append(made)
        log.info("compiled_loops_loaded", seconds=round(time.monotonic() - began, 3))
        return True


def _try(made: Loops) -> None:
    """Have the loops compiled, by reading one row with them: a map of one entry."""
    data = np.frombuffer(b"\x02\x02k\x04vv\x00", np.uint8)
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    fields = np.array([(LIST, -1, 0, 0, 0, 2)], np.int64)
    ranges, items = np.zeros((1, 2), np.int64), np.array([TEXT, TEXT])
    starts, values = np.zeros((2, 1), np.int64), np.zeros((1, 1), np.int64)
    there, ends = np.zeros((1, 1), np.bool_), np.array([len(data)])
    plan = (fields, ranges, items)
    is_read = made.walk(data, zero, ends, one, False, *plan, starts, values, there)
    places = [np.zeros(1, np.int64) for _ in range(5)]
    made.entries(data, zero, *places)
    if not is_read or [int(place[0]) for place in places] != [0, 2, 1, 4, 2]:
        raise RuntimeError("a compiled loop reads a map wrongly")
