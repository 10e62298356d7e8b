"""How often each call was seen lately, beside how often it was when the rules were learned.

One trace cannot tell which of several services stayed silent; many traces can: the silent one's
calls are lacking everywhere. The counts come in as an argument (the caller chooses how far back
"lately" reaches), so judging a trace stays a function of what it is given.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity.rule_table import RuleTable
from streams.core.fidelity.tree import parent_rows
from streams.units import F64, I64

LACKING_MIN: Final = 0.01
PRIOR_COUNT: Final = 3.0
"""Calls expected fewer times than this prove little by their absence."""


@dataclass(frozen=True, slots=True)
class CallMix:
    """Counts that add up: of two batches, the counts of both are the sums.

    Attributes:
        traces: How many traces were counted.
        count: (P,) how often each pair of `RuleTable.near_pairs` was seen.
    """

    traces: int
    count: I64

    def __add__(self, other: "CallMix") -> "CallMix":
        """Return the counts of both."""
        return CallMix(self.traces + other.traces, self.count + other.count)


def count_calls(batch: SpanBatch, table: RuleTable, operations: Operations) -> CallMix:
    """Count the calls of a batch that the rules know."""
    parent_row, _ = parent_rows(batch.trace, batch.span_id, batch.parent_span_id)
    code = table.translate(batch.operation, operations)
    rows = np.flatnonzero((parent_row >= 0) & (code >= 0))
    rows = rows[code[parent_row[rows]] >= 0]
    size = max(1, len(table.operations))
    child, near = table.near_pairs
    pair = child * size + near
    order = np.argsort(pair)
    seen = code[rows] * size + code[parent_row[rows]]
    count = np.zeros(len(pair), np.int64)
    if len(pair) and len(seen):
        place = np.minimum(np.searchsorted(pair[order], seen), len(pair) - 1)
        hit = place[pair[order][place] == seen]
        count[order] = np.bincount(hit, minlength=len(pair))
    return CallMix(batch.traces, count)


def pair_weights(table: RuleTable, mix: CallMix | None) -> F64:
    """Weigh the pairs of `near_pairs` as explanations of a call that is lacking.

    Returns:
        (P,) how often the pair was seen when learning, times the share of it that is lacking
        lately (at least `LACKING_MIN`; all of it when nothing was counted).
    """
    support = table.near_support.astype(np.float64)
    if mix is None or mix.traces == 0 or table.traces == 0:
        return support
    expected = support * mix.traces / table.traces
    lacking = (expected - mix.count) / (expected + PRIOR_COUNT)
    return support * np.clip(lacking, LACKING_MIN, 1.0)
