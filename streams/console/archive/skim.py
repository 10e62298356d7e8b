"""Steps over the fields of many Avro records at once, to learn where a later field begins.

Owns the cursors. What they find is a guess until whoever asked has proved it: a broken record leads
its own cursor astray, and no other.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from streams.codec.columnar import Field
from streams.core.bodies import Bodies
from streams.units import I64, Mask

ITEMS_MAX: Final = 64
"""Entries of an array that are stepped over; each costs a few calls however many records there are,
so what has more is told as lost and read by itself."""
_LONG_BYTES: Final = 10
PADDING: Final = bytes(16)
"""Bytes that may be read behind a record."""


class Skim:
    """Cursors, one in each of n records.

    Args:
        records: the n records.

    Attributes:
        at: (n,) where each is.
        is_lost: (n,) whether it left its record or found what it cannot step over.
    """

    def __init__(self, records: Bodies) -> None:
        self._end = records.start + records.size
        room = len(records.data) - int(self._end.max(initial=0))
        padded = records.data if room >= len(PADDING) else records.data + PADDING
        self._octets = np.frombuffer(padded, np.uint8)
        self.at: I64 = records.start.copy()
        self.is_lost: Mask = np.zeros(len(records), np.bool_)

    def long(self, rows: I64 | None = None) -> I64:
        """Read a number of each record, or of some rows."""
        at = self.at if rows is None else self.at[rows]
        octet = self._octets[at].astype(np.int64)
        bits = octet & 0x7F
        size = np.ones(len(at), np.int64)
        more = np.flatnonzero(octet >= 0x80)
        for group in range(1, _LONG_BYTES):
            if not len(more):
                break
            octet = self._octets[np.minimum(at[more] + group, len(self._octets) - 1)].astype(
                np.int64
            )
            bits[more] |= (octet & 0x7F) << (7 * group)
            size[more] += 1
            more = more[octet >= 0x80]
        self._move(rows, at + size)
        return (bits >> 1) & 0x7FFF_FFFF_FFFF_FFFF ^ -(bits & 1)

    def text(self, rows: I64 | None = None) -> I64:
        """Step over a text and return its length in bytes."""
        size = self.long(rows)
        at = self.at if rows is None else self.at[rows]
        room = len(self._octets)
        self._move(rows, at + np.where((size < 0) | (size > room), room, size))
        return size

    def over(self, fields: Sequence[Field], rows: I64 | None = None) -> None:
        """Step over fields: texts, numbers, and arrays of records of those in one block."""
        for field in fields:
            if field.kind == "list":
                self._over_items(field)
            elif field.kind == "long":
                self.long(rows)
            elif field.kind == "string":
                self.text(rows)
            else:
                raise AssertionError(f"{field.name}: nobody steps over {field.kind}")

    def _over_items(self, field: Field) -> None:
        left = self.long()
        self.is_lost |= (left < 0) | (left > ITEMS_MAX)
        left = np.where(self.is_lost, 0, left)
        some = rows = np.flatnonzero(left)
        while len(rows):
            self.over(field.items, rows)
            left[rows] -= 1
            rows = rows[(left[rows] > 0) & ~self.is_lost[rows]]
        if len(some):
            self.is_lost[some] |= self.long(some) != 0

    def _move(self, rows: I64 | None, at: I64) -> None:
        """Set cursors; what leaves its record is lost and stays at its end."""
        if rows is None:
            self.is_lost |= at > self._end
            self.at = np.minimum(at, self._end)
        else:
            self.is_lost[rows] |= at > self._end[rows]
            self.at[rows] = np.minimum(at, self._end[rows])
