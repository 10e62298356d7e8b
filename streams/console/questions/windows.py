"""In which parts of a range the first rows of an answer are looked for. Rules only.

Where events are counted by minute, the first parts that hold enough of them are known; where they
are not, they are looked for in a minute, then in ever more.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from streams.console.archive.counts import MINUTE_US
from streams.console.archive.tally import Span, Tally

GROWTH: Final = 4
"""A part of an unknown number of events is so much longer than the one before."""
GAP_US: Final = 2 * MINUTE_US
"""Two parts that lie nearer to each other are read as one: to begin anew would cost more."""


class Window(NamedTuple):
    """A part of the range: [begin, end) in us, and the kinds that have something of it."""

    begin: int
    end: int
    kinds: frozenset[str]


def windows(tallies: Mapping[str, Tally], count: int) -> Iterator[Window]:
    """Yield the parts that hold all there is, in order, apart from each other.

    Args:
        tallies: by kind.
        count: so many rows are wanted; a part that is known to have them ends.
    """
    held: Window | None = None
    known = 0
    for begin, end, rows, kind in sorted(_pieces(tallies)):
        if held is not None and begin >= held.end and (known >= count or begin - held.end > GAP_US):
            yield held
            held, known = None, 0
        if held is None:
            held = Window(begin, end, frozenset([kind]))
        else:
            held = Window(held.begin, max(held.end, end), held.kinds | {kind})
        known += rows
    if held is not None:
        yield held


def _pieces(tallies: Mapping[str, Tally]) -> Iterator[tuple[int, int, int, str]]:
    """Yield begin, end, the rows that are known, and the kind."""
    for kind, tally in tallies.items():
        for minute, rows in zip(tally.minute.tolist(), tally.rows.tolist(), strict=True):
            yield minute * MINUTE_US, (minute + 1) * MINUTE_US, rows, kind
        for begin, end in tally.untold:
            yield from ((a, b, 0, kind) for a, b in _growing(begin, end))


def _growing(begin: int, end: int) -> Iterator[Span]:
    length = MINUTE_US
    while begin < end:
        yield begin, min(begin + length, end)
        begin += length
        length *= GROWTH
