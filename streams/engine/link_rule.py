"""Synthetic spans in the join: which of them hold, and what they change in a trace's verdict.

Owns telling them from the spans of modules. They take part in no judgement of structure or stages.
Invariant: of each relation of a trace the synthetic span that came last holds, and a withdrawn one
leaves nothing behind: what holds is the same whatever revisions were published in between.
"""

from dataclasses import dataclass

import numpy as np

from streams.core.columns import TRACE, Operation, Operations
from streams.core.fidelity.judge import Judgement
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.restarts import with_restarts
from streams.core.traces.links import COMPONENT, CONTINUES_FROM, NAMES, ReadLink, Told
from streams.core.traces.opentraces import OpenTraces
from streams.core.traces.table import Table
from streams.units import I32, I64, Mask


@dataclass(frozen=True, slots=True)
class LinkRows:
    """The synthetic spans among the rows of some traces.

    Attributes:
        kept: (m,) the rows that stay in their trace: all others, and the links that hold.
        now: (ordinal of the trace, what it is told) of the links that hold.
        before: the same of the links that the last revision of reopened traces held.
    """

    kept: Mask
    now: list[tuple[int, Told]]
    before: list[tuple[int, Told]]


class LinkRule:
    """Finds the synthetic spans and applies them.

    Args:
        plan: names modules and stages.
        operations: the codec's interned names; those of links are interned here, so that a flood
            of names cannot hide them.
        read: reads what a synthetic span tells from its bytes.
    """

    def __init__(self, plan: Plan, operations: Operations, read: ReadLink) -> None:
        self._plan = plan
        self._operations = operations
        self._read = read
        self._is_link = np.zeros(0, np.bool_)
        self._has_any = False
        for module in {operation.module for operation in plan.stage_operation}:
            for name in NAMES:
                operations.code(Operation(module, COMPONENT, name))

    def note(self, operation: I32) -> None:
        """Take note of events that come: as long as none is synthetic, nobody looks for one."""
        if not self._has_any:
            self._has_any = bool(self._known()[operation].any())

    def among(self, table: Table, rows: I64) -> Mask:
        """Return which rows are synthetic spans; (m,) bool."""
        if not self._has_any:
            return np.zeros(len(rows), np.bool_)
        is_link = self._known()[table["operation"][rows]]
        return np.asarray(is_link & (table["event_type"][rows] == TRACE))

    def _known(self) -> Mask:
        """Return (operations,) which names are those of synthetic spans."""
        known = len(self._is_link)
        if known < len(self._operations):
            new = [operation.name in NAMES for operation in self._operations.since(known)]
            self._is_link = np.concatenate([self._is_link, np.array(new, np.bool_)])
        return self._is_link

    def settle(self, open_: OpenTraces, rows: I64, owner: I64) -> LinkRows:
        """Return which synthetic spans hold.

        Args:
            open_: the open traces.
            rows: (m,) rows of the traces that close.
            owner: (m,) ordinal of the trace of each.
        """
        kept, table = np.ones(len(rows), np.bool_), open_.rows
        links = np.flatnonzero(self.among(table, rows))
        if not len(links):
            return LinkRows(kept, [], [])
        # Rows that were read back come after those that asked for them, and are older.
        order = links[np.lexsort((rows[links], ~table["is_recalled"][rows[links]]))]
        last: dict[tuple[int, str], tuple[int, Told]] = {}
        before: list[tuple[int, Told]] = []
        for at in order.tolist():
            told = self._read(open_.body(int(rows[at])))
            trace = int(owner[at])
            if table["is_recalled"][rows[at]]:
                before.append((trace, told))
            last[trace, told.relation] = at, told
        kept[links] = False
        now = []
        for (trace, _), (at, told) in last.items():
            if not told.is_withdrawn:
                kept[at] = True
                now.append((trace, told))
        return LinkRows(kept, now, before)

    def apply(self, judgement: Judgement, links: list[tuple[int, Told]]) -> Judgement:
        """Return the judgement as the links of its traces make it."""
        if not links:
            return judgement
        held: dict[int, frozenset[str]] = {}
        is_continuation = np.zeros(len(judgement), np.bool_)
        for trace, told in links:
            held[trace] = held.get(trace, frozenset()) | told.stages
            is_continuation[trace] |= told.relation == CONTINUES_FROM
        return with_restarts(judgement, self._plan, self._operations, held, is_continuation)
