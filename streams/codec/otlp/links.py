"""The links of spans as bytes of their events' bodies, written for many spans at once.

Invariant: what is written of links whose ids have their lengths is canonical: one block of as many
links as the span has, and nothing for none.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.codec.otlp.heads import hex_digits
from streams.codec.otlp.pieces import copy_rows
from streams.units import I64, U8, U64

LINKS_MAX: Final = 63
"""Of a span; how many they are takes one byte up to here. One with more is not common."""
LINK_BYTES: Final = 50
"""A trace id of 32 digits and a span id of 16, each behind its length."""
END_BYTES: Final = 1
"""After the last link of a span."""


@dataclass(frozen=True, slots=True)
class SpanLinks:
    """m links of spans, those of a span together and in order; all arrays (m,).

    Attributes:
        span: whose.
        nth: which of the span's, from 0.
        trace_at, span_at: where the ids lie.
    """

    span: I64
    nth: I64
    trace_at: I64
    span_at: I64

    @staticmethod
    def none() -> "SpanLinks":
        """Return no links."""
        return SpanLinks(*[np.zeros(0, np.int64)] * 4)

    def of(self, rows: I64, n: int) -> tuple["SpanLinks", I64]:
        """Return the links of some spans, whose `span` counts these; and how many each has.

        Args:
            rows: (q,) the spans, ascending.
            n: how many spans there are in all.
        """
        if not len(self.span):
            return self, np.zeros(len(rows), np.int64)
        place = np.full(n, -1, np.int64)
        place[rows] = np.arange(len(rows))
        span = place[self.span]
        mine = np.flatnonzero(span >= 0)
        some = SpanLinks(span[mine], self.nth[mine], self.trace_at[mine], self.span_at[mine])
        return some, np.bincount(some.span, minlength=len(rows))


def write_links(words: U64, links: SpanLinks, count: I64, out: U8, at: I64) -> None:
    """Write the links of spans.

    Args:
        words: of the bytes that the ids lie in; see `words_of`.
        links: of q spans.
        count: (q,) how many each has, `LINKS_MAX` at most.
        out: where they go.
        at: (q,) where in it what is said of links begins, of spans that have some.
    """
    some = np.flatnonzero(count)
    out[at[some]] = 2 * count[some]
    out[at[some] + 1 + LINK_BYTES * count[some]] = 0
    rows = np.empty((len(links.span), LINK_BYTES), np.uint8)
    rows[:, 0], rows[:, 33] = 2 * 32, 2 * 16
    trace = np.stack([words[links.trace_at], words[links.trace_at + 8]], axis=1)
    rows[:, 1:33] = hex_digits(trace).view(np.uint8)
    rows[:, 34:] = hex_digits(words[links.span_at]).view(np.uint8)
    copy_rows(rows, out, at[links.span] + 1 + LINK_BYTES * links.nth, 0, LINK_BYTES)
