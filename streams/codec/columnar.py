"""A run of Avro bodies becomes a polars frame, and the proof that every row is what it says.

Polars reads container files; here records of one schema, one after the other, are made into one.
It resolves nothing, wraps numbers that do not fit and lets a torn body eat its neighbour's bytes.
So: enums and ints are read as the longs that they are on the wire, a map as the array of entries
that it is, and what was read must account for every byte.

Invariant: a `Block` is exactly the canonical encoding of its rows, one after the other. Canonical
Avro is the shortest form of every value, so no row can have been read from fewer bytes than its
values take; when the sum over all rows is the number of bytes there were, each row took exactly
its own, and where each field lies is known.
"""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import polars as pl

from streams.codec.hashes import hash_expression, text_hash
from streams.codec.panics import FAILURES
from streams.codec.rows import Entries
from streams.codec.schemas import Schema
from streams.codec.varints import varint
from streams.core.bodies import Bodies
from streams.errors import ConfigError
from streams.units import F64, I64, U8, U64, Mask

# With a backtrace one poisoned body writes 35 lines to stderr, whoever set the variable before;
# Rust reads it at its first panic.
os.environ["RUST_BACKTRACE"] = "0"

SMALLEST_SPLIT: Final = 64
"""Chunks up to this size are not split further: a read costs as much as judging 64 bodies."""
_SPLIT: Final = 4
_SYNC: Final = bytes(16)
_INT: Final = (-(2**31), 2**31 - 1)
LONG_RANGE: Final = (-(2**63), 2**63 - 1)
T = TypeVar("T")
R = TypeVar("R")
Halves: TypeAlias = Iterator[tuple[Sequence[T], R | None]]
_SCALARS: Final = {"string", "bytes", "long", "double", "float", "boolean"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field as polars reads it.

    Attributes:
        name: the field's name.
        kind: string | bytes | long | double | float | boolean | fixed | list.
        null_branch: position of null in the union, -1 for a field that is no union.
        low, high: for long: the smallest and largest value (an int's, or an enum's indexes).
        size: for fixed: its bytes.
        symbols: for an enum its symbols, else ().
        items: for list: the fields of an entry; one field "" when the items are no records.
    """

    name: str
    kind: str
    null_branch: int = -1
    low: int = LONG_RANGE[0]
    high: int = LONG_RANGE[1]
    size: int = 0
    symbols: tuple[str, ...] = ()
    items: tuple["Field", ...] = ()

    @property
    def is_text_map(self) -> bool:
        """Whether each entry is a key and a value, both texts, as of a map of strings."""
        return [(i.name, i.kind) for i in self.items] == [("key", "string"), ("value", "string")]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that were read together, and where their fields lie.

    Attributes:
        frame: one column per field, under the field's name, enums as indexes, maps as lists of
            {key, value}; and for each text and list column its `length_name`, for each that may
            be null its `presence_name`.
        data: the buffer that was read; 16 bytes more than the rows take follow them.
        starts: k + 1 arrays of (n,): where each field of each row begins in `data`, and where the
            row ends.
        is_sound: (n,) whether all values of a row are in range; what is not stands for no valid
            Avro, though its bytes are its own.
    """

    frame: pl.DataFrame
    data: bytes
    starts: list[I64]
    is_sound: Mask

    def __len__(self) -> int:
        return len(self.is_sound)

    def place(self, name: str) -> int:
        """Return which of the fields has a name; they are the first of the columns."""
        return self.frame.columns.index(name)

    def numbers(self, name: str, null: int = 0) -> I64:
        """Return a column of whole numbers, (n,), `null` where there is none."""
        return _ints(self.frame[name], null)

    def doubles(self, name: str) -> F64:
        """Return a column of doubles or floats, (n,), NaN for null."""
        return np.asarray(self.frame[name].to_numpy(), np.float64)  # null is NaN there

    def text_bytes(self, name: str) -> I64:
        """Return the lengths of a text column, (n,), 0 for null."""
        return self.frame[length_name(name)].to_numpy()

    def is_there(self, name: str) -> Mask:
        """Return which values of a column that may be null are not, (n,)."""
        return self.frame[presence_name(name)].to_numpy()

    def text_hashes(self, names: Sequence[str]) -> Mapping[str, U64]:
        """Return hashes of text columns, (n,) each, by name."""
        found = self.frame.select_seq(hash_expression(name).alias(name) for name in names)
        return {name: found[name].to_numpy() for name in names}

    def value(self, name: str, row: int) -> Any:
        """Return one value."""
        return self.frame[name][row]

    def frame_of(self, rows: I64, names: Sequence[str] = ()) -> pl.DataFrame:
        """Return some rows, one or more, as polars reads them; of no names all columns."""
        return (self.frame.select(names) if names else self.frame)[rows]

    def entries(self, name: str, rows: I64, keys: Sequence[str]) -> Entries:
        """Return the entries of a column of maps that some of the rows have; see `Rows`."""
        return entries_of(self.frame[name][rows], keys)

    def take(self, at: I64) -> "Block":
        """Return some of the rows."""
        starts = [start[at] for start in self.starts]
        return Block(self.frame[at], self.data, starts, self.is_sound[at])


@dataclass(frozen=True, slots=True)
class Read:
    """What bodies gave: row i of `block` is body `good[i]` where sound; `doubtful` the others."""

    blocks: list[tuple[Block, I64]]
    doubtful: list[int]


class ColumnarReader:
    """Reads rows of some fields as columns."""

    def __init__(self, fields: Sequence[Field]) -> None:
        """Make the plan for rows that are these fields, in this order; see `schema_fields`."""
        self.fields = tuple(fields)
        columns: list[dict[str, Any]] = [
            {"name": f.name, "type": _polars_type(f, f"List_{i}")}
            for i, f in enumerate(self.fields)
        ]
        text = json.dumps({"type": "record", "name": "Row", "fields": columns}).encode()
        self._head = b"".join(
            (b"Obj\x01", varint(1), varint(11), b"avro.schema", varint(len(text)), text, b"\x00")
        )
        self._head += _SYNC
        self._facts = self._fact_columns()

    def read_block(self, pieces: Sequence[bytes], rows: int) -> Block | None:
        """Return the rows that lie in the pieces, one after the other.

        None when the bytes are not exactly the canonical encoding of so many rows: then nothing
        is known of any of them.

        Args:
            pieces: bytes whose concatenation are the rows.
            rows: how many they should be, at least one, at most one a byte.
        """
        total_bytes = sum(map(len, pieces))
        head = (self._head, varint(rows), varint(total_bytes))
        data = b"".join((*head, *pieces, _SYNC))
        try:
            frame = pl.read_avro(io.BytesIO(data))
        except FAILURES:
            return None  # whatever it is, these bytes caused it: smaller parts are judged next
        if frame.height != rows:
            return None
        frame = frame.with_columns_seq(self._facts)
        sizes = [_field_bytes(field, frame) for field in self.fields]
        size = np.zeros(rows, np.int64)
        for one in sizes:
            size = size + one
        if int(size.sum()) != total_bytes:
            return None
        at = np.cumsum(size) - size + sum(map(len, head))
        starts = [at]
        for one in sizes:
            at = at + one
            starts.append(at)
        octets = np.frombuffer(data, np.uint8)
        return Block(frame, data, starts, _sound(self.fields, frame, octets, starts))

    def read(self, bodies: Bodies) -> Read:
        """Return the bodies that are canonical, and the positions of all others.

        Args:
            bodies: n bodies, n >= 1, each a row.
        """
        blocks: list[tuple[Block, I64]] = []
        doubtful: list[int] = []
        waiting = [np.arange(len(bodies))]
        while waiting:
            rows = waiting.pop()
            part = bodies.take(rows)
            block = self.read_block(list(part), len(rows)) if part.size.all() else None
            if block is not None and np.array_equal(block.starts[-1] - block.starts[0], part.size):
                blocks.append((block, rows))
                doubtful.extend(rows[~block.is_sound].tolist())
            elif len(rows) <= SMALLEST_SPLIT:
                doubtful.extend(rows.tolist())
            else:
                waiting += np.array_split(rows, _SPLIT)[::-1]  # the earliest is read first
        return Read(blocks, doubtful)

    def _fact_columns(self) -> list[pl.Expr]:
        """Return what gives lengths and presence: one call of polars, as each costs 0.1 ms."""
        facts: list[pl.Expr] = []
        for field in self.fields:
            column = pl.col(field.name)
            if field.null_branch >= 0:
                facts.append(column.is_not_null().alias(presence_name(field.name)))
            if field.kind == "string":
                length = column.str.len_bytes()
            elif field.kind == "bytes":
                length = column.bin.size()
            elif field.kind == "list":
                length = column.list.len()
            else:
                continue
            facts.append(length.fill_null(0).cast(pl.Int64).alias(length_name(field.name)))
        return facts


def entries_of(maps: pl.Series, keys: Sequence[str]) -> Entries:
    """Return the entries of maps that have one of the keys; arguments as of `Rows.entries`."""
    count = maps.list.len()
    owner = np.repeat(np.arange(len(maps)), count.to_numpy())
    if not len(owner):
        return Entries(owner, owner, owner.astype(np.uint64), lambda _: "")
    found = maps.filter(count > 0).explode().struct.unnest()
    key = np.full(len(owner), -1)
    for i, one in enumerate(keys):
        key[(found["key"] == one).to_numpy()] = i
    at = np.flatnonzero(key >= 0)
    value = found["value"][at]
    return Entries(owner[at], key[at], text_hash(value), lambda i: str(value[i]))


def by_halves(items: Sequence[T], read: Callable[[Sequence[T]], R | None]) -> Halves[T, R]:
    """Read items together; where that fails read halves of them, down to each alone.

    Yields:
        Items in their order with what they gave, None for one that cannot be read by itself.
    """
    waiting = [items] if items else []
    while waiting:
        some = waiting.pop()
        found = read(some)
        if found is not None or len(some) == 1:
            yield some, found
        else:
            half = len(some) // 2
            waiting += [some[half:], some[:half]]


def schema_fields(schema: Schema) -> list[Field]:
    """Return the fields of a parsed record schema without logical types.

    Raises:
        ConfigError: a field has a type that cannot be read as a column; it names the field.
    """
    return [_field(f["name"], f["type"]) for f in schema["fields"]]


def length_name(field: str) -> str:
    """Return the column that holds the lengths of a field: UTF-8 bytes, or items; 0 for null."""
    return f"{field} length"


def presence_name(field: str) -> str:
    """Return the column that says of each value of a field whether it is not null."""
    return f"{field} is there"


def _field(name: str, schema: Any) -> Field:
    null_branch = -1
    if isinstance(schema, list):
        if len(schema) != 2 or "null" not in schema:
            raise ConfigError(f"field {name}: only a union of null and one other type is a column")
        null_branch = schema.index("null")
        schema = schema[1 - null_branch]
    if isinstance(schema, dict) and isinstance(schema["type"], dict):
        schema = schema["type"]
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "enum":
        symbols = tuple(schema["symbols"])
        return Field(name, "long", null_branch, 0, len(symbols) - 1, symbols=symbols)
    if kind == "int":
        return Field(name, "long", null_branch, *_INT)
    if kind in _SCALARS and not (kind == "boolean" and null_branch >= 0):
        return Field(name, kind, null_branch)
    if kind == "fixed" and null_branch < 0:
        return Field(name, "fixed", size=schema["size"])
    if kind in ("array", "map") and null_branch < 0:
        return Field(name, "list", items=_entry_fields(name, kind, schema))
    raise ConfigError(f"field {name}: type {kind!r} cannot be read as a column")


def _entry_fields(name: str, kind: str, schema: Any) -> tuple[Field, ...]:
    items: tuple[Field, ...]
    if kind == "map":
        items = (_field("key", "string"), _field("value", schema["values"]))
    elif isinstance(schema["items"], dict) and schema["items"]["type"] == "record":
        items = tuple(_field(f["name"], f["type"]) for f in schema["items"]["fields"])
    else:
        items = (_field("", schema["items"]),)
    for item in items:
        if item.kind not in ("string", "bytes", "long", "double") or item.null_branch >= 0:
            raise ConfigError(f"field {name}: items with {item.kind} {item.name!r} are no column")
    return items


def _polars_type(field: Field, name: str) -> Any:
    plain: Any = field.kind
    if field.kind == "fixed":
        plain = {"type": "fixed", "name": name, "size": field.size}
    elif field.kind == "list" and field.items[0].name == "":
        plain = {"type": "array", "items": field.items[0].kind}
    elif field.kind == "list":
        entry = [{"name": f.name, "type": f.kind} for f in field.items]
        plain = {"type": "array", "items": {"type": "record", "name": name, "fields": entry}}
    if field.null_branch < 0:
        return plain
    return ["null", plain] if field.null_branch == 0 else [plain, "null"]


def _sound(fields: tuple[Field, ...], frame: pl.DataFrame, data: U8, starts: list[I64]) -> Mask:
    """Mark the rows whose values are in range.

    Union indexes and booleans are the bytes that can be wrong at the right length: they are
    looked up where they lie.
    """
    is_sound = np.ones(frame.height, np.bool_)
    for field, at in zip(fields, starts, strict=False):
        column = frame[field.name]
        if field.null_branch >= 0:
            is_there = frame[presence_name(field.name)].to_numpy()
            branch = np.where(is_there, 2 * (1 - field.null_branch), 2 * field.null_branch)
            is_sound &= data.take(at) == branch
        if field.kind == "boolean":
            is_sound &= data.take(at) <= 1
        if field.kind == "long" and (field.low, field.high) != LONG_RANGE:
            value = _ints(column)
            is_sound &= (value >= field.low) & (value <= field.high)
    return is_sound


def _field_bytes(field: Field, frame: pl.DataFrame) -> I64 | int:
    """Return the canonical length of each value of one column, (n,) or one for all."""
    length = _value_bytes(field, frame)
    if field.null_branch < 0:
        return length
    is_there = frame[presence_name(field.name)].to_numpy()
    return np.asarray(1 + np.where(is_there, length, 0), np.int64)


def _value_bytes(field: Field, frame: pl.DataFrame) -> I64 | int:
    """Return the canonical length of each value of one column, without its union's index."""
    if field.kind in ("string", "bytes"):
        count = _ints(frame[length_name(field.name)])
        return np.asarray(count + _count_bytes(count), np.int64)
    if field.kind == "list":
        return _list_bytes(field, frame[field.name], frame[length_name(field.name)])
    if field.kind == "long":
        is_one_byte = field.low >= -64 and field.high < 64  # what is out of range is not exact
        return 1 if is_one_byte else varint_bytes(_ints(frame[field.name]))
    return {"double": 8, "float": 4, "boolean": 1, "fixed": field.size}[field.kind]


def _list_bytes(field: Field, column: pl.Series, length: pl.Series) -> I64 | int:
    count = _ints(length)
    end = np.cumsum(count)
    if not len(end) or end[-1] == 0:
        return 1
    flat = (column if count.all() else column.filter(length > 0)).explode()
    items = flat.struct.unnest() if field.items[0].name else flat.to_frame("")
    texts = items.select_seq(
        (pl.col(i.name).str.len_bytes() if i.kind == "string" else pl.col(i.name).bin.size())
        for i in field.items
        if i.kind in ("string", "bytes")
    )
    item_bytes = np.zeros(int(end[-1]), np.int64)
    for item in field.items:
        if item.kind == "double":
            item_bytes += 8
        elif item.kind == "long":
            item_bytes += varint_bytes(_ints(items[item.name]))
        else:
            text_bytes = _ints(texts[item.name])
            item_bytes += text_bytes + _count_bytes(text_bytes)
    total = np.concatenate((np.zeros(1, np.int64), np.cumsum(item_bytes)))
    block_head = np.where(count > 0, _count_bytes(count), 0)
    return np.asarray(total[end] - total[end - count] + block_head + 1, np.int64)


def _ints(column: pl.Series, null: int = 0) -> I64:
    """Return a column of whole numbers as (n,) int64, `null` where it is null."""
    filled = column.fill_null(null) if column.null_count() else column
    return filled.to_numpy().astype(np.int64, copy=False)


def _count_bytes(count: I64) -> I64 | int:
    """Return how many bytes each length takes, 1 to 5; one number when it is the same for all."""
    return 1 if count.max(initial=0) < 64 else varint_bytes(count)


def varint_bytes(value: I64) -> I64:
    """Return how many bytes each value takes as an Avro long, 1 to 10."""
    zigzag = ((value << 1) ^ (value >> 63)).view(np.uint64)
    out = np.ones(len(value), np.int64)
    for bits in range(7, 64, 7):
        is_longer = zigzag >= np.uint64(1 << bits)
        if not is_longer.any():
            break
        out += is_longer
    return out
