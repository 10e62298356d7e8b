"""Loads the compiled loops, once for a process."""

import threading
import time
from typing import Final, cast

import numpy as np
import structlog

from streams.compiled.kinds import LIST, TEXT
from streams.compiled.loops import Loops, loops, use
from streams.errors import said_of

log = structlog.get_logger()
_loading: Final = threading.Lock()


def load() -> bool:
    """Load the loops; blocking: half a second, or some five where they were never compiled.

    Called again it does nothing. What keeps them from being compiled is logged, and no error.

    Returns:
        Whether they are there.
    """
    with _loading:
        if loops() is not None:
            return True
        began = time.monotonic()
        try:
            made = _made()
            _try(made)
        except Exception as error:  # a compiler may fail in any way, and nothing needs it
            log.warning("compiled_loops_missing", error=said_of(error), effect="reads slower")
            return False
        use(made)
        log.info("compiled_loops_loaded", seconds=round(time.monotonic() - began, 3))
        return True


def _made() -> Loops:
    from streams.compiled import kernels  # what it costs is said there

    return cast(Loops, kernels)


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
    copied = np.zeros(2, np.uint8)
    made.gather(data, zero, 4 * one, 2 * one, zero, copied)
    words = np.ndarray((9,), "<u8", bytes(16), strides=(1,))
    secret, hashed = np.ones(1, np.uint64), np.zeros(1, np.uint64)
    made.hashes(words, 8 * one, one, secret, secret, secret[0], hashed)
    found = [int(place[0]) for place in (*places, hashed)]
    if not is_read or found != [0, 2, 1, 4, 2, 2] or copied.tobytes() != b"vv":
        raise RuntimeError("a compiled loop does something else")
