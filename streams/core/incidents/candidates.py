"""Which alerts are worth comparing: those that share a place, a neighbour or sampled records.

Owns the index by which an alert finds its likely relatives, so that a storm costs each alert a
bounded number of comparisons. Invariant: up to `NEAR` alerts under a key all of them are compared;
beyond that those nearest in time and the oldest that fire, and the surplus is counted.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

NEAR: Final = 16
"""Alerts under one key that are all compared with each other."""
_BESIDE: Final = 4
"""Of more, how many nearest in time on either side ..."""
_OLDEST: Final = 4
"""... and how many of those that began first and fire."""

Key = tuple[str, ...]
_Row = tuple[int, str]


class _Posting:
    """The alerts under one key, by their beginning."""

    __slots__ = ("firing", "rows")

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.firing: list[_Row] = []

    def near(self, row: _Row) -> tuple[list[_Row], int]:
        """Return the alerts to compare with one, and how many are left out."""
        if len(self.rows) <= NEAR:
            return self.rows, 0
        at = bisect_left(self.rows, row)
        found = {
            *self.rows[max(0, at - _BESIDE) : at + _BESIDE + 1],
            *self.firing[:_OLDEST],
        }
        return sorted(found), len(self.rows) - len(found)


class Candidates:
    """The index.

    Attributes:
        left_out: comparisons that the bound left out.
    """

    def __init__(self, min_shared: int) -> None:
        self.left_out = 0
        self._min_shared = min_shared
        self._postings: dict[Key, _Posting] = {}
        self._filed: dict[str, tuple[_Row, bool, tuple[Key, ...]]] = {}

    def put(self, alert: Mapping[str, Any], keys: list[Key]) -> None:
        """File an alert under its keys and its sampled ids, in place of its former state."""
        print_ = alert["fingerprint"]
        ids = [("id", i) for name in ("trace_ids", "record_ids") for i in alert[name]]
        row, is_firing = (alert["firing_since"], print_), alert["state"] == "FIRING"
        filed = (row, is_firing, (*keys, *ids))
        if self._filed.get(print_) == filed:
            return
        self.drop(print_)
        self._filed[print_] = filed
        for key in filed[2]:
            posting = self._postings.setdefault(key, _Posting())
            insort(posting.rows, row)
            if is_firing:
                insort(posting.firing, row)

    def drop(self, print_: str) -> None:
        """Take an alert out."""
        filed = self._filed.pop(print_, None)
        if filed is None:
            return
        row, is_firing, keys = filed
        for key in keys:
            posting = self._postings[key]
            del posting.rows[bisect_left(posting.rows, row)]
            if is_firing:
                del posting.firing[bisect_left(posting.firing, row)]
            if not posting.rows:
                del self._postings[key]

    def near(self, print_: str, is_new: bool) -> list[str]:
        """Return the fingerprints that an alert should be compared with, sorted.

        One that is not new was compared with its neighbours under the larger keys before; those
        that came since have looked for it.
        """
        row, _, keys = self._filed[print_]
        found: set[str] = set()
        shared: Counter[str] = Counter()
        for key in keys:
            posting = self._postings[key]
            if not is_new and len(posting.rows) > NEAR:
                continue
            rows, left_out = posting.near(row)
            if key[0] == "id":
                shared.update(other for _, other in rows)
            else:
                self.left_out += left_out
                found.update(other for _, other in rows)
        found.update(other for other, count in shared.items() if count >= self._min_shared)
        found.discard(print_)
        return sorted(found)
