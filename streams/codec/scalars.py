"""Records whose fields are plain values, walked a field at a time: no frame is made of them.

Owns the common form alone: every union, number and text as the schema has it, in its shortest
form, texts in UTF-8. Whatever is not exactly that is named by None and left to the reader of
`streams.codec.columnar`, which finds out which row it is; so it never has to say what is wrong.

Invariant: where rows are returned, they are those that the other reader returns, and each takes
exactly its own bytes: where a record ends is known by its own length, and its fields must agree.
Source: Avro 1.11, "Binary encoding"; Apache Kafka, "Record batch", message format v2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.codec.columnar import LONG_RANGE, Field
from streams.codec.otlp.texts import TextHashes, are_utf8
from streams.codec.otlp.walk import words_of
from streams.units import F64, I64, U8, U64, Mask

TEXT_BYTES_MAX: Final = 128
"""Longer texts are not hashed here."""
_PAD: Final = bytes(16)
"""Before and after the records, so that whole words may be read anywhere among them."""
_HIGH: Final = np.uint64(0x8080_8080_8080_8080)
_LOW: Final = ~_HIGH
_ONE: Final = np.uint64(1)
_STEP: Final = [1 + (low >> 7) + (low % 128 >> 1) for low in range(256)]
"""How far the first byte of a record's length leads; a second one leads on by 64 for each unit."""
_TEXTS: Final = ("string", "bytes")
_SIZE: Final = {"double": 8, "float": 4, "boolean": 1}
_SEVENS: Final = tuple(
    (np.uint64(even), np.uint64(even << 7 * gap), np.uint64(gap))
    for even, gap in (
        (0x007F_007F_007F_007F, 1),
        (0x0000_3FFF_0000_3FFF, 2),
        (0x0000_0000_0FFF_FFFF, 4),
    )
)
"""Of groups of 7, 14 and 28 bits: the even ones, the odd ones laid beside them, the gap between."""


class _StrangeError(Exception):
    """The records do not have the common form."""


@dataclass(frozen=True, slots=True)
class ScalarBlock:
    """n rows of plain values, all of them sound; see `streams.codec.columnar.Rows`.

    Attributes:
        fields: of a row.
        data: the buffer, with 16 bytes or more after the rows.
        starts: where each field of each row begins, and where the row ends.
        is_sound: (n,) all true.
    """

    fields: tuple[Field, ...]
    data: bytes
    starts: list[I64]
    is_sound: Mask
    _number: dict[str, I64]
    _size: dict[str, I64]
    _there: dict[str, Mask]
    _hashes: TextHashes

    def __len__(self) -> int:
        return len(self.is_sound)

    def place(self, name: str) -> int:
        """Return which of the fields has a name."""
        return [field.name for field in self.fields].index(name)

    def numbers(self, name: str, null: int = 0) -> I64:
        """Return a column of whole numbers, (n,), `null` where there is none."""
        there = self._there.get(name)
        number = self._number[name]
        return number if there is None or not null else np.where(there, number, null)

    def doubles(self, name: str) -> F64:
        """Return a column of doubles or floats, (n,), NaN for null."""
        field = self.fields[self.place(name)]
        at = self.starts[self.place(name)] + (field.null_branch >= 0)
        word = words_of(np.frombuffer(self.data, np.uint8))[at]
        if field.kind == "float":
            found = word.astype(np.uint32).view(np.float32).astype(np.float64)
        else:
            found = word.view(np.float64)
        there = self._there.get(name)
        return found if there is None else np.where(there, found, np.nan)

    def text_bytes(self, name: str) -> I64:
        """Return the lengths of a text column, (n,), 0 for null."""
        return self._size[name]

    def is_there(self, name: str) -> Mask:
        """Return which values of a column are not null, (n,)."""
        return self._there.get(name, self.is_sound)

    def text_hashes(self, names: Sequence[str]) -> dict[str, U64]:
        """Return hashes of texts, (n,) each; of a text the same in any block of one reader."""
        words = words_of(np.frombuffer(self.data, np.uint8))
        found = {}
        for name in names:
            size = self._size[name]
            begin = self.starts[self.place(name) + 1] - size
            found[name] = self._hashes.of(words, begin, size)
        return found

    def value(self, name: str, row: int) -> int | str | None:
        """Return one whole number or text."""
        if not self.is_there(name)[row]:
            return None
        place = self.place(name)
        if self.fields[place].kind not in _TEXTS:
            return int(self._number[name][row])
        end = int(self.starts[place + 1][row])
        return self.data[end - int(self._size[name][row]) : end].decode()

    def take(self, at: I64) -> "ScalarBlock":
        """Return some of the rows."""
        return ScalarBlock(
            self.fields,
            self.data,
            [start[at] for start in self.starts],
            self.is_sound[at],
            {name: column[at] for name, column in self._number.items()},
            {name: column[at] for name, column in self._size.items()},
            {name: column[at] for name, column in self._there.items()},
            self._hashes,
        )


class ScalarReader:
    """Reads records of some fields, the first of which is the length of the rest.

    Args:
        fields: of a record; see `can_walk`.
        hashed: the texts whose hashes are asked for.
    """

    def __init__(self, fields: Sequence[Field], hashed: Sequence[str]) -> None:
        assert can_walk(fields), "lists are not walked"
        self.fields = tuple(fields)
        self._hashed = frozenset(hashed)
        self._hashes = TextHashes(TEXT_BYTES_MAX)

    def read_block(self, pieces: Sequence[bytes], counts: Sequence[int]) -> ScalarBlock | None:
        """Return the records that lie in the pieces, None when they are not of the common form.

        Args:
            pieces: records, one after the other.
            counts: how many lie in each piece, at least one.
        """
        starts = [starts_of(piece, count) for piece, count in zip(pieces, counts, strict=True)]
        data = b"".join((_PAD, *pieces, _PAD))
        before, begins = len(_PAD), []
        for piece, some in zip(pieces, starts, strict=True):
            if some is None:
                return None
            begins.append(np.array(some, np.int64) + before)
            before += len(piece)
        try:
            return _Walk(data, np.concatenate(begins), before).block(
                self.fields, self._hashed, self._hashes
            )
        except _StrangeError:
            return None


def can_walk(fields: Sequence[Field]) -> bool:
    """Return whether records of these fields can be walked: none of them is a list."""
    return all(field.kind != "list" for field in fields)


def starts_of(payload: bytes, count: int) -> list[int] | None:
    """Return where each of so many records begins; None when they do not fill the bytes.

    What a number of three bytes and more says is not followed: a record of 8 KiB and more.
    """
    starts: list[int] = []
    begin, step, at = starts.append, _STEP, 0
    try:
        for _ in range(count):
            begin(at)
            low = payload[at]
            at += step[low] if low < 0x80 else step[low] + (payload[at + 1] << 6)
    except IndexError:
        return None
    return starts if at == len(payload) else None


class _Walk:
    """Walks all rows at once.

    Args:
        data: the rows, padded.
        begin: (n,) where each begins.
        end: where the last one ends.
    """

    def __init__(self, data: bytes, begin: I64, end: int) -> None:
        self._data = data
        self._octets: U8 = np.frombuffer(data, np.uint8)
        self._words = words_of(self._octets)
        self._begin = begin
        self._end = end
        self._high = 0
        """So many bytes of what is no text have their highest bit set."""

    def block(
        self, fields: tuple[Field, ...], hashed: frozenset[str], hashes: TextHashes
    ) -> ScalarBlock:
        """Return the rows.

        Raises:
            _StrangeError: they are not of the common form.
        """
        at, starts = self._begin, [self._begin]
        number: dict[str, I64] = {}
        size: dict[str, I64] = {}
        there: dict[str, Mask] = {}
        for field in fields:
            rows = None
            if field.null_branch >= 0:
                is_there = there[field.name] = self._branch(field, at)
                at = at + 1
                rows = None if is_there.all() else np.flatnonzero(is_there)
            some = at if rows is None else at[rows]
            value, width = self._value(field, some)
            at = self._after(at, rows, width)
            starts.append(at)
            kept = size if field.kind in _TEXTS else number
            if value is not None:
                kept[field.name] = value if rows is None else _spread(value, rows, len(at))
        following = np.append(self._begin[1:], self._end)
        if not np.array_equal(at, following):
            raise _StrangeError
        if max((int(size[name].max()) for name in hashed), default=0) > TEXT_BYTES_MAX:
            raise _StrangeError
        self._check_texts(fields, starts, size)
        sound = np.ones(len(at), np.bool_)
        return ScalarBlock(fields, self._data, starts, sound, number, size, there, hashes)

    def _branch(self, field: Field, at: I64) -> Mask:
        """Return which values of a union are not null."""
        branch = self._octets.take(at)
        is_there = np.asarray(branch == 2 * (1 - field.null_branch))
        if not (is_there | (branch == 2 * field.null_branch)).all():
            raise _StrangeError
        return is_there

    def _value(self, field: Field, at: I64) -> tuple[I64 | None, I64 | int]:
        """Return numbers, or lengths of texts, and how many bytes the values take."""
        if not len(at):
            return np.zeros(0, np.int64), 0
        if field.kind in _TEXTS:
            length, width = self._longs(at)
            if int(length.min()) < 0:
                raise _StrangeError
            return length, length + width
        if field.kind == "long":
            value, width = self._longs(at)
            if (field.low, field.high) != LONG_RANGE and (
                int(value.min()) < field.low or int(value.max()) > field.high
            ):
                raise _StrangeError
            return value, width
        fixed_bytes = _SIZE.get(field.kind, field.size)
        if int(at.max()) + fixed_bytes > self._end:
            raise _StrangeError
        self._count_high(at, fixed_bytes)
        if field.kind == "boolean" and int(self._octets.take(at).max()) > 1:
            raise _StrangeError
        return None, fixed_bytes

    def _after(self, at: I64, rows: I64 | None, width: I64 | int) -> I64:
        """Return where the next field begins; within the rows, so that it may be looked at."""
        if rows is None:
            at = at + width
        else:
            at = at.copy()
            at[rows] += width
        if int(at.max()) > self._end:
            raise _StrangeError
        return at

    def _longs(self, at: I64) -> tuple[I64, I64 | int]:
        """Return numbers, and how many bytes they take: eight at most, in the shortest form."""
        first = self._octets.take(at)
        if int(first.max()) < 0x80:
            zigzag = first.astype(np.int64)
            return (zigzag >> 1) ^ -(zigzag & 1), 1
        word = self._words[at]
        stops = ~word & _HIGH
        if not stops.all():
            raise _StrangeError
        last = stops & (~stops + _ONE)  # the highest bit of the last byte
        until = last - _ONE
        word &= until
        width = np.bitwise_count(until).astype(np.int64) + 1 >> 3
        self._high += int(width.sum()) - len(width)
        # In the shortest form there is something in the last byte, unless it is the only one.
        if not ((word >= (last >> np.uint64(7))) | (width == 1)).all():
            raise _StrangeError
        word &= _LOW
        for even, odd, gap in _SEVENS:
            word = (word & even) | ((word >> gap) & odd)
        zigzag = word.view(np.int64)
        return (zigzag >> 1) ^ -(zigzag & 1), width

    def _count_high(self, at: I64, size: int) -> None:
        for begin in range(0, size, 8):
            kept = min(8, size - begin)
            mask = _HIGH if kept == 8 else _HIGH & np.uint64((1 << 8 * kept) - 1)
            self._high += int(np.bitwise_count(self._words[at + begin] & mask).sum())

    def _check_texts(
        self, fields: Sequence[Field], starts: list[I64], size: dict[str, I64]
    ) -> None:
        """Refuse texts that are not UTF-8: where all high bytes are of other values, all are."""
        high = int(np.count_nonzero(self._octets.view(np.int8) < 0))
        if high == self._high:
            return
        for field, after in zip(fields, starts[1:], strict=True):
            if field.kind == "string":
                length = size[field.name]
                if not are_utf8(self._octets, self._words, after - length, length).all():
                    raise _StrangeError


def _spread(value: I64, rows: I64, n: int) -> I64:
    """Return values at their rows among n, 0 elsewhere."""
    out = np.zeros(n, np.int64)
    out[rows] = value
    return out
