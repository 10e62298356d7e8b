"""The local copy of a task's state: its live pieces in RocksDB, so that a restart is quick.

Owns one database per task. The copy is written after the commit, in one batch with its position;
it may be deleted, damaged or old at any time: what it says is believed only when every checksum
and the manifest agree, else the state is rebuilt from the changelog.
"""

import contextlib
import json
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rocksdict import Options, Rdict, WriteBatch

from streams.errors import StateError
from streams.state.segment import read_piece

_MANIFEST: Final = b"manifest"
_HELD: Final = ("IO error: While lock file", "IO error: lock hold by")
"""How RocksDB says that another process, or this one, holds a database; damage is a "block"."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the copy holds.

    Attributes:
        generation: the full state it grew from.
        pieces: how many pieces are live.
        checksum: crc32 over the crc32 of all pieces, in key order.
        changelog_offset: where the changelog goes on after the last piece.
    """

    generation: int
    pieces: int
    checksum: int
    changelog_offset: int


class LocalState:
    """The database of one task; `open` decides whether it can be believed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db: Rdict | None = None
        self._sums: dict[bytes, int] = {}

    def load(self) -> tuple[list[bytes], Manifest] | None:
        """Return the live pieces and the manifest, None when there is nothing to believe.

        Raises:
            StateError: another process holds the database.
        """
        try:
            db = self._open()
            return self._read(db)
        except StateError:
            raise
        except Exception as error:
            if str(error).startswith(_HELD):
                raise StateError(
                    f"{self._folder} is held by another process ({error}). Operator action: give "
                    "each worker a state directory of its own, or stop the other one."
                ) from error
            self.wipe()
            return None

    def _read(self, db: Rdict) -> tuple[list[bytes], Manifest] | None:
        pieces: dict[bytes, bytes] = {}
        manifest = None
        cursor = db.iter()
        cursor.seek_to_first()
        while cursor.valid():
            key, value = bytes(cursor.key()), bytes(cursor.value())
            if key == _MANIFEST:
                manifest = Manifest(**json.loads(value))
            else:
                pieces[key] = value
            cursor.next()
        cursor.status()  # a damaged block ends the iteration early, without a word
        if manifest is None or len(pieces) != manifest.pieces:
            self.wipe()
            return None
        self._sums = {key: zlib.crc32(value) for key, value in pieces.items()}
        if self._checksum() != manifest.checksum:
            self.wipe()
            return None
        try:
            for value in pieces.values():
                read_piece(value)
        except StateError:
            self.wipe()
            return None
        return list(pieces.values()), manifest

    def write(
        self,
        generation: int,
        pieces: Sequence[tuple[bytes, bytes]],
        changelog_offset: int,
        *,
        replace: bool,
    ) -> None:
        """Add pieces after they were committed; `replace` drops the earlier ones first."""
        db = self._open()
        batch = WriteBatch(raw_mode=True)
        if replace:
            for key in self._sums:
                batch.delete(key)
            self._sums = {}
        for key, value in pieces:
            batch.put(key, value)
            self._sums[key] = zlib.crc32(value)
        manifest = Manifest(generation, len(self._sums), self._checksum(), changelog_offset)
        batch.put(_MANIFEST, json.dumps(asdict(manifest)).encode())
        db.write(batch)

    def _checksum(self) -> int:
        total = 0
        for key in sorted(self._sums):
            total = zlib.crc32(self._sums[key].to_bytes(4, "big"), total)
        return total

    def _open(self) -> Rdict:
        if self._db is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            options = Options(raw_mode=True)
            options.create_if_missing(True)
            options.set_write_buffer_size(8 << 20)
            options.set_max_write_buffer_number(2)
            self._db = Rdict(str(self._folder / "db"), options)
        return self._db

    def wipe(self) -> None:
        """Delete the copy; the state is rebuilt from the changelog."""
        with contextlib.suppress(Exception):  # a damaged database may not even be closed
            self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Close the database; idempotent."""
        db, self._db, self._sums = self._db, None, {}
        if db is not None:
            db.close()
