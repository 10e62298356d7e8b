"""Closed traces as Kafka records: span bytes copied, never encoded again."""

import json

import numpy as np

from streams.codec.assembled import TraceEncoder, TraceRecord
from streams.core.columns import Operation, Operations
from streams.core.fidelity.missing import CAUSES, NO_OPERATION
from streams.core.fidelity.plan import Plan
from streams.engine.effects import AssembledBatch
from streams.runtime.commit import OutRecord
from streams.units import span_id_text, trace_id_text

_STATUS = ("COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED")
_CLOSED_BY = ("contract", "watermark", "clock", "bound")
MissingRow = tuple[str, str, str, str, str, str, str]
_NOBODY = Operation("", "", "")


class TraceWriter:
    """Encodes batches of closed traces.

    Args:
        plan: names flows and stages.
        operations: names missing operations.
        encoder: writes the Avro values.
        topic: where traces go.
        summary_topic: if set, each trace's first revision goes there too, as a line of JSON:
            trace_id, complete, first_ts, last_ts, span_count, missing_mask.
    """

    def __init__(
        self,
        plan: Plan,
        operations: Operations,
        encoder: TraceEncoder,
        topic: str,
        summary_topic: str = "",
    ) -> None:
        self._plan = plan
        self._operations = operations
        self._encoder = encoder
        self._topic = topic
        self._summary_topic = summary_topic
        self._flow_names = [*(flow.name for flow in plan.flows), ""]
        self._all_stages = [
            sum(1 << int(code) for code in flow.stage_code.tolist()) for flow in plan.flows
        ]

    def records(self, batch: AssembledBatch, partition: int) -> list[OutRecord]:
        """Return a record for each trace of a batch, and its summary where that is asked for."""
        out = []
        missing, stages = self._missing(batch), self._stages(batch)
        flow = batch.judgement.flow.tolist()
        structure = batch.judgement.structure
        columns = zip(
            batch.keys,
            batch.revision.tolist(),
            batch.status.tolist(),
            batch.closed_by.tolist(),
            batch.start_us.tolist(),
            batch.end_us.tolist(),
            batch.span_count.tolist(),
            batch.annotation_count.tolist(),
            batch.error_count.tolist(),
            structure.root_count.tolist(),
            structure.orphan_count.tolist(),
            batch.evicted_count.tolist(),
            batch.root_span_id.tolist(),
            strict=True,
        )
        offset = batch.offset.tolist()
        bodies = batch.body.tolist()
        for t, (key, revision, status, by, start, end, spans, notes, errors, roots, orphans, evicted, root) in (
            enumerate(columns)
        ):
            trace_id = trace_id_text(key)
            record = TraceRecord(
                trace_id=trace_id,
                revision=revision,
                flow=self._flow_names[flow[t]],
                contract_version=self._plan.version,
                status=_STATUS[status],
                closed_by=_CLOSED_BY[by],
                start=start,
                end=end,
                duration_us=end - start,
                span_count=spans,
                annotation_count=notes,
                error_count=errors,
                root_count=roots,
                orphan_count=orphans,
                evicted_count=evicted,
                root_span_id=span_id_text(root),
                missing=missing.get(t, []),
                stages=stages[t],
            )
            value = self._encoder.value(record, bodies[offset[t] : offset[t + 1]])
            encoded_key = trace_id.encode()
            out.append(OutRecord(self._topic, partition, encoded_key, value))
            if self._summary_topic and revision == 1:
                out.append(
                    OutRecord(self._summary_topic, partition, encoded_key, self._summary(batch, t, record))
                )
        return out

    def _missing(self, batch: AssembledBatch) -> dict[int, list[MissingRow]]:
        rows: dict[int, list[MissingRow]] = {}
        lost = batch.judgement.missing
        for trace, span_id, code, near, far, cause in zip(
            lost.trace.tolist(),
            lost.span_id.tolist(),
            lost.operation.tolist(),
            lost.from_label.tolist(),
            lost.to_label.tolist(),
            lost.cause.tolist(),
            strict=True,
        ):
            operation = self._operations[code] if code != NO_OPERATION else _NOBODY
            rows.setdefault(trace, []).append(
                (
                    span_id_text(span_id),
                    operation.module,
                    operation.component,
                    operation.name,
                    lost.labels[near],
                    lost.labels[far],
                    CAUSES[cause],
                )
            )
        return rows

    def _stages(self, batch: AssembledBatch) -> list[list[tuple[str, int, int, int]]]:
        rows: list[list[tuple[str, int, int, int]]] = [[] for _ in batch.keys]
        seen = batch.judgement.stages
        flows = self._plan.flows
        for trace, flow, stage, start, duration, count in zip(
            seen.trace.tolist(),
            seen.flow.tolist(),
            seen.stage.tolist(),
            seen.start_us.tolist(),
            seen.duration_us.tolist(),
            seen.count.tolist(),
            strict=True,
        ):
            rows[trace].append((flows[flow].stage_id[stage], start, duration, count))
        return rows

    def _summary(self, batch: AssembledBatch, t: int, record: TraceRecord) -> bytes:
        flow = int(batch.judgement.flow[t])
        wanted = self._all_stages[flow] if flow >= 0 else sum(1 << c for c in range(len(self._plan.stage_operation)))
        seen = sum(int(word) << (64 * w) for w, word in enumerate(batch.mask[t].tolist()))
        first, last = int(batch.offset[t]), int(batch.offset[t + 1])
        return json.dumps(
            {
                "trace_id": record.trace_id,
                "complete": wanted & ~seen == 0,
                "first_ts": record.start,
                "last_ts": int(np.max(batch.timestamp_us[first:last])),
                "span_count": record.span_count,
                "missing_mask": wanted & ~seen,
            }
        ).encode()
