"""Where ids lie within a file: a sorted list of (hash of column and id, row group) beside it.

Owns the hash, which files outlive: it never changes. The list may name a row group that has not the
id, once in 2**48 / (ids of the file); it never leaves one out.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from streams.units import I64, U64

GROUP_BITS: Final = 16
GROUPS_MAX: Final = 1 << GROUP_BITS
_HASH_BYTES: Final = 8 - GROUP_BITS // 8


def places(table: pa.Table, columns: Sequence[str], group_rows: int) -> U64:
    """Return the sorted list of a file.

    Args:
        table: its rows.
        columns: those that hold ids, or lists of them.
        group_rows: rows of each row group.

    Returns:
        (n,) the hash's 48 bits and the row group's 16.
    """
    found: list[int] = []
    for column in columns:
        text, row = _flat(table[column])
        pairs = pl.DataFrame({"id": pl.from_arrow(text), "group": row // group_rows})
        pairs = pairs.filter(pl.col("id") != "").unique()
        lead = column.encode() + b"\0"
        found += [_hash(lead, id_) | group for id_, group in pairs.iter_rows()]
    return np.sort(np.array(found, np.uint64))


def groups(list_: U64, ids: Mapping[str, Iterable[str]]) -> list[int]:
    """Return the row groups that hold one of some ids, by their column; in order."""
    found: set[int] = set()
    for column, values in ids.items():
        for value in values:
            low = _hash(column.encode() + b"\0", value)
            ends = np.array([low, low | (GROUPS_MAX - 1)], np.uint64)
            begin = int(np.searchsorted(list_, ends[0], "left"))
            end = int(np.searchsorted(list_, ends[1], "right"))
            found.update((list_[begin:end] & np.uint64(GROUPS_MAX - 1)).tolist())
    return sorted(found)


def with_ids(table: pa.Table, ids: Mapping[str, Iterable[str]]) -> pa.Table:
    """Return the rows that hold one of some ids in its column."""
    is_one = np.zeros(len(table), np.bool_)
    for column, values in ids.items():
        text, row = _flat(table[column])
        is_in = pc.is_in(text, value_set=pa.array(list(values), pa.string()))
        is_one[row[is_in.to_numpy(zero_copy_only=False)]] = True
    return table.filter(pa.array(is_one))


def _flat(column: pa.ChunkedArray) -> tuple[pa.Array, I64]:
    """Return the texts of a column of texts or of lists of them, and the row of each."""
    whole = column.combine_chunks()
    if pa.types.is_list(whole.type):
        return whole.flatten(), pc.list_parent_indices(whole).to_numpy()
    return whole, np.arange(len(whole))


def _hash(lead: bytes, id_: str) -> int:
    digest = hashlib.blake2b(lead + id_.encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest, "big") << GROUP_BITS
