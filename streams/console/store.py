"""Where the archive lies: a folder, or a bucket that pyarrow knows (s3://, gs://).

Owns that a file is there whole or not at all. Calls block.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

from streams.console.files import Segment, segment_of
from streams.errors import ConfigError, StateError

_UNFINISHED: Final = ".unfinished"
_ROW_GROUP: Final = 10_000


class Store:
    """The files of an archive.

    Args:
        url: a path, or a URL such as s3://bucket/folder.

    Raises:
        ConfigError: there is no file system for the URL.
        StateError: the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.folder = Path(url).absolute() if "://" not in url else None
        """Where it is, when that is a folder."""
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._fs, self._root = pyarrow.fs.LocalFileSystem(), str(self.folder)
            else:
                self._fs, self._root = pyarrow.fs.FileSystem.from_uri(url)
        except (pa.ArrowInvalid, ValueError) as error:
            raise ConfigError(
                f"archive (SPANLOOM_CONSOLE_ARCHIVE): {url}: {error}; name a folder, or a URL such "
                "as s3://bucket/folder"
            ) from error
        except OSError as error:
            raise StateError(
                f"the archive {url} cannot be used: {error}. Operator action: let the console "
                "write there, or name another place with --archive."
            ) from error

    def segments(self) -> list[Segment]:
        """Return all files, and remove what a crash left unfinished."""
        found = []
        selector = pyarrow.fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        for info in self._fs.get_file_info(selector):
            path = info.path.removeprefix(self._root).lstrip("/")
            if path.endswith(_UNFINISHED):
                self._fs.delete_file(info.path)
            elif (one := segment_of(path)) is not None:
                found.append(one)
        return found

    def write(self, segment: Segment, table: pa.Table) -> int:
        """Write a file and return its bytes; it is there under its name when all of it is.

        Raises:
            OSError: the disk is full, the bucket is away; nothing is there under the name.
        """
        path = f"{self._root}/{segment.path}"
        if self.folder is None:  # an object is there when its last part is
            pyarrow.parquet.write_table(
                table, path, filesystem=self._fs, row_group_size=_ROW_GROUP, compression="zstd"
            )
            return int(self._fs.get_file_info(path).size)
        unfinished = Path(path + _UNFINISHED)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            pyarrow.parquet.write_table(table, file, row_group_size=_ROW_GROUP, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        unfinished.replace(path)
        return size

    def dataset(self, segments: Iterable[Segment], schema: pa.Schema) -> Any:
        """Return some files as one dataset, to be read as far as a query needs them."""
        paths = [f"{self._root}/{segment.path}" for segment in segments]
        return pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=self._fs)
