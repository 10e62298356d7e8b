"""Lists of ids on the disk: one beside each file, and one of an hour's files together.

Owns their form. That of a file is the number of its entries and these, 8 bytes each; that of an
hour likewise, with the number of a file in place of the row group's, and behind it in JSON which
files they are and their times. An hour's list says nothing of a file that it does not name: with it
a look over months opens one list an hour, and it never decides what there is.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.console.archive.files import Segment, segment_of
from streams.console.archive.ids import GROUPS_MAX
from streams.units import U64

SUFFIX: Final = ".ids"
MAPPED_MAX: Final = 20_000
"""Lists of a folder that stay mapped; Linux lets a process have 65,530 maps."""
HELD_MAX: Final = 200
"""Lists of a bucket that stay in memory, each of a megabyte or so."""
_FILE: Final = np.uint64(GROUPS_MAX - 1)
_WORD_BYTES: Final = 8

Times = tuple[int, int]
"""The least and the greatest time of some rows, in us."""


def least_and_most(time: pa.ChunkedArray) -> Times:
    """Return the least and the greatest of some times, at least one."""
    found = pc.min_max(time).as_py()
    return found["min"], found["max"]


class HourList(NamedTuple):
    """The ids of the files of an hour.

    Attributes:
        entries: sorted, the hash's 48 bits and the file's 16.
        numbers: by file.
        times: of each file.
    """

    entries: U64
    numbers: Mapping[Segment, int]
    times: Mapping[Segment, Times]


def hour_path(kind: str, hour: str) -> str:
    """Return where the list of an hour lies within the archive."""
    return f"{kind}/hour={hour}/hour{SUFFIX}"


def of_hour(lists: Mapping[Segment, U64], times: Mapping[Segment, Times]) -> bytes:
    """Return the list of an hour as bytes.

    Args:
        lists: of its files, at most `GROUPS_MAX`.
        times: of these files.
    """
    parts = [np.zeros(0, np.uint64)]
    for number, list_ in enumerate(lists.values()):
        hashes = list_ & ~_FILE
        # Row groups of one id stand beside each other.
        is_new = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
        parts.append(hashes[is_new] | np.uint64(number))
    entries = np.sort(np.concatenate(parts))
    about = json.dumps([[one.path, *times[one]] for one in lists])
    return np.insert(entries, 0, len(entries)).tobytes() + about.encode()


class Lists:
    """Opens lists, and keeps some of them open.

    Args:
        fs: where they are.
        root: of the archive in it.
        is_folder: whether they can be mapped: to open one takes longer than to search it.
    """

    def __init__(self, fs: Any, root: str, *, is_folder: bool) -> None:
        self._fs, self._root, self._is_folder = fs, root, is_folder
        self._lock = threading.Lock()
        self._held: dict[str, U64] = {}
        self._hours: dict[str, HourList] = {}
        self._forgotten = 0

    def of(self, segment: Segment) -> U64 | None:
        """Return the entries of a file's list; None when there is none that is whole."""
        path = segment.path + SUFFIX
        with self._lock:
            list_, before = self._held.get(path), self._forgotten
        if list_ is None:
            content = self._read(path)
            if content is None or content.size % _WORD_BYTES or not content.size:
                return None
            whole = np.frombuffer(content, "<u8")
            if whole[0] != len(whole) - 1:
                return None
            list_ = whole[1:]
            with self._lock:
                if before == self._forgotten:  # else it may have been read before it was replaced
                    self._make_room()
                    self._held[path] = list_
        return list_

    def hour(self, kind: str, hour: str) -> HourList | None:
        """Return the list of an hour; None when there is none that is whole."""
        path = hour_path(kind, hour)
        with self._lock:
            found, before = self._hours.get(path), self._forgotten
        if found is None:
            content = self._read(path)
            if content is None or (found := _hour(content)) is None:
                return None
            with self._lock:
                if before == self._forgotten:
                    self._make_room()
                    self._hours[path] = found
        return found

    def forget(self, path: str) -> None:
        """Look anew for the list at a path, when it is asked for again."""
        with self._lock:
            self._held.pop(path, None)
            self._hours.pop(path, None)
            self._forgotten += 1

    def _make_room(self) -> None:
        """Let go of the list that was opened first, when there are too many."""
        most = MAPPED_MAX if self._is_folder else HELD_MAX
        if len(self._held) + len(self._hours) >= most:
            some: dict[str, Any] = self._held or self._hours
            del some[next(iter(some))]

    def _read(self, path: str) -> pa.Buffer | None:
        """Return a file's content; of a folder it is mapped, and needs no open file."""
        place = f"{self._root}/{path}"
        try:
            if self._is_folder:
                with pa.memory_map(place) as source:
                    return source.read_buffer()
            with self._fs.open_input_stream(place) as stream:
                return stream.read_buffer()
        except FileNotFoundError:
            return None


def _hour(content: pa.Buffer) -> HourList | None:
    try:
        (count,) = np.frombuffer(content, "<u8", 1)
        entries = np.frombuffer(content, "<u8", int(count), _WORD_BYTES)
        about = json.loads(content.slice(_WORD_BYTES * (1 + int(count))).to_pybytes())
        files = [segment_of(path) for path, _, _ in about]
        times = [(int(least), int(most)) for _, least, most in about]
    except (ValueError, TypeError, IndexError):
        return None
    known: Sequence[Segment] = [one for one in files if one is not None]
    if len(known) != len(files):
        return None
    return HourList(
        entries, {one: n for n, one in enumerate(known)}, dict(zip(known, times, strict=True))
    )
