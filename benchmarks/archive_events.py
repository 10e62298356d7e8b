"""Records for the archive by the million: one trace and its events, written once, then stamped.

The bytes of a trace differ from those of the next one in ids and times alone, which are as wide.
So a template is encoded once, and the places where ids and times lie are found in it; stamping
many at a time is arithmetic on a matrix of bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.decode import STAGES
from streams.codec.ids import as_hex
from streams.codec.records import encode
from streams.codec.varints import varint
from streams.runtime import topics
from streams.runtime.reading import Message
from streams.units import I64, SECOND_US, U8

START_US: Final = 1_790_000_000 * SECOND_US
RATE: Final = 600
"""Entries a second of event time, unless another one is asked for."""
PARTITIONS: Final = 4
ENTRIES: Final = len(STAGES) + 2
"""Of one trace: its spans, and beside them an audit entry and a metric point."""
BATCH_TRACES: Final = 100
"""Traces of a batch."""
TELEMETRY: Final = tuple(dict.fromkeys(f"telemetry.{module.lower()}.v1" for module, _, _ in STAGES))
_TRACE_ID: Final = "e" * 32
_RECORD_ID: Final = "rec-dddddddd"
_BATCH_ID: Final = "bat-dddddddd"
_FLOW_ID: Final = "cor-dddddddd"
_STEP_US: Final = 12_345
_APPENDED_US: Final = 2 * SECOND_US
"""A trace is appended so long after its start."""


@dataclass
class Template:
    """A record and where in it ids and times lie.

    Attributes:
        octets: (width,) the record.
        ids: by name of the id, where its bytes lie, and how many they are.
        times: where each time lies, and how many microseconds after the first it is.
    """

    octets: U8
    ids: dict[str, list[int]] = field(default_factory=dict)
    times: list[tuple[int, int]] = field(default_factory=list)

    @staticmethod
    def of(value: bytes, ids: Sequence[str], delays_us: Sequence[int]) -> "Template":
        """Find ids and times in a record."""
        found = Template(np.frombuffer(value, np.uint8))
        for id_ in ids:
            found.ids[id_] = _all(value, id_.encode())
        for delay_us in sorted(set(delays_us)):
            found.times += [(at, delay_us) for at in _all(value, varint(START_US + delay_us))]
        return found

    def stamped(self, ids: dict[str, U8], start_us: I64) -> list[bytes]:
        """Return n records, each with ids and times of its own.

        Args:
            ids: by name of the id, (n, width) its characters.
            start_us: (n,) the first time of each.
        """
        octets = np.tile(self.octets, (len(start_us), 1))
        for id_, places in self.ids.items():
            for at in places:
                octets[:, at : at + len(id_)] = ids[id_]
        for at, delay_us in self.times:
            octets[:, at : at + 8] = _varints(start_us + delay_us)
        return [row.tobytes() for row in octets]


def _all(value: bytes, part: bytes) -> list[int]:
    found = []
    at = value.find(part)
    while at >= 0:
        found.append(at)
        at = value.find(part, at + 1)
    return found


def _varints(value: I64) -> U8:
    """Return times as Avro longs; those of our days take 8 bytes."""
    bits = (value << 1)[:, None] >> (7 * np.arange(8))
    out = (bits & 0x7F).astype(np.uint8)
    out[:, :7] |= 0x80
    return out


def _decimals(prefix: str, numbers: I64) -> U8:
    """Return texts such as rec-00000042."""
    digits = numbers[:, None] // 10 ** np.arange(7, -1, -1) % 10 + ord("0")
    lead = np.tile(np.frombuffer(prefix.encode(), np.uint8), (len(numbers), 1))
    return np.concatenate([lead, digits.astype(np.uint8)], axis=1)


def _event(kind: str, n: int, **fields: Any) -> dict[str, Any]:
    module, component, name = STAGES[n % len(STAGES)]
    return {
        "event_id": _event_id(n), "trace_id": _TRACE_ID, "span_id": _span_id(n),
        "parent_span_id": _span_id(n - 1) if n else "", "timestamp": START_US + n * _STEP_US,
        "module": module, "component": component, "event_type": kind, "severity": "INFO",
        "name": name, "value": float("nan"), "unit": "",
        "dimensions": {"source_system": "crm", "destination": "warehouse", "tier": "gold"},
        "record_id": _RECORD_ID, "batch_id": _BATCH_ID, "correlation_id": _FLOW_ID,
        "operation": "TRANSFORM", "actor": f"svc-{module.lower()}", "duration_us": 11_000 + n,
        "status": "OK", "span_kind": "INTERNAL", "trace_flags": 1, "links": [],
    } | fields  # fmt: skip


def _event_id(n: int) -> str:
    return f"{n:02d}cccccc-cccc-4ccc-8ccc-cccccccccccc"


def _span_id(n: int) -> str:
    return f"{n:02d}bbbbbbbbbbbbbb"


def _trace() -> dict[str, Any]:
    spans = [_event("TRACE", n) for n in range(len(STAGES))]
    end_us = START_US + len(STAGES) * _STEP_US
    stages = [
        {"stage": name, "start": START_US + n * _STEP_US, "duration_us": 11_000, "count": 1}
        for n, (_, _, name) in enumerate(STAGES)
    ]
    return {
        "trace_id": _TRACE_ID, "revision": 1, "flow": "record", "contract_version": "1.0.0",
        "status": "COMPLETE", "closed_by": "contract", "start": START_US, "end": end_us,
        "duration_us": end_us - START_US, "span_count": len(spans), "annotation_count": 0,
        "error_count": 0, "root_count": 1, "orphan_count": 0, "evicted_count": 0,
        "root_span_id": _span_id(0), "missing": [], "stages": stages, "spans": spans,
    }  # fmt: skip


class Told(NamedTuple):
    """An event as its producer sends it; `at_ms` is its time."""

    key: bytes | None
    at_ms: int
    value: bytes


class Source:
    """Makes the records; the same seed makes the same.

    Args:
        rate: entries a second of event time.
        start_us: time of the first one.
    """

    def __init__(self, seed: int = 7, rate: int = RATE, start_us: int = START_US) -> None:
        self._rate, self._start_us = rate, start_us
        self._chance = np.random.default_rng(seed)
        delays = [n * _STEP_US for n in range(len(STAGES) + 1)]
        ids = (_TRACE_ID, _RECORD_ID, _BATCH_ID, _FLOW_ID)
        own = [_event_id(n) for n in range(ENTRIES)] + [_span_id(n) for n in range(len(STAGES))]
        audit = _event("AUDIT", 8, span_id=_span_id(0), parent_span_id="", name="read")
        point = _event(
            "METRIC", 9, trace_id="", span_id="", parent_span_id="", record_id="",
            batch_id="", correlation_id="", name="queue_depth", value=17.0,
        )  # fmt: skip
        self._trace = Template.of(encode("assembled_trace", _trace()), [*ids, *own], delays)
        spans = [_event("TRACE", n) for n in range(len(STAGES))]
        self._events = [
            Template.of(encode("telemetry_event", one), [*ids, *own], [n * _STEP_US])
            for n, one in enumerate([*spans, audit, point])
        ]
        self._offsets: dict[tuple[str, int], int] = {}
        self._made = 0

    def messages(self, traces: int) -> list[Message]:
        """Return the next records: so many traces, and what lies beside them."""
        ids, start_us = self._stamps(traces)
        found = list(self._placed([topics.TRACES], self._trace, ids, start_us))
        for template in self._events[len(STAGES) :]:
            found += self._placed(TELEMETRY, template, ids, start_us)
        return found

    def telemetry(self, traces: int) -> list[Told]:
        """Return the next events that so many traces and what lies beside them come of, by time."""
        ids, start_us = self._stamps(traces)
        values = [one for template in self._events for one in template.stamped(ids, start_us)]
        at_us = np.concatenate([start_us + n * _STEP_US for n in range(ENTRIES)])
        keys = [row.tobytes() for row in ids[_TRACE_ID]] * (ENTRIES - 1)
        order = np.argsort(at_us, kind="stable").tolist()
        at_ms = (at_us // 1000).tolist()
        of_trace = len(keys)  # a point is of none
        return [Told(keys[i] if i < of_trace else None, at_ms[i], values[i]) for i in order]

    def _stamps(self, traces: int) -> tuple[dict[str, U8], I64]:
        """Return ids and times of the next traces."""
        number = np.arange(self._made, self._made + traces)
        self._made += traces
        start_us = self._start_us + number * ENTRIES * SECOND_US // self._rate
        ids = {
            _TRACE_ID: as_hex(self._chance.integers(0, 256, (traces, 16), np.uint8)),
            _RECORD_ID: _decimals("rec-", number),
            _BATCH_ID: _decimals("bat-", number // BATCH_TRACES),
            _FLOW_ID: _decimals("cor-", number // 3),
        }
        for n in range(ENTRIES):
            digits = as_hex(self._chance.integers(0, 256, (traces, 16), np.uint8))
            ids[_event_id(n)] = _as_uuid(digits)
        for n in range(len(STAGES)):
            ids[_span_id(n)] = as_hex(self._chance.integers(0, 256, (traces, 8), np.uint8))
        return ids, start_us

    def _placed(
        self, names: Sequence[str], template: Template, ids: dict[str, U8], start_us: I64
    ) -> Iterator[Message]:
        for n, value in enumerate(template.stamped(ids, start_us)):
            at = names[n % len(names)], n // len(names) % PARTITIONS
            offset = self._offsets.get(at, 0)
            self._offsets[at] = offset + 2  # every other one is a marker, as of small transactions
            yield Message(*at, offset, int(start_us[n] + _APPENDED_US) // 1000, None, value)


def _as_uuid(digits: U8) -> U8:
    out = np.full((len(digits), 36), ord("-"), np.uint8)
    at = [i for i in range(36) if i not in (8, 13, 18, 23)]
    out[:, at] = digits
    out[:, 14], out[:, 19] = ord("4"), ord("8")
    return out
