"""Keeps the process's heap about as large as what is in it.

Only where the C library is glibc; elsewhere nothing here does anything. glibc gives back to the
system what is free at the end of its heap, and keeps what is free between: with a million open
traces, whose bodies come and go in buffers of megabytes, 0.9 GB of 2.4. What was given back is
taken again within seconds by a worker that catches up, so how much lies free on average depends on
how often somebody looks.
"""

import asyncio
import ctypes
import gc
import os
from collections import Counter
from functools import cache
from typing import Any, Final

from streams.monitoring.meter import HEAP_BOUND

_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
_M_TRIM_THRESHOLD: Final = -1
"""Of <malloc.h>."""
_ARENAS: Final = 2
_MAPPED_BYTES: Final = 16 << 20
_SPARE_BYTES: Final = 128 << 20
FREE_BYTES_MAX: Final = 32 << 20
"""By default so much may lie free in the heap, and ..."""
FREE_RATIO_MAX: Final = 0.1
"""... this share of it, before it is given back: what is needed again costs page faults."""
GROWN_RATIO_MIN: Final = 0.5
"""glibc counts as free what it gave back already, too: this share of what may lie free, more than
then, must be resident without being in use, or there is nothing to be had."""
LOOK_SECONDS: Final = 2.0
"""Giving back takes 8 ms in a heap of half a gigabyte."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class _Usage(ctypes.Structure):
    """`struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def bound_heap() -> None:
    """Let all threads allocate from two of glibc's arenas, and map very large blocks on their own.

    Each of a dozen threads keeps what it once needed in an arena of its own, eight to a core: at a
    steady rate that was a fifth of the resident memory.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(_M_ARENA_MAX, _ARENAS)
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES)


def collect_seldom(every: int) -> None:
    """Let the cycle collector run once in so many objects instead of 700.

    A poll alone makes thousands of records, none of them in a cycle, and each collection walked
    them all again: a third of a worker's CPU in a backlog. What does make cycles (tasks,
    exceptions) is little, and is still collected.
    """
    gc.collect()
    gc.freeze()  # modules and contract stay as long as the process
    gc.set_threshold(every, 20, 100)


def is_loose(heap_bytes: int, free_bytes: int, free_bytes_max: int = FREE_BYTES_MAX) -> bool:
    """Return whether so much of a heap is free that it should be given back."""
    return free_bytes > max(free_bytes_max, FREE_RATIO_MAX * heap_bytes)


class HeapKeeper:
    """Gives free heap back to the system when there is much of it.

    Args:
        free_bytes_max: so much may lie free, and a tenth of the heap.

    Attributes:
        given_back: how often it did.
    """

    def __init__(self, free_bytes_max: int = FREE_BYTES_MAX) -> None:
        self.given_back = 0
        self._free_bytes_max = free_bytes_max
        self._tight_bytes = 0
        """What was resident without being in use when it was given back last, or less since."""

    def look(self) -> bool:
        """Give free heap back if that is worth it; return whether that was done."""
        libc = _glibc()
        if libc is None:
            return False
        usage = libc.mallinfo2()
        unused_bytes = _own_bytes() - usage.uordblks
        self._tight_bytes = min(self._tight_bytes, unused_bytes)
        grown_bytes = unused_bytes - self._tight_bytes
        if grown_bytes < GROWN_RATIO_MIN * self._free_bytes_max:
            return False
        if not is_loose(usage.arena, usage.fordblks, self._free_bytes_max):
            return False
        libc.malloc_trim(0)
        self._tight_bytes = _own_bytes() - usage.uordblks
        self.given_back += 1
        return True


async def keep_tight(free_bytes_max: int, met: Counter[str]) -> None:
    """Look at the heap every few seconds, in a thread, until cancelled.

    Args:
        free_bytes_max: so much may lie free.
        met: counts how often there was more.
    """
    keeper = HeapKeeper(free_bytes_max)
    while _glibc() is not None:
        await asyncio.sleep(LOOK_SECONDS)
        await asyncio.to_thread(keeper.look)
        met[HEAP_BOUND] = keeper.given_back


def _own_bytes() -> int:
    """Return the resident memory that is in no file."""
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * _PAGE_BYTES


@cache
def _glibc() -> Any:
    """Return the C library, None when it is another one or an older one that cannot be asked."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = _Usage
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None
    return libc
