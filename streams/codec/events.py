"""Telemetry as columns: a chunk of Kafka values in, the good events and the rejected rows out.

Owns the way of a telemetry value into the engine. Invariant: every row of a chunk is either in the
columns or in the rejections, once; no bytes of one row ever show in another; bodies handed on are
values of the current schema.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import Final, cast

import numpy as np
import polars as pl

from streams.codec import records, wire
from streams.codec.checks import REASONS, Facts, detail, judge
from streams.codec.columnar import ColumnarReader, length_name
from streams.codec.evolve import Splicer, splicer_for
from streams.codec.hashes import hash_expression, settled, text_hash
from streams.codec.profile import TELEMETRY_PROFILE, Profile
from streams.codec.schemas import Schema, SchemaSet, wire_form
from streams.core.columns import (
    EVENT_TYPES,
    INFO,
    SEVERITIES,
    STATUS_UNSET,
    STATUSES,
    TRACE,
    EventColumns,
    Operation,
    Operations,
)
from streams.errors import ConfigError, RecordError
from streams.units import I32, I64, U8, U64, Mask, TimesUs

_CODES: Final = {
    "event_type": (EVENT_TYPES, TRACE),
    "severity": (SEVERITIES, INFO),
    "status": (STATUSES, STATUS_UNSET),
}
_NAMES: Final = ("module", "component", "name")
_TEXTS: Final = (
    *("trace_id", "span_id", "parent_span_id", "event_id"),
    *_NAMES,
    "record_id",
    "batch_id",
)
_WITHOUT_HEADER: Final = itemgetter(slice(wire.HEADER_BYTES, None))


@dataclass(slots=True)
class Rejections:
    """The rows that could not be accepted, by position in the chunk, with reason and detail."""

    row: list[int] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)
    detail: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.row)

    def add(self, row: int, reason: str, what: str) -> None:
        """Add one row."""
        self.row.append(row)
        self.reason.append(reason)
        self.detail.append(what)

    def in_arrival_order(self) -> "Rejections":
        """Return the same rows, sorted: how they were found out does not show."""
        order = sorted(range(len(self.row)), key=self.row.__getitem__)
        parts = (self.row, self.reason, self.detail)
        return Rejections(*([part[i] for i in order] for part in parts))  # type: ignore[arg-type]


@dataclass(slots=True)
class _Bodies:
    """Bodies of the current schema: their lengths, and the rows that they have in the chunk."""

    body: list[bytes]
    size: I64
    row: I64


@dataclass(slots=True)
class _Part:
    """Rows that were read together: row i of `frame` is chunk row `row[i]` with `body[i]`."""

    frame: pl.DataFrame
    row: I64
    body: list[bytes]


class EventDecoder:
    """Decodes chunks of telemetry values; keeps the operations' codes and nothing of the chunks."""

    def __init__(
        self,
        schemas: SchemaSet,
        operations: Operations,
        profile: Profile = TELEMETRY_PROFILE,
        dimensions: tuple[str, ...] = (),
        max_event_bytes: int = wire.MAX_EVENT_BYTES,
        nonce: Callable[[], int] | None = None,
    ) -> None:
        """Make the decode plan of the profile's schema.

        Args:
            schemas: the ids that values may carry; ids registered later are known too.
            operations: interns (module, component, name); shared with the engine.
            profile: which field fills which column.
            dimensions: keys of the event's dimensions that become columns.
            max_event_bytes: largest value accepted, wire header included.
            nonce: gives 64 random bits per chunk; without it those of the operating system.

        Raises:
            ConfigError: the schema cannot be read as columns; the message names the field.
        """
        self._schemas = schemas
        self._operations = operations
        self._profile = profile
        self._dimensions = dimensions
        self._max_event_bytes = max_event_bytes
        self._nonce = nonce or (lambda: secrets.randbits(64))
        self._schema: Schema = profile.schema or schemas.current("telemetry_event")
        self._id = profile.schema_id if profile.schema else schemas.id_of("telemetry_event")
        self._reader = ColumnarReader(self._schema)
        self._field = {f.name: f for f in self._reader.fields}
        self._code_of_hash: dict[int, int] = {}
        self._same_wire: dict[int, bool] = {}
        self._splicers: dict[int, Splicer | None] = {}
        self._code_tables = {c: self._code_table(c) for c in _CODES if c in profile.columns}

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
        """Return the good events of a chunk in arrival order, and the rows that are not.

        Args:
            topic_index: position of the topic among the task's topics, 0 to 255.
            keys: the n record keys; an event's trace is what its value says, so they are not read.
            values: the n record values.
            kafka_us: (n,) record times.
        """
        assert len(keys) == len(values) == len(kafka_us), (len(keys), len(values), len(kafka_us))
        rejected = Rejections()
        bodies, foreign = self._split(values, rejected)
        parts = self._read(bodies, rejected)
        slow = self._read_slowly(foreign, rejected)
        if slow:
            parts.append(slow)
        if not parts:
            return _no_events(self._dimensions), rejected.in_arrival_order()
        whole = parts[0] if len(parts) == 1 else _joined(parts)
        events = self._columns(topic_index, whole, kafka_us, rejected)
        if len(parts) > 1:
            events = events.take(np.argsort(events.row))
        return events, rejected.in_arrival_order()

    def _split(
        self, values: Sequence[bytes | None], rejected: Rejections
    ) -> tuple[_Bodies, list[tuple[int, int, bytes]]]:
        """Return the current schema's bodies; (row, id, body) of all others."""
        plain = self._plain_bodies(values)
        if plain:
            return _Bodies(plain[0], plain[1], np.arange(len(values))), []
        bodies: list[bytes] = []
        rows: list[int] = []
        foreign: list[tuple[int, int, bytes]] = []
        for row, value in enumerate(values):
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
        return _Bodies(bodies, _sizes(bodies), np.array(rows, np.int64)), foreign

    def _plain_bodies(self, values: Sequence[bytes | None]) -> tuple[list[bytes], I64] | None:
        """Return the bodies and their lengths when all are there, small enough, and of one kind."""
        if not values or None in values:
            return None
        present = cast(Sequence[bytes], values)
        sizes = np.fromiter(map(len, present), np.int64, len(present))
        if sizes.max() > self._max_event_bytes or sizes.min() == 0:
            return None
        if not self._profile.has_header:
            return list(present), sizes
        head = present[0][: wire.HEADER_BYTES]
        if len(head) < wire.HEADER_BYTES or head[0] != wire.MAGIC:
            return None
        if not self._is_current(int.from_bytes(head[1:], "big")):
            return None
        if not all(map(bytes.startswith, present, repeat(head))):
            return None
        return list(map(_WITHOUT_HEADER, present)), sizes - wire.HEADER_BYTES

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

    def _read(self, bodies: _Bodies, rejected: Rejections) -> list[_Part]:
        """Return what is read as columns; doubtful bodies are judged one by one."""
        if not bodies.body:
            return []
        read = self._reader.read(bodies.body, bodies.size, self._nonce())
        parts = []
        if len(read.good) == len(bodies.body):
            parts.append(_Part(read.frame, bodies.row, bodies.body))
        elif len(read.good):
            kept = [bodies.body[i] for i in read.good.tolist()]
            parts.append(_Part(read.frame, bodies.row[read.good], kept))
        doubtful: list[tuple[int, bytes, bytes]] = []
        for position in read.doubtful:
            row, body = int(bodies.row[position]), bodies.body[position]
            try:
                canonical = records.canonical_body(self._schema, body, self._schema)
                doubtful.append((row, body, canonical))
            except RecordError as error:
                rejected.add(row, error.reason, error.detail)
        part = self._read_canonical(doubtful, rejected)
        return [*parts, part] if part else parts

    def _read_slowly(
        self, foreign: list[tuple[int, int, bytes]], rejected: Rejections
    ) -> _Part | None:
        """Return the events of other writer schemas, each resolved to the current one."""
        resolved: list[tuple[int, bytes, bytes]] = []
        for schema_id in {schema_id for _, schema_id, _ in foreign}:
            same = [(row, body) for row, other, body in foreign if other == schema_id]
            bodies = [body for _, body in same]
            splicer = self._splicer(schema_id)
            spliced = splicer.splice(bodies, self._nonce()) if splicer else repeat(None)
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
    ) -> _Part | None:
        """Return a part of (row, body to keep, canonical body)."""
        if not waiting:
            return None
        canonical = [body for _, _, body in waiting]
        read = self._reader.read(canonical, _sizes(canonical), self._nonce())
        for position in read.doubtful:
            rejected.add(waiting[position][0], "invalid_avro", "cannot be read as columns")
        if not len(read.good):
            return None
        kept = [waiting[i] for i in read.good.tolist()]
        row = np.array([row for row, _, _ in kept], np.int64)
        return _Part(read.frame, row, [body for _, body, _ in kept])

    def _columns(
        self, topic_index: int, part: _Part, kafka_us: TimesUs, rejected: Rejections
    ) -> EventColumns:
        n = len(part.row)
        codes = {name: self._codes(part.frame, name) for name in _CODES}
        text = pl.DataFrame({name: self._text(part.frame, name) for name in _TEXTS})
        text_bytes = {name: self._text_bytes(part.frame, name) for name in _TEXTS}
        hashes = text.select_seq(
            hash_expression(_NAMES).alias("operation"),
            hash_expression(["record_id"]),
            hash_expression(["batch_id"]),
        )
        facts = Facts(
            text=text,
            text_bytes=text_bytes,
            event_type=codes["event_type"],
            timestamp_us=self._numbers(part.frame, "timestamp_us", 0),
            duration_us=self._numbers(part.frame, "duration_us", 0),
            trace_flags=self._numbers(part.frame, "trace_flags", 1),
        )
        identity, verdict = judge(facts)
        for i in np.flatnonzero(verdict).tolist():
            reason = REASONS[verdict[i] - 1]
            rejected.add(int(part.row[i]), reason, detail(facts, i, reason))
        events = EventColumns(
            row=part.row,
            topic=np.full(n, topic_index, np.uint8),
            trace_id=identity.trace_id,
            event_key=identity.event_key,
            span_id=identity.span_id,
            parent_span_id=identity.parent_span_id,
            timestamp_us=facts.timestamp_us,
            duration_us=facts.duration_us,
            kafka_us=kafka_us[part.row],
            operation=self._operation_codes(text, hashes["operation"].to_numpy(), verdict == 0),
            event_type=codes["event_type"],
            severity=codes["severity"],
            status=codes["status"],
            trace_flags=facts.trace_flags.astype(np.uint8),
            record_hash=settled(hashes["record_id"].to_numpy(), text_bytes["record_id"]),
            batch_hash=settled(hashes["batch_id"].to_numpy(), text_bytes["batch_id"]),
            body=part.body,
            dimension={key: self._dimension(part.frame, key) for key in self._dimensions},
        )
        return events.take(verdict == 0) if verdict.any() else events

    def _text(self, frame: pl.DataFrame, column: str) -> pl.Series:
        """Return a text column without nulls; "" when the profile has no field for it."""
        name = self._profile.columns.get(column)
        if name is None:
            return pl.repeat("", frame.height, dtype=pl.String, eager=True)
        series = frame[name]
        if symbols := self._field[name].symbols:
            series = pl.Series(symbols).gather(series)
        return series.fill_null("") if series.null_count() else series

    def _text_bytes(self, frame: pl.DataFrame, column: str) -> I64:
        """Return the (n,) UTF-8 lengths of `_text`."""
        name = self._profile.columns.get(column)
        if name is None:
            return np.zeros(frame.height, np.int64)
        if symbols := self._field[name].symbols:
            sizes = np.array([len(s) for s in symbols])  # a symbol is ASCII
            there = frame[name].is_not_null().to_numpy()
            return np.where(there, sizes[self._numbers(frame, column, 0)], 0)
        return frame[length_name(name)].to_numpy()

    def _numbers(self, frame: pl.DataFrame, column: str, constant: int) -> I64:
        name = self._profile.columns.get(column)
        if name is None:
            return np.full(frame.height, constant, np.int64)
        series = frame[name]
        filled = series.fill_null(constant) if series.null_count() else series
        return np.asarray(filled.to_numpy(), np.int64)

    def _codes(self, frame: pl.DataFrame, column: str) -> U8:
        if column not in self._code_tables:
            return np.full(frame.height, _CODES[column][1], np.uint8)
        return self._code_tables[column][self._numbers(frame, column, 0)]

    def _code_table(self, column: str) -> U8:
        """Return our code for each symbol index of the field that fills `column`."""
        name = self._profile.columns[column]
        known = _CODES[column][0]
        symbols = self._field[name].symbols
        strange = [s for s in symbols if s not in known]
        if not symbols or strange:
            raise ConfigError(
                f"profile {self._profile.name}: {column} needs an enum of {known}; field {name} "
                f"has {strange or 'no symbols'}. Leave {column} out to have it constant."
            )
        return np.array([known.index(s) for s in symbols], np.uint8)

    def _operation_codes(self, text: pl.DataFrame, hashes: U64, is_good: Mask) -> I32:
        """Return the operation of each good row; what is rejected gets no code."""
        rows = np.flatnonzero(is_good)
        distinct, first, place = np.unique(hashes[rows], return_index=True, return_inverse=True)
        codes = np.empty(len(distinct), np.int32)
        for i, (seen, row) in enumerate(zip(distinct.tolist(), rows[first].tolist(), strict=True)):
            code = self._code_of_hash.get(seen)
            if code is None:
                operation = Operation(*(text[name][row] for name in _NAMES))
                code = self._operations.code(operation)
                if self._operations[code] == operation:  # else beyond the bound: not remembered
                    self._code_of_hash[seen] = code
            codes[i] = code
        out = np.zeros(len(is_good), np.int32)
        out[rows] = codes[place]
        return out

    def _dimension(self, frame: pl.DataFrame, key: str) -> U64:
        out = np.zeros(frame.height, np.uint64)
        name = self._profile.columns.get("dimensions")
        if name is None:
            return out
        count = frame[name].list.len()
        owner = np.repeat(np.arange(frame.height), count.to_numpy())
        if not len(owner):
            return out
        entries = frame[name].filter(count > 0).explode().struct.unnest()
        is_key = entries["key"] == key
        out[owner[is_key.to_numpy()]] = text_hash(entries["value"].filter(is_key))
        return out


def _sizes(bodies: list[bytes]) -> I64:
    return np.fromiter(map(len, bodies), np.int64, len(bodies))


def _joined(parts: list[_Part]) -> _Part:
    return _Part(
        pl.concat([part.frame for part in parts]),
        np.concatenate([part.row for part in parts]),
        [body for part in parts for body in part.body],
    )


def _no_events(dimensions: tuple[str, ...]) -> EventColumns:
    number, small = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    pair, single = np.zeros((0, 2), np.uint64), np.zeros(0, np.uint64)
    return EventColumns(
        row=number,
        topic=small,
        trace_id=pair,
        event_key=pair,
        span_id=single,
        parent_span_id=single,
        timestamp_us=number,
        duration_us=number,
        kafka_us=number,
        operation=np.zeros(0, np.int32),
        event_type=small,
        severity=small,
        status=small,
        trace_flags=small,
        record_hash=single,
        batch_hash=single,
        body=[],
        dimension={key: single for key in dimensions},
    )
