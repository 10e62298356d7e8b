"""Counts what the telemetry topics tell, by type, module, component, name and schema version.

Owns what is looked at: the newest records of each partition. Joins no group, keeps nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.codec import records, wire
from streams.codec.schemas import SchemaSet, default_schemas
from streams.contract.coverage import Emitted, Tally
from streams.errors import RecordError
from streams.runtime.reading import Reading

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


def count_told(reading: Reading, topics: Sequence[str], newest: int) -> Told:
    """Return what the newest records of some topics tell.

    Args:
        reading: a connection.
        topics: telemetry topics that are there.
        newest: offsets that are looked at, per partition.

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
            _take(told, message.value, schemas)
    return told


def _take(told: Told, value: bytes | None, schemas: SchemaSet) -> None:
    try:
        schema_id, _ = wire.split(value, schemas)
        events = records.decode_events(value)
    except RecordError as error:
        told.unreadable[error.reason] += 1
        return
    old = _old_schema(schemas, schema_id)
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


def _old_schema(schemas: SchemaSet, schema_id: int) -> str:
    """Return what an id stands for and what came after it, "" for the newest."""
    name = schemas.name_of(schema_id) or ""
    version, newest = schemas.version_of(schema_id), schemas.version_of(schemas.id_of(name))
    return f"{name} version {version}, now {newest}" if 0 < version < newest else ""
