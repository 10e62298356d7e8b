"""Where ids lie within a file: a sorted list of (hash of column and id, row group) beside it.

Owns the hash, which files outlive: it never changes. The list may name a row group that has not the
id, once in 2**48 / (ids of the file); it never leaves one out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.units import I64, U64, Mask

GROUP_BITS: Final = 16
GROUPS_MAX: Final = 1 << GROUP_BITS
_WORD_BYTES: Final = 8
_GROUP: Final = np.uint64(GROUPS_MAX - 1)


def places(table: pa.Table, columns: Sequence[str], group_rows: int) -> U64:
    """Return the sorted list of a file.

    Args:
        table: its rows.
        columns: those that hold ids, or lists of them.
        group_rows: rows of each row group.

    Returns:
        (n,) the hash's 48 bits and the row group's 16.
    """
    found = [np.zeros(0, np.uint64)]
    for column in columns:
        text, row = _flat(table[column])
        hashes, is_id = _hashes(column, text)
        place = (hashes & ~_GROUP | (row // group_rows).astype(np.uint64))[is_id]
        # Rows of one trace lie together: most are told from their neighbours alone.
        found.append(place[np.append(True, place[1:] != place[:-1])] if len(place) else place)
    return np.unique(np.concatenate(found))


def wanted(ids: Mapping[str, Iterable[str]]) -> U64:
    """Return what `groups` looks for: the hashes of some ids by their column."""
    found = [np.zeros(0, np.uint64)]
    for column, values in ids.items():
        hashes, is_id = _hashes(column, pa.array(list(values), pa.string()))
        found.append(hashes[is_id] & ~_GROUP)
    return np.unique(np.concatenate(found))  # in order they are found sooner


def groups(list_: U64, hashes: U64) -> list[int]:
    """Return the row groups that hold one of the ids that are `wanted`, in order."""
    begins = np.searchsorted(list_, hashes, "left")
    ends = np.searchsorted(list_, hashes | _GROUP, "right")
    found: set[int] = set()
    for at in np.flatnonzero(begins < ends).tolist():
        found.update((list_[begins[at] : ends[at]] & _GROUP).tolist())
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


def _hashes(column: str, text: pa.StringArray) -> tuple[U64, Mask]:
    """Return the (n,) hashes of the ids of a column, and which are ids: "" is none.

    Ids of one length are a matrix of words, which are mixed in one after the other.
    """
    _, offsets, data = text.buffers()
    at = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    size = np.diff(at)
    out = np.zeros(len(text), np.uint64)
    for length in np.unique(size[size > 0]).tolist():
        rows = np.flatnonzero(size == length)
        words = -(-length // _WORD_BYTES)
        padded = np.zeros((len(rows), words * _WORD_BYTES), np.uint8)
        padded[:, :length] = octets[at[rows][:, None] + np.arange(length)]
        mixed = np.full(len(rows), _seed(column, length), np.uint64)
        for word in padded.view("<u8").T:
            mixed = _mix(mixed ^ word)
        out[rows] = mixed
    return out, size > 0


def _seed(column: str, length: int) -> int:
    return (
        int.from_bytes(column.encode().ljust(_WORD_BYTES, b"\0")[-_WORD_BYTES:], "little") ^ length
    )


def _mix(value: U64) -> U64:
    """Return the finalizer of MurmurHash3 (Austin Appleby, public domain) of each number."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        value = (value ^ (value >> np.uint64(33))) * factor
    return value ^ (value >> np.uint64(33))
