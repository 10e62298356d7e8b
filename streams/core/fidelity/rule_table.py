"""Learned operation rules as arrays: what `rules.evaluate` looks things up in.

Owns the numbering of the rules' operations (*rule codes*) and the sorted tables. Built once by
`streams.contract.operations.compile_rules`; never changed. A *context* is a chain of operations
(see `tree`) that has rules; its rows in the tables are consecutive.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from streams.core.columns import Operation, Operations
from streams.core.fidelity.tree import UNKNOWN
from streams.units import I32, I64, U64, Mask

RARE_RATIO: Final = 0.05
"""A child seen under fewer of its parents than this is out of the ordinary."""
NO_GUARD: Final = -1
NO_GROUP: Final = -1
NO_SHAPE: Final = 0

Call = tuple[int, int]
"""(rule code of the client span, rule code of its one child, `UNKNOWN` when that is not there)."""


@dataclass(frozen=True)
class RuleTable:
    """The compiled rules. R operations, K contexts, C child rules, G groups.

    Attributes:
        operations: the R operations, in rule-code order.
        depth: the deepest chain that a context has.
        context_hash: (K,) chain hashes, increasing.
        child_start: (K + 1,) context k owns the child rules [child_start[k], child_start[k + 1]).
        child_code: (C,) the required child.
        child_count: (C,) how many of it, >= 1.
        child_guard: (C,) the rule holds only beside a child of this code; -1 for always.
        child_shape: (C,) and only when that child's own children are these (see
            `tree.shapes`); 0 for whatever they are.
        context_group: (K,) the "exactly one of" group of the context, -1 for none.
        group_members: G tuples of rule codes, the most frequent first.
        has_group: (R,) some context of this operation has a group.
        support: (R,) how many parents of this operation were seen; 0 where it has no rules.
        near: for each child code the codes that may be its parent, the most frequent first.
        near_support: (P,) how often each pair of `near_pairs` was seen when learning.
        traces: how many traces the rules were learned from.
        sequences: per parent code its call sequences with their support, the most frequent first.
        is_root: (R,) the operation was seen as a root.
    """

    operations: tuple[Operation, ...]
    depth: int
    context_hash: U64
    child_start: I64
    child_code: I64
    child_count: I64
    child_guard: I64
    child_shape: U64
    context_group: I64
    group_members: tuple[tuple[int, ...], ...]
    has_group: Mask
    support: I64
    near: tuple[tuple[int, ...], ...]
    near_support: I64
    traces: int
    sequences: dict[int, tuple[tuple[tuple[Call, ...], int], ...]]
    is_root: Mask

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The stage labels: "" and, at rule code + 1, `module:name`."""
        return ("", *(f"{o.module}:{o.name}" for o in self.operations))

    @cached_property
    def code_of(self) -> dict[Operation, int]:
        """The rule code of each operation."""
        return {operation: code for code, operation in enumerate(self.operations)}

    @cached_property
    def near_pairs(self) -> tuple[I64, I64]:
        """The pairs (child code, possible parent's code), by child, then by frequency."""
        sizes = np.array([len(codes) for codes in self.near], np.int64)
        child = np.repeat(np.arange(len(self.near)), sizes)
        return child, np.array([code for codes in self.near for code in codes], np.int64)

    @cached_property
    def pair_number(self) -> dict[tuple[int, int], int]:
        """The position in `near_pairs` of each (child code, parent's code)."""
        child, near = self.near_pairs
        return {pair: n for n, pair in enumerate(zip(child.tolist(), near.tolist(), strict=True))}

    @cached_property
    def usual_pairs(self) -> I64:
        """The usual pairs as parent's code * R + child code, increasing."""
        child, near = self.near_pairs
        is_usual = self.near_support >= RARE_RATIO * self.support[near]
        return np.sort((near * len(self.operations) + child)[is_usual])

    @cached_property
    def likely_root(self) -> I64:
        """(R,) the root reached by going up to the most frequent parent; -1 for none."""
        out = np.full(len(self.operations), UNKNOWN, np.int64)
        for start in range(len(self.operations)):
            code, steps = start, 0
            while not self.is_root[code] and self.near[code] and steps <= len(self.operations):
                code, steps = self.near[code][0], steps + 1
            if self.is_root[code]:
                out[start] = code
        return out

    @cached_property
    def steps_down(self) -> dict[int, dict[int, int]]:
        """For each member of a group: the codes that may be below it, with the fewest steps."""
        children: dict[int, list[int]] = defaultdict(list)
        for child, codes in enumerate(self.near):
            for code in codes:
                children[code].append(child)
        return {
            member: _fewest_steps(member, children)
            for member in {code for group in self.group_members for code in group}
        }

    def translate(self, operation: I32, operations: Operations) -> I64:
        """Turn (n,) codes of `operations` into rule codes, `UNKNOWN` where no rule names them."""
        used, inverse = np.unique(operation, return_inverse=True)
        known = [self.code_of.get(operations[code], UNKNOWN) for code in used.tolist()]
        return np.array(known, np.int64)[inverse] if len(used) else np.zeros(0, np.int64)


def _fewest_steps(start: int, children: dict[int, list[int]]) -> dict[int, int]:
    """Return every code that is reached from `start`, itself included, with its distance."""
    steps = {start: 0}
    front = [start]
    while front:
        reached = []
        for code in front:
            for child in children.get(code, ()):
                if child not in steps:
                    steps[child] = steps[code] + 1
                    reached.append(child)
        front = reached
    return steps
