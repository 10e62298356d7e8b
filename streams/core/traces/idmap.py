"""Trace ids to small numbers, looked up and changed by the column.

Owns an open-addressing hash table over 128-bit ids: what a dict of 16-byte keys does one key at
a time costs 0.15 us a look-up and about 200 bytes an entry; this takes a tenth of the time in a
chunk and 24 bytes a place, at most two thirds of which are taken; 4 where whoever numbers the ids
keeps them himself.

Invariant: an id is in the table at most once; every probe ends at an empty place, since a third
of the places at least is empty and a probe sees all of them: its steps grow by one each time, which
in a power of two ends nowhere sooner. With steps of one, ids gather in runs, and a column looks as
often as its longest run is long.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from streams.core.traces.table import zeros
from streams.units import I64, U64, Mask

IdsOf = Callable[[Any], tuple[U64, U64]]
"""Returns the ids, high and low halves, of (n,) numbers; of one below 0 any id."""

ABSENT: Final = -1
_EMPTY: Final = -1
_GONE: Final = -2
_SMALLEST: Final = 1 << 10
_MIX_HIGH: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_LOW: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_FOLD: Final = np.uint64(29)


class TraceIdMap:
    """A map from trace id to a number from 0; different ids have different numbers.

    Args:
        ids_of: tells the id of a number that is in the map; its numbers are below 2**31. None lets
            the map keep the ids.
    """

    __slots__ = ("_hi", "_ids_of", "_lo", "_mask", "_taken", "_used", "_value")

    def __init__(self, ids_of: IdsOf | None = None) -> None:
        self._ids_of = ids_of
        self._used = 0
        self._allocate(_SMALLEST)

    def __len__(self) -> int:
        return self._used

    def _allocate(self, places: int) -> None:
        kept = places if self._ids_of is None else 0
        self._hi = zeros((kept,), np.uint64)
        self._lo = zeros((kept,), np.uint64)
        self._value = zeros((places,), np.int64 if self._ids_of is None else np.int32)
        self._value += _EMPTY
        self._mask = places - 1
        self._taken = 0

    def find(self, hi: U64, lo: U64) -> I64:
        """Return the number of each id, `ABSENT` for those that are not there; (n,)."""
        at = self._locate(hi, lo)
        return np.where(at >= 0, self._value[at], ABSENT).astype(np.int64, copy=False)

    def find_one(self, key: bytes) -> int:
        """Return the number of one id of 16 bytes, `ABSENT` when it is not there."""
        return int(self.find(*halves([key]))[0])

    def put(self, hi: U64, lo: U64, value: I64) -> None:
        """Add ids that are not there yet; ids and numbers are distinct."""
        self._make_room(len(hi))
        self._used += len(hi)
        hi, lo = _apart(hi, lo)
        place = _places(hi, lo, self._mask)
        rows, probe = np.arange(len(hi)), 0
        while len(rows):
            number = value.take(rows)
            was = self._value.take(place)
            free = was < 0
            self._value[place.compress(free)] = number.compress(free)  # of several, the last stays
            won = free & (self._value.take(place) == number)
            self._taken += int((was.compress(won) == _EMPTY).sum())
            if self._ids_of is None:
                at, owner = place.compress(won), rows.compress(won)
                self._hi[at], self._lo[at] = hi.take(owner), lo.take(owner)
            probe += 1
            rows, place = rows.compress(~won), (place.compress(~won) + probe) & self._mask

    def remove(self, hi: U64, lo: U64) -> None:
        """Take out distinct ids; those that are not there are passed over."""
        at = self._locate(hi, lo)
        at = at[at >= 0]
        self._value[at] = _GONE
        self._used -= len(at)

    def _locate(self, hi: U64, lo: U64) -> I64:
        """Return the place of each id, -1 for those that are not there."""
        hi, lo = _apart(hi, lo)
        place = _places(hi, lo, self._mask)
        value = self._value.take(place)
        hit = self._is(place, value, hi, lo)
        out = np.where(hit, place, -1)
        rows, probe = np.flatnonzero(~hit & (value != _EMPTY)), 0
        place = place.take(rows)
        while len(rows):
            probe += 1
            place = (place + probe) & self._mask
            value = self._value.take(place)
            hit = self._is(place, value, hi.take(rows), lo.take(rows))
            out[rows.compress(hit)] = place.compress(hit)
            goes_on = ~hit & (value != _EMPTY)
            rows, place = rows.compress(goes_on), place.compress(goes_on)
        return out

    def _is(self, place: I64, value: Any, hi: U64, lo: U64) -> Mask:
        """Return whether the ids at some places, whose numbers are given, are these; (n,)."""
        if self._ids_of is None:
            own_hi, own_lo = self._hi.take(place), self._lo.take(place)
        else:
            own_hi, own_lo = self._ids_of(value)
        return np.asarray((value >= 0) & (own_hi == hi) & (own_lo == lo))

    def _make_room(self, more: int) -> None:
        """Lay the table out anew when ids, and places of removed ones, would take two thirds.

        A quarter of the places is taken then, or up to half: a table whose ids come and go at a
        steady number is as large after it as before, and that is seen within minutes.
        """
        if 3 * (self._taken + more) <= 2 * len(self._value):
            return
        places = _SMALLEST
        while places < 2 * (self._used + more):
            places *= 2
        live = np.flatnonzero(self._value >= 0)
        value = self._value[live].astype(np.int64)
        hi, lo = self._ids_of(value) if self._ids_of else (self._hi[live], self._lo[live])
        self._allocate(places)
        self._used = 0
        self.put(hi, lo, value)


def first_of_each(hi: U64, lo: U64) -> I64:
    """Return for each row the first row with the same id; (n,)."""
    size = _SMALLEST
    while size < 2 * len(hi):
        size *= 2
    hi, lo = _apart(hi, lo)
    place = _places(hi, lo, size - 1)
    owner_at = np.full(size, _EMPTY, np.int64)
    first = np.empty(len(hi), np.int64)
    rows, probe = np.arange(len(hi)), 0
    while len(rows):
        free = np.flatnonzero(owner_at.take(place) == _EMPTY)[::-1]
        owner_at[place.take(free)] = rows.take(free)  # of several, the last stays: the first row
        owner = owner_at.take(place)
        same = (hi.take(owner) == hi.take(rows)) & (lo.take(owner) == lo.take(rows))
        first[rows.compress(same)] = owner.compress(same)
        probe += 1
        rows, place = rows.compress(~same), (place.compress(~same) + probe) & (size - 1)
    return first


def halves(keys: list[bytes]) -> tuple[U64, U64]:
    """Return ids of 16 bytes as their high and low halves."""
    both = np.frombuffer(b"".join(keys), ">u8").astype(np.uint64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def key_bytes(hi: U64, lo: U64) -> list[bytes]:
    """Return ids as 16 bytes each."""
    both = np.stack([hi, lo], axis=1).astype(">u8")
    out: list[bytes] = both.view("V16").ravel().tolist()
    return out


def _apart(hi: U64, lo: U64) -> tuple[U64, U64]:
    """Return halves that lie together in memory: `take` copies all of a column that does not."""
    return np.ascontiguousarray(hi), np.ascontiguousarray(lo)


def _places(hi: U64, lo: U64, mask: int) -> I64:
    mixed = (hi * _MIX_HIGH) ^ (lo * _MIX_LOW)
    mixed ^= mixed >> _FOLD
    return (mixed & np.uint64(mask)).astype(np.int64)
