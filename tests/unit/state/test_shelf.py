"""Events that stay open for long lie on disk, and never cost more than memory when they cannot."""

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from streams.core.traces.arena import Arena
from streams.state.shelf import SHELVED_BYTES_MIN, Shelf

SOME = bytes(range(256)) * (SHELVED_BYTES_MIN // 256)


def test_a_buffer_is_read_where_it_lies(tmp_path: Path) -> None:
    """What was shelved reads as it was, and leaves no file that anybody had to tidy up."""
    shelf = Shelf(tmp_path / "open")
    laid = shelf(SOME)
    assert isinstance(laid, mmap.mmap)
    assert laid[1_000:1_300] == SOME[1_000:1_300]
    assert laid[:] == SOME
    assert os.listdir(tmp_path / "open") == []


def test_little_stays_in_memory(tmp_path: Path) -> None:
    """A small buffer is not worth a file; nothing is counted, for nothing went wrong."""
    shelf = Shelf(tmp_path / "open")
    few = SOME[1:]
    assert shelf(few) is few
    assert not shelf.kept


def test_a_disk_that_is_fuller_than_allowed_takes_nothing(tmp_path: Path) -> None:
    """The bytes stay in memory, and it is counted."""
    shelf = Shelf(tmp_path / "open", free_bytes_min=1 << 60)
    assert shelf(SOME) is SOME
    assert shelf.kept == {"disk_full": 1}


def test_a_folder_that_cannot_be_written_takes_nothing(tmp_path: Path) -> None:
    """A worker goes on joining in memory; a file stands where the folder should be."""
    (tmp_path / "open").write_text("in the way")
    shelf = Shelf(tmp_path / "open")
    assert shelf(SOME) is SOME
    assert shelf.kept == {"write_failed": 1}


def test_a_disk_that_fills_in_the_middle_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is cut short and the next one fails: the bytes stay whole, in memory."""
    write = os.write
    full = iter([False, True])

    def some(file: int, data: memoryview) -> int:
        if next(full):
            raise OSError(28, "No space left on device")
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", some)
    shelf = Shelf(tmp_path / "open")
    assert shelf(SOME) is SOME
    assert shelf.kept == {"write_failed": 1}
    assert os.listdir(tmp_path / "open") == []


def test_only_what_memory_has_no_room_for_is_shelved(tmp_path: Path) -> None:
    """Buffers as they came and the first packed ones stay; the books say what lies on disk."""
    arena = Arena(Shelf(tmp_path / "open"), resident_bytes_max=len(SOME))
    raw = arena.add(SOME, 1)
    first, second = arena.add(SOME, 1, packed=True), arena.add(SOME, 2, packed=True)
    assert arena.held_bytes == 3 * len(SOME)
    assert arena.shelved_bytes == len(SOME)
    chosen = np.array([raw, first, second], np.int32)
    at, size = np.array([1, 2, 3]), np.array([3, 3, 3])
    assert arena.at(chosen, at, size).joined() == SOME[1:4] + SOME[2:5] + SOME[3:6]
    arena.rest()
    assert arena.one(second, 3, 3) == SOME[3:6]
    arena.release(np.array([second, second], np.int32))
    assert arena.shelved_bytes == 0
    assert arena.add(SOME, 1, packed=True) == second
    assert arena.shelved_bytes == len(SOME)
