"""What messages gave: the rows of a kind as one table, and which message each row came from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from streams.console.archive.kinds import PLACE, Kind
from streams.errors import RecordError
from streams.units import I64

Values = Sequence[bytes | None]


class Rows(NamedTuple):
    """Rows of one kind.

    Attributes:
        table: r rows, all columns of the kind but those of the place.
        message: (r,) index of the message that each came from, not decreasing.
    """

    table: pa.Table
    message: I64


class Decoded(NamedTuple):
    """What some messages of one topic are.

    Attributes:
        rows: by name of the kind.
        unreadable: indexes of the messages that are no value of their schema.
    """

    rows: Mapping[str, Rows]
    unreadable: Sequence[int]


def one_by_one(
    kinds: Sequence[Kind], values: Values, which: Iterable[int] | None = None
) -> Decoded:
    """Return what messages are, by the definition of their kinds: `Kind.rows`.

    Args:
        kinds: what their topic feeds.
        values: the messages' values.
        which: indexes of those that are wanted; all without it.
    """
    unreadable: list[int] = []
    found: dict[str, tuple[list[tuple[object, ...]], list[int]]] = {k.name: ([], []) for k in kinds}
    for i in range(len(values)) if which is None else which:
        try:
            rows = {kind.name: kind.rows(values[i]) for kind in kinds}
        except RecordError:
            unreadable.append(i)
            continue
        for name, some in rows.items():
            found[name][0].extend(some)
            found[name][1].extend([i] * len(some))
    return Decoded(
        {k.name: Rows(_table(k, found[k.name][0]), _index(found[k.name][1])) for k in kinds},
        unreadable,
    )


def joined(kind: Kind, parts: Sequence[Rows]) -> Rows:
    """Return the rows of several parts in the order of their messages."""
    some = [part for part in parts if len(part.message)]
    if not some:
        return Rows(_table(kind, []), _index([]))
    if len(some) == 1:
        return some[0]
    message = np.concatenate([part.message for part in some])
    table = pa.concat_tables([part.table for part in some])
    order = np.argsort(message, kind="stable")
    return Rows(table.take(pa.array(order)), message[order])


def columns_of(kind: Kind) -> pa.Schema:
    """Return the columns of a kind but those of the place."""
    return pa.schema(list(kind.schema)[len(PLACE) :])


def _table(kind: Kind, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    schema = columns_of(kind)
    values = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, f.type) for column, f in zip(values, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _index(values: Sequence[int]) -> I64:
    return np.array(values, np.int64)
