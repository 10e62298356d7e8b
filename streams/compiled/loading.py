"""Loads the compiled loops, once for a process."""

import contextlib
import importlib
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Final, cast

import numpy as np
import structlog

from streams.compiled import keeping
from streams.compiled.kinds import LIST, TEXT
from streams.compiled.loops import Loops, loops, use
from streams.errors import said_of

log = structlog.get_logger()
_loading: Final = threading.Lock()


def load() -> bool:
    """Load the loops; blocking: half a second, or some five where they were never compiled.

    Called again it does nothing. What was kept of them on the disk and is torn, or older than what
    they are made of, is thrown away; on a full disk they are not kept. What keeps them from being
    compiled is logged, and no error.

    Returns:
        Whether they are there.
    """
    with _loading:
        if loops() is not None:
            return True
        began = time.monotonic()
        failed = ""
        for is_kept in (True, False):
            try:
                made = _made(is_kept)
                _try(made)
            except Exception as error:  # a compiler may fail in any way, and nothing needs it
                failed = said_of(error)
            else:
                use(made)
                seconds = round(time.monotonic() - began, 3)
                log.info("compiled_loops_loaded", seconds=seconds)
                return True
        log.warning("compiled_loops_missing", error=failed, effect="reads slower")
        return False


def _made(is_kept: bool) -> Loops:
    """Return the loops; or without what is kept of them, which is gone then.

    The next process keeps them again.
    """
    from streams.compiled import kernels  # what it costs is said there

    if is_kept:
        return cast(Loops, kernels)
    _throw_away(kernels)
    keeping.is_on = False
    return cast(Loops, importlib.reload(kernels))


def _throw_away(kernels: ModuleType) -> None:
    """Delete what is kept of the loops, where that may be done."""
    folder = kernels.walk.stats.cache_path  # None where nothing is kept
    for path in Path(folder).glob("kernels.*.nb[ci]") if folder else ():
        with contextlib.suppress(OSError):  # read-only, or another process was first
            path.unlink()


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
