"""The buffers in which the bodies of open traces lie, for as long as one of them is open.

A chunk's buffer is kept as it came, so that taking an event in copies nothing. What stays is
packed, and of packed buffers those that memory has no room for go on a *shelf*: they are read where
they lie, and take memory only while they are. Invariant: a buffer is held exactly as long as a row
that lies in it is.
"""

from collections.abc import Callable
from mmap import MADV_DONTNEED, mmap
from typing import Final

import numpy as np

from streams.core.bodies import Buffer, Scattered
from streams.core.order import distinct
from streams.units import I32, I64

SPARSE_MIN_BYTES: Final = 8 << 20
"""Below this much no buffer is worth emptying."""
_SPARSE_FACTOR: Final = 2
_PACKED_FACTOR: Final = 1.5
"""Packed buffers hold no keys and frames: what is more than the rows are worth in them is dead."""
RAW_BUFFERS_MAX: Final = 64
"""So many buffers as they came, and the older half is packed whatever its size: each that is asked
for costs a few microseconds, and small chunks of a quiet partition never reach the bytes."""
RAW_BYTES, RAW_BUFFERS = "open_raw_bytes_max", "open_raw_buffers"
"""Names of the bounds on what is kept as it came."""
Shelve = Callable[[bytes], Buffer]
"""Lays a buffer where it takes no memory, or gives it back as it is when there is no room."""


class Arena:
    """Buffers by number, each with the count of rows in it.

    Args:
        shelve: takes packed buffers that are beyond `resident_bytes_max`; None keeps all in memory.
        resident_bytes_max: how many bytes of packed buffers stay in memory.
        raw_bytes_max: more bytes of buffers as they came than this, and the older half is packed:
            what is left in them will stay for a while, without the keys and frames around it.
    """

    def __init__(
        self,
        shelve: Shelve | None = None,
        resident_bytes_max: int = 0,
        raw_bytes_max: int = 16 << 20,
    ) -> None:
        self._shelve = shelve
        self._resident_bytes_max = resident_bytes_max
        self._raw_bytes_max = raw_bytes_max
        self._shelved: set[int] = set()
        self.shelved_bytes = 0
        self._data: list[Buffer] = []
        self._rows = np.zeros(0, np.int64)
        self._free: list[int] = []
        self._raw: dict[int, None] = {}
        self._raw_bytes = 0
        self.held_bytes = 0

    def add(self, data: bytes, rows: int, *, packed: bool = False) -> int:
        """Hold a buffer for so many rows and return its number.

        Args:
            data: the buffer.
            rows: how many rows lie in it, at least one.
            packed: nothing but rows lies in it.
        """
        kept = self._placed(data) if packed else data
        if self._free:
            number = self._free.pop()
            self._data[number] = kept
        else:
            number = len(self._data)
            self._data.append(kept)
            if number >= len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros(number + 16, np.int64)])
        self._rows[number] = rows
        self.held_bytes += len(data)
        if not packed:
            self._raw[number] = None
            self._raw_bytes += len(data)
        if isinstance(kept, mmap):
            self._shelved.add(number)
            self.shelved_bytes += len(kept)
        return number

    def _placed(self, data: bytes) -> Buffer:
        """Return a packed buffer where it is kept from now on."""
        if self._shelve is None:
            return data
        resident_bytes = self.held_bytes - self._raw_bytes - self.shelved_bytes
        has_room = resident_bytes + len(data) <= self._resident_bytes_max
        return data if has_room else self._shelve(data)

    def release(self, buffer: I32) -> None:
        """Let rows go; (n,) the buffer of each."""
        gone = np.bincount(buffer, minlength=len(self._data))
        self._rows[: len(gone)] -= gone
        for number in np.flatnonzero((gone > 0) & (self._rows[: len(gone)] == 0)).tolist():
            self.held_bytes -= len(self._data[number])
            if number in self._raw:
                del self._raw[number]
                self._raw_bytes -= len(self._data[number])
            if number in self._shelved:
                self._shelved.remove(number)
                self.shelved_bytes -= len(self._data[number])
            self._data[number] = b""
            self._free.append(number)

    def rest(self) -> None:
        """Let go of the memory that reading shelved buffers took."""
        for number in self._shelved:
            shelved = self._data[number]
            if isinstance(shelved, mmap):
                shelved.madvise(MADV_DONTNEED)

    @property
    def crowded_by(self) -> str:
        """The bound that the buffers as they came are beyond, "" for none."""
        if self._raw_bytes > self._raw_bytes_max and len(self._raw) > 1:
            return RAW_BYTES
        return RAW_BUFFERS if len(self._raw) > RAW_BUFFERS_MAX else ""

    def oldest(self) -> I64:
        """Return the older half of the buffers that are as they came."""
        return np.array(list(self._raw)[: (len(self._raw) + 1) // 2], np.int64)

    def is_sparse(self, live_bytes: int) -> bool:
        """Whether the buffers hold more than twice what lies in them, and that is much.

        Of packed buffers alone it is half as much again.
        """
        packed_bytes = self.held_bytes - self._raw_bytes
        return self.held_bytes > max(
            SPARSE_MIN_BYTES, _SPARSE_FACTOR * live_bytes
        ) or packed_bytes > max(SPARSE_MIN_BYTES, _PACKED_FACTOR * live_bytes)

    def at(self, buffer: I32, start: I64, size: I64) -> Scattered:
        """Return the bodies at some places."""
        numbers, source = distinct(buffer.astype(np.int64))
        sources = [self._data[i] for i in numbers.tolist()]
        return Scattered(sources, source, start, size.astype(np.int64))

    def one(self, buffer: int, start: int, size: int) -> bytes:
        """Return the body at one place."""
        return self._data[buffer][start : start + size]
