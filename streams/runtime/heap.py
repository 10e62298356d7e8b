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
from functools import cache
from typing import Any, Final

_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
_M_TRIM_THRESHOLD: Final = -1
"""Of <malloc.h>."""
_ARENAS: Final = 2
_MAPPED_BYTES: Final = 16 << 20
_SPARE_BYTES: Final = 128 << 20
FREE_BYTES_MAX: Final = 32 << 20
"""So much may lie free in the heap, and ..."""
FREE_RATIO_MAX: Final = 0.1
"""... this share of it, before it is given back: what is needed again costs page faults."""
GROWN_BYTES_MIN: Final = 16 << 20
"""glibc counts as free what it gave back already, too: so much more than then must be resident
without being in use, or there is nothing to be had."""
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


def is_loose(heap_bytes: int, free_bytes: int) -> bool:
    """Return whether so much of a heap is free that it should be given back."""
    return free_bytes > max(FREE_BYTES_MAX, FREE_RATIO_MAX * heap_bytes)


class HeapKeeper:
    """Gives free heap back to the system when there is much of it.

    Attributes:
        given_back: how often it did.
    """

    def __init__(self) -> None:
        self.given_back = 0
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
        has_grown = unused_bytes - self._tight_bytes >= GROWN_BYTES_MIN
        if not has_grown or not is_loose(usage.arena, usage.fordblks):
            return False
        libc.malloc_trim(0)
        self._tight_bytes = _own_bytes() - usage.uordblks
        self.given_back += 1
        return True


async def keep_tight() -> None:
    """Look at the heap every few seconds, in a thread, until cancelled."""
    keeper = HeapKeeper()
    while _glibc() is not None:
        await asyncio.sleep(LOOK_SECONDS)
        await asyncio.to_thread(keeper.look)


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
