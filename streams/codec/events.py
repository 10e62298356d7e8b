"""Telemetry as columns: a chunk of Kafka values in, the good events and the rejected rows out.

Owns the way of a telemetry value into the engine. Invariant: every row of a chunk is either in the
columns or in the rejections, once; no bytes of one row ever show in another; bodies handed on are
values of the current schema.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat

import numpy as np

from streams.codec import records, wire
from streams.codec.columnar import ColumnarReader, by_halves, schema_fields
from streams.codec.eventbatch import EventBatchReader
from streams.codec.eventparts import Part, good_part, sound_part, treated
from streams.codec.eventrows import EventRows, no_events
from streams.codec.evolve import Splicer, splicer_for
from streams.codec.otlp.columns import SpanColumns
from streams.codec.otlp.quick import SpanRun
from streams.codec.otlp.reader import OtlpReader
from streams.codec.otlp.services import Services
from streams.codec.profile import TELEMETRY_PROFILE, Profile
from streams.codec.recordbatch import (
    BatchReader,
    Record,
    RecordBatch,
    Records,
    Shape,
    first_bytes,
    shape_of,
)
from streams.codec.rejections import Rejections
from streams.codec.rekeyed import RekeyedReader
from streams.codec.rows import Rows
from streams.codec.schemas import Schema, SchemaSet, wire_form
from streams.codec.signalrows import SignalRows
from streams.codec.step import Message, Step, messages_of
from streams.codec.treating import EventTreating
from streams.core.bodies import Bodies
from streams.core.columns import EventColumns, Operations
from streams.core.signals.series import DIMENSIONS, SeriesBook
from streams.errors import RecordError
from streams.units import I64, U8, Mask, TimesUs


class EventDecoder:
    """Decodes chunks of telemetry values; keeps the operations' codes and nothing of the chunks."""

    def __init__(
        self,
        schemas: SchemaSet,
        operations: Operations,
        profile: Profile = TELEMETRY_PROFILE,
        dimensions: tuple[str, ...] = (),
        max_event_bytes: int = wire.MAX_EVENT_BYTES,
        *,
        series: SeriesBook | None = None,
        signal_dimensions: Sequence[str] = DIMENSIONS,
        metric_names: Mapping[str, str] | None = None,
        otlp_kinds: Mapping[int, str] | None = None,
        services: Services | None = None,
        rekeyed: tuple[int, Mapping[tuple[str, int], int]] | None = None,
        treating: EventTreating | None = None,
    ) -> None:
        """Make the decode plan of the profile's schema.

        Args:
            schemas: the ids that values may carry; ids registered later are known too.
            operations: interns (module, component, name); shared with the engine.
            profile: which field fills which column.
            dimensions: keys of the event's dimensions that become columns.
            max_event_bytes: largest value accepted, wire header included.
            series: interns the series of metric points and log lines, shared with the engine;
                None where nobody asks.
            signal_dimensions: keys of the dimensions that tell series apart.
            metric_names: old metric names and what they are called now.
            otlp_kinds: what the topics of OTLP messages hold, by topic index.
            services: finds the modules of OTLP's services.
            rekeyed: index of the topic of rekeyed events, and of those that stand for the
                topics and partitions that they lay in.
            treating: takes out what is personal before anything else is read; None where nothing
                is. For events of our own schema alone.

        Raises:
            ConfigError: the schema cannot be read as columns; the message names the field.
        """
        assert treating is None or profile.schema is None, "there are no classes of foreign fields"
        self._schemas = schemas
        self._profile = profile
        self._treating = treating
        self._max_event_bytes = max_event_bytes
        self._schema: Schema = profile.schema or schemas.current("telemetry_event")
        self._id = profile.schema_id if profile.schema else schemas.id_of("telemetry_event")
        self._reader = ColumnarReader(fields := schema_fields(self._schema))
        signals = None
        if series is not None:
            signals = SignalRows(profile, series, signal_dimensions, metric_names)
        self._rows = EventRows(fields, operations, profile, dimensions, signals)
        # What is treated is put together from frames.
        hashed = None if treating is not None else list(self._rows.hashed.values())
        header_bytes = wire.HEADER_BYTES if profile.has_header else 0
        self._batches = BatchReader(fields, header_bytes, hashed)
        self._many = None if profile.schema else EventBatchReader(schemas, self._reader, hashed)
        self._otlp_kinds = dict(otlp_kinds or {}) if self._many else {}
        self._otlp: OtlpReader | None = None
        if self._many is not None and self._otlp_kinds:
            found = services or Services()
            has_columns = treating is None  # they are read from the treated bytes, and only so
            self._otlp = OtlpReader(schemas, found, self._many, dimensions, has_columns=has_columns)
        self._rekeyed_topic = -1
        self._rekeyed: RekeyedReader | None = None
        if self._many is not None and rekeyed is not None:
            self._rekeyed_topic = rekeyed[0]
            self._rekeyed = RekeyedReader(schemas, self._many, rekeyed[1])
        self._dimensions = dimensions
        self._operations = operations
        self._same_wire: dict[int, bool] = {}
        self._splicers: dict[int, Splicer | None] = {}

    @property
    def overflowed(self) -> int:
        """How many events named an operation beyond the bound of `Operations`."""
        return self._operations.overflowed

    def decode(
        self,
        topic_index: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        kafka_us: TimesUs,
    ) -> tuple[EventColumns, Rejections]:
        """Return the good events among values in arrival order, and the rows that are not.

        Args:
            topic_index: position of the topic among the task's topics, 0 to 255.
            keys: the n record keys; an event's trace is what its value says, so they are not read.
            values: the n record values.
            kafka_us: (n,) record times.
        """
        assert len(keys) == len(values) == len(kafka_us), (len(keys), len(values), len(kafka_us))
        rejected = Rejections()
        rows = range(len(values))
        parts = self._parts(zip(rows, values, strict=True), rejected)
        topic = np.full(len(values), topic_index, np.uint8)
        return self._joined(parts, topic, kafka_us, rejected)

    def decode_bodies(self, bodies: Bodies, topic: U8, kafka_us: TimesUs) -> EventColumns:
        """Return the events that bodies of the current schema hold, all of them good once.

        Args:
            bodies: n bodies, as `EventColumns` had them.
            topic: (n,) topic of each.
            kafka_us: (n,) record time of each.

        Raises:
            RecordError: a body is no event any more.
        """
        rejected = Rejections()
        parts = self._read(bodies, np.arange(len(bodies)), rejected) if len(bodies) else []
        events, rejected = self._joined(parts, topic, kafka_us, rejected)
        if len(rejected):
            raise RecordError(rejected.reason[0], rejected.detail[0])
        return events

    def decode_spans(self, run: SpanRun) -> tuple[EventColumns, Rejections]:
        """Return the good events among the spans of OTLP requests, and the rows that are not.

        Args:
            run: n spans; record times and topics of the events are 0.
        """
        count, rejected = len(run.body), Rejections()
        message = Message(Record(0, 0, None, None), count, header=wire.header(self._id))
        parts = self._good_spans(run, [message], rejected)
        zeros = np.zeros(count, np.int64)
        return self._joined(parts, zeros.astype(np.uint8), zeros, rejected)

    def decode_batches(
        self, batches: Sequence[RecordBatch], topic: Sequence[int], begin: Sequence[int]
    ) -> tuple[EventColumns, Rejections, Step]:
        """Return the good events of record batches in arrival order, and the rows that are not.

        Args:
            batches: the k batches of a step, in arrival order.
            topic: (k,) index of each batch's topic.
            begin: (k,) offsets before which the records of a batch are not wanted.

        Returns:
            The events, whose `row` counts the records of all batches; the rejected rows; and the
            records themselves, by row.
        """
        one_by_one: list[int] = []
        groups = list(self._read_batches(batches, topic, one_by_one))
        one_by_one.sort()  # what failed as columns was named after what was not tried
        listed = {i: messages_of(batches[i]) for i in one_by_one}
        wanted = {i: [m for m in listed[i] if m.record.offset >= begin[i]] for i in one_by_one}
        messages = [message for i in one_by_one for message in wanted[i]]
        together = self._read_messages(wanted, topic)
        step, rejected = Step(batches, listed), Rejections()
        kafka_us = np.zeros(len(step), np.int64)
        is_old = np.zeros(len(step), np.bool_)
        parts: list[Part] = []
        for indexes, found in groups:
            step.was_read(indexes, found)
            row = np.concatenate([np.arange(batches[i].count) + step.first_row(i) for i in indexes])
            kafka_us[row] = found.kafka_us
            is_old[row] = found.offset < np.array(begin)[np.array(indexes)][found.batch]
            parts += self._good_rows(found, row, is_old, rejected)
        topics = np.repeat(np.array(topic, np.uint8), step.counts)
        for message in messages:
            rows = slice(message.first_row, message.first_row + message.count)
            kafka_us[rows] = message.record.timestamp * 1000
            if message.origin is not None:
                kafka_us[rows] = message.origin.kafka_us
                if message.origin.source is not None:
                    topics[rows] = message.origin.source
        for read, some in together:
            parts += (
                self._good_spans(read, some, rejected)
                if isinstance(read, SpanRun)
                else self._good_events(read, some, rejected)
            )
        parts += self._listed([m for m in messages if not m.is_column], rejected)
        events, rejected = self._joined(parts, topics, kafka_us, rejected)
        return events, rejected, step

    def _read_messages(
        self, wanted: Mapping[int, Sequence[Message]], topic: Sequence[int]
    ) -> list[tuple[Rows | SpanRun, Sequence[Message]]]:
        """Read what holds many events, batch messages and OTLP; return what became columns."""
        if self._many is None:
            return []
        own = [m for i, some in wanted.items() if topic[i] not in self._otlp_kinds for m in some]
        found: list[tuple[Rows | SpanRun, Sequence[Message]]] = [*self._many.read(own)]
        if self._rekeyed is not None:
            of_tasks = [m for i in wanted if topic[i] == self._rekeyed_topic for m in wanted[i]]
            found += self._rekeyed.read(of_tasks)
        if self._otlp is not None:
            kinds = self._otlp_kinds
            foreign = [(kinds[topic[i]], m) for i in wanted if topic[i] in kinds for m in wanted[i]]
            found += self._otlp.read(foreign)
        return found

    def _read_batches(
        self, batches: Sequence[RecordBatch], topic: Sequence[int], one_by_one: list[int]
    ) -> Iterator[tuple[Sequence[int], Records]]:
        """Read batches as columns, those of one shape together; name those that cannot be."""
        by_shape: dict[Shape, list[int]] = {}
        for i, batch in enumerate(batches):
            is_listed = topic[i] in self._otlp_kinds or topic[i] == self._rekeyed_topic
            shape = None if is_listed else shape_of(batch)
            if shape is None or self._is_of_many(batch):
                one_by_one.append(i)
            else:
                by_shape.setdefault(shape, []).append(i)
        for shape, indexes in by_shape.items():
            for some, found in by_halves(indexes, partial(self._records, batches, shape)):
                if found is None:
                    one_by_one.append(some[0])
                else:
                    yield some, found

    def _records(
        self, batches: Sequence[RecordBatch], shape: Shape, indexes: Sequence[int]
    ) -> Records | None:
        return self._batches.read([batches[i] for i in indexes], shape)

    def _good_rows(
        self, records: Records, row: I64, is_old: Mask, rejected: Rejections
    ) -> list[Part]:
        """Return the rows of one read; what is doubtful among them is judged one by one."""
        is_good = records.block.is_sound & (records.value.size <= self._max_event_bytes)
        headers = self._batches.wire_headers(records)
        if len(headers) > 1 or not self._is_ours(headers[0]):
            ours = np.zeros(len(row), np.bool_)
            for header in headers:
                if self._is_ours(header):
                    ours |= self._batches.with_header(records, header)
            is_good &= ours
        wanted = ~is_old[row]
        doubtful = np.flatnonzero(~is_good & wanted).tolist()
        values = [(int(row[i]), records.value[i]) for i in doubtful]
        part = good_part(records.block, row, records.body, is_good & wanted)
        return [part, *self._parts(values, rejected)]

    def _is_of_many(self, batch: RecordBatch) -> bool:
        """Whether the first message of a batch is a batch message itself."""
        return self._many is not None and self._many.is_batch(first_bytes(batch, wire.HEADER_BYTES))

    def _good_events(
        self, block: Rows, messages: Sequence[Message], rejected: Rejections
    ) -> list[Part]:
        """Return the rows of batch messages read together; doubtful ones are judged one by one."""
        row = _rows_of(messages)
        body = Bodies(block.data, block.starts[0], block.starts[-1] - block.starts[0])
        is_good = block.is_sound & (body.size + wire.HEADER_BYTES <= self._max_event_bytes)
        doubtful = np.flatnonzero(~is_good).tolist()
        values = [(int(row[i]), messages[0].header + body[i]) for i in doubtful]
        return [good_part(block, row, body, is_good), *self._parts(values, rejected)]

    def _good_spans(
        self, run: SpanRun, messages: Sequence[Message], rejected: Rejections
    ) -> list[Part]:
        """Return the rows of requests of spans; what is not straight is decoded like any event."""
        row, body = _rows_of(messages), run.body
        straight, columns = run.straight, run.columns
        parts: list[Part] = []
        if columns is not None:
            fits = body.size + wire.HEADER_BYTES <= self._max_event_bytes
            if not fits.all():
                some = np.flatnonzero(fits[straight])
                straight, columns = straight[some], columns.take(some)
            parts.append(Part(columns, row[straight], body.take(straight)))
        if len(straight) < len(row):
            is_straight = np.zeros(len(row), np.bool_)
            is_straight[straight] = True
            header = messages[0].header
            others = np.flatnonzero(~is_straight).tolist()
            parts += self._parts([(int(row[i]), header + body[i]) for i in others], rejected)
        return parts

    def _listed(self, messages: Iterable[Message], rejected: Rejections) -> list[Part]:
        """Return the rows of messages that are read one by one."""
        values: list[tuple[int, bytes | None]] = []
        for message in messages:
            if message.error is not None:
                rejected.add(message.first_row, message.error.reason, message.error.detail)
            elif message.bodies is not None:
                header = message.header
                values += (
                    (row, header + body)
                    for row, body in enumerate(message.bodies, start=message.first_row)
                )
            else:
                values.append((message.first_row, message.record.value))
        return self._parts(values, rejected)

    # --- values that are judged one by one, or with those of their schema

    def _parts(
        self, values: Iterable[tuple[int, bytes | None]], rejected: Rejections
    ) -> list[Part]:
        """Return the events among (row, value), those of the current schema as columns."""
        bodies: list[bytes] = []
        rows: list[int] = []
        foreign: list[tuple[int, int, bytes]] = []
        for row, value in values:
            try:
                schema_id, body = self._split_one(value)
            except RecordError as error:
                rejected.add(row, error.reason, error.detail)
                continue
            if self._is_current(schema_id):
                bodies.append(body)
                rows.append(row)
            else:
                foreign.append((row, schema_id, body))
        parts = []
        if bodies:
            parts += self._read(Bodies.of(bodies), np.array(rows, np.int64), rejected)
        if foreign:
            parts += self._read_slowly(foreign, rejected)
        return parts

    def _is_ours(self, header: bytes) -> bool:
        """Whether a wire header stands before bodies of the current schema."""
        if not self._profile.has_header:
            return True
        return header[0] == wire.MAGIC and self._is_current(int.from_bytes(header[1:], "big"))

    def _is_current(self, schema_id: int) -> bool:
        """Whether an id's schema has the same bytes as the current one (docs may differ)."""
        if schema_id == self._id:
            return True
        if self._profile.schema or self._schemas.name_of(schema_id) != "telemetry_event":
            return False
        known = self._same_wire.get(schema_id)
        if known is None:
            writer = self._schemas.writer(schema_id)
            known = self._same_wire[schema_id] = wire_form(writer) == wire_form(self._schema)
        return known

    def _split_one(self, value: bytes | None) -> tuple[int, bytes]:
        if self._profile.has_header:
            known = {self._id} if self._profile.schema else self._schemas
            schema_id, body = wire.split(value, known, self._max_event_bytes)
            if not self._profile.schema and self._schemas.name_of(schema_id) != "telemetry_event":
                name = self._schemas.name_of(schema_id)
                raise RecordError(
                    "unknown_schema_id", f"{schema_id} is {name}, not telemetry_event"
                )
            return schema_id, body
        if not value:
            raise RecordError("empty_value", "tombstone" if value is None else "0 bytes")
        if len(value) > self._max_event_bytes:
            raise RecordError(
                "event_too_large", f"{len(value)} bytes, {self._max_event_bytes} are accepted"
            )
        return self._id, value

    def _read(self, bodies: Bodies, row: I64, rejected: Rejections) -> list[Part]:
        """Return what is read as columns; doubtful bodies are judged one by one."""
        read = self._reader.read(bodies)
        parts = [sound_part(block, row[at], bodies.take(at)) for block, at in read.blocks]
        doubtful: list[tuple[int, bytes, bytes]] = []
        for position in read.doubtful:
            body = bodies[position]
            try:
                canonical = records.canonical_body(self._schema, body, self._schema)
                doubtful.append((int(row[position]), body, canonical))
            except RecordError as error:
                rejected.add(int(row[position]), error.reason, error.detail)
        return parts + self._read_canonical(doubtful, rejected)

    def _read_slowly(
        self, foreign: list[tuple[int, int, bytes]], rejected: Rejections
    ) -> list[Part]:
        """Return the events of other writer schemas, each resolved to the current one."""
        resolved: list[tuple[int, bytes, bytes]] = []
        for schema_id in {schema_id for _, schema_id, _ in foreign}:
            same = [(row, body) for row, other, body in foreign if other == schema_id]
            bodies = [body for _, body in same]
            splicer = self._splicer(schema_id)
            spliced = splicer.splice(bodies) if splicer else repeat(None)
            writer = self._schemas.writer(schema_id)
            for (row, body), quick in zip(same, spliced, strict=False):
                try:
                    current = quick or records.canonical_body(writer, body, self._schema)
                    resolved.append((row, current, current))
                except RecordError as error:
                    rejected.add(row, error.reason, error.detail)
        return self._read_canonical(resolved, rejected)

    def _splicer(self, schema_id: int) -> Splicer | None:
        """Return the quick way from a writer schema to the current one, None without one."""
        if schema_id not in self._splicers:
            writer = self._schemas.writer(schema_id)
            self._splicers[schema_id] = splicer_for(writer, self._schema)
        return self._splicers[schema_id]

    def _read_canonical(
        self, waiting: list[tuple[int, bytes, bytes]], rejected: Rejections
    ) -> list[Part]:
        """Return the parts of (row, body to keep, canonical body)."""
        if not waiting:
            return []
        read = self._reader.read(Bodies.of([body for _, _, body in waiting]))
        for position in read.doubtful:
            rejected.add(waiting[position][0], "invalid_avro", "cannot be read as columns")
        row = np.array([row for row, _, _ in waiting], np.int64)
        kept = Bodies.of([body for _, body, _ in waiting])
        return [sound_part(block, row[at], kept.take(at)) for block, at in read.blocks]

    def _joined(
        self, parts: Sequence[Part], topic: U8, kafka_us: TimesUs, rejected: Rejections
    ) -> tuple[EventColumns, Rejections]:
        """Return the events of all parts in arrival order; `topic`, `kafka_us` are by row."""
        if self._treating is not None:
            parts = [treated(self._treating, part) for part in parts if len(part.row)]
        found = [
            self._rows.of_spans(part.block, part.row, part.body, topic, kafka_us)
            if isinstance(part.block, SpanColumns)
            else self._rows.of(part.block, part.row, part.body, topic, kafka_us, rejected)
            for part in parts
            if len(part.row)
        ]
        if not found:
            return no_events(self._dimensions), rejected.in_arrival_order()
        events = EventColumns.concat(found)
        if (events.row[1:] < events.row[:-1]).any():
            events = events.take(np.argsort(events.row, kind="stable"))
        return events, rejected.in_arrival_order()


def _rows_of(messages: Sequence[Message]) -> I64:
    """Return the rows of the events of messages."""
    first = np.array([m.first_row for m in messages])
    counts = np.array([m.count for m in messages])
    before = np.cumsum(counts) - counts
    row: I64 = np.arange(int(counts.sum())) + np.repeat(first - before, counts)
    return row
