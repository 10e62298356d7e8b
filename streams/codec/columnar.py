"""A chunk of Avro bodies becomes a polars frame, or says exactly which body is bad.

Polars reads container files; here the bodies of one schema are made into one. It resolves
nothing, wraps numbers that do not fit and lets a torn body eat its neighbour's bytes. So: enums
and ints are read as the longs that they are on the wire, a map as the array of entries that it
is, each body is followed by a guard, and what was read must account for every byte of the body.
Invariant: a row of the result is exactly one canonical body; all others are returned as doubtful.
"""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from streams.codec.schemas import Schema
from streams.codec.varints import varint
from streams.errors import ConfigError
from streams.units import I64, U8, Mask

# With a backtrace one poisoned body writes 35 lines to stderr, whoever set the variable before;
# Rust reads it at its first panic.
os.environ["RUST_BACKTRACE"] = "0"

GUARD_BYTES: Final = 8
SMALLEST_SPLIT: Final = 64
"""Chunks up to this size are not split further: a read costs as much as judging 64 bodies."""
_SPLIT: Final = 4
_GUARD: Final = "__guard"
_SYNC: Final = bytes(16)
_INT: Final = (-(2**31), 2**31 - 1)
_LONG: Final = (-(2**63), 2**63 - 1)
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
    low: int = _LONG[0]
    high: int = _LONG[1]
    size: int = 0
    symbols: tuple[str, ...] = ()
    items: tuple["Field", ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """What a chunk gave: `frame` row i is body `good[i]`; `doubtful` are the other positions."""

    frame: pl.DataFrame
    good: I64
    doubtful: list[int]


class ColumnarReader:
    """Reads bodies of one schema as columns."""

    def __init__(self, schema: Schema) -> None:
        """Make the plan.

        Args:
            schema: a parsed record schema without logical types.

        Raises:
            ConfigError: a field has a type that cannot be read as a column; it names the field.
        """
        self.fields = tuple(_field(f["name"], f["type"]) for f in schema["fields"])
        columns: list[dict[str, Any]] = [
            {"name": f.name, "type": _polars_type(f, f"List_{i}")}
            for i, f in enumerate(self.fields)
        ]
        guard = {"type": "fixed", "name": "Guard", "size": GUARD_BYTES}
        columns.append({"name": _GUARD, "type": guard})
        text = json.dumps({"type": "record", "name": "Row", "fields": columns}).encode()
        self._head = b"".join(
            (b"Obj\x01", varint(1), varint(11), b"avro.schema", varint(len(text)), text, b"\x00")
        )
        self._head += _SYNC
        self._derived = self._derived_columns()

    def read(self, bodies: Sequence[bytes], body_bytes: I64, nonce: int) -> Read:
        """Return the bodies that are canonical as a frame, and the positions of all others.

        Args:
            bodies: n bodies without the wire header, n >= 1.
            body_bytes: (n,) their lengths.
            nonce: 64 random bits, new for each chunk: whoever guesses the guard of a row could
                forge its neighbour.

        Returns:
            The frame has one column per field, under the field's name, enums as indexes, maps as
            lists of {key, value}; and for each text and list column its `length_name`. All of it
            stands for valid Avro.
        """
        frames: list[pl.DataFrame] = []
        whole: list[I64] = []
        doubtful: list[int] = []
        waiting = [(0, len(bodies))]
        while waiting:
            start, end = waiting.pop()
            frame = self._read_guarded(bodies[start:end], body_bytes[start:end], nonce)
            if frame is not None:
                frames.append(frame)
                whole.append(np.arange(start, end))
            elif end - start <= SMALLEST_SPLIT:
                doubtful.extend(range(start, end))
            else:
                step = -(-(end - start) // _SPLIT)
                cuts = range(start, end, step)  # the earliest is read first
                waiting += [(at, min(at + step, end)) for at in reversed(cuts)]
        if not frames:
            return Read(pl.DataFrame(), np.zeros(0, np.int64), doubtful)
        frame = frames[0] if len(frames) == 1 else pl.concat(frames)
        good = whole[0] if len(whole) == 1 else np.concatenate(whole)
        return self._checked(frame, good, doubtful, bodies, body_bytes)

    def _read_guarded(self, bodies: Sequence[bytes], size: I64, nonce: int) -> pl.DataFrame | None:
        """Return what polars reads; None when the bodies run into each other."""
        n = len(bodies)
        guard = np.arange(n, dtype=np.uint64) ^ np.uint64(nonce)
        pieces: list[bytes] = [b""] * (2 * n + 4)
        payload_bytes = int(size.sum()) + n * GUARD_BYTES
        pieces[:3] = (self._head, varint(n), varint(payload_bytes))
        pieces[3:-1:2] = bodies
        pieces[4:-1:2] = guard.view(f"V{GUARD_BYTES}").tolist()
        pieces[-1] = _SYNC
        try:
            frame = pl.read_avro(io.BytesIO(b"".join(pieces)))
        except (Exception, pl.exceptions.PanicException):
            # Whatever it is, these bytes caused it: each body is judged by itself next. The panic
            # is a BaseException and has to be named.
            return None
        if frame.height != n:
            return None
        seen = frame[_GUARD].bin.reinterpret(dtype=pl.UInt64, endianness="little").to_numpy()
        return frame if np.array_equal(seen, guard) else None

    def _checked(
        self,
        frame: pl.DataFrame,
        good: I64,
        doubtful: list[int],
        bodies: Sequence[bytes],
        body_bytes: I64,
    ) -> Read:
        """Return the rows of `frame` (bodies `good`) that are text where they say and exact."""
        try:
            derived = frame.with_columns_seq(self._derived)
        except pl.exceptions.ComputeError:  # some text is not UTF-8; which is found the slow way
            is_text = self._is_text(frame)
            doubtful = [*doubtful, *good[~is_text].tolist()]
            good = good[is_text]
            derived = frame.filter(pl.Series(is_text)).with_columns_seq(self._derived)
        size = body_bytes[good]
        payload = np.zeros(0, np.uint8)
        if any(f.null_branch >= 0 or f.kind == "boolean" for f in self.fields):
            payload = np.frombuffer(b"".join([bodies[i] for i in good.tolist()]), np.uint8)
        is_exact = _exact(self.fields, derived, payload, np.cumsum(size) - size, size)
        if is_exact.all():
            return Read(derived, good, doubtful)
        doubtful = [*doubtful, *good[~is_exact].tolist()]
        return Read(derived.filter(pl.Series(is_exact)), good[is_exact], doubtful)

    def _is_text(self, frame: pl.DataFrame) -> Mask:
        """Mark the rows whose text columns all hold UTF-8."""
        out = np.ones(frame.height, np.bool_)
        for field in self.fields:
            if field.kind == "string":
                out &= np.fromiter(map(_is_utf8, frame[field.name].to_list()), np.bool_)
        return out

    def _derived_columns(self) -> list[pl.Expr]:
        """Return lengths and texts: one call of polars for all.

        Texts are read as bytes and become text here, which fails for what is not UTF-8: a sixth
        faster than to let the reader do it.
        """
        lengths: list[pl.Expr] = []
        for field in self.fields:
            column = pl.col(field.name)
            if field.kind in ("string", "bytes"):
                length = column.bin.size()
            elif field.kind == "list":
                length = column.list.len()
            else:
                continue
            lengths.append(length.fill_null(0).cast(pl.Int64).alias(length_name(field.name)))
        texts = [
            pl.col(field.name).cast(pl.String) for field in self.fields if field.kind == "string"
        ]
        return [*lengths, *texts]


def length_name(field: str) -> str:
    """Return the column that holds the lengths of a field: UTF-8 bytes, or items; 0 for null."""
    return f"{field} length"


def _is_utf8(text: bytes | None) -> bool:
    try:
        return text is None or text.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


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
    plain: Any = "bytes" if field.kind == "string" else field.kind
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


def _exact(
    fields: tuple[Field, ...], frame: pl.DataFrame, payload: U8, start: I64, size: I64
) -> Mask:
    """Mark the rows whose values, written again, have exactly the body's length, and are in range.

    Canonical Avro is the shortest form of every value, so equal totals mean that no field was
    written longer than needed: nothing was wrapped or skipped. Union indexes and booleans are the
    bytes that can be wrong at the right length; they are looked up in the payload.
    """
    starts = field_starts(fields, frame, start)
    is_exact = np.asarray(starts[-1] - start == size, np.bool_)
    for field, at in zip(fields, starts, strict=False):
        column = frame[field.name]
        if field.null_branch >= 0:
            is_there = column.is_not_null().to_numpy()
            branch = np.where(is_there, 2 * (1 - field.null_branch), 2 * field.null_branch)
            is_exact &= payload[np.minimum(at, len(payload) - 1)] == branch
        if field.kind == "boolean":
            is_exact &= payload[np.minimum(at, len(payload) - 1)] <= 1
        if field.kind == "long" and (field.low, field.high) != _LONG:
            value = _ints(column)
            is_exact &= (value >= field.low) & (value <= field.high)
    return is_exact


def field_starts(fields: tuple[Field, ...], frame: pl.DataFrame, start: I64) -> list[I64]:
    """Return where each field of each row begins, were it canonical, and at last where it ends.

    Args:
        fields: the k fields of the reader.
        frame: n rows as `ColumnarReader.read` gives them.
        start: (n,) where the rows begin.

    Returns:
        k + 1 arrays of (n,) positions.
    """
    at = start
    out = [at]
    for field in fields:
        length = _value_bytes(field, frame)
        if field.null_branch >= 0:
            is_there = frame[field.name].is_not_null().to_numpy()
            length = 1 + np.where(is_there, length, 0)
        at = np.asarray(at + length, np.int64)
        out.append(at)
    return out


def _value_bytes(field: Field, frame: pl.DataFrame) -> I64 | int:
    """Return the canonical length of each value of one column, without its union's index."""
    if field.kind in ("string", "bytes"):
        count = _ints(frame[length_name(field.name)])
        return np.asarray(count + _count_bytes(count), np.int64)
    if field.kind == "list":
        return _list_bytes(field, frame[field.name], frame[length_name(field.name)])
    if field.kind == "long":
        is_one_byte = field.low >= -64 and field.high < 64  # what is out of range is not exact
        return 1 if is_one_byte else _varint_bytes(_ints(frame[field.name]))
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
            item_bytes += _varint_bytes(_ints(items[item.name]))
        else:
            text_bytes = _ints(texts[item.name])
            item_bytes += text_bytes + _count_bytes(text_bytes)
    total = np.concatenate((np.zeros(1, np.int64), np.cumsum(item_bytes)))
    block_head = np.where(count > 0, _count_bytes(count), 0)
    return np.asarray(total[end] - total[end - count] + block_head + 1, np.int64)


def _ints(column: pl.Series) -> I64:
    """Return a column of whole numbers as (n,) int64, 0 where it is null."""
    filled = column.fill_null(0) if column.null_count() else column
    return filled.to_numpy().astype(np.int64, copy=False)


def _count_bytes(count: I64) -> I64 | int:
    """Return how many bytes each length takes, 1 to 5; one number when it is the same for all."""
    return 1 if count.max(initial=0) < 64 else _varint_bytes(count)


def _varint_bytes(value: I64) -> I64:
    """Return how many bytes each value takes as an Avro long, 1 to 10."""
    zigzag = ((value << 1) ^ (value >> 63)).view(np.uint64)
    out = np.ones(len(value), np.int64)
    for bits in range(7, 64, 7):
        is_longer = zigzag >= np.uint64(1 << bits)
        if not is_longer.any():
            break
        out += is_longer
    return out
