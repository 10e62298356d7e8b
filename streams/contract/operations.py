"""The operation rules of a contract: what each operation calls, learned from recorded traces.

Owns how learned rules stand in the contract's YAML. Where a pipeline has declared flows, stages
and edges judge its traces; where it has none (a recording of microservices), these rules do. Every
rule carries its support, so that a reader can doubt it. The rules hold names only, never codes;
`compile_rules` numbers them for `streams.core.fidelity.rules`.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from streams.core.columns import Operation
from streams.core.fidelity.rule_table import NO_GROUP, NO_GUARD, NO_SHAPE, Call, RuleTable
from streams.core.fidelity.tree import chain_hash, shape_hash
from streams.errors import ConfigError

OperationName = Annotated[tuple[str, str, str], Field(description="(module, component, name)")]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    """Frozen, and refuses keys it does not know: a typing error in a contract must not pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class When(_Strict):
    """The condition of a rule: all parts that are given must hold for the parent span.

    Attributes:
        under: The operations of the parent's nearest ancestors, the nearest first.
        seen: An operation that the parent already has as a child.
        calling: That child's own children, all of them, sorted; without it they do not matter.
    """

    under: tuple[OperationName, ...] = ()
    seen: OperationName | None = None
    calling: tuple[OperationName, ...] | None = None

    @model_validator(mode="after")
    def _calling_is_of_a_child(self) -> Self:
        if self.calling is not None and self.seen is None:
            raise ValueError("calling says what the child in `seen` calls; add `seen`")
        return self


class ChildRule(_Strict):
    """The parent has at least `count` children of this operation.

    Attributes:
        module: The child's module.
        component: The child's component.
        name: The child's span name.
        count: How many of them.
        support: How many parents the rule was learned from.
        ratio: The share of those parents that had them.
        when: The rule's condition; without one it holds for every parent.
    """

    module: str
    component: str
    name: str
    count: Count = 1
    support: Count
    ratio: Ratio
    when: When | None = None


class OneOfRule(_Strict):
    """The parent has exactly one child, and it is one of `members`.

    Attributes:
        members: The possible children, the most frequent first.
        support: How many parents the rule was learned from.
        ratio: The share of those parents that had exactly one of them.
        when: The rule's condition; without one it holds for every parent.
    """

    members: Annotated[tuple[OperationName, ...], Field(min_length=1)]
    support: Count
    ratio: Ratio
    when: When | None = None


class CallSequence(_Strict):
    """The calls that a parent makes, in order: it names a silent callee by its neighbours.

    Attributes:
        calls: (the client child, the one child that it has), by start.
        support: How many parents made these calls.
    """

    calls: Annotated[tuple[tuple[OperationName, OperationName], ...], Field(min_length=1)]
    support: Count


class ParentRule(_Strict):
    """What one operation calls.

    Attributes:
        module: The parent's module.
        component: The parent's component.
        name: The parent's span name.
        support: How many parents were seen.
        children: Its required children.
        one_of: Its "exactly one of" groups, one for each condition.
        sequences: The orders in which it makes calls to changing callees.
    """

    module: str
    component: str
    name: str
    support: Count
    children: tuple[ChildRule, ...] = ()
    one_of: tuple[OneOfRule, ...] = ()
    sequences: tuple[CallSequence, ...] = ()


class Nesting(_Strict):
    """`child` was seen `support` times directly below `parent`: names an orphan's lost parent."""

    parent: OperationName
    child: OperationName
    support: Count


class OperationRules(_Strict):
    """The learned rules of a contract.

    Attributes:
        traces: How many traces they were learned from.
        wait_us: How long a trace stays open: a high quantile of the recorded durations.
        roots: Operations seen as roots; they need no parent.
        parents: The rules, one entry for each operation that has children.
        nesting: Which operations may parent which.
    """

    traces: Annotated[int, Field(ge=0)] = 0
    wait_us: Annotated[int, Field(ge=0)] = 0
    roots: tuple[OperationName, ...] = ()
    parents: tuple[ParentRule, ...] = ()
    nesting: tuple[Nesting, ...] = ()


def compile_rules(rules: OperationRules) -> RuleTable:
    """Turn the rules into the arrays that `streams.core.fidelity.rules.evaluate` takes.

    Raises:
        ConfigError: Two rules of one kind stand for the same parent, condition and child.
    """
    return _Compiler(rules).table()


class _Compiler:
    """Collects the rules by context, then lays them out in the order of the context's hash."""

    def __init__(self, rules: OperationRules) -> None:
        self._rules = rules
        self._code: dict[Operation, int] = {}
        self._children: dict[tuple[int, ...], list[tuple[int, int, int, int]]] = {}
        self._groups: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._sequences: dict[int, tuple[tuple[tuple[Call, ...], int], ...]] = {}

    def table(self) -> RuleTable:
        """Return the compiled rules."""
        for parent in self._rules.parents:
            self._add(parent)
        near = self._near()
        roots = {self._code_of(name) for name in self._rules.roots}
        contexts = sorted((chain_hash(chain), chain) for chain in {*self._children, *self._groups})
        children = [self._children.get(chain, []) for _, chain in contexts]
        rows = [row for part in children for row in part]
        members = sorted(set(self._groups.values()))
        group_of = {group: number for number, group in enumerate(members)}
        groups = [
            group_of[self._groups[chain]] if chain in self._groups else NO_GROUP
            for _, chain in contexts
        ]
        size = len(self._code)
        has_group = np.zeros(size, np.bool_)
        has_group[[chain[0] for chain in self._groups]] = True
        support = np.zeros(size, np.int64)
        for parent in self._rules.parents:
            support[self._code_of((parent.module, parent.component, parent.name))] = parent.support
        return RuleTable(
            operations=tuple(self._code),
            depth=max((len(chain) - 1 for _, chain in contexts), default=0),
            context_hash=np.array([value for value, _ in contexts], np.uint64),
            child_start=np.cumsum([0, *map(len, children)]),
            child_code=np.array([row[0] for row in rows], np.int64),
            child_count=np.array([row[1] for row in rows], np.int64),
            child_guard=np.array([row[2] for row in rows], np.int64),
            child_shape=np.array([row[3] for row in rows], np.uint64),
            context_group=np.array(groups, np.int64),
            group_members=tuple(members),
            has_group=has_group,
            support=support,
            near=tuple(tuple(code for code, _ in near.get(child, ())) for child in range(size)),
            near_support=np.array(
                [n for child in range(size) for _, n in near.get(child, ())], np.int64
            ),
            traces=self._rules.traces,
            sequences=self._sequences,
            is_root=np.isin(np.arange(size), sorted(roots)),
        )

    def _code_of(self, name: tuple[str, str, str]) -> int:
        return self._code.setdefault(Operation(*name), len(self._code))

    def _chain(self, parent: int, when: When | None) -> tuple[int, ...]:
        return (parent, *(self._code_of(name) for name in (when.under if when else ())))

    def _guard(self, when: When | None) -> tuple[int, int]:
        """Return the code of the child that must be there, and its shape if that matters."""
        if when is None or when.seen is None:
            return NO_GUARD, NO_SHAPE
        code = self._code_of(when.seen)
        if when.calling is None:
            return code, NO_SHAPE
        return code, shape_hash(code, [self._code_of(name) for name in when.calling])

    def _add(self, parent: ParentRule) -> None:
        own = self._code_of((parent.module, parent.component, parent.name))
        seen: set[tuple[object, ...]] = set()
        for child in parent.children:
            chain = self._chain(own, child.when)
            code = self._code_of((child.module, child.component, child.name))
            row = (code, child.count, *self._guard(child.when))
            self._refuse_repeat(seen, (chain, code, *row[2:]), parent)
            self._children.setdefault(chain, []).append(row)
        for group in parent.one_of:
            chain = self._chain(own, group.when)
            if group.when is not None and group.when.seen is not None:
                raise ConfigError(
                    f"operations: {parent.module} {parent.name!r}: a one_of has no `seen`; drop it"
                )
            self._refuse_repeat(seen, (chain,), parent)
            self._groups[chain] = tuple(self._code_of(name) for name in group.members)
        ordered = sorted(parent.sequences, key=lambda s: (-s.support, s.calls))
        if ordered:
            self._sequences[own] = tuple(
                (tuple((self._code_of(a), self._code_of(b)) for a, b in s.calls), s.support)
                for s in ordered
            )

    @staticmethod
    def _refuse_repeat(
        seen: set[tuple[object, ...]], key: tuple[object, ...], parent: ParentRule
    ) -> None:
        if key in seen:
            raise ConfigError(
                f"operations: {parent.module} {parent.name!r} has the same rule twice; keep one"
            )
        seen.add(key)

    def _near(self) -> dict[int, list[tuple[int, int]]]:
        near: dict[int, list[tuple[int, int]]] = {}
        ordered = sorted(self._rules.nesting, key=lambda n: (-n.support, n.parent))
        for pair in ordered:
            child, parent = self._code_of(pair.child), self._code_of(pair.parent)
            near.setdefault(child, []).append((parent, pair.support))
        return near
