"""How many events a file holds, by minute and by what they are: a count over days adds these up.

A count over months would open the counts of too many files: those of an hour that is over are there
together, too, with the names of the files.

Owns what is counted and its form beside a file. An event counts in the file that had it first: a
row that repeats one of an earlier file is told apart, with the hour of that file, and counts once
that hour has expired. Pure: nothing is read or written here.

The form is an Arrow stream with the columns `minute` (since 1970), `combo`, `hour` (since 1970;
`FIRST` of what repeats nothing) and `rows`; its metadata holds `columns` and, in JSON, `combos`,
the values of these columns that occur together. That of an hour has `files` besides.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from streams.units import I64, SECOND_US

MINUTE_US: Final = 60 * SECOND_US
FIRST: Final = -1
COLUMNS: Final = ("module", "event_type", "severity", "component", "operation", "actor")
"""By which events are counted; those at the end are given up first where they would be too many."""
CELLS_MAX: Final = 50_000
"""Of a file, about half a megabyte; beyond that counts save little."""
CELL: Final = ("minute", "combo", "hour", "rows")
"""What a cell is."""
_KEY_MAX: Final = 1 << 62
_VERSION: Final = "1"
Fit = Callable[[str], str]
"""What becomes of a text."""


class Counts(NamedTuple):
    """What a file holds.

    Attributes:
        columns: the first ones of `COLUMNS`.
        combos: values of the columns.
        minute: (n,) of a cell, since 1970.
        combo: (n,) index of its values.
        hour: (n,) of the file, since 1970, whose events it repeats; `FIRST` for none.
        rows: (n,) how many events it has.
    """

    columns: tuple[str, ...]
    combos: tuple[tuple[str, ...], ...]
    minute: I64
    combo: I64
    hour: I64
    rows: I64


class HourCounts(NamedTuple):
    """What files of one hour hold together.

    Attributes:
        paths: of these files.
        counts: of all of them.
    """

    paths: frozenset[str]
    counts: Counts


def counts_of(table: pa.Table, hour: I64) -> Counts | None:
    """Return the counts of a file's rows; None when they would be too many.

    Args:
        table: n rows of `spans` or `events`, without those that repeat a row of this file.
        hour: (n,) as `Counts.hour`.
    """
    time = table["timestamp"].to_numpy() // MINUTE_US
    codes, values = zip(*(_words(table[name]) for name in COLUMNS), strict=True)
    first = time.min() if len(time) else 0
    row, rows = _alike([time - first, hour - FIRST, *codes])
    combo = np.arange(len(row))
    picked = zip(
        *([some[i] for i in code[row].tolist()] for code, some in zip(codes, values, strict=True)),
        strict=True,
    )
    return _fitting(COLUMNS, list(picked), time[row], combo, hour[row], rows)


def _words(column: pa.ChunkedArray) -> tuple[I64, list[str]]:
    """Return the (n,) codes of a column's texts, and the texts."""
    whole = column.combine_chunks()
    found = (whole.fill_null("") if whole.null_count else whole).dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist()


def _alike(columns: Sequence[I64]) -> tuple[I64, I64]:
    """Return a row of each set of rows that are alike in all columns, and how many these are.

    Args:
        columns: (n,) each, numbers from 0 on.
    """
    key, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        most = int(column.max(initial=0)) + 1
        if size * most > _KEY_MAX:  # as few numbers as there are keys
            distinct, key = np.unique(key, return_inverse=True)
            size = len(distinct)
        key, size = key * most + column, size * most
    _, row, rows = np.unique(key, return_index=True, return_counts=True)
    return row, rows


def summed(parts: Sequence[Counts]) -> Counts | None:
    """Return the counts of files together, whose repeats are told apart; None when too many."""
    columns = min((part.columns for part in parts), key=len)
    ids: dict[tuple[str, ...], int] = {}
    combo = [np.zeros(0, np.int64)]
    for part in parts:
        own = [ids.setdefault(some[: len(columns)], len(ids)) for some in part.combos]
        combo.append(np.array(own, np.int64)[part.combo])
    cells = (np.concatenate([part[i] for part in parts]) for i in (2, 4, 5))
    minute, hour, rows = cells
    return _fitting(columns, list(ids), minute, np.concatenate(combo), hour, rows)


def together(counted: Mapping[str, Counts]) -> HourCounts | None:
    """Return the counts of files of one hour, by path; None where they would tell less as one."""
    whole = summed(list(counted.values())) if counted else None
    if whole is None or any(one.columns != whole.columns for one in counted.values()):
        return None
    return HourCounts(frozenset(counted), whole)


def reworded(counts: Counts, fit: Fit) -> Counts | None:
    """Return counts with all texts in them made fit; what differs by nothing else is one then."""
    return summed([counts._replace(combos=tuple(tuple(map(fit, one)) for one in counts.combos))])


def _fitting(
    columns: Sequence[str],
    combos: Sequence[tuple[str, ...]],
    minute: I64,
    combo: I64,
    hour: I64,
    rows: I64,
) -> Counts | None:
    """Return cells by as many of the columns as fit."""
    for size in range(len(columns), 1, -1):
        short = sorted({some[:size] for some in combos}) if len(minute) else []
        ids = {some: i for i, some in enumerate(short)}
        of = np.array([ids.get(some[:size], 0) for some in combos] or [0], np.int64)[combo]
        cells = grouped(minute, of, hour, rows)
        if len(cells[0]) <= CELLS_MAX:
            return Counts(tuple(columns[:size]), tuple(short), *cells)
    return None


def grouped(minute: I64, combo: I64, hour: I64, rows: I64) -> tuple[I64, I64, I64, I64]:
    """Return cells added up that are alike, sorted."""
    minutes, at = np.unique(minute, return_inverse=True)
    hours, of = np.unique(hour, return_inverse=True)
    size = int(combo.max(initial=0)) + 1
    key, cell = np.unique((at * size + combo) * max(1, len(hours)) + of, return_inverse=True)
    total = np.bincount(cell, rows, len(key)).astype(np.int64)
    rest, of = np.divmod(key, max(1, len(hours)))
    at, combo = np.divmod(rest, size)
    return minutes[at], combo, hours[of], total


def written(counts: Counts) -> pa.Buffer:
    """Return counts as bytes."""
    return _written(counts, {})


def written_hour(hour: HourCounts) -> pa.Buffer:
    """Return the counts of an hour as bytes."""
    return _written(hour.counts, {"files": json.dumps(sorted(hour.paths))})


def _written(counts: Counts, about: Mapping[str, str]) -> pa.Buffer:
    about = {
        "version": _VERSION,
        "columns": json.dumps(counts.columns),
        "combos": json.dumps(counts.combos),
        **about,
    }
    cells = {name: getattr(counts, name) for name in CELL}
    table = pa.table(cells).replace_schema_metadata(about)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as out:
        out.write_table(table)
    return sink.getvalue()


def read(content: bytes) -> Counts | None:
    """Return the counts that bytes are; None when they are none, or cut short."""
    found = _read(content)
    return found and found[0]


def read_hour(content: bytes) -> HourCounts | None:
    """Return the counts of an hour that bytes are; None when they are none, or cut short."""
    found = _read(content)
    if found is None or "files" not in found[1]:
        return None
    return HourCounts(frozenset(found[1]["files"]), found[0])


def _read(content: bytes) -> tuple[Counts, dict[str, Any]] | None:
    """Return counts, and what else their metadata say."""
    try:
        table = pa.ipc.open_stream(content).read_all()
        metadata = table.schema.metadata or {}
        if metadata.get(b"version") != _VERSION.encode():
            return None
        cells = [table[name].to_numpy() for name in CELL]
        about = {name.decode(): json.loads(text) for name, text in metadata.items()}
        columns, combos = tuple(about["columns"]), tuple(map(tuple, about["combos"]))
    except (pa.ArrowInvalid, OSError, KeyError, ValueError):
        return None
    return Counts(columns, combos, *cells), about
