"""Closed traces as Kafka records: span bytes copied, never encoded again."""

from itertools import chain

import numpy as np

from streams.codec.assembled import MissingRow, TraceEncoder
from streams.codec.ids import hex_texts
from streams.codec.tracebatch import StageRows, TraceBatchEncoder, TraceColumns
from streams.core.columns import Operation, Operations
from streams.core.fidelity.missing import CAUSES, NO_OPERATION
from streams.core.fidelity.plan import Plan
from streams.engine.effects import AssembledBatch
from streams.runtime.commit import OutRecord, out_records
from streams.units import I64, U64, span_id_text

_NOBODY = Operation("", "", "")
_SUMMARY = (
    b'{"trace_id": "%b", "complete": %b, "first_ts": %d, "last_ts": %d, "span_count": %d, '
    b'"missing_mask": %d}\n'
)
"""A line of the summaries."""


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
        self._topic = topic
        self._summary_topic = summary_topic
        names = [name for flow in plan.flows for name in flow.stage_id]
        sizes = [0, *(len(flow.stage_id) for flow in plan.flows)]
        self._stage_base: I64 = np.cumsum(sizes, dtype=np.int64)
        self._encoder = TraceBatchEncoder(
            encoder, [*(flow.name for flow in plan.flows), ""], names, plan.version
        )
        self._all_stages = _wanted_masks(plan)

    def records(self, batch: AssembledBatch, partition: int) -> list[OutRecord]:
        """Return a record for each trace of a batch, and its summary where that is asked for."""
        keys = hex_texts(batch.keys)
        values = self._encoder.values(self._columns(batch))
        out = out_records(self._topic, partition, keys, values)
        if self._summary_topic:
            out += self._summaries(batch, keys, partition)
        return out

    def _columns(self, batch: AssembledBatch) -> TraceColumns:
        structure = batch.judgement.structure
        seen = batch.judgement.stages
        return TraceColumns(
            keys=batch.keys,
            revision=batch.revision,
            flow=batch.judgement.flow.astype(np.int64),
            status=batch.status,
            closed_by=batch.closed_by,
            start_us=batch.start_us,
            end_us=batch.end_us,
            span_count=batch.span_count,
            annotation_count=batch.annotation_count,
            error_count=batch.error_count,
            root_count=structure.root_count.astype(np.int64),
            orphan_count=structure.orphan_count.astype(np.int64),
            evicted_count=batch.evicted_count,
            root_span_id=batch.root_span_id,
            missing=self._missing(batch),
            stages=StageRows(
                trace=seen.trace.astype(np.int64),
                name=np.asarray(self._stage_base[seen.flow] + seen.stage, np.int64),
                start_us=seen.start_us,
                duration_us=seen.duration_us,
                count=seen.count.astype(np.int64),
            ),
            offset=batch.offset,
            bodies=batch.body,
        )

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

    def _summaries(
        self, batch: AssembledBatch, keys: list[bytes], partition: int
    ) -> list[OutRecord]:
        lacking = self._all_stages[batch.judgement.flow] & ~batch.mask
        masks = lacking[:, 0].tolist()
        for word in range(1, lacking.shape[1]):
            masks = [
                m | w << 64 * word for m, w in zip(masks, lacking[:, word].tolist(), strict=True)
            ]
        ends = np.maximum.reduceat(batch.timestamp_us, batch.offset[:-1]).tolist()
        columns = (batch.start_us.tolist(), ends, batch.span_count.tolist(), masks)
        complete = [b"false" if mask else b"true" for mask in masks]
        first = np.flatnonzero(batch.revision == 1).tolist()
        rows = list(zip(keys, complete, *columns, strict=True))
        if len(first) < len(rows):
            keys, rows = [keys[i] for i in first], [rows[i] for i in first]
        # One format for all: a call a line costs three times as much.
        lines = (_SUMMARY * len(rows) % tuple(chain.from_iterable(rows))).split(b"\n")
        return out_records(self._summary_topic, partition, keys, lines[:-1])


def _wanted_masks(plan: Plan) -> U64:
    """Return (flows + 1, W) the stages of each flow; the last row, for no flow, has them all."""
    out = np.zeros((len(plan.flows) + 1, plan.words), np.uint64)
    everything = range(len(plan.stage_operation))
    for row, codes in enumerate([*(flow.stage_code.tolist() for flow in plan.flows), everything]):
        for code in codes:
            out[row, code // 64] |= np.uint64(1 << (code % 64))
    return out
