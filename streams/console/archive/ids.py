"""Where ids lie within a file: a sorted list of (hash of column and id, row group) beside it.

Owns the hash, which files outlive: it never changes. The list may name a row group that has not the
id, once in 2**48 / (ids of the file); it never leaves one out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.units import I32, I64, U8, U64

GROUP_BITS: Final = 16
GROUPS_MAX: Final = 1 << GROUP_BITS
_WORD_BYTES: Final = 8
_GROUP: Final = np.uint64(GROUPS_MAX - 1)


def places(table: pa.Table, columns: Sequence[str], ends: Sequence[int]) -> U64:
    """Return the sorted list of a file.

    Args:
        table: its rows.
        columns: those that hold ids, or lists of them.
        ends: the row after the last one of each row group.

    Returns:
        (n,) the hash's 48 bits and the row group's 16.
    """
    found = [np.zeros(0, np.uint64)]
    for column in columns:
        text, row = _flat(table[column])
        hashes, at = _hashes(column, text)
        group = np.searchsorted(ends, at if row is None else row[at], "right")
        # Rows of one trace lie together: most are told from their neighbours alone.
        found.append(_changes(hashes & ~_GROUP | group.astype(np.uint64)))
    return _sorted(found)


def moved(lists: Sequence[U64], groups_of: Sequence[I64]) -> U64:
    """Return the sorted list of a file whose row groups are made of whole row groups of others.

    Args:
        lists: of the others.
        groups_of: for each of them, (groups,) the row group that each of its own came into.
    """
    found = [np.zeros(0, np.uint64)]
    for list_, into in zip(lists, groups_of, strict=True):
        group = into[(list_ & _GROUP).astype(np.int64)]
        found.append(_changes(list_ & ~_GROUP | group.astype(np.uint64)))
    return _sorted(found)


def _changes(values: U64) -> U64:
    """Return values without those that repeat the one before."""
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def _sorted(parts: Sequence[U64]) -> U64:
    """Return what is in the parts, once each; to sort is quicker than numpy's set."""
    return _changes(np.sort(np.concatenate(parts)))


def wanted(ids: Mapping[str, Iterable[str]]) -> U64:
    """Return what `groups` looks for: the hashes of some ids by their column."""
    found = [np.zeros(0, np.uint64)]
    for column, values in ids.items():
        hashes, _ = _hashes(column, pa.array(list(values), pa.string()))
        found.append(hashes & ~_GROUP)
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
        is_found = is_in.to_numpy(zero_copy_only=False)
        is_one[np.flatnonzero(is_found) if row is None else row[is_found]] = True
    return table.filter(pa.array(is_one))


def _flat(column: pa.ChunkedArray) -> tuple[pa.Array, I64 | None]:
    """Return the texts of a column of texts or of lists of them, and the row of each.

    None in place of rows that are those of the texts themselves.
    """
    whole = column.combine_chunks()
    if pa.types.is_list(whole.type):
        return whole.flatten(), pc.list_parent_indices(whole).to_numpy()
    return whole, None


def _hashes(column: str, text: pa.StringArray) -> tuple[U64, I64]:
    """Return the hashes of the ids of a column, and where they are: "" is none.

    Ids of one length are a matrix of words, which are mixed in one after the other. An id that
    repeats the one before is not mixed again: rows of one trace lie together.
    """
    _, offsets, data = text.buffers()
    at = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    size = np.diff(at)
    hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for length in np.flatnonzero(np.bincount(size)).tolist() if len(size) else []:
        if length:
            rows = np.flatnonzero(size == length)
            words = _words(octets, at[rows], length)
            is_new = np.ones(len(words), np.bool_)
            is_new[1:] = words[1:, 0] != words[:-1, 0]
            for word in words.T[1:]:  # by columns: numpy takes ten times as long by short rows
                is_new[1:] |= word[1:] != word[:-1]
            mixed = np.full(int(is_new.sum()), _seed(column, length), np.uint64)
            for word in words[is_new].T:
                mixed = _mix(mixed ^ word)
            hashes.append(mixed[np.cumsum(is_new) - 1])
            places.append(rows)
    return np.concatenate(hashes), np.concatenate(places)


def _words(octets: U8, at: I32, length: int) -> U64:
    """Return texts of one length as (n, words), with zeros after their ends."""
    if len(at) * length == int(at[-1]) + length - int(at[0]):  # one after the other
        matrix = octets[at[0] : at[-1] + length].reshape(len(at), length)
    else:
        windows = np.ndarray((len(octets) - length + 1,), f"V{length}", octets, strides=(1,))
        matrix = windows[at].view(np.uint8).reshape(len(at), length)
    padding = -length % _WORD_BYTES
    if padding:
        matrix = np.pad(matrix, ((0, 0), (0, padding)))
    return np.ascontiguousarray(matrix).view("<u8")


def _seed(column: str, length: int) -> int:
    return (
        int.from_bytes(column.encode().ljust(_WORD_BYTES, b"\0")[-_WORD_BYTES:], "little") ^ length
    )


def _mix(value: U64) -> U64:
    """Return the finalizer of MurmurHash3 (Austin Appleby, public domain) of each number."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        value = (value ^ (value >> np.uint64(33))) * factor
    return value ^ (value >> np.uint64(33))
