"""How many events a file holds, by minute and by what they are: a count over days adds these up.

Owns what is counted and its form beside a file. An event counts in the file that had it first: a
row that repeats one of an earlier file is told apart, with the hour of that file, and counts once
that hour has expired. Pure: nothing is read or written here.

The form is an Arrow stream with the columns `minute` (since 1970), `combo`, `hour` (since 1970;
`FIRST` of what repeats nothing) and `rows`; its metadata holds `columns` and, in JSON, `combos`,
the values of these columns that occur together.
"""

import json
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import polars as pl
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


def counts_of(table: pa.Table, hour: I64) -> Counts | None:
    """Return the counts of a file's rows; None when they would be too many.

    Args:
        table: n rows of `spans` or `events`, without those that repeat a row of this file.
        hour: (n,) as `Counts.hour`.
    """
    rows = pl.DataFrame({name: pl.Series(name, table[name]) for name in COLUMNS})
    minute = table["timestamp"].to_numpy() // MINUTE_US
    rows = rows.with_columns(pl.all().fill_null(""), minute=minute, hour=hour)
    return _fitting(rows.with_columns(rows=pl.lit(1, pl.Int64)), COLUMNS)


def summed(parts: Sequence[Counts]) -> Counts | None:
    """Return the counts of files together, whose repeats are told apart; None when too many."""
    columns = min((part.columns for part in parts), key=len)
    return _fitting(pl.concat([_frame(part, columns) for part in parts]), columns)


def reworded(counts: Counts, fit: Fit) -> Counts | None:
    """Return counts with all texts in them made fit; what differs by nothing else is one then."""
    combos = tuple(tuple(map(fit, combo)) for combo in counts.combos)
    return _fitting(_frame(counts._replace(combos=combos), counts.columns), counts.columns)


def _frame(counts: Counts, columns: Sequence[str]) -> pl.DataFrame:
    names = list(zip(*counts.combos, strict=True)) or [()] * len(counts.columns)
    of = {name: pl.Series(names[i], dtype=pl.String) for i, name in enumerate(columns)}
    values = pl.DataFrame(of)[counts.combo] if columns else pl.DataFrame()
    return values.with_columns(
        minute=counts.minute, hour=counts.hour, rows=pl.Series(counts.rows, dtype=pl.Int64)
    )


def _fitting(rows: pl.DataFrame, columns: Sequence[str]) -> Counts | None:
    """Return cells by as many of the columns as fit."""
    for size in range(len(columns), 1, -1):
        by = list(columns[:size])
        cells = rows.group_by([*by, "minute", "hour"]).agg(pl.col("rows").sum())
        if len(cells) <= CELLS_MAX:
            return _counts(cells, by)
    return None


def _counts(cells: pl.DataFrame, by: list[str]) -> Counts:
    combos = cells.select(by).unique().sort(by).with_row_index("combo")
    cells = cells.join(combos, on=by).select(pl.col(CELL).cast(pl.Int64)).sort(CELL[:-1])
    minute, combo, hour, count = (cells[name].to_numpy() for name in CELL)
    values = tuple(combos.drop("combo").iter_rows())
    return Counts(tuple(by), values, minute, combo, hour, count)


def written(counts: Counts) -> pa.Buffer:
    """Return counts as bytes."""
    about = {
        "version": _VERSION,
        "columns": json.dumps(counts.columns),
        "combos": json.dumps(counts.combos),
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
    try:
        table = pa.ipc.open_stream(content).read_all()
        about = table.schema.metadata or {}
        if about.get(b"version") != _VERSION.encode():
            return None
        cells = [table[name].to_numpy() for name in CELL]
        columns = tuple(json.loads(about[b"columns"]))
        combos = tuple(map(tuple, json.loads(about[b"combos"])))
    except (pa.ArrowInvalid, OSError, KeyError, ValueError):
        return None
    return Counts(columns, combos, *cells)
