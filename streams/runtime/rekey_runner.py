"""The runner of a rekey task: events of one partition go to where murmur2 of their traces leads.

Owns nothing but the placing: each event, good or bad, is handed on once, with its own place and
time, and what becomes of it is the join's to say and to count.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.placing import trace_partitions
from streams.codec.records import encode
from streams.codec.rejections import Rejections
from streams.codec.rekeyed import BATCH, PLACE_BYTES, REJECTED, encode_rekeyed
from streams.codec.schemas import SchemaSet
from streams.codec.step import Step
from streams.codec.treating import RejectedTreating
from streams.core.bodies import Scattered
from streams.core.columns import EventColumns, Operations
from streams.core.privacy.records import Privacy
from streams.core.traces.murmur2 import murmur2_partition
from streams.core.traces.rekey import cut
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.rejecting import rejected_event, rejected_key, trace_of
from streams.state.segment import Segment, scalars_segment
from streams.units import I64, SECOND_US

MESSAGE_BYTES_MAX: Final = 800_000
"""The internal topic takes 1 MiB; a lone event has 512 KiB at most."""
MARK_US: Final = SECOND_US
"""How often an idle task says that it is read to the end: so much later traces may close."""
COUNTS: Final = ("moved", "stayed", "rejected")


class RekeyRunner:
    """Places the events of one partition of a topic anew.

    Args:
        decoder: decodes the topic's events; its topic index is 0.
        operations: the decoder's.
        schemas: gives the ids.
        topic, partition: what is read.
        target: the internal topic.
        partitions: how many that has.
        privacy: what becomes of personal fields of rejected events, as the decoder does with those
            of good ones; None for nothing.
    """

    def __init__(
        self,
        decoder: EventDecoder,
        operations: Operations,
        schemas: SchemaSet,
        topic: str,
        partition: int,
        target: str,
        partitions: int,
        privacy: Privacy | None = None,
    ) -> None:
        self.positions: dict[str, int] = {}
        self.topic_ids: dict[str, str] = {}
        self.held: frozenset[str] = frozenset()
        self.rows = 0
        self.is_dirty = False
        self.counts = dict.fromkeys(COUNTS, 0)
        self._decoder = decoder
        self._rejections = None if privacy is None else RejectedTreating(privacy)
        self._operations = operations
        self._schema_id = schemas.id_of(BATCH)
        self._topic, self._partition = topic, partition
        self._target, self._partitions = target, partitions
        self._of_operation: dict[int, int] = {}
        self._outbox: list[OutRecord] = []
        self._owes_mark = True
        self._marked_us = 0

    @property
    def last_cut_ms(self) -> int:
        """Not remembered: nothing is ever looked up by the time of these cuts."""
        return 0

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Hand on the events of chunks, and say so when all there is was read."""
        if chunks:
            self._take(chunks)
            self._owes_mark = self.is_dirty = True
        read_to_us = caught_up_us.get(self._topic, 0)
        if read_to_us and (self._owes_mark or now_us - self._marked_us >= MARK_US):
            value = encode_rekeyed(self._schema_id, self._topic, self._partition, read_to_us)
            self._outbox += [self._to(p, value) for p in range(self._partitions)]
            self._owes_mark, self._marked_us, self.is_dirty = False, now_us, True

    def _take(self, chunks: Sequence[Chunk]) -> None:
        batches = [(batch, chunk.start) for chunk in chunks for batch in chunk.batches]
        events, bad, records = self._decoder.decode_batches(
            [batch for batch, _ in batches], [0] * len(batches), [start for _, start in batches]
        )
        self.positions[self._topic] = chunks[-1].end
        self.rows += len(events) + len(bad)
        if len(events):
            self._place(events, records)
        self._hand_on(bad, records)

    def _place(self, events: EventColumns, records: Step) -> None:
        """Put events together by the partitions of their traces."""
        partition = self._partition_of(events)
        stayed = int((partition == self._partition).sum())
        self.counts["stayed"] += stayed
        self.counts["moved"] += len(events) - stayed
        body = events.body
        order, start, target = cut(partition, body.size + PLACE_BYTES, MESSAGE_BYTES_MAX)
        where = np.zeros(len(order), np.int64)
        packed = Scattered([body.data], where, body.start[order], body.size[order]).packed()
        offset = records.offsets()[events.row[order]]
        kafka_us = events.kafka_us[order]
        ends = np.append(packed.start, len(packed.data))[start].tolist()
        rows = [slice(a, b) for a, b in zip(start[:-1].tolist(), start[1:].tolist(), strict=True)]
        for p, some, a, b in zip(target.tolist(), rows, ends, ends[1:], strict=False):
            value = encode_rekeyed(
                self._schema_id,
                self._topic,
                self._partition,
                places=(offset[some], kafka_us[some]),
                bodies=packed.data[a:b],
            )
            self._outbox.append(self._to(p, value))

    def _partition_of(self, events: EventColumns) -> I64:
        """Return where each event belongs: by its trace, else by its module and component."""
        out = trace_partitions(events.trace_id, self._partitions)
        untraced = np.flatnonzero((events.trace_id == 0).all(axis=1))
        codes, which = np.unique(events.operation[untraced], return_inverse=True)
        out[untraced] = np.array([self._of_code(c) for c in codes.tolist()], np.int64)[which]
        return out

    def _of_code(self, code: int) -> int:
        found = self._of_operation.get(code)
        if found is None:
            operation = self._operations[code]
            key = f"{operation.module}.{operation.component}".encode()
            found = self._of_operation[code] = murmur2_partition(key, self._partitions)
        return found

    def _hand_on(self, bad: Rejections, records: Step) -> None:
        """Send rejected events to where their traces would lie: the join counts and keeps them."""
        for row, reason, detail in zip(bad.row, bad.reason, bad.detail, strict=True):
            record = records.record(row)
            event = rejected_event(
                records, row, reason, detail, self._topic, self._partition, self._rejections
            )
            trace = trace_of(record.key, record.value or b"")
            partition = self._partition % self._partitions
            if trace is not None:
                partition = murmur2_partition(trace, self._partitions)
            key = rejected_key(record.key, event)  # the event itself cannot tell none from empty
            self._outbox.append(OutRecord(self._target, partition, key, encode(REJECTED, event)))
        self.counts["rejected"] += len(bad)

    def _to(self, partition: int, value: bytes) -> OutRecord:
        return OutRecord(self._target, partition, None, value)

    def collect(self, cut_ms: int) -> tuple[list[OutRecord], Segment]:
        """End the cut; the segment always holds the whole state."""
        outputs, self._outbox = self._outbox, []
        self.is_dirty = False
        scalars = {
            "positions": self.positions,
            "topic_ids": self.topic_ids,
            "placed": self.counts,
        }
        return outputs, scalars_segment(scalars)

    def load(self, segments: Sequence[Segment]) -> None:
        """Take over the newest snapshot."""
        if segments:
            scalars = segments[-1].scalars
            self.positions = dict(scalars["positions"])
            self.topic_ids = dict(scalars["topic_ids"])
            self.counts |= scalars["placed"]

    def status(self) -> dict[str, Any]:
        """Return how many events lay elsewhere, and how many lay right already."""
        return {"rekeyed": dict(self.counts), "reasons": {}}
