"""Events as bytes are judged, mended where it is clear what was meant, and put into parcels.

Owns which topic and partition an event goes to. Invariant: every value is either in one parcel or
among the rejected, once; all events of a parcel lie in its partition.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from streams.codec import records, wire
from streams.codec.events import EventDecoder
from streams.codec.otlp.quick import SpanRun
from streams.codec.placing import trace_partitions
from streams.codec.rejections import Rejections
from streams.codec.schemas import default_schemas
from streams.codec.treating import EventTreating
from streams.codec.varints import varint
from streams.collector.mending import MILLISECONDS_MAX, mended
from streams.collector.parcel import Parcel
from streams.core.bodies import Bodies
from streams.core.columns import METRIC, EventColumns, Operation, Operations
from streams.core.order import run_starts
from streams.core.traces.murmur2 import murmur2_partition
from streams.errors import RecordError
from streams.units import I64, Mask

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
        partitions: how many each topic has.
    """

    topics: Mapping[str, str]
    other: str
    partitions: Mapping[str, int]


@dataclass(slots=True)
class Judged:
    """What became of n values.

    Attributes:
        parcels: of the good ones.
        rows: per parcel, the (events,) rows in it.
        rejected: the others.
        value_of: gives the bytes of a row, with wire header.
    """

    value_of: Callable[[int], bytes]
    parcels: list[Parcel] = field(default_factory=list)
    rows: list[I64] = field(default_factory=list)
    rejected: list[Verdict] = field(default_factory=list)


_Groups = dict[int, list[tuple[I64, Bodies]]]
"""The good events of each topic * stride + partition: what each is called by, and its body."""


class Judge:
    """Judges values; used by one thread.

    Args:
        layout: where events go.
        metric_names: old metric names and what they are called now.
        max_event_bytes: largest value accepted, wire header included.
        rejects_unknown: events of modules without a topic of their own are rejected.
        operations_max: so many operations are remembered; others are looked at one by one.
        treating: takes out of events what is personal; None for nothing.
    """

    def __init__(
        self,
        layout: Layout,
        metric_names: Mapping[str, str],
        max_event_bytes: int,
        *,
        rejects_unknown: bool = False,
        operations_max: int = 100_000,
        treating: EventTreating | None = None,
    ) -> None:
        self._layout, self._metric_names = layout, metric_names
        self._rejects_unknown = rejects_unknown
        schemas = default_schemas()
        self._schema = schemas.current(_EVENT)
        self._batch_header = wire.header(schemas.id_of("telemetry_batch"))
        self._operations = Operations(operations_max)
        self._decoder = EventDecoder(
            schemas, self._operations, max_event_bytes=max_event_bytes, treating=treating
        )
        self._topics = tuple(dict.fromkeys((*layout.topics.values(), layout.other)))
        counts = [layout.partitions[topic] for topic in self._topics]
        self._stride = max(counts)
        self._counts = np.array(counts, np.int64)
        self._has_one_count = len(set(counts)) == 1
        self._header = wire.header(schemas.id_of(_EVENT))
        self._known = 0
        self._is_old = np.zeros(0, np.bool_)
        self._is_odd = np.zeros(0, np.bool_)
        self._topic = np.zeros(0, np.int64)
        self._alone = np.zeros(0, np.int64)

    def judge(self, values: Sequence[bytes], *, are_native: bool = True) -> Judged:
        """Return the parcels of values, and those that are rejected, in their order.

        Args:
            values: one event each, with wire header.
            are_native: they are events of our own. OTLP says in which unit a time is: its times
                are taken at their word.
        """
        events, bad = self._decode(values)
        return self._judged(events, bad, values.__getitem__, are_native=are_native)

    def judge_spans(self, run: SpanRun) -> Judged:
        """Return the same of spans that were read together, most of which need no decode."""
        events, bad = self._decoder.decode_spans(run)
        return self._judged(
            events, _verdicts(bad), lambda row: self._header + run.body[row], are_native=False
        )

    def _judged(
        self,
        events: EventColumns,
        bad: list[Verdict],
        value_of: Callable[[int], bytes],
        *,
        are_native: bool,
    ) -> Judged:
        judged = Judged(value_of)
        groups: _Groups = defaultdict(list)
        self._learn()
        again = self._to_mend(events, value_of, bad, are_native=are_native)
        if again:
            kept = np.isin(events.row, list(again), invert=True)
            good = events.take(kept)
            self._place_all(good, good.row, groups, judged)
            odd = sorted(again)
            mended_events, still_bad = self._decode([again[row] for row in odd])
            self._learn()
            places = np.array(odd, np.int64)[mended_events.row]
            self._place_all(mended_events, places, groups, judged)
            bad = [v for v in bad if v.row not in again]
            bad += [v._replace(row=odd[v.row]) for v in still_bad]
        else:
            self._place_all(events, events.row, groups, judged)
        judged.rejected = sorted([*judged.rejected, *bad])
        for place, group in groups.items():
            topic, partition = divmod(place, self._stride)
            rows = np.concatenate([part for part, _ in group])
            bodies = Bodies.concat([part for _, part in group])
            for some in _pieces(bodies.size):
                value = self._batch(bodies.take(some))
                judged.parcels.append(
                    Parcel(self._topics[topic], partition, None, value, len(some))
                )
                judged.rows.append(rows[some])
        return judged

    def _decode(self, values: Sequence[bytes]) -> tuple[EventColumns, list[Verdict]]:
        n = len(values)
        events, bad = self._decoder.decode(0, [None] * n, values, np.zeros(n, np.int64))
        return events, _verdicts(bad)

    def _learn(self) -> None:
        """Find out about operations that are new: where they go, and what is odd about them."""
        new = self._operations.since(self._known)
        if not new:
            return
        self._known += len(new)
        places = [self._place_of(one) for one in new]
        old = [one.name in self._metric_names for one in new]
        odd = [one == Operations.OVERFLOW or self._is_unwanted(one.module) for one in new]
        self._is_old = np.concatenate([self._is_old, np.array(old, np.bool_)])
        self._is_odd = np.concatenate([self._is_odd, np.array(odd, np.bool_)])
        self._topic = np.concatenate([self._topic, np.array([t for t, _ in places], np.int64)])
        self._alone = np.concatenate([self._alone, np.array([p for _, p in places], np.int64)])

    def _is_unwanted(self, module: str) -> bool:
        return self._rejects_unknown and module not in self._layout.topics

    def _place_of(self, operation: Operation) -> tuple[int, int]:
        """Return the topic of an operation and the partition of its events outside traces."""
        layout = self._layout
        topic = self._topics.index(layout.topics.get(operation.module, layout.other))
        key = f"{operation.module}.{operation.component}".encode()
        return topic, murmur2_partition(key, int(self._counts[topic]))

    def _to_mend(
        self,
        events: EventColumns,
        value_of: Callable[[int], bytes],
        bad: Sequence[Verdict],
        *,
        are_native: bool,
    ) -> dict[int, bytes]:
        """Return the values that are not as they were meant, as they should be, by row."""
        odd: Mask = (events.timestamp_us < MILLISECONDS_MAX) & are_native
        if self._metric_names:
            odd = odd | ((events.event_type == METRIC) & self._is_old[events.operation])
        rows = [*events.row[odd].tolist(), *(v.row for v in bad if v.reason in _MENDABLE)]
        found: dict[int, bytes] = {}
        for row in rows:
            try:
                event = records.decode(value_of(row))
                better = mended(event, self._metric_names, has_any_unit=are_native)
                if better is not event:
                    found[row] = records.encode(_EVENT, better)
            except (RecordError, ValueError, TypeError, OverflowError):
                continue  # it keeps the reason that it was rejected for
        return found

    def _place_all(self, events: EventColumns, rows: I64, groups: _Groups, judged: Judged) -> None:
        """Put good events into the group of their topic and partition.

        Args:
            events: n events.
            rows: (n,) what each is called by.
            groups: takes them.
            judged: takes those that are not wanted.
        """
        code, topic = events.operation, self._topic[events.operation]
        has_trace = (events.trace_id != 0).any(axis=1)
        # An array of divisors takes longer than one: it is for topics that have grown alone.
        count = self._stride if self._has_one_count else self._counts[topic]
        by_trace = trace_partitions(events.trace_id, count)
        place = topic * self._stride + np.where(has_trace, by_trace, self._alone[code])
        for i in np.flatnonzero(self._is_odd[code]).tolist():
            place[i] = self._look_at(events, i, has_trace=bool(has_trace[i]))
            if place[i] < 0:
                module = self._module_of(events, i)[:80]
                detail = f"module {module!r} is not in the contract"
                judged.rejected.append(Verdict(int(rows[i]), UNKNOWN_MODULE, detail))
        order = np.argsort(place, kind="stable")
        starts = run_starts(place[order])
        for at in np.split(order, starts[1:]) if len(order) else ():
            if place[at[0]] >= 0:
                groups[int(place[at[0]])].append((rows[at], events.body.take(at)))

    def _look_at(self, events: EventColumns, i: int, *, has_trace: bool) -> int:
        """Return the place of an event whose operation does not tell it; -1 for none."""
        event = records.decode_body(self._schema, events.body[i])
        if self._is_unwanted(event["module"]):
            return -1
        operation = Operation(event["module"], event["component"], event["name"])
        topic, partition = self._place_of(operation)
        if has_trace:
            (partition,) = trace_partitions(events.trace_id[i : i + 1], int(self._counts[topic]))
        return int(topic * self._stride + partition)

    def _module_of(self, events: EventColumns, i: int) -> str:
        return str(records.decode_body(self._schema, events.body[i])["module"])

    def _batch(self, bodies: Bodies) -> bytes:
        """Return the value of a message that holds events."""
        return b"".join((self._batch_header, varint(len(bodies)), *bodies.runs(), b"\x00"))


def _verdicts(bad: Rejections) -> list[Verdict]:
    return [Verdict(*one) for one in zip(bad.row, bad.reason, bad.detail, strict=True)]


def _pieces(size: I64) -> Iterator[I64]:
    """Yield which bodies fit into a message together; mostly all of a partition do.

    Args:
        size: (n,) bytes of each, at least one.
    """
    index = np.arange(len(size))
    if int(size.sum()) <= PARCEL_BYTES_MAX:
        yield index
        return
    begin = held = 0
    for at, one in enumerate(size.tolist()):
        if held and held + one > PARCEL_BYTES_MAX:
            yield index[begin:at]
            begin, held = at, 0
        held += one
    yield index[begin:]
