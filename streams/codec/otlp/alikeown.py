"""The dimensions of spans that are alike, laid and written a key at a time.

Where many spans have the same list of keys, the nth value of each is a column: its sizes are added
and its bytes are copied with those of the others, and nobody asks of any single value what it is.
"""

from typing import Final, NamedTuple

import numpy as np

from streams.codec.otlp.attributes import TEXT
from streams.codec.otlp.keys import KeyCodes
from streams.codec.otlp.numbers import NUMBER_BYTES, number_texts
from streams.codec.otlp.pieces import (
    SHORT_BYTES,
    all_or,
    copy_pieces,
    copy_rows,
    copy_same,
    with_lengths,
)
from streams.codec.otlp.spanstep import SpanStep
from streams.units import I64, U8

ALIKE_MIN: Final = 512
"""Spans of the same keys, whose dimensions are written so."""
_Places = I64 | slice


class _Values(NamedTuple):
    """A column of values behind their lengths.

    Attributes:
        key: what stands before each, behind its length.
        size: (g,) of each value with its length.
        start: (g,) where each lies.
        numbers: where that is; None where it is with the spans.
    """

    key: bytes
    size: I64
    start: I64
    numbers: U8 | None

    def write(self, source: U8, out: U8, at: I64) -> None:
        """Write values to places of `out`; see `copy_pieces`."""
        if self.numbers is None:
            copy_pieces(source, self.start, out, at, self.size)
        elif len(self.numbers) == NUMBER_BYTES * len(at):  # each in a word, in their order
            copy_rows(self.numbers.reshape(-1, NUMBER_BYTES), out, at, 0, NUMBER_BYTES)
        else:
            padded = np.concatenate([self.numbers, np.zeros(SHORT_BYTES, np.uint8)])
            copy_pieces(padded, self.start, out, at, self.size)


class AlikeOwn:
    """The dimensions of g spans that are alike.

    Args:
        rows: (g,) which of the spans that are put together.
        columns: of their dimensions.

    Attributes:
        rows: these.
        count: how many dimensions each has.
        size: (g,) the bytes of all.
    """

    def __init__(self, rows: I64, columns: list[_Values]) -> None:
        self.rows, self.count = rows, len(columns)
        self._columns = columns
        self.size: I64 = np.full(len(rows), sum(len(one.key) for one in columns), np.int64)
        for one in columns:
            self.size += one.size

    def write(self, source: U8, out: U8, at: I64) -> None:
        """Write them; what is written beyond the end of the last is to be written afterwards.

        Args:
            source: the spans.
            out: where they go.
            at: (g,) where those of each span begin.
        """
        for one in self._columns:
            copy_same(one.key, out, at)
            at = at + len(one.key)
            one.write(source, out, at)
            at += one.size


def alike_own(step: SpanStep, rows: I64, keys: KeyCodes) -> list[AlikeOwn]:
    """Return the dimensions of those spans that are alike, many in each group.

    The bytes in front of texts are written over; see `with_lengths`.

    Args:
        step: n spans.
        rows: (q,) those that are put together.
        keys: of all spans.
    """
    like = keys.like[rows]
    found: list[AlikeOwn] = []
    for head in np.flatnonzero(np.bincount(like) >= ALIKE_MIN).tolist():
        group = np.flatnonzero(like == head)
        columns = _columns_of(step, rows[all_or(group, len(rows))], keys)
        if columns is not None:
            found.append(AlikeOwn(group, columns))
    return found


def _columns_of(step: SpanStep, spans: I64, keys: KeyCodes) -> list[_Values] | None:
    """Return the dimensions of spans of the same keys; None where a value may be text or not."""
    octets, attributes = step.octets, step.spans.attributes
    first, count = attributes.first[spans], int(attributes.count[spans[0]])
    is_all = len(spans) * count == len(attributes.span)  # then they lie one after the other
    columns: list[_Values] = []
    for nth in range(count):
        head = int(first[0]) + nth
        if keys.field[head] >= 0:
            continue
        place: _Places = slice(nth, None, count) if is_all else first + nth
        key_at, key_bytes = int(attributes.key_at[head]), int(attributes.key_size[head])
        key = bytes([2 * key_bytes]) + octets[key_at : key_at + key_bytes].tobytes()
        form = attributes.form[place]
        is_text = form == TEXT
        if is_text.all():
            at, size = attributes.value_at[place], attributes.value_size[place]
            start, size = with_lengths(octets, at, size)
            columns.append(_Values(key, size, start, None))
        elif is_text.any():
            return None
        else:
            numbers, start, size = number_texts(form, attributes.bits[place])
            columns.append(_Values(key, size, start, numbers))
    return columns
