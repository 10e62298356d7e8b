"""The runner of a join task: telemetry records in; traces, fragments, partials, rejections out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import structlog

from streams.codec.events import EventDecoder
from streams.codec.records import encode
from streams.codec.rejections import Rejections
from streams.codec.step import Step
from streams.codec.treating import RejectedTreating
from streams.core.bodies import Bodies
from streams.core.columns import EventColumns
from streams.core.privacy.records import Privacy
from streams.core.signals.stages import stage_partials
from streams.core.traces.partitioners import Misplaced
from streams.core.traces.progress import NEVER
from streams.engine.halves import RecentHalves
from streams.engine.join import JoinTask
from streams.errors import RecordError, StateError
from streams.runtime.cause_inputs import CauseInputs
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.rejecting import Refused, rejected_event, rejected_key, span_of
from streams.runtime.sources import Sources
from streams.runtime.traces_out import TraceWriter
from streams.state.segment import Segment, SegmentRows
from streams.state.shelf import Shelf
from streams.units import SECOND_US

log = structlog.get_logger()
PARTIALS_US: Final = SECOND_US
"""How often at most a partition says what it counted and how far it has come."""


class JoinRunner:
    """Runs one partition of the join.

    Args:
        task: the pure engine of this partition.
        decoder: decodes events; shares its operations with the task.
        writer: encodes traces.
        sources: what is read, in the order of the decoder's topic indexes.
        partition: the partition of all source and per-trace topics.
        partitions: how many partitions the source topics have.
        names: the topics to write.
        inputs: gathers what the causes task looks at.
        shelf: where the task lays events that stay long; asked for what it could not take.
        privacy: what becomes of personal fields; None for nothing.
        untreated: the personal fields that stay as they come, for want of a key.
    """

    def __init__(
        self,
        task: JoinTask,
        decoder: EventDecoder,
        writer: TraceWriter,
        sources: Sources,
        partition: int,
        partitions: int,
        *,
        names: "OutputTopics",
        inputs: CauseInputs,
        shelf: Shelf | None = None,
        privacy: Privacy | None = None,
        untreated: Sequence[str] = (),
    ) -> None:
        self.task = task
        self.partition = partition
        self.positions: dict[str, int] = {}
        self.held: frozenset[str] = frozenset()
        self.rows = 0
        self.is_dirty = False
        self._decoder = decoder
        self._writer = writer
        self._sources = sources
        self._topics = sources.names
        self._index = {topic: i for i, topic in enumerate(sources.names)}
        self._read_to_us: dict[int, int] = {}
        self._partitions = partitions
        self._names = names
        self._inputs = inputs
        self._shelf = shelf
        self._rejections = None if privacy is None else RejectedTreating(privacy)
        self._untreated = tuple(untreated)
        self._outbox: list[OutRecord] = []
        self._misplaced: dict[int, Misplaced] = {}
        self._watermark_us = 0
        self._watermark_said_us = 0
        self._signal_watermark_us = 0
        self._halves = RecentHalves(task.settings.halves_bytes_max)
        self._nothing = decoder.decode(0, [], [], np.zeros(0, np.int64))[0]

    @property
    def topic_ids(self) -> dict[str, str]:
        """The broker's ids of the source topics, as the state remembers them."""
        return self.task.state.topic_ids

    @topic_ids.setter
    def topic_ids(self, ids: dict[str, str]) -> None:
        self.task.state.topic_ids = ids

    @property
    def last_cut_ms(self) -> int:
        """Kafka timestamp of the last cut, restarts included."""
        return self.task.state.last_cut_ms

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Decode the chunks, join them, and keep what follows for the next cut."""
        refused = Refused()
        events, key_of = self._nothing, None
        if chunks:
            events, records = self._decode(chunks, refused)
            key_of = records.key
            self._inputs.take_events(events)
        for chunk in chunks:
            self.positions[chunk.topic] = chunk.end
        self.rows += len(events) + len(refused.kafka_us)
        effects = self.task.step(
            events,
            self.positions,
            rejected=refused.reasons,
            caught_up_us=self._sources.caught_up_us(caught_up_us, self._read_to_us),
            rejected_us=np.array(refused.kafka_us, np.int64),
            rejected_from=refused.origins,
            rejected_traces=refused.traces,
            key_of=key_of,
        )
        for batch in effects.traces:
            written = self._writer.records(batch, self.partition)
            self._inputs.take_traces(batch, written)
            self._outbox += written
        for fragment in effects.fragments:
            key = (fragment["record_id"] or fragment["batch_id"]).encode()
            value = encode("trace_fragment", fragment | {"partition": self.partition})
            self._outbox.append(OutRecord(self._names.fragments, -1, key, value))
        self._halves.keep(effects)
        self.task.state.open.rest()
        self._recall_halves()
        self._tell_misplaced()
        has_events = self.task.state.progress.max_us > NEVER
        self.held = self._sources.held(effects.held_topics, has_events)
        self._note_watermark(now_us)
        self.is_dirty = self.is_dirty or bool(chunks) or bool(self._outbox)

    def _tell_misplaced(self) -> None:
        """Log each topic whose keys are placed by another partitioner, once for each finding."""
        misplaced = dict(self.task.state.partitioners.misplaced())
        for topic, found in misplaced.items():
            if self._misplaced.get(topic) != found:
                log.warning(
                    "topic_mispartitioned",
                    topic=self._topics[topic],
                    partition=self.partition,
                    fix=found.sentence,
                    repair=f"or start the workers with --rekey {self._topics[topic]}",
                )
        self._misplaced = misplaced

    def _recall_halves(self) -> None:
        """Give reopened traces their events where they are still in memory."""
        if not len(self._halves):
            return
        for trace_id, _, revision in self.pending_recalls():
            bodies = self._halves.take(trace_id, revision)
            if bodies is not None:
                self.recalled(trace_id, bodies)

    def _note_watermark(self, now_us: int) -> None:
        """Ask for a cut when stream time went on, though nothing came; not at every tick."""
        if now_us - self._watermark_said_us < PARTIALS_US:
            return
        state = self.task.state
        has_changed = state.counts.has_changed() or state.signals.has_changed()
        if has_changed or self.task.watermark_us() > self._watermark_us:
            self.is_dirty = True

    def _decode(self, chunks: Sequence[Chunk], refused: Refused) -> tuple[EventColumns, Step]:
        """Decode all chunks at once: a decode costs about as much for 50 rows as for 500."""
        batches = [(batch, chunk) for chunk in chunks for batch in chunk.batches]
        events, bad, records = self._decoder.decode_batches(
            [batch for batch, _ in batches],
            [self._index[chunk.topic] for _, chunk in batches],
            [chunk.start for _, chunk in batches],
        )
        for origin in records.origins():
            if origin.source is not None:
                self._read_to_us[origin.source] = origin.read_to_us
        if len(bad):
            places = [chunk for _, chunk in batches]
            self._reject(records, places, bad, refused)
        return events, records

    def _reject(
        self, records: Step, chunks: Sequence[Chunk], bad: Rejections, refused: Refused
    ) -> None:
        for row, reason, detail in zip(bad.row, bad.reason, bad.detail, strict=True):
            chunk, record = chunks[records.batch_of(row)], records.record(row)
            origin = records.origin(row)
            source = origin.source if origin is not None else self._index[chunk.topic]
            module = "" if source is None else self.task.own_module.get(source, "")
            span = span_of(record.key, record.value or b"", module)
            event = rejected_event(
                records, row, reason, detail, chunk.topic, chunk.partition, self._rejections
            )
            refused.add(reason, event["timestamp"], (module, event["topic"], reason), span)
            encoded = encode("rejected_event", event)
            key = rejected_key(record.key, event)
            self._outbox.append(OutRecord(self._names.rejected, self.partition, key, encoded))

    def collect(self, cut_ms: int) -> tuple[list[OutRecord], Segment]:
        """End the cut: stamp the outputs, add the partials, and return the segment."""
        state = self.task.state
        outputs = [*self._outbox, *self._inputs.collect(), *self._partials(cut_ms)]
        state.stamp_cut(cut_ms)
        segment = state.segment(full=False)
        state.sealed()
        self._outbox = []
        self.is_dirty = False
        return outputs, segment

    def _partials(self, cut_ms: int) -> list[OutRecord]:
        state = self.task.state
        if cut_ms * 1000 - self._watermark_said_us < PARTIALS_US:
            return []  # the counts wait in the state; a window a second late hurts nobody
        watermark_us = max(self.task.watermark_us(), self._watermark_us)
        partials = state.counts.take_changed(watermark_us)
        if not partials and watermark_us > self._watermark_us:
            partials = [
                {
                    "window_start": watermark_us // state.counts.window_us * state.counts.window_us,
                    "window_us": state.counts.window_us,
                    "watermark": watermark_us,
                    "contract_version": state.plan.version,
                    "scopes": [],
                }
            ]
        self._watermark_us = watermark_us
        self._watermark_said_us = cut_ms * 1000
        state.counts.expire(watermark_us - state.settings.window_retention_us)
        signals = self._signal_partials(partials)
        out = []
        for partial in partials:
            state.sequence += 1
            out.append(self._partial("fidelity_partial", partial, state.sequence))
        for partial in signals:
            state.signals.sequence += 1
            out.append(self._partial("signal_partial", partial, state.signals.sequence))
        return out

    def _signal_partials(self, partials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what to tell of signals; how many spans the stages had is in the others."""
        signals = self.task.state.signals
        watermark_us = max(self.task.signal_watermark_us(), self._signal_watermark_us)
        told = [
            *signals.take_changed(watermark_us),
            *stage_partials(partials, watermark_us),
        ]
        if not told and watermark_us > self._signal_watermark_us:
            start_us = watermark_us // signals.window_us * signals.window_us
            told = [signals.record(start_us, watermark_us, [])]
        self._signal_watermark_us = watermark_us
        signals.expire(watermark_us - signals.bounds.retention_us)
        return told

    def _partial(self, schema: str, partial: dict[str, Any], sequence: int) -> OutRecord:
        names = self._names
        topic = names.signals if schema == "signal_partial" else names.partials
        record = partial | {
            "partition": self.partition,
            "partitions_total": self._partitions,
            "sequence": sequence,
        }
        key = f"{partial['window_start']}/{self.partition}".encode()
        return OutRecord(topic, 0, key, encode(schema, record))

    # --- restoring, and events of earlier revisions

    def load(self, segments: Sequence[Segment]) -> None:
        """Put the state together; events are decoded anew, so a new contract is honoured."""
        for segment in segments:
            self.task.apply(segment, self._decode_again)
        state = self.task.state
        # A topic that is rekeyed from now on is another task's to read, and its position too.
        state.positions = {t: at for t, at in state.positions.items() if t in self._sources.topics}
        self.positions = dict(state.positions)

    def _decode_again(self, rows: SegmentRows) -> EventColumns:
        try:
            return self._decoder.decode_bodies(rows.body, rows.topic, rows.kafka_us)
        except RecordError as error:
            raise StateError(
                f"events of the restored state cannot be decoded ({error}). "
                "Operator action: run the version that wrote the state, or start a new group."
            ) from error

    def pending_recalls(self) -> list[tuple[bytes, int, int]]:
        """Return (trace id, cut_ms, revision) of traces whose last revision must be read back."""
        return self.task.state.pending_recalls()

    def recalled(self, trace_id: bytes, bodies: Sequence[bytes] | None) -> None:
        """Hand over the events of a trace's last revision; None when it cannot be read any more."""
        if bodies is None:
            self.task.recall_failed(trace_id)
        else:
            count = len(bodies)
            far = np.full(count, 1 << 62, np.int64)
            topic = np.zeros(count, np.uint8)
            events = self._decoder.decode_bodies(Bodies.of(bodies), topic, far)
            self.task.recalled(trace_id, events)
        self.is_dirty = True

    def _reasons(self) -> dict[str, int]:
        """Return what was not joined and which bounds acted, by reason."""
        state = self.task.state
        kept = self._shelf.kept if self._shelf is not None else {}
        return {
            **state.reasons,
            **{f"shelf_{reason}": n for reason, n in kept.items()},
            **state.counts.discarded,
            **state.signals.discarded,
            "closed_max_dropped": state.closed.expired_early,
            "operations_max": self._decoder.overflowed,
            "halves_bytes_max": self._halves.forgotten,
            **self._inputs.left_out,
        }

    def status(self) -> dict[str, Any]:
        """Return accounting, open traces and stream time of this partition."""
        state = self.task.state
        return {
            "partition": self.partition,
            "accounting": state.accounting(),
            "reasons": {name: n for name, n in self._reasons().items() if n},
            "bounds_met": {**state.open.bounds_met, **state.counts.bounds_met},
            "open_traces": len(state.open),
            "closed_traces": len(state.closed),
            "open_bytes": state.open.live_bytes,
            "shelved_bytes": state.open.shelved_bytes,
            "watermark_us": self.task.watermark_us(),
            "wait_us": state.wait.wait_us,
            "held_topics": sorted(self.held),
            "untreated": dict.fromkeys(self._untreated, self.rows),
            "mispartitioned": {
                self._topics[topic]: found._asdict() for topic, found in self._misplaced.items()
            },
        }


class OutputTopics:
    """Names of the topics a join task writes."""

    def __init__(
        self,
        traces: str = "traces.assembled.v1",
        fragments: str = "traces.fragments.v1",
        partials: str = "fidelity.partials.v1",
        rejected: str = "telemetry.rejected.v1",
        signals: str = "signals.partials.v1",
    ) -> None:
        self.traces = traces
        self.fragments = fragments
        self.partials = partials
        self.rejected = rejected
        self.signals = signals
