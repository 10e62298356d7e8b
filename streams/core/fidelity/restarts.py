"""What other traces of the same record hold, in the verdicts: restarted, not lost.

Owns how links change a judgement. Invariant: the same spans with the same links give the same
judgement, so that what a revision counted can be taken back exactly.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streams.core.columns import Operations
from streams.core.fidelity import missing
from streams.core.fidelity.judge import NO_FLOW, Judgement, with_causes
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.tables import plan_tables
from streams.units import Mask


def with_restarts(
    judgement: Judgement,
    plan: Plan,
    operations: Operations,
    held: Mapping[int, frozenset[str]],
    is_continuation: Mask,
) -> Judgement:
    """Return the judgement with CONTEXT_RESTARTED for the stages that another trace holds.

    That a stage was seen under another trace id is proved, so the cause goes before all others but
    SAMPLED_OUT. Which trace that is, the synthetic spans of the trace say.

    Args:
        judgement: of T traces.
        plan: names the stages.
        operations: the names behind the operation codes.
        held: by ordinal of a trace the names of the stages that other traces of its record hold.
        is_continuation: (T,) the trace goes on with a record that began in another one.
    """
    if not held and not is_continuation.any():
        return judgement
    lost = judgement.missing
    cause = lost.cause.copy()
    operation_of = plan_tables(plan).stage_operation(operations)
    for trace, stages in held.items():
        if judgement.flow[trace] == NO_FLOW:
            continue
        flow = plan.flows[int(judgement.flow[trace])]
        is_held = np.array([stage in stages for stage in flow.stage_id], np.bool_)
        codes = operation_of[flow.stage_code[is_held]]
        rows = (lost.trace == trace) & np.isin(lost.operation, codes)
        cause[rows & (cause != missing.SAMPLED_OUT)] = missing.CONTEXT_RESTARTED
    return replace(with_causes(judgement, cause), is_continuation=is_continuation)
