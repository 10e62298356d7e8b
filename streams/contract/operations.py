"""The operation rules of a contract: what each operation calls, learned from recorded traces.

Owns how learned rules stand in the contract's YAML. Where a pipeline has declared flows, stages
and edges judge its traces; where it has none (a recording of microservices), these rules do. Every
rule carries its support, so that a reader can doubt it. The rules hold names only, never codes:
`streams.core.fidelity.rules` compiles them.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

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
    """

    under: tuple[OperationName, ...] = ()
    seen: OperationName | None = None


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


NO_RULES: Final = OperationRules()
