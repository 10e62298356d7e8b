"""The input of a run: events of random traces as records of the telemetry topics, by partition.

Owns the only place where records and chunks are made (`chunk_of`), and what a perfect observer
knows of the input: the distinct events of each trace.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

from streams.codec import wire
from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.core.fidelity.plan import Plan
from streams.runtime.chunk import Chunk
from tests.join_cases import TOPIC_OF_MODULE, Event, random_events
from tests.judge_cases import random_plan
from tests.record_batches import batch
from tests.sim.features import Features

HOUR_US = 3_600 * 1_000_000
BEGIN_US = 1_760_000_000 * 1_000_000
MS_US = 1_000
TELEMETRY = (
    "telemetry.alpha.v1",
    "telemetry.beta.v1",
    "telemetry.gamma.v1",
    "telemetry.other.v1",
    "spanloom.links.v1",
)
OTHER, LINKS = 3, 4


def chunk_of(topic: str, partition: int, start: int, end: int, records: list[Record]) -> Chunk:
    """Return a chunk: every chunk of the simulation is made here."""
    return Chunk(topic, partition, start, end, [batch(records)])


class Arrival(NamedTuple):
    """One record that a producer sends: when it is appended, where, and what the test knows."""

    at_ms: int
    topic: int
    partition: int
    key: bytes | None
    value: bytes
    event: Event | None


@dataclass
class Load:
    """All input of a run.

    Attributes:
        plan: the contract, in the time scale of the load: what the cases call a microsecond is
            a millisecond here, for Kafka's timestamps know nothing finer.
        arrivals: the records, in the order in which they are appended.
        events: by trace its distinct events.
        bodies: the encoded body of an event.
    """

    plan: Plan
    arrivals: list[Arrival]
    events: dict[int, list[Event]] = field(default_factory=dict)
    bodies: dict[Event, bytes] = field(default_factory=dict)

    @property
    def begin_ms(self) -> int:
        """When the first record is appended."""
        return self.arrivals[0].at_ms if self.arrivals else BEGIN_US // 1_000

    @property
    def end_ms(self) -> int:
        """When the last record is appended."""
        return self.arrivals[-1].at_ms if self.arrivals else self.begin_ms


def trace_id(trace: int) -> str:
    """Return the id of a trace; 0 has none."""
    return f"{trace % 3:016x}{trace:016x}" if trace else ""


def trace_number(trace_id: str) -> int:
    """Return the number of a trace id."""
    return int(trace_id[16:], 16)


def make_load(seed: int, features: Features, only: frozenset[int] | None = None) -> Load:
    """Return the input of a seed; `only` keeps some of its traces."""
    rng = random.Random(f"{seed}/load")
    plan = _in_ms(random_plan(rng))
    distinct = [_in_real_time(e) for e in random_events(rng, plan, features.traces)]
    load = Load(plan, [])
    for event in distinct:
        mine = random.Random(f"{seed}/{event.trace}/{event.is_span}/{event.number}")
        if only is not None and event.trace not in only:
            continue
        happened_us = event.at_us
        if "wild_clock" in features and mine.random() < 0.1:
            event = replace(event, at_us=happened_us + HOUR_US)  # noqa: PLW2901
        value = encode("telemetry_event", telemetry_event(event))
        if event.trace:
            load.events.setdefault(event.trace, []).append(event)
        load.bodies[event] = value[wire.HEADER_BYTES :]
        load.arrivals += _deliveries(mine, features, event, value, happened_us)
    load.arrivals.sort(key=lambda a: (a.at_ms, a.topic, a.value))
    return load


def _in_ms(plan: Plan) -> Plan:
    flows = tuple(
        replace(
            flow,
            wait_us=flow.wait_us * MS_US,
            settle_us=flow.settle_us * MS_US,
            deadline_us=flow.deadline_us * MS_US,
        )
        for flow in plan.flows
    )
    return replace(plan, flows=flows)


def _in_real_time(event: Event) -> Event:
    at_us = BEGIN_US + event.at_us * MS_US
    return replace(event, at_us=at_us, duration_us=event.duration_us * MS_US)


def _deliveries(
    rng: random.Random, features: Features, event: Event, value: bytes, happened_us: int
) -> list[Arrival]:
    copies = 1
    if "twice" in features:
        copies += (rng.random() < 0.2) + (rng.random() < 0.1)
    identity = event.trace or event.number
    partition = identity % features.partitions
    key = trace_id(event.trace).encode() or b"module.component"
    out = []
    for _ in range(copies):
        is_late = "late" in features and rng.random() < 0.12
        delay_ms = rng.randrange(2_000) if is_late else rng.randrange(12)
        at_ms = (happened_us + event.duration_us) // MS_US + delay_ms
        out.append(Arrival(at_ms, event.topic, partition, key, value, event))
        if "poison" in features and rng.random() < 0.15:
            bad = _poisoned(rng, value)
            out.append(Arrival(at_ms + rng.randrange(5), event.topic, partition, key, bad, None))
    return out


def _poisoned(rng: random.Random, value: bytes) -> bytes:
    """Return bytes that are certainly no event."""
    style = rng.randrange(4)
    if style == 0:
        return b""
    if style == 1:
        return b"\x07" + value[1:]
    if style == 2:
        return value + b"\x00"
    return value[: rng.randrange(6, len(value) - 1)]


def telemetry_event(event: Event) -> dict[str, Any]:
    """Return an event as a record of schemas/telemetry_event.v1.avsc."""
    module, component, name = event.operation
    number = event.number
    return {
        "event_id": "" if event.is_span else str(UUID(int=(event.trace << 64) + number + 1)),
        "trace_id": trace_id(event.trace),
        "span_id": f"{number:016x}" if event.is_span else "",
        "parent_span_id": f"{event.parent:016x}" if event.parent else "",
        "timestamp": event.at_us,
        "module": module,
        "component": component,
        "event_type": "TRACE" if event.is_span else "LOG",
        "severity": "INFO",
        "name": name,
        "value": 0.0,
        "unit": "",
        "dimensions": {"tier": event.tier} if event.tier else {},
        "record_id": f"record-{event.trace // 2}",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": event.duration_us,
        "status": "ERROR" if event.is_error else "OK",
        "span_kind": "INTERNAL",
        "trace_flags": int(event.is_sampled),
        "links": [],
    }


def topic_of_module() -> dict[str, int]:
    """Return the topic index of each module that has a topic of its own."""
    return dict(TOPIC_OF_MODULE)
