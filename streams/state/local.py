"""The local copy of a task's changelog in RocksDB, so that a restart is quick.

Owns one database per task. A copy is written after the commit, in one batch with its position: it
is a cache of what is committed, it may be behind, and it may be deleted or damaged at any time.
What it says is believed only when it is whole, as its manifest counts it, and of this task: a
folder that was moved or mounted in another's place holds a state without fault that is not ours.
The checksum of each piece is the reader's to check. What is not believed is thrown away, and read
from the changelog.
"""

import contextlib
import errno
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rocksdict import BlockBasedOptions, Options, Rdict, WriteBatch

from streams.errors import StateError

FORMAT: Final = 3
_MANIFEST: Final = b"manifest"
_HELD: Final = ("IO error: While lock file", "IO error: lock hold by")
"""How RocksDB says that another process, or this one, holds a database; damage is a "block"."""
_FULL: Final = ("No space left on device", "Disk quota exceeded")
_FORBIDDEN: Final = ("Read-only file system", "Permission denied", "Operation not permitted")
_NO_FILES: Final = ("Too many open files",)
_HEAD_BYTES: Final = 26
"""Of a piece: its header, in which is the checksum of all that follows."""
_WRITE_BUFFER_BYTES: Final = 4 << 20
_WRITE_BUFFERS: Final = 2
"""What a database holds in memory before it is in a file: there is one for each task."""
_FULL_NUMBERS: Final = (errno.ENOSPC, errno.EDQUOT)

Record = tuple[bytes, bytes | None]
"""Key and value of the changelog; no value deletes the key."""


class NoRoomError(Exception):
    """The disk of the local copy is full, or fuller than the settings allow. Nothing is lost."""


class DamagedCopyError(Exception):
    """The copy cannot be believed or written; `reason` is a bounded name fit for a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the copy holds.

    Attributes:
        format: of the copy.
        records: how many keys are there.
        total: sum of a checksum of each key and header.
        changelog_offset: where the changelog goes on after the last record.
        changelog: topic and partition that this is a copy of.
    """

    format: int
    records: int
    total: int
    changelog_offset: int
    changelog: str


class LocalState:
    """The database of one task.

    Args:
        folder: where it is.
        changelog: topic and partition that it is a copy of.
        free_bytes_min: no write is begun while the disk has less room than this.
    """

    def __init__(self, folder: Path, changelog: str, free_bytes_min: int = 0) -> None:
        self._folder = folder
        self._changelog = changelog
        self.free_bytes_min = free_bytes_min
        self._db: Rdict | None = None
        self._sums: dict[bytes, int] = {}
        self._manifest = self._nothing()

    def _nothing(self) -> Manifest:
        return Manifest(FORMAT, 0, 0, 0, self._changelog)

    def load(self) -> tuple[list[tuple[bytes, bytes]], int] | None:
        """Return the records and the changelog offset after them, None when there is no copy.

        Raises:
            StateError: another process holds the database, or it may not be written.
            DamagedCopyError: it is not whole, or of another task.
            NoRoomError: it cannot be opened, because that takes room.
        """
        if not self._folder.exists():
            return None
        try:
            records = self._read(self._open())
        except Exception as error:
            raise self._judged(error, "damaged") from error
        manifest = self._manifest
        if manifest.changelog != self._changelog:
            raise DamagedCopyError("foreign", f"it is a copy of {manifest.changelog}")
        if manifest.records != len(records) or manifest.total != sum(self._sums.values()):
            raise DamagedCopyError("damaged", "it does not hold what its manifest counts")
        return (records, manifest.changelog_offset) if records else None

    def _read(self, db: Rdict) -> list[tuple[bytes, bytes]]:
        records = []
        self._manifest = self._nothing()
        cursor = db.iter()
        cursor.seek_to_first()
        while cursor.valid():
            key, value = bytes(cursor.key()), bytes(cursor.value())
            if key == _MANIFEST:
                self._manifest = _manifest_in(value)
            else:
                records.append((key, value))
            cursor.next()
        cursor.status()  # a damaged block ends the iteration early, without a word
        self._sums = {key: _sum(key, value) for key, value in records}
        return records

    def get(self, key: bytes) -> bytes:
        """Return a value that must be there.

        Raises:
            StateError, DamagedCopyError, NoRoomError: as `load`.
        """
        try:
            value = self._open().get(key)
        except Exception as error:
            raise self._judged(error, "damaged") from error
        if value is None:
            raise DamagedCopyError("damaged", f"{key!r} is not there")
        return bytes(value)

    def write(self, records: Sequence[Record], changelog_offset: int, *, replace: bool) -> None:
        """Put records in after they were committed; `replace` drops all earlier ones first.

        Done again after a failure it gives the same copy.

        Raises:
            NoRoomError: the disk is full; nothing was written.
            DamagedCopyError: the database does not take it.
            StateError: it may not be written.
        """
        try:
            self._check_room()
            was_closed = self._db is None
            db = self._open()
            if not (self._folder / "db" / "CURRENT").exists():
                raise DamagedCopyError("removed", "the folder was deleted")
            batch = WriteBatch(raw_mode=True)
            sums = {} if replace else self._sums.copy()
            for key in self._sums if replace else ():
                batch.delete(key)
            for key, value in records:
                if value is None:
                    batch.delete(key)
                    sums.pop(key, None)
                else:
                    batch.put(key, value)
                    sums[key] = _sum(key, value)
            manifest = Manifest(
                FORMAT, len(sums), sum(sums.values()), changelog_offset, self._changelog
            )
            if was_closed and not replace:
                self._check_nothing_is_lost(db, manifest)
            batch.put(_MANIFEST, json.dumps(asdict(manifest)).encode())
            db.write(batch)
        except DamagedCopyError:
            raise
        except Exception as error:
            self._let_go()  # after an error RocksDB takes nothing more until it is opened again
            raise self._judged(error, "write_failed") from error
        self._sums, self._manifest = sums, manifest

    def _check_nothing_is_lost(self, db: Rdict, next_one: Manifest) -> None:
        """Pass when a database opened again is as it was, or has the write that seemed to fail."""
        stored = db.get(_MANIFEST)
        found = self._nothing() if stored is None else _manifest_in(bytes(stored))
        if found not in (self._manifest, next_one):
            raise DamagedCopyError("damaged", "the database went back")

    def _check_room(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(self._folder)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self.free_bytes_min:
            raise NoRoomError(
                f"{self._folder} has {free_bytes} bytes left, disk_free_min_bytes is "
                f"{self.free_bytes_min}"
            )

    def _judged(self, error: Exception, reason: str) -> Exception:
        """Return what an error means, by the words that RocksDB has for it."""
        if isinstance(error, StateError | DamagedCopyError | NoRoomError):
            return error
        text = str(error)
        is_full = isinstance(error, OSError) and error.errno in _FULL_NUMBERS
        if is_full or any(words in text for words in _FULL):
            return NoRoomError(f"{self._folder}: {text}")
        if text.startswith(_HELD):
            return StateError(
                f"{self._folder} is held by another process ({text}). Operator action: give "
                "each worker a state directory of its own, or stop the other one."
            )
        if any(words in text for words in _FORBIDDEN):
            return StateError(
                f"{self._folder} cannot be written ({text}). Operator action: let the worker write "
                "its --state-dir, or name another one; nothing committed is lost."
            )
        if any(words in text for words in _NO_FILES):
            return StateError(
                f"{self._folder} cannot be opened ({text}). Operator action: let the worker open "
                "more files (ulimit -Hn, LimitNOFILE); the local copy is as it was."
            )
        return DamagedCopyError(reason, text)

    def _open(self) -> Rdict:
        if self._db is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            options = Options(raw_mode=True)
            options.create_if_missing(True)
            options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
            options.set_max_write_buffer_number(_WRITE_BUFFERS)
            tables = BlockBasedOptions()
            tables.disable_cache()  # 32 MB otherwise, of pieces that are read once
            options.set_block_based_table_factory(tables)
            options.set_max_log_file_size(1 << 20)  # RocksDB's own log never ends otherwise,
            options.set_keep_log_file_num(2)  # and each start begins another one
            self._db = Rdict(str(self._folder / "db"), options)
        return self._db

    def wipe(self) -> None:
        """Delete the copy; the state is read from the changelog again."""
        self._let_go()
        self._sums = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Close the database; idempotent."""
        self._let_go()
        self._sums = {}

    def _let_go(self) -> None:
        if self._db is not None:
            with contextlib.suppress(Exception):  # a full disk: what is not flushed is in the log
                self._db.close()
            self._db = None


def _manifest_in(value: bytes) -> Manifest:
    fields = json.loads(value)
    if fields.get("format") != FORMAT:
        raise DamagedCopyError("other_format", f"{fields.get('format')}, this version: {FORMAT}")
    return Manifest(**fields)


def _sum(key: bytes, value: bytes) -> int:
    return zlib.crc32(value[:_HEAD_BYTES], zlib.crc32(key))
