"""Which spans of a step have the same keys: told by comparing their bytes, nothing is guessed.

Most spans of an SDK come from a few places of the code, so that a few lists of keys are those of
nearly all: one of each has to be looked at then.
"""

from typing import Final

import numpy as np

from streams.codec.otlp.attributes import Attributes
from streams.codec.otlp.pieces import units_of
from streams.units import I64, U8, Mask

GROUPS_MAX: Final = 16
SPANS_MIN: Final = 256
"""Fewer are looked at sooner one by one."""


def leaders(octets: U8, attributes: Attributes, rows: I64, origin: I64) -> I64:
    """Return for each of some spans the index of one with the same origin and list of keys, (r,).

    It is its own where no other was found.

    Args:
        octets: the bytes that the keys lie in.
        attributes: m attributes, those of a span together.
        rows: (r,) the spans; their keys have a byte or more.
        origin: (n,) the origin of every span.
    """
    out = np.arange(len(rows))
    if len(rows) < SPANS_MIN:
        return out
    first, count, own = attributes.first[rows], attributes.count[rows], origin[rows]
    left = out
    if attributes.like is not None:
        like = attributes.like[rows]
        left = np.flatnonzero(like < 0)
        _lead(out, like, own)
        if len(left) < SPANS_MIN:
            return out
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(attributes.key_size)])
    key_bytes = ends[first + count] - ends[first]
    for _ in range(GROUPS_MAX):
        if len(left) < SPANS_MIN:
            break
        one = left[0]
        is_like = (key_bytes[left] == key_bytes[one]) & (count[left] == count[one])
        is_like &= own[left] == own[one]
        some, left = left[is_like], left[~is_like]
        if len(some) >= SPANS_MIN:
            nth = int(first[one])
            is_same = _have_keys(octets, attributes, first[some], range(nth, nth + count[one]))
            out[some[is_same]] = one
    return out


def _lead(out: I64, like: I64, own: I64) -> None:
    """Write who leads spans that are known to have the same keys, those of an origin together."""
    for one in np.flatnonzero(np.bincount(like + 1)[1:]).tolist():
        mine = np.flatnonzero(like == one)
        origin = own[mine]
        if (origin == origin[0]).all():
            out[mine] = mine[0]
        else:
            _, nth, of = np.unique(origin, return_index=True, return_inverse=True)
            out[mine] = mine[nth[of]]


def _have_keys(octets: U8, attributes: Attributes, first: I64, keys: range) -> Mask:
    """Return whether the attributes from each of `first` on have some attributes' keys."""
    is_same = np.ones(len(first), np.bool_)
    for nth, one in enumerate(keys):
        place, size = first + nth, int(attributes.key_size[one])
        begin = int(attributes.key_at[one])
        key = octets[begin : begin + size].tobytes()
        is_same &= attributes.key_size[place] == size
        found = units_of(octets, size)[attributes.key_at[place]]
        if found.tobytes() != key * len(place):
            told = found.view(np.uint8).reshape(-1, size) == np.frombuffer(key, np.uint8)
            is_same &= told.all(axis=1)
    return is_same
