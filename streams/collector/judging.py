"""Events as bytes are judged, mended where it is clear what was meant, and put into parcels.

Owns which topic and partition an event goes to. Invariant: every value is either in one parcel or
among the rejected, once; all events of a parcel lie in its partition.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from streams.codec import records, wire
from streams.codec.events import EventDecoder
from streams.codec.schemas import default_schemas
from streams.codec.varints import varint
from streams.collector.mending import MILLISECONDS_MAX, mended
from streams.collector.parcel import Parcel
from streams.collector.placing import trace_partitions
from streams.core.columns import METRIC, EventColumns, Operation, Operations
from streams.core.traces.partitioners import murmur2_partition
from streams.errors import RecordError
from streams.units import Mask

PARCEL_BYTES_MAX: Final = 768 << 10
"""Topics take 1 MiB; an event may have 512 KiB."""
UNKNOWN_MODULE: Final = "unknown_module"
_MENDABLE: Final = frozenset(
    {"invalid_trace_id", "invalid_span_id", "invalid_parent_span_id", "invalid_timestamp"}
)
_EVENT: Final = "telemetry_event"


class Verdict(NamedTuple):
    """Why a value is rejected."""

    row: int
    reason: str
    detail: str


class Layout(NamedTuple):
    """Where events go.

    Attributes:
        topics: topic by module.
        other: topic of modules that have none.
        partitions: of each of them.
    """

    topics: Mapping[str, str]
    other: str
    partitions: int


@dataclass(slots=True)
class Judged:
    """What became of n values.

    Attributes:
        parcels: of the good ones.
        rows: per parcel, the rows in it.
        rejected: the others.
    """

    parcels: list[Parcel] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    rejected: list[Verdict] = field(default_factory=list)


class Judge:
    """Judges values; used by one thread.

    Args:
        layout: where events go.
        metric_names: old metric names and what they are called now.
        max_event_bytes: largest value accepted, wire header included.
        rejects_unknown: events of modules without a topic of their own are rejected.
        operations_max: so many operations are remembered; others are looked at one by one.
    """

    def __init__(
        self,
        layout: Layout,
        metric_names: Mapping[str, str],
        max_event_bytes: int,
        *,
        rejects_unknown: bool = False,
        operations_max: int = 100_000,
    ) -> None:
        self._layout, self._metric_names = layout, metric_names
        self._rejects_unknown = rejects_unknown
        schemas = default_schemas()
        self._schema = schemas.current(_EVENT)
        self._batch_header = wire.header(schemas.id_of("telemetry_batch"))
        self._operations = Operations(operations_max)
        self._decoder = EventDecoder(schemas, self._operations, max_event_bytes=max_event_bytes)
        self._topics = tuple(dict.fromkeys((*layout.topics.values(), layout.other)))
        self._known = 0
        self._is_old = np.zeros(0, np.bool_)
        self._place: list[tuple[int, int]] = []

    def judge(self, values: Sequence[bytes]) -> Judged:
        """Return the parcels of values, and those that are rejected, in their order.

        Args:
            values: one event each, with wire header.
        """
        judged = Judged()
        groups: dict[tuple[int, int], list[tuple[int, bytes]]] = defaultdict(list)
        events, bad = self._decode(values)
        self._learn()
        again = self._to_mend(events, values, bad)
        if again:
            kept = np.isin(events.row, list(again), invert=True)
            self._place_all(events.take(kept), range(len(values)), groups, judged)
            rows = sorted(again)
            mended_events, still_bad = self._decode([again[row] for row in rows])
            self._learn()
            self._place_all(mended_events, rows, groups, judged)
            bad = [v for v in bad if v.row not in again]
            bad += [v._replace(row=rows[v.row]) for v in still_bad]
        else:
            self._place_all(events, range(len(values)), groups, judged)
        judged.rejected = sorted([*judged.rejected, *bad])
        for (topic, partition), items in groups.items():
            for some in _pieces(items):
                value = self._batch([body for _, body in some])
                parcel = Parcel(self._topics[topic], partition, None, value, len(some))
                judged.parcels.append(parcel)
                judged.rows.append([row for row, _ in some])
        return judged

    def _decode(self, values: Sequence[bytes]) -> tuple[EventColumns, list[Verdict]]:
        n = len(values)
        events, bad = self._decoder.decode(0, [None] * n, values, np.zeros(n, np.int64))
        return events, [Verdict(*one) for one in zip(bad.row, bad.reason, bad.detail, strict=True)]

    def _learn(self) -> None:
        """Find out about operations that are new: their place, and whether their name is old."""
        new = self._operations.since(self._known)
        if not new:
            return
        self._known += len(new)
        old = [one.name in self._metric_names for one in new]
        self._is_old = np.concatenate([self._is_old, np.array(old, np.bool_)])
        self._place += [self._place_of(one) for one in new]

    def _place_of(self, operation: Operation) -> tuple[int, int]:
        """Return the topic of an operation and the partition of its events outside traces."""
        layout = self._layout
        topic = self._topics.index(layout.topics.get(operation.module, layout.other))
        key = f"{operation.module}.{operation.component}".encode()
        return topic, murmur2_partition(key, layout.partitions)

    def _to_mend(
        self, events: EventColumns, values: Sequence[bytes], bad: Sequence[Verdict]
    ) -> dict[int, bytes]:
        """Return the values that are not as they were meant, as they should be, by row."""
        odd: Mask = events.timestamp_us < MILLISECONDS_MAX
        if self._metric_names:
            odd = odd | ((events.event_type == METRIC) & self._is_old[events.operation])
        rows = [*events.row[odd].tolist(), *(v.row for v in bad if v.reason in _MENDABLE)]
        found: dict[int, bytes] = {}
        for row in rows:
            try:
                event = records.decode(values[row])
                better = mended(event, self._metric_names)
                if better is not event:
                    found[row] = records.encode(_EVENT, better)
            except (RecordError, ValueError, TypeError, OverflowError):
                continue  # it keeps the reason that it was rejected for
        return found

    def _place_all(
        self,
        events: EventColumns,
        rows: Sequence[int],
        groups: dict[tuple[int, int], list[tuple[int, bytes]]],
        judged: Judged,
    ) -> None:
        """Put good events into the group of their topic and partition."""
        partition = trace_partitions(events.trace_id, self._layout.partitions).tolist()
        has_trace = (events.trace_id != 0).any(axis=1).tolist()
        for i, (row, code, body) in enumerate(
            zip(events.row.tolist(), events.operation.tolist(), events.body, strict=True)
        ):
            operation = self._operations[code]
            topic, alone = self._place[code]
            if operation == Operations.OVERFLOW:
                event = records.decode_body(self._schema, body)
                operation = Operation(event["module"], event["component"], event["name"])
                topic, alone = self._place_of(operation)
            if self._rejects_unknown and operation.module not in self._layout.topics:
                detail = f"module {operation.module[:80]!r} is not in the contract"
                judged.rejected.append(Verdict(rows[row], UNKNOWN_MODULE, detail))
                continue
            place = partition[i] if has_trace[i] else alone
            groups[topic, place].append((rows[row], body))

    def _batch(self, bodies: Sequence[bytes]) -> bytes:
        """Return the value of a message that holds events."""
        return b"".join((self._batch_header, varint(len(bodies)), *bodies, b"\x00"))


def _pieces(items: Sequence[tuple[int, bytes]]) -> Iterable[Sequence[tuple[int, bytes]]]:
    """Yield rows and bodies in pieces that fit into a message."""
    begin = size = 0
    for at, (_, body) in enumerate(items):
        if size and size + len(body) > PARCEL_BYTES_MAX:
            yield items[begin:at]
            begin, size = at, 0
        size += len(body)
    yield items[begin:]
