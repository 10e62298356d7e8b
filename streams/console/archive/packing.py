"""How rows become a Parquet file and files one: encodings, row groups, and which go together.

Owns the settings of Parquet. Nothing is read or written here but what is handed in.
"""

import base64
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from streams.console.archive.ids import GROUPS_MAX
from streams.console.archive.kinds import Kind
from streams.units import I64

GROUP_BYTES: Final = 4 << 20
"""Of a row group before it is packed: what one id costs to read, and what a scan reads at once."""
_GROUP_ROWS_MIN: Final = 100
_DISTINCT: Final = ("event_id", "span_id", "parent_span_id", "value")
"""Columns without two rows alike, where bounds would be of no use."""
WORDS: Final = (
    "event_type", "module", "component", "operation", "actor", "severity", "name", "flow",
    "status", "closed_by", "kind", "from_stage", "to_stage",
)  # fmt: skip
"""Columns of few texts: they are dictionaries from file to file, and no text is made of them.

Others have none: ids and times packed as they are take less room, and less time to write.
"""


_WORD: Final = pa.dictionary(pa.int32(), pa.string())


def packed(kind: Kind, groups: Iterable[pa.Table]) -> pa.Buffer:
    """Return a file's content.

    Args:
        kind: of its rows.
        groups: its row groups, each with the kind's columns; texts may be dictionaries.
    """
    out, writer = pa.BufferOutputStream(), None
    names = kind.schema.names
    for group in groups:
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(
                out,
                group.schema,
                compression="zstd",
                use_dictionary=[name for name in names if name in WORDS],
                write_statistics=[name for name in names if name not in _DISTINCT],
                store_schema=False,
            )
            writer.add_key_value_metadata(_described(kind.schema))
        # A column whose chunks have several dictionaries would be written without any.
        writer.write_table(group.unify_dictionaries(), row_group_size=max(1, len(group)))
    assert writer is not None, "a file has a row group, be it empty"
    writer.close()
    return out.getvalue()


def _described(schema: pa.Schema) -> dict[str, bytes]:
    """Return what Arrow writes into a file of its columns: no dictionaries, whatever comes in."""
    return {"ARROW:schema": base64.b64encode(schema.serialize())}


def group_ends(table: pa.Table) -> list[int]:
    """Return the row after the last one of each row group of a new file; at least one."""
    rows = len(table)
    size = max(
        _GROUP_ROWS_MIN,
        int(GROUP_BYTES / max(1.0, table.nbytes / max(1, rows))),
        rows // GROUPS_MAX + 1,
    )
    groups = -(-rows // size)  # alike, so that merging finds none that is too small
    return [rows * (i + 1) // groups for i in range(groups)] or [0]


def ends_of(file: Any) -> list[int]:
    """Return the row after the last one of each row group of a Parquet file."""
    groups = range(file.num_row_groups)
    return list(itertools.accumulate(file.metadata.row_group(i).num_rows for i in groups))


def opened(source: Any) -> Any:
    """Return a Parquet file whose columns of few texts are read as dictionaries."""
    footer = pyarrow.parquet.read_metadata(source)
    words = [name for name in WORDS if name in footer.schema.names]
    return pyarrow.parquet.ParquetFile(source, metadata=footer, read_dictionary=words)


class MergedGroups:
    """The row groups of the file that some become: each is made of whole ones of theirs.

    Args:
        kind: of their rows.
        files: at least one, opened.

    Attributes:
        groups_of: for each file, (groups,) which row group each of its own came into; known when
            `tables` was read to its end.
    """

    def __init__(self, kind: Kind, files: Sequence[Any]) -> None:
        self._files = files
        self._schema = pa.schema(f.with_type(_WORD) if f.name in WORDS else f for f in kind.schema)
        self._rows_min = sum(file.metadata.num_rows for file in files) // GROUPS_MAX + 1
        self.groups_of: list[I64] = [np.zeros(file.num_row_groups, np.int64) for file in files]

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of each row group; no more than one of them is held."""
        waiting: list[pa.Table] = []
        held_bytes = rows = number = 0
        for file, into in zip(self._files, self.groups_of, strict=True):
            for i in range(file.num_row_groups):
                part = fitted(file.read_row_group(i, self._schema.names), self._schema)
                is_full = held_bytes + part.nbytes > GROUP_BYTES and held_bytes > GROUP_BYTES // 2
                if is_full and rows >= self._rows_min:
                    yield pa.concat_tables(waiting)
                    waiting, held_bytes, rows, number = [], 0, 0, number + 1
                waiting.append(part)
                held_bytes, rows = held_bytes + part.nbytes, rows + len(part)
                into[i] = number
        yield pa.concat_tables([self._schema.empty_table(), *waiting])


def part_of(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """Return a schema's columns that are named; all when none is."""
    return pa.schema([field for field in schema if not columns or field.name in columns])


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns of a schema; null where their file is older than a column."""
    columns = [
        table[field.name] if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
