"""Open slots: the places in a tree where the rules say a child must be and none is.

Owns the look-up of rules by chain and the counting of children. One required child that is
lacking k times gives k slots. A parent that should have exactly one child out of several, and has
none at all, gives one slot of the group, named later (see `callees`).

A span beside a sibling that is out of the ordinary (an error handler's, say) is not judged: the
code has left the path that the rules were learned on, and calls not made are not spans lost.
"""

from dataclasses import dataclass

import numpy as np

from streams.core.fidelity.rule_table import NO_GROUP, NO_GUARD, NO_SHAPE, RuleTable
from streams.core.fidelity.tree import UNKNOWN, Tree, chains, keyed, shapes
from streams.units import I64, U64, Mask


@dataclass(frozen=True, slots=True)
class Slots:
    """Places without their child; every array has the same length s, parents not decreasing.

    Attributes:
        parent: (s,) row of the parent in the tree.
        code: (s,) rule code of the lacking child, `UNKNOWN` where a group leaves it open.
        group: (s,) the group that leaves it open, -1 where `code` is known.
    """

    parent: I64
    code: I64
    group: I64

    def __len__(self) -> int:
        return len(self.parent)

    def take(self, index: I64) -> "Slots":
        """Return the slots at the given positions, in that order."""
        return Slots(self.parent[index], self.code[index], self.group[index])


def find_slots(tree: Tree, table: RuleTable, judged: Mask | None = None) -> Slots:
    """Find every open slot of the tree, or those below the rows that `judged` marks.

    Rules of several chain lengths may speak of one parent and child: the highest count holds.

    Returns:
        The slots, sorted by parent row, then by code; a parent has slots of one kind only.
    """
    on_path = ~_is_off_path(tree, table)
    required, group = _look_up(tree, table, on_path if judged is None else on_path & judged)
    lacking = _lacking(tree, table, required)
    rows = np.arange(len(tree))
    has_child = np.bincount(tree.parent_row[tree.parent_row >= 0], minlength=len(tree)) > 0
    # Compared as "no child at all": a callee that nobody saw when learning is still the callee.
    is_open = (group != NO_GROUP) & ~has_child
    is_open[lacking.parent] = False
    silent = rows[is_open]
    parent = np.concatenate([lacking.parent, silent])
    order = np.argsort(parent, kind="stable")
    return Slots(
        parent[order],
        np.concatenate([lacking.code, np.full(len(silent), UNKNOWN, np.int64)])[order],
        np.concatenate([lacking.group, group[silent]])[order],
    )


def _is_off_path(tree: Tree, table: RuleTable) -> Mask:
    """Mark the rows with a sibling that their parent rarely or never has."""
    above = tree.parent_row
    near = np.where(above >= 0, tree.code[above], UNKNOWN)
    is_known = (near >= 0) & (table.support[near] > 0 if len(table.support) else False)
    pair = near * len(table.operations) + tree.code
    is_odd = is_known & ((tree.code == UNKNOWN) | ~np.isin(pair, table.usual_pairs))
    odd_children = np.bincount(above[is_odd], minlength=len(tree))
    beside = np.where(above >= 0, odd_children[above], 0) - is_odd
    mask: Mask = beside > 0
    return mask


def _look_up(tree: Tree, table: RuleTable, judged: Mask) -> tuple[tuple[I64, I64], I64]:
    """Return (parent row, child rule) of every rule that may hold, and each row's group.

    The group is that of the longest chain: it is the narrowest.
    """
    hashes = chains(tree.code, tree.parent_row, table.depth)
    group = np.full(len(tree), NO_GROUP, np.int64)
    parents, rules = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for value in hashes:
        rows, context = _known_contexts(np.where(judged, value, 0), table.context_hash)
        narrower = table.context_group[context]
        group[rows] = np.where(narrower != NO_GROUP, narrower, group[rows])
        start = table.child_start[context]
        size = table.child_start[context + 1] - start
        parents.append(np.repeat(rows, size))
        first = np.cumsum(size) - size
        within = np.arange(int(size.sum())) - np.repeat(first, size)
        rules.append(np.repeat(start, size) + within)
    return (np.concatenate(parents), np.concatenate(rules)), group


def _known_contexts(value: U64, context_hash: U64) -> tuple[I64, I64]:
    """Return the rows whose chain has rules, and the number of their context."""
    if not len(context_hash):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(context_hash, value), len(context_hash) - 1)
    rows = np.flatnonzero((context_hash[place] == value) & (value != 0))
    return rows, place[rows]


def _lacking(tree: Tree, table: RuleTable, required: tuple[I64, I64]) -> Slots:
    """Return the slots of the required children that are lacking."""
    parent, rule = required
    size = len(table.operations)
    is_counted = (tree.parent_row >= 0) & (tree.code >= 0)
    keys, counts = np.unique(
        tree.parent_row[is_counted] * size + tree.code[is_counted], return_counts=True
    )
    guard = table.child_guard[rule]
    is_free = guard == NO_GUARD
    is_held = is_free | (_count(keys, counts, parent * size + np.maximum(guard, 0)) > 0)
    holds = is_held & _has_shape(tree, table, required)
    key = parent * size + table.child_code[rule]
    lack = table.child_count[rule] - _count(keys, counts, key)
    kept = np.flatnonzero(holds & (lack > 0))
    order = kept[np.lexsort((lack[kept], key[kept]))]
    # The last of each (parent, child) lacks most: the strictest rule.
    is_last = np.append(key[order][1:] != key[order][:-1], True)[: len(order)]
    strict = order[is_last]
    repeated = np.repeat(key[strict], lack[strict])
    none = np.full(len(repeated), NO_GROUP, np.int64)
    return Slots(repeated // max(size, 1), repeated % max(size, 1), none)


def _has_shape(tree: Tree, table: RuleTable, required: tuple[I64, I64]) -> Mask:
    """Mark the rules that ask for no shape of a child, or whose parent has such a child."""
    parent, rule = required
    wanted = table.child_shape[rule]
    holds: Mask = wanted == NO_SHAPE
    asked = np.flatnonzero(~holds)
    if len(asked):
        rows = np.flatnonzero(tree.parent_row >= 0)
        offered = keyed(tree.parent_row[rows], shapes(tree.code, tree.parent_row)[rows])
        holds[asked] = np.isin(keyed(parent[asked], wanted[asked]), offered)
    return holds


def _count(keys: I64, counts: I64, wanted: I64) -> I64:
    """Return how often each wanted key was counted."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, counts[place], 0)
