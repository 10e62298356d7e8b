"""Which rows of a new file repeat an event, in it or in an earlier one.

Owns what can repeat: a span is repeated by later revisions of its trace and by nothing else; any
other event may have been sent again. Rules only: what earlier files hold is handed in.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from streams.console.archive.counts import COLUMNS, FIRST
from streams.units import I64, Mask

WITHIN: Final = -2
"""In place of an hour: an earlier row of the same file is the same event."""
REVISED_MAX: Final = 1_000
"""Traces with a later revision in a file; beyond that the file is not counted."""
CONTENT: Final = ("event_id", "timestamp", *COLUMNS)
"""What two rows of one event have alike."""
Ids = Mapping[str, Collection[str]]
Earlier = Callable[[Ids], Iterable[tuple[int, pa.Table]]]
"""Gives the rows of earlier files, by hour, that have one of some ids."""


def repeats(kind: str, table: pa.Table, earlier: Earlier) -> I64 | None:
    """Return the hour of the file that each row repeats an event of.

    Args:
        kind: `spans` or `events`.
        table: n rows of a new file, in their order.
        earlier: of other files.

    Returns:
        (n,) an hour since 1970, `FIRST`, or `WITHIN`. None when it cannot be told: too many traces
        were revised, or two rows of one event differ.
    """
    hour = np.full(len(table), FIRST, np.int64)
    doubtful, ids = _doubtful(kind, table)
    if not ids:
        return hour
    if "trace_id" in ids and len(ids["trace_id"]) > REVISED_MAX:
        return None
    first = np.flatnonzero(doubtful)
    event_id = pl.Series("event_id", table["event_id"])
    if pc.count_distinct(table["event_id"]).as_py() < len(table):
        is_first = event_id.is_first_distinct().to_numpy()
        if _differ(_content(table), _content(table.filter(pa.array(is_first)))):
            return None
        hour[doubtful & ~is_first] = WITHIN
        first = np.flatnonzero(doubtful & is_first)
    for of_hour, rows in earlier(ids):
        found = pl.Series("event_id", rows["event_id"]).unique()
        at = first[event_id.gather(first).is_in(found.implode()).to_numpy()]
        if _differ(_content(rows), _content(table.take(pa.array(at)))):
            return None
        hour[at] = np.maximum(hour[at], of_hour)
    return hour


def _doubtful(kind: str, table: pa.Table) -> tuple[Mask, Ids]:
    """Return which rows may repeat others, and the ids to look for these by."""
    if kind == "events":
        ids = table["event_id"].to_pylist()
        return np.ones(len(table), np.bool_), {"event_id": ids} if ids else {}
    is_later = table["revision"].to_numpy() > 1
    if not is_later.any():
        return is_later, {}
    of = pl.Series(table["trace_id"])
    traces = of.filter(pl.Series(is_later)).unique()
    return of.is_in(traces.implode()).to_numpy(), {"trace_id": traces.to_list()}


def _content(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(name, table[name]) for name in CONTENT}).with_columns(
        pl.col(COLUMNS).fill_null("")
    )


def _differ(rows: pl.DataFrame, first: pl.DataFrame) -> bool:
    """Say whether rows of the same events have another content."""
    both = rows.join(first, on="event_id", suffix="_first")
    is_other = [pl.col(name) != pl.col(f"{name}_first") for name in CONTENT[1:]]
    return len(both.filter(pl.any_horizontal(is_other))) > 0
