"""How records become rows: as columns where that is known, else one by one."""

from collections.abc import Sequence
from typing import Final

from streams.console.archive.decoded import Decoded, Values, one_by_one
from streams.console.archive.eventcolumns import event_columns
from streams.console.archive.kinds import Kind
from streams.console.archive.tracecolumns import trace_columns

_DECODE: Final = {"traces": trace_columns, "events": event_columns}
"""By the first kind that a topic feeds."""


def decode(kinds: Sequence[Kind], values: Values) -> Decoded:
    """Return the rows that records of a topic are, for all the kinds that it feeds."""
    return _DECODE.get(kinds[0].name, one_by_one)(kinds, values)
