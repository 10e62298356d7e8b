"""Which lists of attribute keys are common: no key twice, none that says who emits the span.

A list is known by a hash with a secret of the process, so that nobody can make one list pass for
another; a list that is new is looked at itself.
"""

import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from streams.codec.otlp.alike import leaders
from streams.codec.otlp.attributes import Attributes
from streams.codec.otlp.events import COMPONENT_KEY, FIELD_KEYS, MODULE_KEY, SERVICE_NAME
from streams.codec.otlp.origins import QuickOrigin
from streams.codec.otlp.texts import TextHashes, is_utf8
from streams.codec.otlp.values import DROPPED
from streams.units import I64, U8, U64, Mask

KEY_BYTES_MAX: Final = 40
"""Longer keys are not common."""
KNOWN_MAX: Final = 10_000
"""Lists that are remembered."""
_SPECIAL: Final = frozenset(
    key.encode() for key in (MODULE_KEY, COMPONENT_KEY, SERVICE_NAME, DROPPED)
)
_FIELD: Final = {key.encode(): i for i, key in enumerate(FIELD_KEYS)}
NO_FIELD: Final = -1
_Fields = tuple[tuple[int, int], ...]
_Known = tuple[U64, tuple[_Fields | None, ...]]


class KeyCodes(NamedTuple):
    """What is known of the keys of m attributes of n spans.

    Attributes:
        field: (m,) the index of its field in `FIELD_KEYS`, NO_FIELD, or NO_FIELD - 1 - i for the
            ith wanted dimension.
        like: (n,) for each span one that has the same keys; itself, where no other is known.
    """

    field: I64
    like: I64


class KeyPatterns:
    """Remembers the lists of keys that were looked at.

    Args:
        wanted: keys of dimensions that are looked for.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._codes = {key.encode(): NO_FIELD - 1 - i for i, key in enumerate(wanted)} | _FIELD
        # Threads share it: both change in one go.
        self._known: _Known = np.zeros(0, np.uint64), ()
        self._hashes = TextHashes(KEY_BYTES_MAX)
        self._factor = [np.uint64(secrets.randbits(64) | 1) for _ in range(2)]

    def are_common(
        self,
        octets: U8,
        words: U64,
        attributes: Attributes,
        rows: I64,
        origin: I64,
        origins: Sequence[QuickOrigin],
    ) -> tuple[Mask, KeyCodes]:
        """Return which of some spans have common keys, (r,) bool, and what is known of the keys.

        Args:
            octets: the bytes that the keys lie in.
            words: a view of them, see `words_of`.
            attributes: m attributes, those of a span together.
            rows: (r,) spans whose keys are `KEY_BYTES_MAX` long at most.
            origin: (n,) the origin of every span, as an index into `origins`.
            origins: all of them.
        """
        leader = leaders(octets, attributes, rows, origin)
        is_own = leader == np.arange(len(rows))
        alone = rows[is_own]
        pattern = self._patterns(words, attributes, alone, origin, origins)
        known, fields = self._known
        place, is_known = _places(known, pattern)
        if not is_known.all():
            known, fields = self._learn(octets, attributes, pattern, alone, origin, origins)
            place, _ = _places(known, pattern)
        place = place[(np.cumsum(is_own) - 1)[leader]]
        is_common = np.array([found is not None for found in fields], np.bool_)
        field = np.full(len(attributes.span), NO_FIELD, np.int64)
        has_field = np.array([bool(found) for found in fields], np.bool_)
        if has_field.any():
            some = np.flatnonzero(has_field[place])
            for i in np.unique(place[some]).tolist():
                begin = attributes.first[rows[some[place[some] == i]]]
                for nth, one in fields[i] or ():
                    field[begin + nth] = one
        like = np.arange(len(origin))
        like[rows] = rows[leader]
        return is_common[place], KeyCodes(field, like)

    def _learn(
        self,
        octets: U8,
        attributes: Attributes,
        pattern: U64,
        rows: I64,
        origin: I64,
        origins: Sequence[QuickOrigin],
    ) -> _Known:
        """Look at the lists that are not known; return all those of `pattern`, and others."""
        known = dict(zip(self._known[0].tolist(), self._known[1], strict=True))
        distinct, first = np.unique(pattern, return_index=True)
        if len(known) + len(distinct) > KNOWN_MAX:
            known = {}
        for key, row in zip(distinct.tolist(), rows[first].tolist(), strict=True):
            if key not in known:
                begin = int(attributes.first[row])
                at = slice(begin, begin + int(attributes.count[row]))
                places = zip(attributes.key_at[at], attributes.key_size[at], strict=True)
                keys = [octets[int(a) : int(a) + int(size)].tobytes() for a, size in places]
                known[key] = self._fields(keys, origins[int(origin[row])])
        order = sorted(known)
        self._known = np.array(order, np.uint64), tuple(known[key] for key in order)
        return self._known

    def _patterns(
        self,
        words: U64,
        attributes: Attributes,
        rows: I64,
        origin: I64,
        origins: Sequence[QuickOrigin],
    ) -> U64:
        """Return a hash of each span's keys and origin, (r,)."""
        count = attributes.count[rows]
        end = np.cumsum(count)
        nth = np.arange(int(count.sum())) - np.repeat(end - count, count)
        own = nth + np.repeat(attributes.first[rows], count)
        hashed = self._hashes.of(words, attributes.key_at[own], attributes.key_size[own])
        hashed *= (2 * nth + 1).astype(np.uint64) * self._factor[0]
        hashed ^= hashed >> np.uint64(29)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashed)])
        of_origin = np.array([one.hashed for one in origins], np.uint64)[origin[rows]]
        mixed: U64 = (sums[end] - sums[end - count]) ^ of_origin * self._factor[1]
        return mixed + count.astype(np.uint64)

    def _fields(self, keys: Sequence[bytes], origin: QuickOrigin) -> _Fields | None:
        """Return which of the keys are which fields of the event; None where they are not common.

        Dimensions that are wanted are told like fields.
        """
        distinct = set(keys)
        is_once = len(distinct) == len(keys) and distinct.isdisjoint(origin.keys)
        if not is_once or not distinct.isdisjoint(_SPECIAL) or not all(map(is_utf8, keys)):
            return None
        codes = self._codes
        return tuple((nth, codes[key]) for nth, key in enumerate(keys) if key in codes)


def _places(known: U64, pattern: U64) -> tuple[I64, Mask]:
    """Return where patterns stand among the known ones, and which do."""
    if not len(known):
        return np.zeros(len(pattern), np.int64), np.zeros(len(pattern), np.bool_)
    place = np.minimum(np.searchsorted(known, pattern), len(known) - 1)
    return place, known[place] == pattern
