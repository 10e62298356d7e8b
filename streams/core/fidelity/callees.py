"""Names the callee of a call that stayed without one, from the calls around it.

A client span says "HTTP GET" and not whom it calls; a silent service leaves it without its one
child. What the silent callee itself called is often still there: orphans, whose lost parents can
only have run below one of the possible callees. Else the calls that the client's parent made
before and after are mostly whole, and of the recorded sequences of calls the one that agrees with
most of them tells who is silent.
"""

import math
from collections import Counter, defaultdict

import numpy as np

from streams.core.fidelity.lost_parents import LostParents
from streams.core.fidelity.rule_table import Call, RuleTable
from streams.core.fidelity.slots import Slots
from streams.core.fidelity.tree import NO_ROW, UNKNOWN, Tree
from streams.units import F64, I64, TimesUs


def name_callees(
    tree: Tree, slots: Slots, table: RuleTable, told: dict[int, int], weight: F64
) -> I64:
    """Return the rule code of every slot's child, those of groups included.

    A group's slot takes the callee that `told` has for its parent's row, else the one of the
    sequence that agrees most, else the group's weightiest member.

    Args:
        tree: The spans, within a trace in the order of time.
        slots: The open slots.
        table: The rules.
        told: The callee of calls (by row) that is known otherwise.
        weight: (P,) see `pair_weights`.
    """
    code = slots.code.copy()
    open_slots = np.flatnonzero(slots.group >= 0)
    if not len(open_slots):
        return code
    callers = tree.parent_row[slots.parent[open_slots]]
    named = _from_sequences(tree, table, set(callers[callers != NO_ROW].tolist()), weight)
    for slot in open_slots.tolist():
        members = table.group_members[slots.group[slot]]
        parent = int(slots.parent[slot])
        guess = told.get(parent, named.get(parent, UNKNOWN))
        client = int(tree.code[parent])
        code[slot] = guess if guess in members else _weightiest(table, client, members, weight)
    return code


def tell_by_orphans(
    tree: Tree, slots: Slots, lost: LostParents, times: tuple[TimesUs, TimesUs], table: RuleTable
) -> tuple[dict[int, int], dict[int, int]]:
    """Let the lost parents without a place tell which callee they ran below.

    Each speaks for the open call of its trace whose time holds it and one of whose callees is the
    fewest steps above it; of equally near ones for the call that started last.

    Returns:
        The callee with the most voices, per row of the call; and the callee that each lost
        parent spoke for, per position in `lost`.
    """
    calls: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for slot in np.flatnonzero(slots.group >= 0).tolist():
        row = int(slots.parent[slot])
        calls[int(tree.trace[row])].append((row, int(slots.group[slot])))
    voices: dict[int, Counter[int]] = defaultdict(Counter)
    callee_of: dict[int, int] = {}
    homeless = np.flatnonzero((lost.parent_row == NO_ROW) & (lost.code >= 0))
    for position in homeless.tolist():
        began_us, code = int(lost.start_us[position]), int(lost.code[position])
        best: tuple[int, int, int, int] | None = None
        for row, group in calls.get(int(lost.trace[position]), ()):
            if not times[0][row] <= began_us <= times[1][row]:
                continue
            for member in table.group_members[group]:
                steps = table.steps_down[member].get(code)
                if steps is not None:
                    claim = (steps, -int(times[0][row]), row, member)
                    best = claim if best is None else min(best, claim)
        if best is not None:
            voices[best[2]][best[3]] += 1
            callee_of[position] = best[3]
    told = {row: min(count, key=lambda m: (-count[m], m)) for row, count in voices.items()}
    return told, callee_of


def _weightiest(table: RuleTable, client: int, members: tuple[int, ...], weight: F64) -> int:
    """Return the member of the heaviest pair with the client; of equal ones the first."""
    return max(members, key=lambda member: _pair_weight(table, client, member, weight))


def _pair_weight(table: RuleTable, client: int, callee: int, weight: F64) -> float:
    number = table.pair_number.get((callee, client))
    return 0.0 if number is None else float(weight[number])


def _from_sequences(tree: Tree, table: RuleTable, callers: set[int], weight: F64) -> dict[int, int]:
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
            guess = guesses[code, seen] = _best_sequence(table, code, seen, weight)
        named.update((row, guess[i]) for i, row in enumerate(made) if i < len(guess))
    return named


def _best_sequence(
    table: RuleTable, code: int, seen: tuple[Call, ...], weight: F64
) -> tuple[int, ...]:
    """Return the callees of the sequence that agrees most with what is seen; () for none.

    Of sequences that agree alike the one is taken whose calls in the gaps lack most.
    """
    clients = [client for client, _ in seen]
    best: tuple[int, ...] = ()
    most = (-1, -1.0)
    for sequence, support in table.sequences.get(code, ()):
        if [client for client, _ in sequence] != clients:
            continue
        pairs = list(zip(sequence, seen, strict=True))
        agreed = sum(told == found for (_, told), (_, found) in pairs)
        gaps = [call for call, (_, found) in pairs if found == UNKNOWN]
        # The share that lacks, not the weight: how often is the sequence's own support.
        lacks = [_pair_weight(table, *gap, weight) / _support(table, *gap) for gap in gaps]
        score = (agreed, support * math.prod(lacks))
        if score > most:
            best, most = tuple(callee for _, callee in sequence), score
    return best


def _support(table: RuleTable, client: int, callee: int) -> int:
    number = table.pair_number.get((callee, client))
    return 1 if number is None else int(table.near_support[number])
