"""Which closed traces may be halves of a restarted context, and what is said of them.

A trace that closed without its flow's first stage, or without the last it had to reach, goes to
`traces.fragments.v1` under its record id, where the other half can meet it. A later revision of
any trace goes there too, so that a half that was completed, or that is of no flow any more, is no
half any more.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from streams.core.columns import SpanBatch
from streams.core.fidelity.judge import Judgement
from streams.core.fidelity.plan import FlowPlan, Plan
from streams.engine.effects import AssembledBatch
from streams.units import I64, span_id_text, trace_id_text


class FragmentRule:
    """Finds the fragments among closed traces."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._last = [_last_stages(flow) for flow in plan.flows]

    def of(
        self,
        batch: SpanBatch,
        judgement: Judgement,
        closed: AssembledBatch,
        describe: Callable[[int], tuple[str, str]],
    ) -> list[dict[str, Any]]:
        """Return records of schemas/trace_fragment.v2.avsc.

        Args:
            batch: the spans of the closed traces.
            judgement: their verdicts.
            closed: what is published of them.
            describe: (record id, batch id) of a row of `batch`.
        """
        is_amended = closed.revision > 1
        doubtful = (judgement.flow >= 0) & ~judgement.is_sampled_out & ~judgement.has_all_required
        doubtful |= is_amended
        stages = judgement.stages
        bounds = np.searchsorted(stages.trace, np.arange(len(judgement.flow) + 1))
        out = []
        for t in np.flatnonzero(doubtful).tolist():
            rows = np.arange(bounds[t], bounds[t + 1])
            if not len(rows) and not is_amended[t]:
                continue
            has_first = has_last = True
            if len(rows) and not judgement.is_sampled_out[t]:
                flow = int(judgement.flow[t])
                seen = stages.stage[rows]
                has_first = bool((seen == self._plan.flows[flow].entry).any())
                has_last = bool(np.isin(self._last[flow], seen).all())
            if has_first and has_last and not is_amended[t]:
                continue
            record_id, batch_id = self._names(batch, judgement, t, describe)
            if record_id or batch_id:
                fragment = self._fragment(batch, judgement, closed, t, rows)
                out.append(
                    fragment
                    | {"record_id": record_id, "batch_id": batch_id}
                    | {"has_first": has_first, "has_last": has_last}
                )
        return out

    def _names(
        self,
        batch: SpanBatch,
        judgement: Judgement,
        trace: int,
        describe: Callable[[int], tuple[str, str]],
    ) -> tuple[str, str]:
        first = int(judgement.structure.first[trace])
        last = int(judgement.structure.first[trace + 1])
        batch_id = ""
        for row in range(first, min(last, first + 8)):
            record_id, batch_of_row = describe(row)
            batch_id = batch_id or batch_of_row
            if record_id:
                return record_id, batch_id
        return "", batch_id

    def _fragment(
        self, batch: SpanBatch, judgement: Judgement, closed: AssembledBatch, t: int, rows: I64
    ) -> dict[str, Any]:
        fragment = {
            "trace_id": trace_id_text(closed.keys[t]),
            "revision": int(closed.revision[t]),
            "start": int(closed.start_us[t]),
            "end": int(closed.end_us[t]),
            "contract_version": self._plan.version,
        }
        if not len(rows):
            return fragment | _OF_NO_FLOW
        flow = self._plan.flows[int(judgement.flow[t])]
        stages = judgement.stages
        seen = stages.stage[rows]
        first, last = rows[int(np.argmin(seen))], rows[int(np.argmax(seen))]
        return fragment | {
            "flow": flow.name,
            "first_stage": flow.stage_id[int(stages.stage[first])],
            "last_stage": flow.stage_id[int(stages.stage[last])],
            "first_span_id": span_id_text(int(batch.span_id[stages.row[first]])),
            "last_span_id": span_id_text(int(batch.span_id[stages.row[last]])),
            "stages": [flow.stage_id[stage] for stage in np.unique(seen).tolist()],
        }


_OF_NO_FLOW: Final[dict[str, Any]] = {
    **dict.fromkeys(("flow", "first_stage", "last_stage", "first_span_id", "last_span_id"), ""),
    "stages": [],
}


def _last_stages(flow: FlowPlan) -> I64:
    """Return the required stages that no other required stage comes after."""
    required = set(np.flatnonzero(flow.is_required).tolist())
    leads_on: set[int] = set()
    # Far stages come in topological order, so one pass backwards finds every path.
    for near, far in reversed(flow.edges.tolist()):
        if far in required or far in leads_on:
            leads_on.add(near)
    return np.array(sorted(required - leads_on), np.int64)
