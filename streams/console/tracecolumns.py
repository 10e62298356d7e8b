"""Assembled traces as columns: the rows of `traces` and of `spans`, of many traces at once.

Owns how a trace is taken apart. The record ends with its events, in the very form of a message of
many events; what is before them is a row like any other. Invariant: the rows are those of
`Kind.rows`; what is not proved to be read exactly is read by that.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from streams.codec import wire
from streams.codec.columnar import ColumnarReader, schema_fields
from streams.codec.eventbatch import NAME as BATCH
from streams.codec.schemas import Schema, default_schemas
from streams.console.decoded import Decoded, Rows, Values, columns_of, joined, one_by_one
from streams.console.eventcolumns import event_table, many, many_reader, named
from streams.console.kinds import Kind
from streams.console.skim import Skim
from streams.core.bodies import Bodies
from streams.core.columns import TRACE
from streams.units import I64

_DISTINCT: Final = {
    "modules": "module",
    "record_ids": "record_id",
    "batch_ids": "batch_id",
    "correlation_ids": "correlation_id",
}
"""Columns of `traces` that name what its events name, and the field of theirs."""


class _Parts(NamedTuple):
    """Traces that were read; `message` of both is the index of the trace's message."""

    heads: pl.DataFrame
    events: pl.DataFrame


@cache
def _head_reader() -> ColumnarReader:
    """Return the reader of what a trace has before its events."""
    schema: Schema = default_schemas().current("assembled_trace")
    *fields, last = schema["fields"]
    assert last["name"] == "spans", last["name"]
    return ColumnarReader(schema_fields({"fields": fields}))


def trace_columns(kinds: Sequence[Kind], values: Values) -> Decoded:
    """Return the rows that assembled traces are.

    Args:
        kinds: `traces` and `spans`.
        values: the messages' values.
    """
    header = wire.header(default_schemas().id_of("assembled_trace"))
    index = [i for i, v in enumerate(values) if v is not None and v.startswith(header)]
    parts = _read([values[i] or b"" for i in index], index) if index else None
    done = set(parts.heads["message"].to_list()) if parts else set()
    rest = one_by_one(kinds, values, [i for i in range(len(values)) if i not in done])
    rows = dict(rest.rows)
    if parts is not None and len(parts.heads):
        for kind in kinds:
            some = _traces(kind, parts, values) if kind.name == "traces" else _spans(kind, parts)
            rows[kind.name] = joined(kind, [some, rows[kind.name]])
    return Decoded(rows, rest.unreadable)


def _read(values: Sequence[bytes], index: Sequence[int]) -> _Parts | None:
    """Return those traces that were read exactly, heads and events; None for none of them."""
    whole = Bodies.of(values)
    bodies = Bodies(whole.data, whole.start + wire.HEADER_BYTES, whole.size - wire.HEADER_BYTES)
    skim = Skim(bodies)
    skim.over(_head_reader().fields)
    there = np.flatnonzero(~skim.is_lost)
    if not len(there):
        return None
    heads = _heads(Bodies(bodies.data, bodies.start, skim.at - bodies.start), there)
    tails = wire.header(default_schemas().id_of(BATCH))
    ends = (whole.start + whole.size)[there].tolist()
    messages = many(
        [tails + whole.data[a:b] for a, b in zip(skim.at[there].tolist(), ends, strict=True)]
    )
    events = []
    for block, some in many_reader().read(messages):
        of = np.repeat(there[[m.record.offset for m in some]], [m.count for m in some])
        torn = np.unique(of[~block.is_sound])
        frame = block.frame.with_columns(message=pl.Series(of))
        events.append(frame.filter(~np.isin(of, torn)) if len(torn) else frame)
    if not events or not len(heads):
        return None
    # A trace counts as read when both its parts were.
    both = heads.join(pl.concat(events).select("message").unique(), on="message", how="semi")
    known = pl.concat(events).join(both.select("message"), on="message", how="semi")
    of_all = pl.lit(pl.Series(index)).gather(pl.col("message")).alias("message")
    return _Parts(
        both.sort("message").with_columns(of_all),
        known.sort("message", maintain_order=True).with_columns(of_all),
    )


def _heads(bodies: Bodies, there: I64) -> pl.DataFrame:
    """Return the heads that are exactly their bytes, with the index of each."""
    read = _head_reader().read(bodies.take(there))
    frames = [
        block.frame.with_columns(message=pl.Series(there[rows])).filter(block.is_sound)
        for block, rows in read.blocks
    ]
    if not frames:
        return pl.DataFrame({"message": []}, {"message": pl.Int64})
    heads = pl.concat(frames)
    causes = len(next(f for f in _missing_fields() if f.name == "cause").symbols)
    cause = pl.element().struct.field("cause")
    is_named = pl.col("missing").list.eval(cause.is_between(0, causes - 1)).list.all()
    return heads.filter(is_named)


def _missing_fields() -> Sequence[Any]:
    return next(f for f in _head_reader().fields if f.name == "missing").items


def _traces(kind: Kind, parts: _Parts, values: Values) -> Rows:
    heads = parts.heads
    message = heads["message"].to_numpy()
    symbols = {f.name: f.symbols for f in _head_reader().fields}
    lost = heads.select("message", "missing").explode("missing").drop_nulls()
    lists = {"missing_stages": _lists(message, lost["message"], _field(lost, "to_stage"))}
    of = parts.events["message"]
    for column, field in _DISTINCT.items():
        lists[column] = _lists(message, of, parts.events[field])
    links = parts.events.select("message", "links").explode("links").drop_nulls()
    linked = links["links"].struct.field("trace_id")
    lists["linked_trace_ids"] = _lists(message, links["message"], linked)
    schema = columns_of(kind)
    plain = [n for n in schema.names if n not in lists and n != "value"]
    table = heads.select(named(n, symbols[n]) for n in plain).to_arrow()
    arrays = {n: table[n] for n in plain} | lists
    arrays["value"] = pa.array([values[i] for i in message.tolist()], pa.binary())
    return Rows(pa.table([arrays[n] for n in schema.names], schema.names).cast(schema), message)


def _field(frame: pl.DataFrame, name: str) -> pl.Series:
    return frame["missing"].struct.field(name)


def _lists(message: I64, of: pl.Series, text: pl.Series) -> pa.ListArray:
    """Return for each message the distinct texts of its rows, sorted, without "".

    Args:
        message: (n,) the messages, increasing.
        of: the message of each row.
        text: the text of each row.
    """
    found = pl.DataFrame({"of": of, "text": text}).filter(pl.col("text") != "")
    found = found.unique().sort("of", "text")
    ends = np.searchsorted(found["of"].to_numpy(), message, side="right")
    offsets = np.concatenate([np.zeros(1, np.int32), ends.astype(np.int32)])
    return pa.ListArray.from_arrays(pa.array(offsets), found["text"].to_arrow().cast(pa.string()))


def _spans(kind: Kind, parts: _Parts) -> Rows:
    events = parts.events.filter(pl.col("event_type") == TRACE)
    revision = events.select("message").join(
        parts.heads.select("message", "revision"), on="message", how="left", maintain_order="left"
    )["revision"]
    table = event_table(events).append_column("revision", revision.to_arrow())
    return Rows(table.cast(columns_of(kind)), events["message"].to_numpy())
