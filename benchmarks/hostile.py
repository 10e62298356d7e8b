"""Hostile telemetry: records that no producer should send, each with what may become of it.

Owns the kinds of the fuzz run. Every record has a trace of its own, so that whatever it becomes it
has no claim on the good traffic around it. Invariant: same seed and base events, same records.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Any, Final

import fastavro

from streams.codec import records, wire
from streams.codec.schemas import default_schemas, load_schema, without_logical_types
from streams.simulate.events import Event, span_id_from, trace_id_from, uuid4_text
from streams.units import SECOND_US

DAY_US: Final = 86_400 * SECOND_US
JOINED, LATE, OPEN, UNTRACED = "joined", "late", "open", "untraced"
ANY: Final = "*"
INVALID: Final = "rejected:invalid_avro"
EMPTY: Final = "rejected:empty_value"
UNKNOWN: Final = "rejected:unknown_schema_id"
GIANT: Final = "giant_trace"


@dataclass(frozen=True, slots=True)
class Hostile:
    """One hostile record.

    Attributes:
        kind: what is wrong with it.
        key, value: as sent; no value is a tombstone.
        allowed: what may become of it; `ANY` allows everything that is counted.
    """

    kind: str
    key: bytes
    value: bytes | None
    allowed: frozenset[str]


Make = Callable[[Random, Event], tuple[bytes | None, frozenset[str]]]


def hostile(
    rng: Random, bases: Sequence[Event], each: int, large_bytes: int, large_each: int
) -> Iterator[Hostile]:
    """Yield `each` records of every kind; of the large ones `large_each`, of `large_bytes`."""
    kinds: dict[str, Make] = {
        "truncated": _truncated,
        "bit_flipped": _bit_flipped,
        "wrong_schema_id": _wrong_schema_id,
        "unknown_enum_symbol": _unknown_symbol,
        "garbage": _garbage,
        "empty_value": lambda _rng, _event: (b"", frozenset({EMPTY})),
        "tombstone": lambda _rng, _event: (None, frozenset({EMPTY})),
        "bad_ids": _bad_ids,
        "future_timestamp": _future,
        "timestamp_of_no_century": _no_century,
        "timestamp_30_days_old": _old,
    }
    for kind, make in kinds.items():
        for _ in range(each):
            yield _one(rng, kind, bases, make)
    for _ in range(large_each):
        yield _one(rng, "event_too_large", bases, lambda r, e: _large(r, e, large_bytes))


def giant_trace(rng: Random, base: Event, spans: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the key and the values of one trace of so many distinct spans."""
    event = fresh(rng, base) | {"event_type": "TRACE", "span_id": "f" * 16}
    event["parent_span_id"] = span_id_from(rng)
    head, _, tail = encoded(event).partition(event["span_id"].encode())
    values = (b"%b%016x%b" % (head, number, tail) for number in range(1, spans + 1))
    return event["trace_id"].encode(), values


def fresh(rng: Random, base: Event) -> Event:
    """Return a copy of an event in a trace of its own."""
    ids = {"trace_id": trace_id_from(rng), "event_id": uuid4_text(rng)}
    return {**base, **ids, "span_id": span_id_from(rng), "parent_span_id": "", "links": []}


def encoded(event: Event) -> bytes:
    """Return an event as the wire has it."""
    return records.encode("telemetry_event", event)


def _one(rng: Random, kind: str, bases: Sequence[Event], make: Make) -> Hostile:
    event = fresh(rng, rng.choice(bases))
    value, allowed = make(rng, event)
    return Hostile(kind, event["trace_id"].encode(), value, allowed)


def _truncated(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    # No value of a schema is the beginning of another one: a cut never leaves an event.
    value = encoded(event)
    return value[: rng.randrange(1, len(value))], frozenset({INVALID, EMPTY})


def _bit_flipped(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    value = bytearray(encoded(event))
    for _ in range(rng.randint(1, 4)):
        value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
    return bytes(value), frozenset({ANY})


def _wrong_schema_id(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    schemas = default_schemas()
    others = [schemas.id_of(name) for name in schemas if name != "telemetry_event"]
    schema_id = rng.choice([rng.randrange(1_000, 2**32), rng.choice(others)])
    return wire.header(schema_id) + encoded(event)[wire.HEADER_BYTES :], frozenset({UNKNOWN})


def _unknown_symbol(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    name = rng.choice(("event_type", "severity", "status", "span_kind"))
    out = BytesIO()
    fastavro.schemaless_writer(out, _SCHEMA_OF_TOMORROW[name], {**event, name: "NEW"})
    header = wire.header(default_schemas().id_of("telemetry_event"))
    return header + out.getvalue(), frozenset({INVALID})


def _garbage(rng: Random, _event: Event) -> tuple[bytes, frozenset[str]]:
    value = rng.randbytes(rng.randint(1, 400))
    if rng.random() < 0.5:
        value = wire.header(default_schemas().id_of("telemetry_event")) + value
    return value, frozenset({"rejected:bad_magic", EMPTY, UNKNOWN, INVALID})


def _bad_ids(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    field, value, reason = rng.choice(
        (
            ("trace_id", "0" * 32, "invalid_trace_id"),
            ("trace_id", "zz" * 16, "invalid_trace_id"),
            ("trace_id", event["trace_id"][:-1], "invalid_trace_id"),
            ("span_id", "0" * 16, "invalid_span_id"),
            ("span_id", "", "invalid_span_id"),
            ("module", "", "missing_module"),
            ("duration_us", -1, "invalid_duration"),
        )
    )
    return encoded({**event, field: value}), frozenset({f"rejected:{reason}"})


def _future(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    ahead_us = rng.choice((2, 10, 60, 600, 86_400, 10 * 365 * 86_400)) * SECOND_US
    return encoded({**event, "timestamp": event["timestamp"] + ahead_us}), frozenset({JOINED, OPEN})


def _no_century(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    wrong = rng.choice((0, -event["timestamp"], event["timestamp"] * 1_000, 2**63 - 1))
    return encoded({**event, "timestamp": wrong}), frozenset({"rejected:invalid_timestamp"})


def _old(rng: Random, event: Event) -> tuple[bytes, frozenset[str]]:
    return encoded({**event, "timestamp": event["timestamp"] - 30 * DAY_US}), frozenset(
        {LATE, JOINED}
    )


def _large(rng: Random, event: Event, size: int) -> tuple[bytes, frozenset[str]]:
    name = "x" * (size - len(encoded(event)))
    return encoded({**event, "name": name}), frozenset({"rejected:event_too_large"})


def _schema_of_tomorrow(field: str) -> Any:
    """Return the event's schema with one more symbol in an enum, as newer producers have it."""
    schema = copy.deepcopy(load_schema("telemetry_event"))
    wanted = next(f for f in schema["fields"] if f["name"] == field)
    wanted["type"]["symbols"].append("NEW")
    return fastavro.parse_schema(without_logical_types(schema), named_schemas={})


_SCHEMA_OF_TOMORROW: Final = {
    name: _schema_of_tomorrow(name) for name in ("event_type", "severity", "status", "span_kind")
}
