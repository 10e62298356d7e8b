"""The spans that only their children tell of: orphans name a parent that nobody saw.

Owns the guess of what such a span was and where it hung. Its id is certain; its operation is one
that may be the parent of all its orphans; its place is, in this order, an open slot for that
operation whose parent's time holds it, else a span seen in the trace that may be its parent. A
lost span that found a slot fills it, so that one loss is never told twice.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from streams.core.fidelity.rule_table import RuleTable
from streams.core.fidelity.slots import Slots
from streams.core.fidelity.tree import NO_ROW, UNKNOWN, Tree
from streams.units import F64, I32, I64, U64, TimesUs


@dataclass(frozen=True, slots=True)
class LostParents:
    """Spans known by their orphans alone; every array has the same length m.

    Attributes:
        trace: (m,) ordinal of the trace, not decreasing.
        span_id: (m,) the id that the orphans name.
        start_us, end_us: (m,) what its orphans span: it began no later and ended about then.
        code: (m,) rule code, `UNKNOWN` while there are several or no candidates.
        parent_row: (m,) row of its own parent, `NO_ROW` while that is not known.
    """

    trace: I32
    span_id: U64
    start_us: TimesUs
    end_us: TimesUs
    code: I64
    parent_row: I64

    def __len__(self) -> int:
        return len(self.trace)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which operations each lost parent may have had: pairs, the likeliest of a parent first.

    Attributes:
        lost: (c,) position of the lost parent.
        code: (c,) rule code.
        share: (c,) its weight beside that of the likeliest of the same lost parent, 0 to 1.
    """

    lost: I64
    code: I64
    share: F64


SEEN_SHARE_MIN: Final = 0.05
"""A parent that is seen explains a lost span unless another operation is this much likelier."""

_NONE: Final = np.zeros(0, np.int64)
NOBODY: Final = (
    LostParents(np.zeros(0, np.int32), np.zeros(0, np.uint64), _NONE, _NONE, _NONE, _NONE),
    Candidates(_NONE, _NONE, np.zeros(0)),
)
"""No lost parents and no candidates."""


def find_lost(
    tree: Tree, parent_span_id: U64, start_us: TimesUs, end_us: TimesUs
) -> tuple[LostParents, I64]:
    """Collect the parents that orphans name.

    Returns:
        The lost parents, by trace and id; and for each row of the tree the position of its lost
        parent, -1 for a row that is no orphan.
    """
    rows = np.flatnonzero(tree.is_orphan)
    frame = pl.DataFrame(
        {
            "trace": tree.trace[rows],
            "span": parent_span_id[rows],
            "start": start_us[rows],
            "end": end_us[rows],
        }
    )
    lost = frame.group_by("trace", "span").agg(pl.col("start").min(), pl.col("end").max())
    lost = lost.sort("trace", "span").with_row_index("lost")
    joined = frame.with_row_index("row").join(lost, on=["trace", "span"]).sort("row")
    lost_of_row = np.full(len(tree), NO_ROW, np.int64)
    lost_of_row[rows] = joined["lost"].to_numpy()
    unknown = np.full(len(lost), UNKNOWN, np.int64)
    found = LostParents(
        lost["trace"].to_numpy(),
        lost["span"].to_numpy(),
        lost["start"].to_numpy(),
        lost["end"].to_numpy(),
        unknown,
        np.full(len(lost), NO_ROW, np.int64),
    )
    return found, lost_of_row


def find_candidates(tree: Tree, lost_of_row: I64, table: RuleTable, weight: F64) -> Candidates:
    """Return the operations that may be the parent of most of a lost parent's orphans.

    Of those of one lost parent the one with the highest weight (see `pair_weights`) is first.
    """
    rows = np.flatnonzero((lost_of_row >= 0) & (tree.code >= 0))
    orphans = pl.DataFrame({"lost": lost_of_row[rows], "child": tree.code[rows]}).unique()
    child, near = table.near_pairs
    pairs = pl.DataFrame({"child": child, "code": near, "weight": weight})
    votes = (
        orphans.join(pairs, on="child")
        .group_by("lost", "code")
        .agg(votes=pl.len(), weight=pl.col("weight").max())
        .filter(pl.col("votes") == pl.col("votes").max().over("lost"))
        .with_columns(share=pl.col("weight") / pl.col("weight").max().over("lost"))
        .sort(["lost", "weight", "code"], descending=[False, True, False])
    )
    return Candidates(
        votes["lost"].cast(pl.Int64).to_numpy(),
        votes["code"].to_numpy(),
        votes["share"].to_numpy(),
    )


def fill_slots(
    lost: LostParents,
    candidates: Candidates,
    slots: Slots,
    tree: Tree,
    times: tuple[TimesUs, TimesUs],
    table: RuleTable,
) -> tuple[LostParents, I64]:
    """Put lost parents without a place into the open slots that fit them.

    A slot fits when a candidate operation is the slot's (or in its group) and the trace is the
    same. Of several, a slot whose parent's time holds the lost span goes first, then the nearest
    start; each slot takes one lost span.

    Args:
        lost: The lost parents.
        candidates: Their possible operations.
        slots: The open slots of the tree.
        tree: The spans.
        times: Start and end of each row of the tree.
        table: The rules.

    Returns:
        The lost parents, those that found a slot with operation and parent row; and the
        positions of the slots that stay open, increasing.
    """
    pairs = _fitting(lost, candidates, slots, tree, table)
    if not len(pairs):
        return lost, np.arange(len(slots))
    start_us, end_us = (column[slots.parent[pairs["slot"].to_numpy()]] for column in times)
    began_us = lost.start_us[pairs["lost"].to_numpy()]
    pairs = pairs.with_columns(
        outside=(began_us < start_us) | (began_us > end_us), away=np.abs(began_us - start_us)
    ).sort("outside", "away", "lost", "slot", "rank")
    chosen = _pair_off(pairs)
    code, parent_row = lost.code.copy(), lost.parent_row.copy()
    position = chosen["lost"].to_numpy()
    code[position] = chosen["code"].to_numpy()
    parent_row[position] = slots.parent[chosen["slot"].to_numpy()]
    is_open = np.ones(len(slots), np.bool_)
    is_open[chosen["slot"].to_numpy()] = False
    return replace(lost, code=code, parent_row=parent_row), np.flatnonzero(is_open)


def _fitting(
    lost: LostParents, candidates: Candidates, slots: Slots, tree: Tree, table: RuleTable
) -> pl.DataFrame:
    """Return every (lost, slot, code) that fits, for the lost parents without a place."""
    free = lost.parent_row[candidates.lost] == NO_ROW
    wanted = pl.DataFrame(
        {
            "lost": candidates.lost[free],
            "trace": lost.trace[candidates.lost[free]],
            "code": candidates.code[free],
            "rank": np.flatnonzero(free),
        }
    )
    members = [(group, code) for group, codes in enumerate(table.group_members) for code in codes]
    groups = pl.DataFrame(members, schema={"group": pl.Int64, "code": pl.Int64}, orient="row")
    offered = pl.DataFrame(
        {
            "slot": np.arange(len(slots)),
            "trace": tree.trace[slots.parent],
            "code": slots.code,
            "group": slots.group,
        }
    )
    named = offered.filter(pl.col("group") < 0).drop("group")
    grouped = offered.filter(pl.col("group") >= 0).drop("code").join(groups, on="group")
    offers = pl.concat([named, grouped.select("slot", "trace", "code")])
    return wanted.join(offers, on=["trace", "code"])


def _pair_off(pairs: pl.DataFrame) -> pl.DataFrame:
    """Take pairs in their order, each lost span and each slot once; as greedy one by one would."""
    chosen = []
    while len(pairs):
        # A pair that is first for its lost span and for its slot is what greedy takes next or
        # later, whatever else it takes: so all of them are taken in one round.
        now = pairs.filter(pl.col("lost").is_first_distinct() & pl.col("slot").is_first_distinct())
        chosen.append(now)
        pairs = pairs.join(now.select("lost"), on="lost", how="anti", maintain_order="left")
        pairs = pairs.join(now.select("slot"), on="slot", how="anti", maintain_order="left")
    return pl.concat(chosen)


def attach(
    lost: LostParents,
    candidates: Candidates,
    tree: Tree,
    times: tuple[TimesUs, TimesUs],
    table: RuleTable,
) -> LostParents:
    """Hang lost parents without a slot below a span that may be their parent, and name them.

    Of the trace's spans that may parent a candidate and whose time holds the lost span, the one
    that started last is taken. Where there is none, a single candidate names the operation, and
    of several a root's, when the trace has no root; the place stays unknown.
    """
    lost = _below_seen(lost, candidates, tree, times, table)
    count = np.bincount(candidates.lost, minlength=len(lost))
    code = lost.code.copy()
    is_single = (count == 1)[candidates.lost] & (code[candidates.lost] == UNKNOWN)
    code[candidates.lost[is_single]] = candidates.code[is_single]
    traces = int(tree.trace.max()) + 1 if len(tree) else 0
    has_root = np.zeros(traces, np.bool_)
    has_root[tree.trace[(tree.parent_row == NO_ROW) & ~tree.is_orphan]] = True
    is_root = np.append(table.is_root, False)  # the last entry serves UNKNOWN
    has_root[lost.trace[is_root[code]]] = True
    may_root = (
        table.is_root[candidates.code]
        & (code[candidates.lost] == UNKNOWN)
        & ~has_root[lost.trace[candidates.lost]]
    )
    rooted = candidates.lost[may_root]
    _, first = np.unique(lost.trace[rooted], return_index=True)
    code[rooted[first]] = candidates.code[may_root][first]
    return replace(lost, code=code)


def name_lost(lost: LostParents, candidates: Candidates) -> LostParents:
    """Give every lost parent that has candidates an operation: the first, where none was found."""
    code = lost.code.copy()
    position, first = np.unique(candidates.lost, return_index=True)
    unnamed = code[position] == UNKNOWN
    code[position[unnamed]] = candidates.code[first[unnamed]]
    return replace(lost, code=code)


def _below_seen(
    lost: LostParents,
    candidates: Candidates,
    tree: Tree,
    times: tuple[TimesUs, TimesUs],
    table: RuleTable,
) -> LostParents:
    """Hang what has no place below the innermost span seen that may be its parent."""
    is_free = lost.parent_row[candidates.lost] == NO_ROW
    free = np.flatnonzero(is_free & (candidates.share >= SEEN_SHARE_MIN))
    position = candidates.lost[free]
    child, near = table.near_pairs
    wanted = pl.DataFrame(
        {
            "lost": position,
            "trace": lost.trace[position],
            "code": candidates.code[free],
            "began": lost.start_us[position],
            "rank": free,
        }
    ).join(pl.DataFrame({"code": child, "above": near}), on="code")
    seen = pl.DataFrame(
        {
            "row": np.arange(len(tree)),
            "trace": tree.trace,
            "above": tree.code,
            "start": times[0],
            "end": times[1],
        }
    )
    fitting = (
        wanted.join(seen, on=["trace", "above"])
        .filter(pl.col("began").is_between(pl.col("start"), pl.col("end")))
        .sort(["lost", "start", "rank", "row"], descending=[False, True, False, False])
        .unique("lost", keep="first", maintain_order=True)
    )
    code, parent_row = lost.code.copy(), lost.parent_row.copy()
    placed = fitting["lost"].to_numpy()
    code[placed] = fitting["code"].to_numpy()
    parent_row[placed] = fitting["row"].to_numpy()
    return replace(lost, code=code, parent_row=parent_row)
