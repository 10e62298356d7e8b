"""Rows of a telemetry schema become the columns that the engine reads.

Owns which field fills which column, the codes of operations, and the verdict on each event. Ids
are read where they lie; a text becomes an object only when its operation is seen for the first
time, or when it is shown in a rejection.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from streams.codec.checks import REASONS, Facts, detail, judge
from streams.codec.columnar import Field
from streams.codec.hashes import text_hash
from streams.codec.opcodes import OperationCodes
from streams.codec.otlp.columns import SpanColumns
from streams.codec.profile import Profile
from streams.codec.rejections import Rejections
from streams.codec.rows import Rows
from streams.codec.signalrows import SignalRows
from streams.core.bodies import NOTHING, Bodies
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
from streams.core.signals.series import NO_SIGNAL
from streams.errors import ConfigError
from streams.units import F64, I32, I64, U8, U64, Mask, TimesUs

_CODES: Final = {
    "event_type": (EVENT_TYPES, TRACE),
    "severity": (SEVERITIES, INFO),
    "status": (STATUSES, STATUS_UNSET),
}
_NAMES: Final = ("module", "component", "name")
_TEXTS: Final = ("trace_id", "span_id", "parent_span_id", "event_id", "module", "name")
_MIX: Final = dict(zip(_NAMES, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 1), strict=True))


class EventRows:
    """Turns blocks of one schema into columns.

    Args:
        fields: the schema's fields.
        operations: interns (module, component, name); shared with the engine.
        profile: which field fills which column.
        dimensions: keys of the event's dimensions that become columns.
        signals: gives metric points and log lines their series; None where nobody asks.

    Raises:
        ConfigError: a field of codes has other symbols than ours.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        operations: Operations,
        profile: Profile,
        dimensions: tuple[str, ...],
        signals: SignalRows | None = None,
    ) -> None:
        self._operations = OperationCodes(operations)
        self._profile = profile
        self._dimensions = dimensions
        self._signals = signals
        self._field = {f.name: f for f in fields}
        self._code_tables = {c: self._code_table(c) for c in _CODES if c in profile.columns}
        self.hashed = {name: profile.columns[name] for name in _NAMES if self._is_text(name)}
        """The texts whose hashes tell operations apart, by column."""

    def of(
        self,
        block: Rows,
        row: I64,
        body: Bodies,
        topic: U8,
        kafka_us: TimesUs,
        rejected: Rejections,
    ) -> EventColumns:
        """Return the good events of a block; the others are added to `rejected`.

        Args:
            block: n rows; the schema's fields may stand among others, but together and in order.
            row: (n,) position of each row in the chunk.
            body: the n bodies.
            topic: topic of every row of the chunk.
            kafka_us: record time of every row of the chunk.
            rejected: takes the rows that are no good events.
        """
        codes = {name: self._codes(block, name) for name in _CODES}
        facts = self._facts(block, codes["event_type"])
        identity, verdict = judge(facts)
        for i in np.flatnonzero(verdict).tolist():
            reason = REASONS[verdict[i] - 1]
            rejected.add(int(row[i]), reason, detail(facts, i, reason))
        is_good = verdict == 0
        mixed = self._mixed(block)
        events = EventColumns(
            row=row,
            topic=topic[row],
            trace_id=identity.trace_id,
            event_key=identity.event_key,
            span_id=identity.span_id,
            parent_span_id=identity.parent_span_id,
            timestamp_us=facts.timestamp_us,
            duration_us=facts.duration_us,
            kafka_us=kafka_us[row],
            operation=self._operations.codes(
                mixed, is_good, lambda i: Operation(*(self._name(block, n, i) for n in _NAMES))
            ),
            event_type=codes["event_type"],
            severity=codes["severity"],
            status=codes["status"],
            trace_flags=facts.trace_flags.astype(np.uint8),
            value=self._values(block),
            series=self._series(block, mixed, codes, is_good),
            body=body,
            dimension={key: self._dimension(block, key) for key in self._dimensions},
        )
        return events if is_good.all() else events.take(is_good)

    def are_good(self, block: Rows) -> Mask:
        """Return which rows of a block are good events, (n,): those that `of` returns."""
        _, verdict = judge(self._facts(block, self._codes(block, "event_type")))
        return np.asarray(verdict == 0)

    def _facts(self, block: Rows, event_type: U8) -> Facts:
        text_bytes = {name: self._text_bytes(block, name) for name in _TEXTS}
        return Facts(
            data=block.data,
            at={name: self._text_at(block, name, text_bytes[name]) for name in _TEXTS},
            text_bytes=text_bytes,
            event_type=event_type,
            timestamp_us=self._numbers(block, "timestamp_us", 0),
            duration_us=self._numbers(block, "duration_us", 0),
            trace_flags=self._numbers(block, "trace_flags", 1),
        )

    def of_spans(
        self, spans: SpanColumns, row: I64, body: Bodies, topic: U8, kafka_us: TimesUs
    ) -> EventColumns:
        """Return spans whose columns are known already; arguments as of `of`.

        Args:
            spans: n spans, all of them good events.
            row: (n,) position of each in the chunk.
            body: the n bodies.
            topic: topic of every row of the chunk.
            kafka_us: record time of every row of the chunk.
        """
        n = len(spans)
        is_good = np.ones(n, np.bool_)
        key = np.zeros((n, 2), np.uint64)
        key[:, 1] = spans.span_id
        return EventColumns(
            row=row,
            topic=topic[row],
            trace_id=spans.trace_id,
            event_key=key,
            span_id=spans.span_id,
            parent_span_id=spans.parent_span_id,
            timestamp_us=spans.timestamp_us,
            duration_us=spans.duration_us,
            kafka_us=kafka_us[row],
            operation=self._operations.codes(spans.operation, is_good, spans.named),
            event_type=np.full(n, TRACE, np.uint8),
            severity=spans.severity,
            status=spans.status,
            trace_flags=spans.trace_flags,
            value=np.full(n, np.nan),
            series=np.full(n, NO_SIGNAL, np.int32),
            body=body,
            dimension=spans.dimension,
        )

    def _values(self, block: Rows) -> F64:
        """Return the (n,) values of the events; NaN for none."""
        name = self._profile.columns.get("value")
        return np.full(len(block), np.nan) if name is None else block.doubles(name)

    def _series(self, block: Rows, mixed: U64, codes: Mapping[str, U8], is_good: Mask) -> I32:
        if self._signals is None:
            return np.full(len(block), NO_SIGNAL, np.int32)
        return self._signals.codes(block, mixed, codes["event_type"], codes["severity"], is_good)

    def _is_text(self, column: str) -> bool:
        name = self._profile.columns.get(column)
        return name is not None and not self._field[name].symbols

    def _text_bytes(self, block: Rows, column: str) -> I64:
        """Return the (n,) UTF-8 lengths of a text column; 0 where there is none."""
        name = self._profile.columns.get(column)
        if name is None:
            return np.zeros(len(block), np.int64)
        if symbols := self._field[name].symbols:
            sizes = np.array([len(s) for s in symbols])  # a symbol is ASCII
            if self._field[name].null_branch < 0:
                return sizes.take(block.numbers(name))
            return np.where(block.is_there(name), sizes.take(block.numbers(name)), 0)
        return block.text_bytes(name)

    def _text_at(self, block: Rows, column: str, text_bytes: I64) -> I64:
        """Return the (n,) places where the texts of a column begin; some place for no text."""
        if not self._is_text(column):
            return np.zeros(len(text_bytes), np.int64)
        place = block.place(self._profile.columns[column])
        return np.asarray(block.starts[place + 1] - text_bytes, np.int64)

    def _numbers(self, block: Rows, column: str, constant: int) -> I64:
        name = self._profile.columns.get(column)
        if name is None:
            return np.full(len(block), constant, np.int64)
        return block.numbers(name, constant)

    def _codes(self, block: Rows, column: str) -> U8:
        if column not in self._code_tables:
            return np.full(len(block), _CODES[column][1], np.uint8)
        return self._code_tables[column].take(self._numbers(block, column, 0))

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

    def _mixed(self, block: Rows) -> U64:
        """Return (n,) hashes of module, component and name together."""
        mixed = np.zeros(len(block), np.uint64)
        hashes = block.text_hashes(list(self.hashed.values()))
        for name, factor in _MIX.items():
            if name in self.hashed:
                mixed ^= hashes[self.hashed[name]] * np.uint64(factor)
            elif name in self._profile.columns:
                index = self._numbers(block, name, -1) + 1
                mixed ^= index.view(np.uint64) * np.uint64(factor | 1 << 33)
        return mixed

    def _name(self, block: Rows, column: str, row: int) -> str:
        name = self._profile.columns.get(column)
        if name is None:
            return ""
        found = block.value(name, row)
        symbols = self._field[name].symbols
        return "" if found is None else str(symbols[found] if symbols else found)

    def _dimension(self, block: Rows, key: str) -> U64:
        out = np.zeros(len(block), np.uint64)
        name = self._profile.columns.get("dimensions")
        if name is None or not len(block):
            return out
        found = block.entries(name, np.arange(len(block)), [key])
        _, first, place = np.unique(found.hash, return_index=True, return_inverse=True)
        texts = pl.Series([found.text(i) for i in first.tolist()], dtype=pl.String)
        out[found.owner] = text_hash(texts)[place]  # one that holds in every process
        return out


def no_events(dimensions: tuple[str, ...]) -> EventColumns:
    """Return columns without a row."""
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
        value=np.zeros(0),
        series=np.zeros(0, np.int32),
        body=NOTHING,
        dimension={key: single for key in dimensions},
    )
