"""Names the callee of a call that stayed without one, from the calls around it.

A client span says "HTTP GET" and not whom it calls; a silent service leaves it without its one
child. The calls that its parent made before and after it are mostly still whole, and of the
recorded sequences of calls the one that agrees with most of them tells who is silent.
"""

from collections import defaultdict

import numpy as np

from streams.core.fidelity.rule_table import Call, RuleTable
from streams.core.fidelity.slots import Slots
from streams.core.fidelity.tree import NO_ROW, UNKNOWN, Tree
from streams.units import I64


def name_callees(tree: Tree, slots: Slots, table: RuleTable) -> I64:
    """Return the rule code of every slot's child, those of groups included.

    A group's slot takes the callee from the agreeing sequence with the highest support, else the
    group's most frequent member. Rows of the tree must be in the order of time within a trace.
    """
    code = slots.code.copy()
    open_slots = np.flatnonzero(slots.group >= 0)
    if not len(open_slots):
        return code
    callers = tree.parent_row[slots.parent[open_slots]]
    named = _from_sequences(tree, table, set(callers[callers != NO_ROW].tolist()))
    for slot in open_slots.tolist():
        members = table.group_members[slots.group[slot]]
        guess = named.get(int(slots.parent[slot]), UNKNOWN)
        code[slot] = guess if guess in members else members[0]
    return code


def _from_sequences(tree: Tree, table: RuleTable, callers: set[int]) -> dict[int, int]:
    """Return the guessed callee of each call that lacks one, for the given callers' calls."""
    wanted = np.zeros(len(tree) + 1, np.bool_)  # one more, so that row -1 is never wanted
    wanted[sorted(callers)] = True
    known = tree.code >= 0
    is_call = known & wanted[tree.parent_row] & table.has_group[np.where(known, tree.code, 0)]
    callee = np.full(len(tree) + 1, UNKNOWN, np.int64)
    rows = np.flatnonzero(tree.parent_row >= 0)
    callee[tree.parent_row[rows]] = tree.code[rows]
    calls: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(is_call).tolist():
        calls[int(tree.parent_row[row])].append(row)
    guesses: dict[tuple[int, tuple[Call, ...]], tuple[int, ...]] = {}
    named: dict[int, int] = {}
    for caller, made in calls.items():
        code = int(tree.code[caller])
        seen = tuple((int(tree.code[row]), int(callee[row])) for row in made)
        guess = guesses.get((code, seen))
        if guess is None:
            guess = guesses[code, seen] = _best_sequence(table, code, seen)
        named.update((row, guess[i]) for i, row in enumerate(made) if i < len(guess))
    return named


def _best_sequence(table: RuleTable, code: int, seen: tuple[Call, ...]) -> tuple[int, ...]:
    """Return the callees of the sequence that agrees most with what is seen; () for none."""
    clients = [client for client, _ in seen]
    best: tuple[int, ...] = ()
    most = -1
    for sequence, _ in table.sequences.get(code, ()):  # the most frequent first
        if [client for client, _ in sequence] != clients:
            continue
        agreed = sum(a == b for (_, a), (_, b) in zip(sequence, seen, strict=True))
        if agreed > most:
            best, most = tuple(callee for _, callee in sequence), agreed
    return best
