"""What was known of topics and records when a trace was judged, and the causes that follow.

Owns the masks that stand for this knowledge, one row a trace. Invariant: the same spans with the
same masks give the same causes, so that what a revision counted can be taken back exactly, long
after the topics have changed.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from streams.core.columns import Operations
from streams.core.fidelity import missing
from streams.core.fidelity.judge import Judgement, reclassify_traces, with_causes
from streams.core.fidelity.missing import MissingColumns
from streams.core.fidelity.plan import Plan
from streams.units import U64

LATE, SILENT, MISPARTITIONED, REJECTED, IN_FLIGHT = range(5)
"""Columns of the knowledge: modules as bits in the first four, 0 or 1 in the last."""
KNOWN_NAMES: Final = ("late", "silent", "mispartitioned", "rejected", "in_flight")
_MODULES: Final = 64

_MAY_STILL_COME: Final = np.array(
    [missing.NEVER_ARRIVED, missing.LATE_SOURCE, missing.MODULE_SILENT, missing.ORPHANED], np.uint8
)


def nothing_known(traces: int) -> U64:
    """Return (T, 5) the knowledge of nothing at all; it takes no memory and cannot be written."""
    return np.broadcast_to(np.zeros((1, len(KNOWN_NAMES)), np.uint64), (traces, len(KNOWN_NAMES)))


def module_bits(plan: Plan) -> Mapping[str, int]:
    """Return the bit of each module of the plan; any other module has the last bit.

    As in `masks.missing_modules_mask`: bit i for `plan.modules[i]`, the last one for all others.
    """
    return {name: 1 << min(index, _MODULES - 1) for index, name in enumerate(plan.modules)}


OTHER_MODULES: Final = 1 << (_MODULES - 1)
"""The bit of all modules that the plan does not name."""


def explain(judgement: Judgement, plan: Plan, operations: Operations, known: U64) -> Judgement:
    """Return the judgement with each missing span's cause as exact as what was known allows.

    Where several fit, the one that is proved for this very trace goes first: REJECTED before
    MISPARTITIONED before IN_FLIGHT before LATE_SOURCE before MODULE_SILENT. A trace that was
    sampled out keeps that cause.

    Args:
        judgement: of T traces.
        plan: names the modules.
        operations: the names behind the operation codes.
        known: (T, 5), columns `LATE` to `IN_FLIGHT`.
    """
    if not known.any() or not len(judgement.missing):
        return judgement
    exact = reclassify_traces(
        judgement,
        plan,
        operations,
        silent=known[:, SILENT],
        late=known[:, LATE],
        mispartitioned=known[:, MISPARTITIONED],
    )
    lost = exact.missing
    cause = lost.cause.copy()
    is_early = known[lost.trace, IN_FLIGHT] != 0
    cause[is_early & np.isin(cause, _MAY_STILL_COME)] = missing.IN_FLIGHT
    is_refused = known[lost.trace, REJECTED] & _module_bit(lost, plan, operations) != 0
    cause[is_refused & (cause != missing.SAMPLED_OUT)] = missing.REJECTED
    return with_causes(exact, cause)


def _module_bit(lost: MissingColumns, plan: Plan, operations: Operations) -> U64:
    """Return (m,) the bit of each missing span's module, 0 where the operation is not known."""
    codes, which = np.unique(lost.operation, return_inverse=True)
    bits = module_bits(plan)
    known = [
        0 if code == missing.NO_OPERATION else bits.get(operations[code].module, OTHER_MODULES)
        for code in codes.tolist()
    ]
    return np.array(known, np.uint64)[which]
