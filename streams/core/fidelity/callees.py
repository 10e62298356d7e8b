"""Names the callee of a call that stayed without one, from the calls around it.

A client span says "HTTP GET" and not whom it calls; a silent service leaves it without its one
child. What the silent callee itself called is often still there: orphans, whose lost parents can
only have run below one of the possible callees. Else the calls that the client's parent made
before and after are mostly whole, and of the recorded sequences of calls the one that agrees with
most of them tells who is silent.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.core.fidelity.lost_parents import LostParents
from streams.core.fidelity.rule_table import Call, RuleTable
from streams.core.fidelity.slots import Slots
from streams.core.fidelity.tree import NO_ROW, UNKNOWN, Tree
from streams.units import F64, I64, TimesUs

FAR: Final = 1 << 30


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


@dataclass(frozen=True, slots=True)
class Told:
    """What the lost parents without a place tell of the callee they ran below.

    Attributes:
        callee: per row of a call without its callee: the callee's code.
        caller: per position of a lost parent: the code of its own likely parent below the callee.
    """

    callee: dict[int, int]
    caller: dict[int, int]


NOTHING_TOLD: Final = Told({}, {})


def tell_by_orphans(
    tree: Tree,
    slots: Slots,
    lost: LostParents,
    row_of_lost: I64,
    times: tuple[TimesUs, TimesUs],
    table: RuleTable,
) -> Told:
    """Let the lost parents without a place tell which callee they ran below.

    Each belongs to the open call of its trace whose time holds it and one of whose callees is the
    fewest steps above it; of equally near ones to the call that started last. Those of one call
    then speak together: where they are the calls of a known sequence, its caller decides.
    """
    calls: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for slot in np.flatnonzero(slots.group >= 0).tolist():
        row = int(slots.parent[slot])
        calls[int(tree.trace[row])].append((row, int(slots.group[slot])))
    voices: dict[tuple[int, int], list[int]] = defaultdict(list)
    homeless = np.flatnonzero((lost.parent_row == NO_ROW) & (lost.code >= 0))
    for position in homeless.tolist():
        began_us, code = int(lost.start_us[position]), int(lost.code[position])
        claims = [
            (steps, -int(times[0][row]), row, group)
            for row, group in calls.get(int(lost.trace[position]), ())
            if times[0][row] <= began_us <= times[1][row]
            and (steps := _nearest(table, group, code)[0]) < FAR
        ]
        if claims:
            voices[min(claims)[2:]].append(position)
    told = Told({}, {})
    child = _any_child(tree)
    for (row, group), positions in voices.items():
        positions.sort(key=lambda position: int(row_of_lost[position]))
        made = [(int(lost.code[p]), int(child[row_of_lost[p]])) for p in positions]
        caller = _caller_of(table, group, made)
        told.callee[row] = _nearest(table, group, made[0][0] if caller is None else caller)[1]
        for position, (code, _) in zip(positions, made, strict=True):
            likely = _likely_caller(table, told.callee[row], code) if caller is None else caller
            if likely is not None and likely in table.near[code]:
                told.caller[position] = likely
    return told


def _nearest(table: RuleTable, group: int, code: int) -> tuple[int, int]:
    """Return the fewest steps from `code` up to a member of the group, and that member."""
    return min((table.steps_down[m].get(code, FAR), m) for m in table.group_members[group])


def _likely_caller(table: RuleTable, callee: int, code: int) -> int | None:
    """Return the most frequent parent of `code` that may be below the callee."""
    below = table.steps_down[callee]
    return next((near for near in table.near[code] if near in below), None)


def _caller_of(table: RuleTable, group: int, made: list[Call]) -> int | None:
    """Return the nearest operation below a member of the group that makes just these calls."""
    changing = tuple(call for call in made if table.has_group[call[0]])
    steps = {
        near: _nearest(table, group, near)[0] for client, _ in made for near in table.near[client]
    }
    fewest = min(steps.values(), default=FAR)
    support = {
        code: dict(table.sequences.get(code, ())).get(changing, 0)
        for code, distance in steps.items()
        if distance == fewest < FAR
    }
    best = min(support, key=lambda code: (-support[code], code), default=None)
    return best if best is not None and support[best] > 0 else None


def _any_child(tree: Tree) -> I64:
    """Return the code of one child of each row, `UNKNOWN` for none; one entry more for row -1."""
    child = np.full(len(tree) + 1, UNKNOWN, np.int64)
    rows = np.flatnonzero(tree.parent_row >= 0)
    child[tree.parent_row[rows]] = tree.code[rows]
    return child


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
    callee = _any_child(tree)
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
