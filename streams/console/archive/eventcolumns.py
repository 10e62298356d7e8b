"""Events as columns: messages of one event or of many, read together.

Owns which events are rows of `events`. Invariant: the rows are those of `Kind.rows`, whatever the
messages are; what cannot be read as a column is read by that.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from streams.codec import wire
from streams.codec.columnar import Block, ColumnarReader, Field, schema_fields
from streams.codec.eventbatch import NAME as BATCH
from streams.codec.eventbatch import EventBatchReader
from streams.codec.recordbatch import Record
from streams.codec.schemas import default_schemas
from streams.codec.step import Message
from streams.console.archive.decoded import Decoded, Rows, Values, columns_of, joined, one_by_one
from streams.console.archive.kinds import EVENT_TEXTS, EVENT_TIMES, Kind
from streams.console.archive.skim import PADDING, Skim
from streams.core.bodies import Bodies
from streams.core.columns import TRACE
from streams.units import I64, Mask

_EVENT_ID_BYTES: Final = 36
_TRACE_ID_BYTES: Final = 32
_OFFSET_MAX: Final = 2**31 - 1
_OCTETS: Final = pa.binary()


@cache
def event_reader() -> ColumnarReader:
    """Return the reader of events in the current schema."""
    return ColumnarReader(schema_fields(default_schemas().current("telemetry_event")))


@cache
def many_reader() -> EventBatchReader:
    """Return the reader of messages of many events."""
    return EventBatchReader(default_schemas(), event_reader())


def many(values: Sequence[bytes]) -> list[Message]:
    """Return messages for `many_reader`."""
    return [Message(Record(i, 0, None, value)) for i, value in enumerate(values)]


def event_table(frame: pl.DataFrame) -> pa.Table:
    """Return the columns that `events` and `spans` share, of events as they were read."""
    symbols = {f.name: f.symbols for f in event_reader().fields if f.symbols}
    plain = frame.select(
        *(named(name, symbols.get(name, ())) for name in EVENT_TEXTS),
        *EVENT_TIMES,
        pl.col("value").alias("value_number"),
    )
    return plain.to_arrow().append_column("dimensions", _map(frame["dimensions"]))


def _map(pairs: pl.Series) -> pa.MapArray:
    """Return lists of key and value as maps."""
    lists = pairs.rechunk().to_arrow()
    found = lists.flatten()
    keys, values = (pc.struct_field(found, name).cast(pa.string()) for name in ("key", "value"))
    offsets = pc.subtract(lists.offsets, lists.offsets[0]).cast(pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, values)


def named(column: str, symbols: Sequence[str]) -> pl.Expr:
    """Return a column, the symbols of an enum in place of their indexes."""
    if not symbols:
        return pl.col(column)
    return pl.lit(pl.Series(list(symbols))).gather(pl.col(column)).alias(column)


def event_columns(kinds: Sequence[Kind], values: Values) -> Decoded:
    """Return the rows of `events` that messages are.

    A span that names a trace is stepped over, not read: what else is wrong with it is the worker's
    to reject.

    Args:
        kinds: `events` alone.
        values: the messages' values.
    """
    (kind,) = kinds
    schemas = default_schemas()
    header = wire.header(schemas.id_of("telemetry_event"))
    whole = Bodies.of([value or b"" for value in values], PADDING)
    is_alone = _begins_with(whole, header)
    is_many = _begins_with(whole, wire.header(schemas.id_of(BATCH)))
    alone, together = np.flatnonzero(is_alone), np.flatnonzero(is_many)
    slow: list[int] = np.flatnonzero(~(is_alone | is_many)).tolist()
    if len(alone) < len(values):
        whole = Bodies.of([values[i] or b"" for i in alone.tolist()], PADDING)
    parts = [
        *_alone(kind, whole, alone, slow),
        *_together(
            kind, [values[i] or b"" for i in together.tolist()], together.tolist(), header, slow
        ),
    ]
    rest = one_by_one(kinds, values, sorted(slow))
    return Decoded({kind.name: joined(kind, [*parts, rest.rows[kind.name]])}, rest.unreadable)


def _begins_with(values: Bodies, header: bytes) -> Mask:
    """Whether values begin with a header; behind the last one there are bytes that may be read."""
    octets = np.frombuffer(values.data, np.uint8)
    found: Mask = values.size >= len(header)
    for i, octet in enumerate(header):
        found &= octets[values.start + i] == octet
    return found


def _alone(kind: Kind, whole: Bodies, index: I64, slow: list[int]) -> list[Rows]:
    """Return the rows of messages of one event each; what is doubtful goes to `slow`.

    Args:
        kind: `events`.
        whole: n messages, one after the other.
        index: (n,) of each among all.
        slow: indexes of what is to be read one by one.
    """
    if not len(index):
        return []
    bodies = _behind_header(whole)
    at = np.flatnonzero(~is_span_of_trace(bodies))
    if not len(at):
        return []
    read = event_reader().read(bodies.take(at))
    slow += index[at[read.doubtful]].tolist()
    parts = []
    for block, rows in read.blocks:
        is_row = block.is_sound & _is_row(block)
        rows_at = at[rows[is_row]]
        own = octets(whole, rows_at)
        parts.append(rows_of(kind, block.frame.filter(is_row), own, index[rows_at]))
    return parts


def are_rows(values: Sequence[bytes | None]) -> list[bool]:
    """Return which messages of a topic of events may be rows; the others are spans of traces.

    They are most of what there is, and passed over before anything is made of them.
    """
    whole = Bodies.of([value or b"" for value in values], PADDING)
    header = wire.header(default_schemas().id_of("telemetry_event"))
    at = np.flatnonzero(_begins_with(whole, header))
    is_row = np.ones(len(whole), np.bool_)
    is_row[at] = ~is_span_of_trace(_behind_header(whole).take(at))
    found: list[bool] = is_row.tolist()
    return found


def _behind_header(values: Bodies) -> Bodies:
    """Return values without the header that they begin with."""
    head = wire.HEADER_BYTES
    return Bodies(values.data, values.start + head, values.size - head)


def is_span_of_trace(bodies: Bodies) -> Mask:
    """Whether events are spans that name a trace, as far as a glance tells; (n,)."""
    skim = Skim(bodies)
    event_id, trace_id = skim.text(), skim.text()
    skim.over(_before("event_type")[2:])
    is_span: Mask = (skim.long() == TRACE) & ~skim.is_lost
    is_span &= (event_id == _EVENT_ID_BYTES) & (trace_id == _TRACE_ID_BYTES)
    return is_span


@cache
def _before(name: str) -> tuple[Field, ...]:
    fields = event_reader().fields
    return fields[: [f.name for f in fields].index(name)]


def _together(
    kind: Kind, values: Sequence[bytes], index: Sequence[int], header: bytes, slow: list[int]
) -> list[Rows]:
    """Return the rows of messages of many events; what is doubtful goes to `slow`."""
    messages = many(values)
    parts = []
    for block, some in many_reader().read(messages):
        assert isinstance(block, Block), "no reader of frames"
        of = np.repeat([index[m.record.offset] for m in some], [m.count for m in some])
        torn = np.unique(of[~block.is_sound])
        slow += torn.tolist()
        is_row = _is_row(block) & ~np.isin(of, torn)
        at = np.flatnonzero(is_row)
        begin, end = block.starts[0][at].tolist(), block.starts[-1][at].tolist()
        own = pa.array([header + block.data[a:b] for a, b in zip(begin, end, strict=True)], _OCTETS)
        parts.append(rows_of(kind, block.frame.filter(is_row), own, of[at]))
    slow += [i for i, m in zip(index, messages, strict=True) if not m.is_column]
    return parts


def _is_row(block: Block) -> Mask:
    frame = block.frame
    is_other = frame["event_type"] != TRACE
    return np.asarray((is_other | (frame["trace_id"] == "")).to_numpy(), np.bool_)


def octets(whole: Bodies, rows: I64) -> pa.Array:
    """Return some of the values that lie one after the other, as they are; where they lie at best.

    Args:
        whole: all of them.
        rows: (n,) which are wanted, increasing.
    """
    if len(whole.data) > _OFFSET_MAX:
        return pa.array(whole.take(rows), _OCTETS)
    ends = np.append(whole.start, whole.start[-1:] + whole.size[-1:]).astype(np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(whole.data)]
    found = pa.Array.from_buffers(_OCTETS, len(whole), buffers)
    return found if len(rows) == len(whole) else found.take(pa.array(rows))


def rows_of(kind: Kind, frame: pl.DataFrame, own: pa.Array, message: I64) -> Rows:
    """Return events as they were read as rows of `events`.

    Args:
        kind: `events`.
        frame: n events.
        own: (n,) the value that each would have if it were sent alone.
        message: (n,) index of the message that each came from.
    """
    table = event_table(frame).append_column("value", own)
    return Rows(table.cast(columns_of(kind)), message)
