"""Spans that lie one after the other, found in all bytes of a step at once.

A span begins with its trace id, so that `0A 10` stands behind the tag and the length of most. What
only looks like that, in a text or an id, is no part of a run: each span of a run ends where the
next one begins. So who knows that a run's first span is one knows it of all of them.
"""

from bisect import bisect_left

import numpy as np

from streams.codec.otlp.attributes import CONTINUES
from streams.units import I64, U8

_SPAN, _TRACE_ID, _TRACE_BYTES = 0x12, 0x0A, 0x10
_PAIR = _TRACE_BYTES << 8 | _TRACE_ID
BYTES_MIN = 1 << 15
"""In fewer bytes spans are found sooner one by one."""


class Runs:
    """The runs of spans in the requests of a step.

    Args:
        octets: the requests, one after the other.

    Attributes:
        head: (n,) where the fields of spans begin, or what looks like them.
        last: (n,) index of the last span of each one's run.
    """

    def __init__(self, octets: U8) -> None:
        self.head, stop = _spans_in(octets)
        is_last = np.ones(len(stop), np.bool_)
        is_last[:-1] = stop[:-1] != self.head[1:]
        ends = np.flatnonzero(is_last)
        self._last, self._stop = ends.tolist(), stop[ends].tolist()

    def of_requests(self, base: I64) -> "list[RequestRuns]":
        """Return the runs of each request; `base` is where they begin, and where the last ends."""
        nth = np.searchsorted(self.head, base).tolist()
        at = base.tolist()
        return [RequestRuns(self, *one) for one in zip(at[:-1], nth[:-1], nth[1:], strict=True)]

    def run_of(self, nth: int) -> tuple[int, int]:
        """Return the last span of one's run, and where that span ends."""
        i = bisect_left(self._last, nth)
        return self._last[i], self._stop[i]


class RequestRuns:
    """The runs of one request.

    Args:
        runs: those of all.
        base: where the request begins.
        nth, count: the first of its spans, and of the next request.
    """

    def __init__(self, runs: Runs, base: int, nth: int, count: int) -> None:
        self._runs, self._base, self._nth, self._count = runs, base, nth, count

    def of(self, at: int, end: int) -> tuple[range, int]:
        """Return the run of spans from one place of the request on, and where it ends.

        It has no span and ends where it begins, where none is known.

        Args:
            at: where; no less than before.
            end: where it ends at the latest.
        """
        head, base = self._runs.head, self._base
        while self._nth < self._count and head[self._nth] < base + at:
            self._nth += 1
        if self._nth == self._count or head[self._nth] != base + at:
            return range(0), at
        last, stop = self._runs.run_of(self._nth)
        if stop > base + end:  # it looks as if it went on behind its scope
            return range(0), at
        run = range(self._nth, last + 1)
        self._nth = last + 1
        return run, stop - base


def _spans_in(octets: U8) -> tuple[I64, I64]:
    """Return where fields begin that look like spans, and where they end; ascending."""
    at = _pairs_in(octets)
    at = at[at >= 3]
    size, low = octets.take(at - 1).astype(np.int64), octets.take(at - 2)
    is_long = low >= CONTINUES
    head = at - 2 - is_long
    is_span = (octets.take(head) == _SPAN) & (size < CONTINUES)
    size = np.where(is_long, (size << 7) + low - CONTINUES, size)
    return head[is_span], (at + size)[is_span]


def _pairs_in(octets: U8) -> I64:
    """Return where the first bytes of a trace id's field stand.

    Two bytes are compared as one number, those from even places on and those from odd ones.
    """
    even, odd = octets[: len(octets) // 2 * 2], octets[1 : 1 + (len(octets) - 1) // 2 * 2]
    found = [np.flatnonzero(half.view("<u2") == _PAIR) for half in (even, odd)]
    at = np.concatenate([2 * found[0], 2 * found[1] + 1])
    at.sort()
    return at
