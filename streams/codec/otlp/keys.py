"""Which lists of attribute keys are common: no key twice, none that says who emits the span.

A list is known by a hash with a secret of the process, so that nobody can make one list pass for
another; a list that is new is looked at itself.
"""

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np

from streams.codec.otlp.events import COMPONENT_KEY, FIELD_KEYS, MODULE_KEY, SERVICE_NAME
from streams.codec.otlp.origins import QuickOrigin
from streams.codec.otlp.values import DROPPED
from streams.codec.otlp.walk import Attributes
from streams.units import I64, U8, U64, Mask

KEY_BYTES_MAX: Final = 40
"""Longer keys are not common."""
KNOWN_MAX: Final = 10_000
"""Lists that are remembered."""
_WORD_BYTES: Final = 8
_WORDS: Final = KEY_BYTES_MAX // _WORD_BYTES
_SPECIAL: Final = frozenset(
    key.encode() for key in (MODULE_KEY, COMPONENT_KEY, SERVICE_NAME, DROPPED)
)
_FIELD: Final = {key.encode(): i for i, key in enumerate(FIELD_KEYS)}
NO_FIELD: Final = -1
_Fields = tuple[tuple[int, int], ...]
_MASK: Final = np.array([(1 << 8 * n) - 1 for n in range(_WORD_BYTES + 1)], np.uint64)
_SHIFT: Final = np.uint64(29)


class KeyPatterns:
    """Remembers the lists of keys that were looked at."""

    def __init__(self) -> None:
        self._known: dict[int, _Fields | None] = {}
        self._factor = [np.uint64(secrets.randbits(64) | 1) for _ in range(_WORDS + 3)]

    def are_common(
        self,
        octets: U8,
        words: U64,
        attributes: Attributes,
        rows: I64,
        origin: I64,
        origins: Sequence[QuickOrigin],
    ) -> tuple[Mask, I64]:
        """Return which of some spans have common keys, (r,) bool, and which of them are fields.

        The second is (m,): for each attribute the index of its field in `FIELD_KEYS`, or NO_FIELD.

        Args:
            octets: the bytes that the keys lie in.
            words: a view of them, see `words_of`.
            attributes: m attributes, those of a span together.
            rows: (r,) spans.
            origin: (n,) the origin of every span, as an index into `origins`.
            origins: all of them.
        """
        pattern, begin, end = self._patterns(words, attributes, rows, origin, origins)
        distinct, first, place = np.unique(pattern, return_index=True, return_inverse=True)
        if len(self._known) > KNOWN_MAX:
            self._known = {}
        verdicts = np.zeros(len(distinct), np.bool_)
        field = np.full(len(attributes.span), NO_FIELD, np.int64)
        for i, (key, row) in enumerate(zip(distinct.tolist(), first.tolist(), strict=True)):
            if key in self._known:
                found = self._known[key]
            else:
                at = slice(int(begin[row]), int(end[row]))
                places = zip(attributes.key_at[at], attributes.key_size[at], strict=True)
                keys = [octets[int(a) : int(a) + int(size)].tobytes() for a, size in places]
                found = self._known[key] = _fields(keys, origins[int(origin[rows[row]])])
            verdicts[i] = found is not None
            for nth, one in found or ():
                field[begin[place == i] + nth] = one
        return verdicts[place], field

    def _patterns(
        self,
        words: U64,
        attributes: Attributes,
        rows: I64,
        origin: I64,
        origins: Sequence[QuickOrigin],
    ) -> tuple[U64, I64, I64]:
        """Return a hash of each span's keys, and which attributes are its own."""
        span, size = attributes.span, attributes.key_size
        begin = np.searchsorted(span, rows, side="left")
        end = np.searchsorted(span, rows, side="right")
        hashed = size.astype(np.uint64) * self._factor[_WORDS]
        for i in range(_WORDS):
            left = np.clip(size - _WORD_BYTES * i, 0, _WORD_BYTES)
            if not left.any():
                break
            at = np.minimum(attributes.key_at + _WORD_BYTES * i, len(words) - 1)
            hashed = (hashed ^ (words[at] & _MASK[left])) * self._factor[i]
            hashed ^= hashed >> _SHIFT
        nth = np.arange(len(span)) - np.searchsorted(span, span, side="left")
        hashed *= (2 * nth + 1).astype(np.uint64) * self._factor[_WORDS + 1]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashed)])
        of_origin = np.array([one.hashed for one in origins], np.uint64)[origin[rows]]
        mixed = (sums[end] - sums[begin]) ^ of_origin * self._factor[_WORDS + 2]
        return mixed + (end - begin).astype(np.uint64), begin, end


def _fields(keys: Sequence[bytes], origin: QuickOrigin) -> _Fields | None:
    """Return which of the keys are which fields of the event; None where they are not common."""
    distinct = set(keys)
    is_once = len(distinct) == len(keys) and distinct.isdisjoint(origin.keys)
    if not is_once or not distinct.isdisjoint(_SPECIAL):
        return None
    return tuple((nth, _FIELD[key]) for nth, key in enumerate(keys) if key in _FIELD)
