"""The contract, compiled: flows as bit masks, so that array operations judge a batch of traces.

A *stage code* stands for one (module, component, name) the contract expects; one code may be a
stage of several flows. Bit `c` of a mask (word `c // 64`, bit `c % 64`) says "stage code c was
seen". Bits from `len(stage_operation)` on are *condition bits*: set by a row of the condition's
stage whose dimension has one of the condition's values.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from streams.core.columns import Operation
from streams.units import I64, U64


@dataclass(frozen=True, slots=True)
class Condition:
    """Sets condition bit `bit` when stage `code` is seen with `dimension` in `value_hashes`."""

    bit: int
    code: int
    dimension: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """One flow of the contract.

    Attributes:
        name: the flow's id.
        stage_code: (S,) the stage codes of the flow's stages, in topological order.
        stage_id: S names of the stages in this flow.
        entry: position (into the S stages) of the entry stage.
        is_required: (S,) required without a condition.
        required_bit: (S,) condition bit that makes the stage required, -1 for none.
        min_count: (S,) how many distinct spans a required stage needs, >= 1.
        deadline_us: (S,) end of the stage at most this long after the end of its latest
            predecessor that was seen (for the entry: after its own start); 0 for none.
        edges: (E, 2) positions (near, far) of the flow's edges, far stages in topological order.
        wait_us: how long a trace may stay open, from its first span.
        settle_us: how long a trace with all required stages stays open for optional ones.
    """

    name: str
    stage_code: I64
    stage_id: tuple[str, ...]
    entry: int
    is_required: np.ndarray
    required_bit: I64
    min_count: I64
    deadline_us: I64
    edges: I64
    wait_us: int
    settle_us: int


@dataclass(frozen=True)
class Plan:
    """The compiled contract; `EMPTY` (no flows) stands for running without one.

    Attributes:
        version: the contract's version, stamped on what is derived.
        stage_operation: the operation of each stage code. An empty component matches any.
        conditions: the conditions, each with its own bit.
        flows: the flows, in the contract's order.
        modules: the modules that the contract names, in its order.
        dimensions: keys of the dimensions that the conditions read.
    """

    version: str
    stage_operation: tuple[Operation, ...]
    conditions: tuple[Condition, ...]
    flows: tuple[FlowPlan, ...]
    modules: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = field(default=())

    @cached_property
    def words(self) -> int:
        """How many 64-bit words a mask has, at least 1."""
        return max(1, -(-(len(self.stage_operation) + len(self.conditions)) // 64))

    @cached_property
    def _code_by_name(self) -> dict[tuple[str, str, str], int]:
        return {(o.module, o.component, o.name): c for c, o in enumerate(self.stage_operation)}

    def code(self, operation: Operation) -> int:
        """Return the stage code of an operation, -1 when the contract does not name it."""
        by_name = self._code_by_name
        exact = by_name.get((operation.module, operation.component, operation.name))
        if exact is not None:
            return exact
        return by_name.get((operation.module, "", operation.name), -1)

    def mask(self, bits: list[int]) -> U64:
        """Return a (W,) mask with the given bits set."""
        out = np.zeros(self.words, np.uint64)
        for bit in bits:
            out[bit // 64] |= np.uint64(1 << (bit % 64))
        return out


EMPTY = Plan(version="", stage_operation=(), conditions=(), flows=())
