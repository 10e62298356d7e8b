"""A place on disk for events that stay open for long, so that they take no memory.

Each buffer is a file without a name: it is gone with the process, and nothing has to be tidied up
or trusted at the next start. It is written with a call that can fail, never through the mapping,
for a full disk is told to a writer of a mapping by a signal that ends the process.
"""

import mmap
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from streams.core.bodies import Buffer

SHELVED_BYTES_MIN: Final = 1 << 20
"""A file for less is not worth its descriptor."""


class Shelf:
    """Lays buffers into files of a folder; fit for `streams.core.traces.arena.Shelve`.

    Args:
        folder: made if it is not there.
        free_bytes_min: no file is written while the disk has less room than this.

    Attributes:
        kept: how many buffers stayed in memory, by reason: `disk_full` or `write_failed`.
    """

    def __init__(self, folder: Path, free_bytes_min: int = 0) -> None:
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self.kept: Counter[str] = Counter()

    def __call__(self, data: bytes) -> Buffer:
        """Return the bytes as a mapped file, or as they came where that cannot be."""
        if len(data) < SHELVED_BYTES_MIN:
            return data
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < self._free_bytes_min + len(data):
                self.kept["disk_full"] += 1
                return data
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                _write(file.fileno(), data)
                mapped = mmap.mmap(file.fileno(), len(data), mmap.MAP_SHARED, mmap.PROT_READ)
        except OSError:
            self.kept["write_failed"] += 1
            return data
        # Rows that are read together lie apart: what is around one need not come with it.
        mapped.madvise(mmap.MADV_RANDOM)
        return mapped


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
