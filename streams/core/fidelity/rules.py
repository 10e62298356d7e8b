"""Judges traces by learned operation rules: which spans are missing, and on which edge.

Owns the order of the evidence. A span that an orphan names is certain (cause ORPHANED). A place
where a rule wants a child (cause NEVER_ARRIVED) is an inference, and is first offered to the
spans that are certain, so that one loss is told once. Of a subtree lost whole only its topmost
span is told: nothing is said about children of a span that nobody saw or named.

Invariant: the rows of a trace depend on its spans, the rules and the counts of calls given, not
on other traces of the batch.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity.call_mix import CallMix, pair_weights
from streams.core.fidelity.callees import NOTHING_TOLD, Told, name_callees, tell_by_orphans
from streams.core.fidelity.lost_parents import (
    NOBODY,
    Candidates,
    LostParents,
    attach,
    fill_slots,
    find_candidates,
    find_lost,
    name_lost,
)
from streams.core.fidelity.missing import (
    NEVER_ARRIVED,
    NO_OPERATION,
    ORPHANED,
    MissingColumns,
    concat,
)
from streams.core.fidelity.rule_table import RuleTable
from streams.core.fidelity.slots import Slots, find_slots
from streams.core.fidelity.tree import NO_ROW, UNKNOWN, Tree, parent_rows
from streams.units import F64, I32, I64, U64, Mask, TimesUs

SUBTREE_DEPTH_MAX: Final = 64
"""Rules that call each other in a circle end here."""


def evaluate(
    batch: SpanBatch,
    table: RuleTable,
    operations: Operations,
    lately: CallMix | None = None,
    whole_subtrees: bool = False,
) -> MissingColumns:
    """Find the spans that the traces of a batch lack.

    Args:
        batch: Closed traces; every span of a trace is in it.
        table: The compiled rules; without rules only orphans' parents are found.
        operations: The names of the batch's operation codes. A missing operation that no span
            of the stream had yet gets a code.
        lately: The calls of many traces around these: tells which of several possible callees
            is silent. Which spans are missed does not depend on it, only how they are named.
        whole_subtrees: Tell what the rules want below a span that nobody saw or named, too.

    Returns:
        One row for each missing span, by trace; within a trace spans that orphans name come
        first, by id, then lacking children by their parent's start, then a lost root. Labels
        are `module:name`; the near end is "" for a root, the far end "" for a span whose
        operation nobody can tell.
    """
    spans = _Spans.of(batch, table, operations)
    judge = _Judge(table, operations, pair_weights(table, lately), whole_subtrees)
    slots = find_slots(spans.tree, table)
    is_orphan = spans.tree.is_orphan
    if not is_orphan.any():
        return _in_trace_order(judge.told_by_rules(spans, slots, NOTHING_TOLD, NOBODY)[0])
    has_orphan = np.zeros(batch.traces, np.bool_)
    has_orphan[spans.tree.trace[is_orphan]] = True
    easy = slots.take(np.flatnonzero(~has_orphan[spans.tree.trace[slots.parent]]))
    parts, _, _ = judge.told_by_rules(spans, easy, NOTHING_TOLD, NOBODY)
    parts.extend(judge.told_with_orphans(spans.take(has_orphan[spans.tree.trace])))
    return _in_trace_order(parts)


@dataclass(frozen=True, slots=True)
class _Spans:
    """Spans with their place in the tree; every array has the same length n, rows by time."""

    tree: Tree
    span_id: U64
    parent_span_id: U64
    start_us: TimesUs
    end_us: TimesUs

    @classmethod
    def of(cls, batch: SpanBatch, table: RuleTable, operations: Operations) -> "_Spans":
        parent_row, is_orphan = parent_rows(batch.trace, batch.span_id, batch.parent_span_id)
        code = table.translate(batch.operation, operations)
        tree = Tree(batch.trace, code, parent_row, is_orphan)
        end_us = batch.timestamp_us + batch.duration_us
        return cls(tree, batch.span_id, batch.parent_span_id, batch.timestamp_us, end_us)

    def take(self, kept: Mask) -> "_Spans":
        """Return the rows of whole traces, parents renumbered."""
        rows = np.flatnonzero(kept)
        place = np.append(np.cumsum(kept) - 1, NO_ROW)  # the last entry serves row -1
        tree = self.tree
        return _Spans(
            Tree(
                tree.trace[rows],
                tree.code[rows],
                place[tree.parent_row[rows]],
                tree.is_orphan[rows],
            ),
            self.span_id[rows],
            self.parent_span_id[rows],
            self.start_us[rows],
            self.end_us[rows],
        )


@dataclass(frozen=True, slots=True)
class _Judge:
    """What every step of one evaluation needs."""

    table: RuleTable
    operations: Operations
    weight: F64
    whole_subtrees: bool

    def told_with_orphans(self, spans: _Spans) -> list[MissingColumns]:
        """Judge traces that have orphans: put the lost parents in, then look again.

        The second look sees what the first cannot: chains that a lost parent had interrupted,
        and what else is lacking below a lost parent that other children name.
        """
        table, tree, times = self.table, spans.tree, (spans.start_us, spans.end_us)
        lost, lost_of_row = find_lost(tree, spans.parent_span_id, *times)
        candidates = find_candidates(tree, lost_of_row, table, self.weight)
        lost, _ = fill_slots(lost, candidates, find_slots(tree, table), tree, times, table)
        lost = attach(lost, candidates, tree, times, table)
        mended, row_of_lost = _mend(spans, lost, lost_of_row)
        slots = find_slots(mended.tree, table)
        lost = replace(lost, parent_row=mended.tree.parent_row[row_of_lost])
        times = (mended.start_us, mended.end_us)
        lost, still_open = fill_slots(lost, candidates, slots, mended.tree, times, table)
        lost = name_lost(lost, candidates)
        slots = slots.take(still_open)
        told = tell_by_orphans(mended.tree, slots, lost, row_of_lost, times, table)
        by_rules, lost, tree = self.told_by_rules(mended, slots, told, (lost, candidates))
        by_orphans = _lost_rows(lost, tree, told, table, self.operations)
        return [by_orphans, *by_rules, _root_rows(spans, lost, table, self.operations)]

    def told_by_rules(
        self,
        spans: _Spans,
        slots: Slots,
        told: Told,
        homeless: tuple[LostParents, Candidates],
    ) -> tuple[list[MissingColumns], LostParents, Tree]:
        """Tell the lacking children of open slots, and what they lack in turn if that is asked.

        Returns:
            The rows; the lost parents, some with a place below a span that is told here; and
            the tree that their places are rows of.
        """
        tree, times = spans.tree, (spans.start_us, spans.end_us)
        lost, candidates = homeless
        callee = told.callee
        parts = []
        for _ in range(SUBTREE_DEPTH_MAX):
            code = name_callees(tree, slots, self.table, callee, self.weight)
            parts.append(_slot_rows(tree, slots, code, self.table, self.operations))
            if not self.whole_subtrees or not len(slots):
                break
            seen = len(tree)
            tree = _grown(tree, slots, code)
            times = (
                np.append(times[0], times[0][slots.parent]),
                np.append(times[1], times[1][slots.parent]),
            )
            slots = find_slots(tree, self.table, np.arange(len(tree)) >= seen)
            lost, still_open = fill_slots(lost, candidates, slots, tree, times, self.table)
            slots, callee = slots.take(still_open), {}
        return parts, lost, tree


def _grown(tree: Tree, slots: Slots, code: I64) -> Tree:
    """Return the tree with a span in every slot, after the rows it had."""
    return Tree(
        np.append(tree.trace, tree.trace[slots.parent]),
        np.append(tree.code, code),
        np.append(tree.parent_row, slots.parent),
        np.append(tree.is_orphan, np.zeros(len(slots), np.bool_)),
    )


def _mend(spans: _Spans, lost: LostParents, lost_of_row: I64) -> tuple[_Spans, I64]:
    """Return the spans with the lost parents among them, and each lost parent's row."""
    seen = len(spans.tree)
    trace = np.concatenate([spans.tree.trace, lost.trace])
    start_us = np.concatenate([spans.start_us, lost.start_us])
    # A lost parent began no later than its first orphan: it goes before it.
    is_seen = np.arange(len(trace)) < seen
    order = np.lexsort((is_seen, start_us, trace))
    place = np.empty(len(trace) + 1, np.int64)
    place[order] = np.arange(len(trace))
    place[-1] = NO_ROW
    parent_row = np.where(lost_of_row >= 0, seen + lost_of_row, spans.tree.parent_row)
    parent_row = place[np.concatenate([parent_row, lost.parent_row])][order]
    tree = Tree(
        trace[order],
        np.concatenate([spans.tree.code, lost.code])[order],
        parent_row,
        np.zeros(len(trace), np.bool_),
    )
    no_parent = np.zeros(len(lost), np.uint64)
    return (
        _Spans(
            tree,
            np.concatenate([spans.span_id, lost.span_id])[order],
            np.concatenate([spans.parent_span_id, no_parent])[order],
            start_us[order],
            np.concatenate([spans.end_us, lost.end_us])[order],
        ),
        place[seen:-1],
    )


def _lost_rows(
    lost: LostParents,
    tree: Tree,
    told: Told,
    table: RuleTable,
    operations: Operations,
) -> MissingColumns:
    """Return the spans that orphans name; a place that is not known gets the likeliest edge.

    That is the most frequent parent, of those below the silent callee where that is known.
    """
    has_place = lost.parent_row != NO_ROW
    likely = np.array([codes[0] if codes else UNKNOWN for codes in table.near] + [UNKNOWN])
    near = np.where(has_place, tree.code[lost.parent_row], likely[lost.code])
    for position, caller in told.caller.items():
        if not has_place[position]:
            near[position] = caller
    is_root = ~has_place & (lost.code >= 0) & np.append(table.is_root, False)[lost.code]
    near[is_root] = UNKNOWN
    return _rows(lost.trace, lost.span_id, lost.code, near, ORPHANED, table, operations)


def _slot_rows(
    tree: Tree, slots: Slots, code: I64, table: RuleTable, operations: Operations
) -> MissingColumns:
    """Return the lacking children of the open slots."""
    nobody = np.zeros(len(slots), np.uint64)
    near = tree.code[slots.parent]
    return _rows(tree.trace[slots.parent], nobody, code, near, NEVER_ARRIVED, table, operations)


def _root_rows(
    spans: _Spans, lost: LostParents, table: RuleTable, operations: Operations
) -> MissingColumns:
    """Return the roots of traces that have none, not even one that an orphan names.

    Something must have called the topmost lost span: it is likely where all such calls begin.
    """
    has_root = np.zeros(int(spans.tree.trace.max()) + 1, np.bool_)
    has_root[spans.tree.trace[spans.parent_span_id == 0]] = True
    known = np.flatnonzero(lost.code >= 0)
    has_root[lost.trace[known[table.is_root[lost.code[known]]]]] = True
    rootless = known[~has_root[lost.trace[known]]]
    trace, first = np.unique(lost.trace[rootless], return_index=True)
    code = table.likely_root[lost.code[rootless[first]]]
    trace, code = trace[code != UNKNOWN], code[code != UNKNOWN]
    nobody, nowhere = np.zeros(len(trace), np.uint64), np.full(len(trace), UNKNOWN, np.int64)
    return _rows(trace, nobody, code, nowhere, NEVER_ARRIVED, table, operations)


def _rows(
    trace: I32,
    span_id: U64,
    code: I64,
    near: I64,
    cause: int,
    table: RuleTable,
    operations: Operations,
) -> MissingColumns:
    """Return missing spans in the stream's numbering of operations; labels are the table's."""
    used, inverse = np.unique(code, return_inverse=True)
    numbers = [
        NO_OPERATION if c == UNKNOWN else operations.code(table.operations[c])
        for c in used.tolist()
    ]
    return MissingColumns(
        trace=trace.astype(np.int32),
        span_id=span_id,
        operation=np.array(numbers, np.int32)[inverse],
        from_label=(near + 1).astype(np.int32),
        to_label=(code + 1).astype(np.int32),
        cause=np.full(len(trace), cause, np.uint8),
        labels=table.labels,
    )


def _in_trace_order(parts: list[MissingColumns]) -> MissingColumns:
    """Return the rows of all parts by trace; within a trace in the order of the parts."""
    rows = concat(parts)
    return rows.take(np.argsort(rows.trace, kind="stable"))
