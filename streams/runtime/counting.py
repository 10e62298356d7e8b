"""Counts what the telemetry topics tell, by type, module, component, name and schema version.

Owns what is looked at: the newest records of each partition. Joins no group, keeps nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.codec import records, wire
from streams.codec.schemas import SchemaSet, default_schemas
from streams.contract.coverage import Emitted, Tally
from streams.errors import RecordError
from streams.runtime.reading import Message, Reading

DIFFERENT_MAX: Final = 100_000
"""Different things that are told apart: a name with an id in it must not eat the memory."""


@dataclass(slots=True)
class Told:
    """What was told.

    Attributes:
        seen: by what it is.
        records: records read.
        unreadable: records by the reason for which they are not read.
        beyond: events beyond the bound of different things.
        is_cut: older records were left out.
    """

    seen: dict[Emitted, Tally] = field(default_factory=dict)
    records: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    beyond: int = 0
    is_cut: bool = False


def own_events(message: Message) -> Sequence[records.Record]:
    """Return the events of a record of one of our own topics."""
    return records.decode_events(message.value)


def count_told(
    reading: Reading,
    topics: Sequence[str],
    newest: int,
    events_of: Callable[[Message], Sequence[records.Record]] = own_events,
) -> Told:
    """Return what the newest records of some topics tell.

    Args:
        reading: a connection.
        topics: telemetry topics that are there.
        newest: offsets that are looked at, per partition.
        events_of: reads the events of a record.

    Raises:
        BrokerError: the broker does not answer.
    """
    told = Told()
    schemas = default_schemas()
    spans = reading.spans(topics)
    starts = {at: max(span.low, span.high - newest) for at, span in spans.items()}
    told.is_cut = any(starts[at] > span.low for at, span in spans.items())
    for message in reading.records(starts):
        if message is not None:
            told.records += 1
            try:
                events = events_of(message)
            except RecordError as error:
                told.unreadable[error.reason] += 1
                continue
            _take(told, events, _old_schema(schemas, message.value))
    return told


def _take(told: Told, events: Sequence[records.Record], old: str) -> None:
    for event in events:
        what = Emitted(event["event_type"], event["module"], event["component"], event["name"])
        tally = told.seen.get(what)
        if tally is None:
            if len(told.seen) >= DIFFERENT_MAX:
                told.beyond += 1
                continue
            tally = told.seen[what] = Tally()
        tally.events += 1
        tally.without_trace += not event["trace_id"]
        tally.last_us = max(tally.last_us, event["timestamp"])
        if old:
            tally.old_schemas[old] = tally.old_schemas.get(old, 0) + 1


def _old_schema(schemas: SchemaSet, value: bytes | None) -> str:
    """Return what wrote a value and what came after it; "" for the newest, and for none of ours."""
    if (value or b"")[:1] != bytes([wire.MAGIC]):
        return ""
    schema_id, _ = wire.split(value, schemas)
    name = schemas.name_of(schema_id) or ""
    version, newest = schemas.version_of(schema_id), schemas.version_of(schemas.id_of(name))
    return f"{name} version {version}, now {newest}" if 0 < version < newest else ""
