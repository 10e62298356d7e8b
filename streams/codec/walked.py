"""Rows that are walked by a compiled loop, a record at a time: no frame is made of them.

Owns the common form alone: every union, number, text and list as the schema has it, in its shortest
form, texts in UTF-8. Whatever is not exactly that is named by None and left to the reader of
`streams.codec.columnar`, which finds out which row it is; so it never has to say what is wrong.

Invariant: where rows are returned, they are those that the other reader returns, and each takes
exactly its own bytes: where a record ends is known by its own length, and its fields must agree.
Source: Avro 1.11, "Binary encoding"; Apache Kafka, "Record batch", message format v2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from streams.codec.columnar import Block, ColumnarReader, Field, entries_of
from streams.codec.otlp.texts import TextHashes
from streams.codec.otlp.walk import words_of
from streams.codec.plan import Plan
from streams.codec.rows import Entries
from streams.compiled.loops import loops
from streams.core.bodies import Bodies
from streams.units import F64, I64, U64, Mask

TEXT_BYTES_MAX: Final = 128
"""Rows with longer texts among those that are hashed are not walked, ..."""
VALUE_BYTES_MAX: Final = 1024
"""... and values of entries that are longer are hashed by polars, with all others of that read."""
_PAD: Final = bytes(16)
"""Before and after the records, so that whole words may be read anywhere among them."""
_SIZED: Final = ("string", "bytes", "list")
_REAL: Final = ("double", "float")


@dataclass(frozen=True, slots=True)
class WalkedBlock:
    """n rows, all of them sound; see `streams.codec.rows.Rows`.

    A foreign schema may have a field of another kind than the column that it fills is asked for:
    a count as the value, a flag as a number. What is not as it is asked for polars reads.

    Attributes:
        data: the buffer, with 16 bytes or more after the rows.
        starts: where each field of each row begins, and where the row ends.
        is_sound: (n,) all true.
    """

    data: bytes
    starts: list[I64]
    is_sound: Mask
    _reader: "WalkedReader"
    _values: I64
    _there: Mask

    def __len__(self) -> int:
        return len(self.is_sound)

    def place(self, name: str) -> int:
        """Return which of the fields has a name."""
        return self._reader.place[name]

    def numbers(self, name: str, null: int = 0) -> I64:
        """Return a column of whole numbers, (n,), `null` where there is none."""
        place = self.place(name)
        if self._reader.fields[place].kind != "long":
            return self._as_read().numbers(name, null)
        number: I64 = self._values[place]  # 0 where there is none
        if null and self._reader.fields[place].null_branch >= 0:
            return np.where(self._there[place], number, null)
        return number

    def doubles(self, name: str) -> F64:
        """Return a column of doubles or floats, (n,), NaN for null."""
        place = self.place(name)
        field = self._reader.fields[place]
        if field.kind not in _REAL:
            return self._as_read().doubles(name)
        at = self.starts[place] + (field.null_branch >= 0)
        word = words_of(np.frombuffer(self.data, np.uint8))[at]
        if field.kind == "float":
            found = word.astype(np.uint32).view(np.float32).astype(np.float64)
        else:
            found = word.view(np.float64)
        return found if field.null_branch < 0 else np.where(self._there[place], found, np.nan)

    def text_bytes(self, name: str) -> I64:
        """Return the lengths of a text column, (n,), 0 for null."""
        place = self.place(name)
        if self._reader.fields[place].kind not in _SIZED:
            return self._as_read().text_bytes(name)
        size: I64 = self._values[place]
        return size

    def is_there(self, name: str) -> Mask:
        """Return which values of a column are not null, (n,)."""
        there: Mask = self._there[self.place(name)]
        return there

    def text_hashes(self, names: Sequence[str]) -> Mapping[str, U64]:
        """Return hashes of texts, (n,) each; of a text the same in any block of one reader."""
        words = words_of(np.frombuffer(self.data, np.uint8))
        found: dict[str, U64] = {}
        for name in names:
            place = self.place(name)
            if self._reader.fields[place].kind != "string":
                found |= self._as_read().text_hashes([name])
                continue
            size = self._values[place]
            found[name] = self._reader.hashes.of(words, self.starts[place + 1] - size, size)
        return found

    def value(self, name: str, row: int) -> Any:
        """Return one value."""
        place = self.place(name)
        kind = self._reader.fields[place].kind
        if kind not in ("string", "long"):
            return self._as_read(np.array([row])).value(name, 0)
        if not self._there[place, row]:
            return None
        if kind == "long":
            return int(self._values[place, row])
        end = int(self.starts[place + 1][row])
        return self.data[end - int(self._values[place, row]) : end].decode()

    def entries(self, name: str, rows: I64, keys: Sequence[str]) -> Entries:
        """Return the entries of a column of maps that some of the rows have; see `Rows`."""
        made = loops()
        place, data = self.place(name), self.data
        if not self._reader.is_text_map[place] and len(rows):
            return entries_of(self.frame_of(rows, [name])[name], keys)
        count = self._values[place][rows]
        owner, *places = (np.empty(int(count.sum()), np.int64) for _ in range(5))
        octets = np.frombuffer(data, np.uint8)
        assert made is not None, "what was walked is walked again"
        made.entries(octets, self.starts[place][rows], owner, *places)
        key_at, key_size, value_at, value_size = places
        if value_size.max(initial=0) > VALUE_BYTES_MAX:
            return entries_of(self.frame_of(rows, [name])[name], keys)
        words, hashes = words_of(octets), self._reader.hashes
        of_key, key = hashes.of(words, key_at, key_size), np.full(len(owner), -1)
        for i, one in enumerate(keys):
            key[of_key == hashes.of_text(one.encode())] = i
        at = np.flatnonzero(key >= 0)
        begin, size = value_at[at], value_size[at]
        text = Bodies(data, begin, size)
        hashed = hashes.of(words, begin, size)
        return Entries(owner[at], key[at], hashed, lambda i: text[i].decode())

    def frame_of(self, rows: I64, names: Sequence[str] = ()) -> pl.DataFrame:
        """Return some rows, one or more, as polars reads them; of no names all columns."""
        block = self._as_read(rows)
        return block.frame.select(names) if names else block.frame

    def take(self, at: I64) -> "WalkedBlock":
        """Return some of the rows."""
        return WalkedBlock(
            self.data,
            [start[at] for start in self.starts],
            self.is_sound[at],
            self._reader,
            self._values[:, at],
            self._there[:, at],
        )

    def _as_read(self, rows: I64 | None = None) -> Block:
        """Return some rows, one or more, or all, as polars reads them."""
        some = Bodies(self.data, self.starts[0], self.starts[-1] - self.starts[0])
        if rows is not None:
            some = some.take(rows)
        block = self._reader.columnar.read_block(list(some.runs()), len(some))
        assert block is not None, "what was walked is canonical"
        return block


class WalkedReader:
    """Reads rows of some fields, where compiled loops are loaded.

    Args:
        columnar: reads the same fields.
        hashed: the texts whose hashes are asked for.
        is_framed: the first field of a row is the length of the rest.
    """

    def __init__(self, columnar: ColumnarReader, hashed: Sequence[str], *, is_framed: bool) -> None:
        self.columnar = columnar
        self.fields: tuple[Field, ...] = columnar.fields
        self.place = {field.name: i for i, field in enumerate(self.fields)}
        self.is_text_map = [field.is_text_map for field in self.fields]
        self.hashes = TextHashes(VALUE_BYTES_MAX)
        self._plan = Plan.of(self.fields, frozenset(hashed), TEXT_BYTES_MAX)
        self._is_framed = is_framed

    def read_block(self, pieces: Sequence[bytes], counts: Sequence[int]) -> WalkedBlock | None:
        """Return the rows that lie in the pieces, None when they are not of the common form.

        Args:
            pieces: rows, one after the other.
            counts: how many lie in each piece, at least one.
        """
        made = loops()
        if made is None:
            return None
        data = b"".join((_PAD, *pieces, _PAD))
        count = np.array(counts, np.int64)
        sizes = np.array([len(piece) for piece in pieces], np.int64)
        ends = len(_PAD) + np.cumsum(sizes)
        k, n = len(self.fields), int(count.sum())
        starts = np.empty((k + 1, n), np.int64)
        values, there = np.empty((k, n), np.int64), np.empty((k, n), np.bool_)
        plan = self._plan
        octets = np.frombuffer(data, np.uint8)
        into = (starts, values, there)
        parts = (ends - sizes, ends, count, self._is_framed)
        if not made.walk(octets, *parts, plan.fields, plan.ranges, plan.items, *into):
            return None
        return WalkedBlock(data, list(starts), np.ones(n, np.bool_), self, values, there)
