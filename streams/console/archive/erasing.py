"""Erasure: pseudonyms of somebody are replaced in every row that there is, and in every summary.

Owns that nothing else changes, and what stands in the way. Files are replaced one by one, each as a
whole under its own name and with its rows in the same row groups: whoever reads meanwhile finds all
rows, and after a kill in the midst the same erasure finishes what is left. Counts and lists follow
their files. Invariant: under a hold nothing is changed at all, be it a summary alone.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.codec.records import decode, encode
from streams.codec.schemas import default_schemas
from streams.codec.wire import split
from streams.console.archive.archive import Archive
from streams.console.archive.changes import Changed
from streams.console.archive.counts import Fit
from streams.console.archive.decoded import columns_of
from streams.console.archive.files import Segment
from streams.console.archive.hourlists import unlist
from streams.console.archive.kinds import PLACE, Kind
from streams.console.archive.retention import Hold
from streams.console.archive.summaries import SUMMED_FROM, added
from streams.console.archive.tiers import is_held
from streams.core.privacy.pseudonyms import ERASED
from streams.core.privacy.records import replaced
from streams.units import Mask

_RECORDS: Final = ("traces", "spans", "events", "alerts", "incidents", "rejected")
_TREATED: Final = (
    *_RECORDS,
    *(name for name, (kind, _) in SUMMED_FROM.items() if kind in _RECORDS),
)
"""Kinds of files that may hold a pseudonym; of windows of fidelity none does."""


class HeldError(Exception):
    """What would be erased is under a legal hold; says which."""


class Erased(NamedTuple):
    """What an erasure changed: rows by kind, and how many files were replaced."""

    rows: dict[str, int]
    files: int


def erase(archive: Archive, pseudonyms: Collection[str], holds: Sequence[Hold]) -> Erased:
    """Replace pseudonyms in all that an archive has.

    Args:
        archive: it goes on taking records in meanwhile; what comes with a pseudonym again is kept.
        pseudonyms: those of one person, under all keys.
        holds: what may not be changed.

    Returns:
        What was changed; nothing for somebody who is in no row.

    Raises:
        HeldError: some of it is under a hold; nothing was changed, unless it came meanwhile.
        OSError: a file could not be read or written; asked again, the rest is done.
    """
    wanted = [one.encode() for one in pseudonyms]
    rows: Counter[str] = Counter()
    found: set[Segment] = set()

    def fit(text: str) -> str:
        for pseudonym in pseudonyms:
            text = text.replace(pseudonym, ERASED)
        return text

    def note(one: Segment, kind: Kind, table: pa.Table) -> None:
        if kind.name in _TREATED and _rows_with(kind, table, wanted).any():
            found.add(one)

    def change(one: Segment, kind: Kind, table: pa.Table) -> Changed | None:
        which = _rows_with(kind, table, wanted)
        if not which.any():
            return None
        _check(one, holds)  # of what came since it was looked at
        rows[kind.name] += int(which.sum())
        return Changed(_without(kind, table, which, fit), fit)

    archive.visit_tails(note)
    looked = set(archive.every_file())
    for one in looked:
        archive.visit(one, note)
    for one in sorted(found):
        _check(one, holds)
    archive.visit_tails(change)
    files = sum(archive.visit(one, change) for one in sorted(found & looked))
    # What was written or merged meanwhile has names that nobody looked at yet.
    while new := set(archive.every_file()) - looked:
        files += sum(archive.visit(one, change) for one in sorted(new))
        looked |= new
    unlist(archive.store, archive.turn, archive.every_file(), pseudonyms)
    return Erased(dict(rows), files)


def _check(one: Segment, holds: Sequence[Hold]) -> None:
    """Raise HeldError when a file is under a hold."""
    for n, hold in enumerate(holds, start=1):
        if is_held(one, hold):
            raise HeldError(
                f"hold {n}{f' ({hold.reason})' if hold.reason else ''} keeps {one.kind} of "
                f"{one.hour}: it can be erased when the hold is over"
            )


def _rows_with(kind: Kind, table: pa.Table, wanted: Sequence[bytes]) -> Mask:
    """Return which rows hold one of some texts; (n,).

    A row's bytes hold all that its columns do; a row without bytes is looked through by column.
    """
    which = np.zeros(len(table), np.bool_)
    if kind.name not in _TREATED or not any(_is_in(table, one) for one in wanted):
        return which
    names = ["value"] if "value" in table.schema.names else table.schema.names
    for name in names:
        column = table[name].combine_chunks()
        if pa.types.is_map(column.type):
            offsets = column.offsets.to_numpy()  # of a slice they do not begin at 0
            at = np.repeat(np.arange(len(column)), np.diff(offsets))
            items = column.items.slice(offsets[0], offsets[-1] - offsets[0])
            _mark(which, items, at, wanted)
        elif pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            _mark(which, column, np.arange(len(column)), wanted)
    return which


def _mark(which: Mask, texts: pa.Array, rows: Any, wanted: Sequence[bytes]) -> None:
    octets = texts.cast(pa.binary())
    for one in wanted:
        found = pc.fill_null(pc.match_substring(octets, one), False)
        which[rows[found.to_numpy(zero_copy_only=False)]] = True


def _is_in(table: pa.Table, text: bytes) -> bool:
    """Whether a text lies anywhere in the memory of a table; its slices may not hold it."""
    return any(
        buffer is not None and buffer.to_pybytes().find(text) >= 0
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
    )


def _without(kind: Kind, table: pa.Table, which: Mask, fit: Fit) -> pa.Table:
    """Return a table in which some rows have their texts made fit, all rows where they were.

    Rows of a summary that differ by nothing any more are one, as if retention had met them so.
    """
    if kind.name in SUMMED_FROM:
        source, step_us = SUMMED_FROM[kind.name]
        return added(source, [_changed(kind, table, fit)], step_us)
    at = np.flatnonzero(which)
    part = table.take(pa.array(at))
    change = _decoded_anew if "value" in table.schema.names else _changed
    new = change(kind, part, fit)
    order = np.arange(len(table))
    order[at] = len(table) + np.arange(len(at))
    return pa.concat_tables([table, new]).take(pa.array(order)).combine_chunks()


def _decoded_anew(kind: Kind, part: pa.Table, fit: Fit) -> pa.Table:
    """Return rows as their records are without the pseudonyms, each where it was."""
    rows = [kind.rows(_value_without(value, fit))[0] for value in part["value"].to_pylist()]
    schema = columns_of(kind)
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays([*part.columns[: len(PLACE)], *arrays], schema=kind.schema)


def _value_without(value: bytes, fit: Fit) -> bytes:
    """Return a record's bytes with all texts in it made fit, and those of a record within it."""
    schemas = default_schemas()
    schema_id, _ = split(value, schemas)
    name = schemas.name_of(schema_id)
    assert name is not None, schema_id  # split refuses unknown ids
    found = replaced(decode(value), fit)
    if name == "rejected_event" and found["value"]:
        found["value"] = _value_without(found["value"], fit)
    return encode(name, found)


def _changed(kind: Kind, part: pa.Table, fit: Fit) -> pa.Table:
    """Return rows without bytes with all texts in their columns made fit."""

    def changed(type_: pa.DataType, column: pa.ChunkedArray) -> Any:
        if pa.types.is_string(type_):
            return pa.array([t if t is None else fit(t) for t in column.to_pylist()], type_)
        if pa.types.is_map(type_):
            maps = [m if m is None else [(k, fit(v)) for k, v in m] for m in column.to_pylist()]
            return pa.array(maps, type_)
        return column

    columns = [changed(f.type, c) for f, c in zip(kind.schema, part.columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=kind.schema)
