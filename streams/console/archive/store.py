"""Where the archive lies: a folder, or a bucket that pyarrow knows (s3://, gs://).

Owns that a file is there whole or not at all. Calls block.
"""

import contextlib
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

from streams.console.archive.counts import (
    Counts,
    HourCounts,
    read,
    read_hour,
    together,
    written,
    written_hour,
)
from streams.console.archive.files import Segment, segment_of
from streams.console.archive.ids import groups, moved, places, wanted, with_ids
from streams.console.archive.kinds import Kind
from streams.console.archive.lists import SUFFIX, HourList, Lists, Times, hour_path, of_hour
from streams.console.archive.merging import covered
from streams.console.archive.packing import (
    MergedGroups,
    ends_of,
    fitted,
    group_ends,
    opened,
    packed,
    part_of,
)
from streams.console.archive.tiers import summed_up
from streams.errors import ConfigError, StateError, reason_of
from streams.serving.wholefiles import UNFINISHED, replace_file
from streams.units import U64

BATCHES_AHEAD: Final = 1
FILES_AHEAD: Final = 2
_IDS: Final = SUFFIX
HOUR_FILES_MIN: Final = 4
"""Fewer files of an hour have lists that are opened one by one."""
_COUNTS: Final = ".counts"
"""Beside a file: how many events it holds, by `counts`."""


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
        self.rewritten = 0
        """How often a file was written again: what was known of it may be wrong."""
        self.folder = Path(url).absolute() if "://" not in url else None
        """Where it is, when that is a folder."""
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._fs, self._root = pyarrow.fs.LocalFileSystem(), str(self.folder)
            else:
                self._fs, self._root = pyarrow.fs.FileSystem.from_uri(url)
                _assert_bucket(self._fs, self._root, url)
            self._lists = Lists(self._fs, self._root, is_folder=self.folder is not None)
        except (pa.ArrowInvalid, ValueError) as error:
            raise ConfigError(
                f"archive (SPANLOOM_CONSOLE_ARCHIVE): {url}: {error}; name a folder, or a URL such "
                "as s3://bucket/folder"
            ) from error
        except OSError as error:
            raise StateError(
                f"the archive {url} cannot be used ({reason_of(error)}). "
                "Operator action: let the console write there, or name another place with "
                "--archive."
            ) from error

    def addresses(self) -> dict[str, list[str]]:
        """Return the whole addresses of the files that hold something, by kind.

        Nothing is removed: it may be asked beside a console that writes.
        """
        listed = self._fs.get_file_info(
            pyarrow.fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        )
        paths = (info.path.removeprefix(self._root).lstrip("/") for info in listed)
        found = {one for path in paths if (one := segment_of(path)) is not None}
        scheme = "file" if self.folder is not None else self.url.partition("://")[0]
        before = f"{scheme}://{self._root}".rstrip("/")
        by_kind: dict[str, list[str]] = {}
        for one in sorted(found - {*covered(found), *summed_up(found)}, key=lambda s: s.path):
            by_kind.setdefault(one.kind, []).append(f"{before}/{one.path}")
        return by_kind

    def segments(self) -> dict[Segment, int]:
        """Return all files and their bytes, but those that a larger one or a summary covers."""
        found = self._segments()
        for one in {*covered(found), *summed_up(found)}:
            del found[one]
        return found

    def clean(self) -> None:
        """Remove what a crash left: unfinished files, merged ones, and lists without a file.

        Only who writes the archive may do so.
        """
        found = self._segments()
        for one in {*covered(found), *summed_up(found)}:
            self._delete(one.path)
            del found[one]
        known = {one.path + beside for one in found for beside in (_IDS, _COUNTS)}
        known |= {path for one in found for path in _beside_hour(one.kind, one.hour)}
        for path in self._paths():
            if path.endswith(UNFINISHED) or (path.endswith((_IDS, _COUNTS)) and path not in known):
                self._delete(path)

    def _segments(self) -> dict[Segment, int]:
        named = ((segment_of(path), size) for path, size in self._paths().items())
        return {one: size for one, size in named if one is not None}

    def _paths(self) -> dict[str, int]:
        """Return the path within the archive and the bytes of each file there is."""
        selector = pyarrow.fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        return {
            info.path.removeprefix(self._root).lstrip("/"): info.size
            for info in self._fs.get_file_info(selector)
            if info.is_file
        }

    def write(
        self,
        kind: Kind,
        segment: Segment,
        table: pa.Table,
        counts: Counts | None = None,
        ends: Sequence[int] = (),
    ) -> int:
        """Write a file; it is there under its name when all of it is.

        Args:
            kind: of its rows.
            segment: its name.
            table: its rows; texts may be dictionaries.
            counts: how many they are; None when that is not known.
            ends: the row after the last one of each row group; as is good if absent.

        Returns:
            Its bytes.

        Raises:
            OSError: the disk is full, the bucket is away; nothing is there under the name.
        """
        ends = ends or group_ends(table)
        begins = (0, *ends[:-1])
        parts = (table.slice(a, b - a) for a, b in zip(begins, ends, strict=True))
        list_ = places(table, kind.ids, ends) if kind.ids else None
        return self._put_all(segment, packed(kind, parts), list_, counts)

    def merge(
        self, kind: Kind, files: Sequence[Segment], whole: Segment, counts: Counts | None
    ) -> int:
        """Write the rows of files, in their order, as one file; see `write`.

        Its row groups are made of whole ones of theirs: its list of ids follows from theirs.
        """
        with contextlib.ExitStack() as stack:
            sources = [
                stack.enter_context(self._fs.open_input_file(f"{self._root}/{one.path}"))
                for one in files
            ]
            groups = MergedGroups(kind, [opened(source) for source in sources])
            content = packed(kind, groups.tables())
        lists = [self._lists.of(one) for one in files] if kind.ids else []
        known = [one for one in lists if one is not None]
        list_ = None
        if kind.ids and len(known) == len(files):
            list_ = moved(known, groups.groups_of)
        elif kind.ids:  # one of them was lost
            list_ = _listed(kind, content)
        return self._put_all(whole, content, list_, counts)

    def _put_all(
        self, segment: Segment, content: pa.Buffer, list_: U64 | None, counts: Counts | None
    ) -> int:
        """Put a file's content where it belongs, after what lies beside it; return its bytes."""
        is_known = self._fs.get_file_info(f"{self._root}/{segment.path}").is_file
        listed = self._lists.hour(segment.kind, segment.hour)
        if is_known or (listed is not None and segment in listed.numbers):  # it had other rows
            self.unlist_hour(segment.kind, segment.hour)
        if counts is not None:
            self._put(segment.path + _COUNTS, written(counts))
        else:  # a file of the same name may have had some
            self._delete(segment.path + _COUNTS)
        self.rewritten += is_known
        if list_ is not None:
            self._put(segment.path + _IDS, np.insert(list_, 0, len(list_)).tobytes())
            self._lists.forget(segment.path + _IDS)
        self._put(segment.path, content)
        return int(content.size)

    def rewrite(self, kind: Kind, segment: Segment, table: pa.Table, counts: Counts | None) -> int:
        """Replace a file by one with as many rows in each row group, so that its list of ids fits.

        Its counts are away meanwhile: at no moment do they tell of other rows than there are.

        Returns:
            Its bytes.

        Raises:
            OSError: as `write`; the file is as it was, or whole and without counts.
        """
        with self._fs.open_input_file(f"{self._root}/{segment.path}") as source:
            ends = ends_of(pyarrow.parquet.ParquetFile(source))
        size_bytes = self.write(kind, segment, table, None, ends)
        if counts is not None:
            self._put(segment.path + _COUNTS, written(counts))
            self.rewritten += 1
        return size_bytes

    def _put(self, path: str, content: Any) -> None:
        if self.folder is None:  # an object is there when its last part is
            with self._fs.open_output_stream(f"{self._root}/{path}") as stream:
                stream.write(content)
            return
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, content)

    def read(
        self, kind: Kind, segments: Iterable[Segment], columns: Collection[str] = ()
    ) -> pa.Table:
        """Return all rows of some files, with some of their columns or all.

        Raises:
            OSError: one of them cannot be read.
        """
        return self.dataset(segments, part_of(kind.schema, columns)).to_table()

    def find(
        self,
        kind: Kind,
        segments: Iterable[Segment],
        ids: Mapping[str, Collection[str]],
        columns: Collection[str] = (),
    ) -> Iterator[tuple[Segment, pa.Table]]:
        """Yield the rows of files that hold one of some ids in its column, part by part.

        Args:
            kind: of the files.
            segments: the files.
            ids: by column, the ids.
            columns: that are wanted; all without it.

        Raises:
            OSError: a file cannot be read.
        """
        hashes = wanted(ids)
        schema = part_of(kind.schema, columns)
        read_schema = part_of(kind.schema, (*columns, *ids) if columns else ())
        for one, named in self._named(kind.name, segments, hashes):
            with self._fs.open_input_file(f"{self._root}/{one.path}") as source:
                file = pyarrow.parquet.ParquetFile(source)
                for group in range(file.num_row_groups) if named is None else named:
                    rows = fitted(file.read_row_group(group, read_schema.names), read_schema)
                    found = with_ids(rows, ids)
                    if len(found):
                        yield one, found.select(schema.names)

    def _named(
        self, kind: str, segments: Iterable[Segment], hashes: U64
    ) -> Iterator[tuple[Segment, list[int] | None]]:
        """Yield the files that may hold one of some ids, each with its row groups; None for all."""
        by_hour: dict[str, list[Segment]] = {}
        for one in segments:
            by_hour.setdefault(one.hour, []).append(one)
        for hour, files in by_hour.items():
            list_ = self._lists.hour(kind, hour) if len(files) >= HOUR_FILES_MIN else None
            unlisted = -1
            named = {unlisted, *(groups(list_.entries, hashes) if list_ is not None else ())}
            numbers = list_.numbers if list_ is not None else {}
            for one in files:
                if numbers.get(one, unlisted) in named:
                    own = self._lists.of(one)
                    found = None if own is None else groups(own, hashes)
                    if found != []:
                        yield one, found

    def hour_list(self, kind: str, hour: str) -> HourList | None:
        """Return the list of ids of an hour's files, None when there is none."""
        return self._lists.hour(kind, hour)

    def list_hour(self, times: Mapping[Segment, Times]) -> None:
        """Write the list of ids of an hour's files together, and before it their counts.

        Args:
            times: of each of them; of one kind and hour.

        Raises:
            OSError: as `write`.
        """
        lists = {one: own for one in times if (own := self._lists.of(one)) is not None}
        if lists:
            one = next(iter(lists))
            counted = {one.path: c for one in times if (c := self.counts(one)) is not None}
            if (whole := together(counted)) is not None:
                self._put(_hour_counts_path(one.kind, one.hour), written_hour(whole))
            path = hour_path(one.kind, one.hour)
            self._put(path, of_hour(lists, times))
            self._lists.forget(path)

    def unlist_hour(self, kind: str, hour: str) -> None:
        """Remove the list of an hour, and the counts beside it, when there are any."""
        for path in _beside_hour(kind, hour):
            self._delete(path)
            self._lists.forget(path)

    def counts(self, segment: Segment) -> Counts | None:
        """Return how many events a file holds, None when it is not known."""
        try:
            with self._fs.open_input_stream(f"{self._root}/{segment.path}{_COUNTS}") as stream:
                return read(stream.read())
        except FileNotFoundError:
            return None

    def hour_counts(self, kind: str, hour: str) -> HourCounts | None:
        """Return how many events files of an hour hold together, None when there is no such file.

        Files that it does not name may be there, and files that it names be gone.
        """
        path = _hour_counts_path(kind, hour)
        try:
            with self._fs.open_input_stream(f"{self._root}/{path}") as stream:
                return read_hour(stream.read())
        except FileNotFoundError:
            return None

    def times(self, kind: Kind, segment: Segment) -> Times:
        """Return the least and the greatest of the kind's time in a file, as its footer says.

        Raises:
            OSError: the file cannot be read.
        """
        with self._fs.open_input_file(f"{self._root}/{segment.path}") as source:
            footer = pyarrow.parquet.ParquetFile(source).metadata
        columns = [footer.row_group(0).column(i).path_in_schema for i in range(footer.num_columns)]
        column = columns.index(kind.time)
        found = [
            footer.row_group(i).column(column).statistics for i in range(footer.num_row_groups)
        ]
        if any(one is None or not one.has_min_max for one in found):
            return -(1 << 63), (1 << 63) - 1  # not written by a console: look into it
        return min(one.min for one in found), max(one.max for one in found)

    def disk(self) -> tuple[int, int] | None:
        """Return how many bytes of the folder's disk are in use, and how many it has."""
        if self.folder is None:
            return None
        found = shutil.disk_usage(self.folder)
        return found.total - found.free, found.total

    def remove(self, segment: Segment) -> None:
        """Remove a file, and the list of ids after it: one without a file is removed at a start."""
        self._lists.forget(segment.path + _IDS)
        self._delete(segment.path)
        self._delete(segment.path + _IDS)
        self._delete(segment.path + _COUNTS)

    def _delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._root}/{path}")

    def dataset(self, segments: Iterable[Segment], schema: pa.Schema) -> Any:
        """Return some files as one dataset, to be read as far as a query needs them."""
        paths = [f"{self._root}/{segment.path}" for segment in segments]
        format_ = pyarrow.dataset.ParquetFileFormat()
        fragments = [format_.make_fragment(path, self._fs) for path in paths]
        return _Dataset(fragments, schema, format_, self._fs)


class _Dataset(pyarrow.dataset.FileSystemDataset):  # type: ignore[misc]
    """Files that are read a little ahead of whoever asks, and not by gigabytes.

    pyarrow reads 16 batches ahead in each of four files, whatever their rows weigh: a question over
    traces of 3 MB held 3.7 GB, beside what DuckDB may take.
    """

    def scanner(self, **given: Any) -> Any:
        """Return what reads them; DuckDB calls it with the columns and the filter."""
        ahead = {"batch_readahead": BATCHES_AHEAD, "fragment_readahead": FILES_AHEAD}
        return super().scanner(**(ahead | given))


def _assert_bucket(fs: pyarrow.fs.FileSystem, root: str, url: str) -> None:
    """Fail unless there is a bucket: files would wait in memory until somebody makes it."""
    bucket = root.partition("/")[0]
    if fs.get_file_info(bucket).type == pyarrow.fs.FileType.NotFound:
        raise ConfigError(
            f"archive (SPANLOOM_CONSOLE_ARCHIVE): {url}: there is no bucket {bucket}; make it, or "
            "name another one"
        )


def _hour_counts_path(kind: str, hour: str) -> str:
    return hour_path(kind, hour).removesuffix(_IDS) + _COUNTS


def _beside_hour(kind: str, hour: str) -> tuple[str, str]:
    """Return where the counts and the list of an hour lie, which tell of rows of several files."""
    return _hour_counts_path(kind, hour), hour_path(kind, hour)


def _listed(kind: Kind, content: pa.Buffer) -> U64:
    """Return the list of ids of a file."""
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(content))
    return places(file.read(list(kind.ids)), kind.ids, ends_of(file))
