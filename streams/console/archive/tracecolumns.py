"""Assembled traces as columns: the rows of `traces` and of `spans`, of many traces at once.

Owns how a trace is taken apart. The record ends with its events, one after the other as those of a
message of many; what is before them is a row like any other. Invariant: the rows are those of
`Kind.rows`; what is not proved to be read exactly is read by that.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from streams.codec import wire
from streams.codec.columnar import (
    Block,
    ColumnarReader,
    Read,
    by_halves,
    length_name,
    schema_fields,
)
from streams.codec.eventbatch import EVENT_BYTES_MIN
from streams.codec.schemas import Schema, default_schemas
from streams.console.archive.decoded import Decoded, Rows, Values, columns_of, joined, one_by_one
from streams.console.archive.eventcolumns import event_reader, event_table, named, octets
from streams.console.archive.kinds import Kind
from streams.console.archive.skim import PADDING, Skim
from streams.core.bodies import Bodies
from streams.core.columns import TRACE
from streams.units import I64, U8

_DISTINCT: Final = {
    "modules": "module",
    "record_ids": "record_id",
    "batch_ids": "batch_id",
    "correlation_ids": "correlation_id",
}
"""Columns of `traces` that name what its events name, and the field of theirs."""


class _Parts(NamedTuple):
    """Traces that were read.

    Attributes:
        heads, events: `message` of both is the index of the trace's message.
        octets: (n,) the traces' bytes.
    """

    heads: pl.DataFrame
    events: pl.DataFrame
    octets: pa.Array


class Layout(NamedTuple):
    """Where n traces have what.

    Attributes:
        heads: what is before the count of their events.
        events: their events, one after the other.
        counts: (n,) how many they are said to be.
        there: the traces whose events are one block; of the others the rest means nothing.
        whole: the traces, one after the other.
    """

    heads: Bodies
    events: Bodies
    counts: I64
    there: I64
    whole: Bodies


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
            some = _traces(kind, parts) if kind.name == "traces" else _spans(kind, parts)
            rows[kind.name] = joined(kind, [some, rows[kind.name]])
    return Decoded(rows, rest.unreadable)


def layout_of(values: Sequence[bytes]) -> Layout:
    """Return where heads and events lie in traces of the current schema."""
    whole = Bodies.of(values, PADDING)
    bodies = Bodies(whole.data, whole.start + wire.HEADER_BYTES, whole.size - wire.HEADER_BYTES)
    skim = Skim(bodies)
    skim.over(_head_reader().fields)
    head_bytes = skim.at - bodies.start
    count = skim.long()
    event_bytes = whole.start + whole.size - skim.at - 1
    # The events are one block: their count, they themselves, and a zero.
    is_one_block = (count > 0) & (count * EVENT_BYTES_MIN <= event_bytes) & ~skim.is_lost
    there = np.flatnonzero(is_one_block & (_last(whole) == 0))
    heads = Bodies(bodies.data, bodies.start, head_bytes)
    return Layout(heads, Bodies(whole.data, skim.at, event_bytes), count, there, whole)


def _read(values: Sequence[bytes], index: Sequence[int]) -> _Parts | None:
    """Return those traces that were read exactly, heads and events; None for none of them."""
    laid = layout_of(values)
    heads = _heads(laid.heads, laid.there)
    events = list(_events(laid))
    if not events or not len(heads):
        return None
    # A trace counts as read when both its parts were.
    known = pl.concat(events)
    both = np.intersect1d(heads["message"].to_numpy(), known["message"].to_numpy())
    return _Parts(_of(heads, both, index), _of(known, both, index), octets(laid.whole, both))


def _last(values: Bodies) -> U8:
    """Return the last byte of each value."""
    octets = np.frombuffer(values.data, np.uint8)
    return np.asarray(octets[values.start + values.size - 1], np.uint8)


def event_blocks(laid: Layout) -> Iterator[tuple[Block, I64]]:
    """Yield the events of traces that are exactly their bytes, and the index of each one's trace.

    Those of a trace lie one after the other, and all of them in one block.
    """

    def read(some: Sequence[int]) -> Block | None:
        part, counts = laid.events.take(np.array(some)), laid.counts[np.array(some)]
        block = event_reader().read_block(list(part), int(counts.sum()))
        if block is None:
            return None
        begins = block.starts[0][np.cumsum(counts) - counts] - block.starts[0][0]
        is_own = np.array_equal(begins, np.cumsum(part.size) - part.size)
        return block if is_own else None  # else an event of one trace reaches into the next one

    for some, block in by_halves(laid.there.tolist(), read):
        if block is not None:
            yield block, np.repeat(np.array(some), laid.counts[np.array(some)])


def _events(laid: Layout) -> Iterator[pl.DataFrame]:
    """Yield the events of the traces all of whose events are sound, with their traces' index."""
    for block, of in event_blocks(laid):
        frame = block.frame.with_columns(message=of)
        is_torn = np.isin(of, of[~block.is_sound])
        yield frame.filter(~is_torn) if is_torn.any() else frame


def _of(frame: pl.DataFrame, wanted: I64, index: Sequence[int]) -> pl.DataFrame:
    """Return the rows of the traces that are wanted, in their order, by their messages' indexes."""
    of = frame["message"].to_numpy()
    is_wanted = np.isin(of, wanted)
    if not is_wanted.all():
        frame, of = frame.filter(is_wanted), of[is_wanted]
    if (np.diff(of) < 0).any():
        order = np.argsort(of, kind="stable")
        frame, of = frame[order], of[order]
    return frame.with_columns(message=np.array(index, np.int64)[of])


def _heads(bodies: Bodies, there: I64) -> pl.DataFrame:
    """Return the heads that are exactly their bytes, with the index of each."""
    read = _head_reader().read(bodies.take(there)) if len(there) else Read([], [])
    frames = [
        block.frame.with_columns(message=there[rows]).filter(block.is_sound)
        for block, rows in read.blocks
    ]
    if not frames:
        return pl.DataFrame({"message": []}, {"message": pl.Int64})
    heads = pl.concat(frames)
    if not heads[length_name("missing")].to_numpy().any():
        return heads
    causes = len(next(f for f in _missing_fields() if f.name == "cause").symbols)
    cause = pl.element().struct.field("cause")
    is_named = pl.col("missing").list.eval(cause.is_between(0, causes - 1)).list.all()
    return heads.filter(is_named)


def _missing_fields() -> Sequence[Any]:
    return next(f for f in _head_reader().fields if f.name == "missing").items


def _traces(kind: Kind, parts: _Parts) -> Rows:
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
    arrays["value"] = parts.octets
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
    rows = pl.DataFrame({"of": of, "text": text})
    # Most repeat the text of the row before; and numbers are sorted sooner than texts.
    is_new = (pl.col("of") != pl.col("of").shift()) | (pl.col("text") != pl.col("text").shift())
    rows = rows.filter((pl.col("text") != "") & is_new.fill_null(value=True))
    at = rows["of"].to_numpy()
    if (at[1:] > at[:-1]).all():  # one text at most of each message: there is nothing to sort
        return _cut(rows["text"], at, message)
    words = rows["text"].unique().sort()
    code = rows["text"].cast(pl.Enum(words)).to_physical().to_numpy().astype(np.int64)
    size = max(1, len(words))
    key = np.sort(at * size + code)
    key = key[np.append(True, key[1:] != key[:-1])[: len(key)]]
    return _cut(words.gather(key % size), key // size, message)


def _cut(text: pl.Series, of: I64, message: I64) -> pa.ListArray:
    """Return texts as lists, one for each message.

    Args:
        text: (r,) the texts.
        of: (r,) the message of each, not decreasing.
        message: (n,) the messages, increasing.
    """
    ends = np.searchsorted(of, message, "right")
    offsets = np.concatenate([np.zeros(1, np.int32), ends.astype(np.int32)])
    return pa.ListArray.from_arrays(pa.array(offsets), text.to_arrow().cast(pa.string()))


def _spans(kind: Kind, parts: _Parts) -> Rows:
    is_span = parts.events["event_type"].to_numpy() == TRACE
    events = parts.events if is_span.all() else parts.events.filter(is_span)
    message = events["message"].to_numpy()
    at = np.searchsorted(parts.heads["message"].to_numpy(), message)
    revision = parts.heads["revision"].to_numpy()[at]
    table = event_table(events).append_column("revision", pa.array(revision))
    return Rows(table.cast(columns_of(kind)), message)
