"""Placing anew changes where events lie and nothing else, whatever they are and however they come.

What a rekey task writes is read by the decoder of a join, and held against what the same decoder
reads at the origin; where each event lies is held against the partitioner, one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from streams.codec import wire
from streams.codec.eventbatch import encode_batch
from streams.codec.events import EventDecoder
from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.core.columns import Operations
from streams.core.traces.partitioners import murmur2_partition
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.rejecting import rejected_event, rejected_key
from streams.runtime.rekey_runner import RekeyRunner
from tests.otlp_cases import as_json, span_of, traces
from tests.record_batches import batch
from tests.tiers import tried
from tests.unit.codec.codec_cases import T0_US, event

NATIVE, SPANS = "telemetry.beta.v1", "otlp_spans"
INTERNAL = "spanloom.rekeyed.v1"
PARTITIONS, ORIGIN = 5, 6
"""Of the internal topic; and the partition that is read, of a topic with more of them."""
SOURCE = 9
MS = T0_US // 1000
Placed = tuple[object, ...]
"""All that may be asked of an event, its source aside."""


def native(trace: int, span: int, kind: str = "TRACE") -> bytes:
    """Return the body of an event; trace 0 stands for none."""
    made = event(
        trace_id=f"{trace:032x}" if trace else "",
        span_id=f"{span:016x}",
        event_type=kind,
        component=f"part-{span % 3}",
    )
    return encode("telemetry_event", made)[wire.HEADER_BYTES :]


def whole(body: bytes) -> bytes:
    """Return the value of an event that is sent alone."""
    return wire.header(default_schemas().id_of("telemetry_event")) + body


GOOD = st.builds(native, st.integers(1, 30), st.integers(1, 99))
UNTRACED = st.builds(native, st.just(0), st.integers(1, 99), st.sampled_from(["LOG", "METRIC"]))
BAD = st.sampled_from(
    [
        encode("telemetry_event", event(span_id="no"))[wire.HEADER_BYTES :],
        encode("telemetry_event", event(trace_id="nor that"))[wire.HEADER_BYTES :],
    ]
)
BODY = st.one_of(GOOD, GOOD, GOOD, UNTRACED, BAD)
VALUE = st.one_of(
    st.builds(whole, BODY),
    st.builds(encode_batch, st.lists(BODY, min_size=1, max_size=6)),
    st.sampled_from([None, b"", b"junk", b"\0\0\0\0\1torn", encode_batch([])]),
)
KEY = st.sampled_from([None, b"", b"any key", b"%032x" % 7])
NATIVES = st.lists(st.tuples(KEY, VALUE), min_size=1, max_size=12)


def request(spans: Sequence[tuple[int, int]], is_json: bool) -> bytes:
    """Return an OTLP request of (trace, span); span 0 is a bad one."""
    made = [span_of(trace, span) for trace, span in spans]
    for span, (_, number) in zip(made, spans, strict=True):
        if not number:
            span.span_id = b"short"
    found = traces("checkout", made)
    return as_json(found) if is_json else found.SerializeToString()


REQUEST = st.builds(
    request,
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), max_size=8),
    st.booleans(),
)
REQUESTS = st.lists(
    st.tuples(
        KEY, st.one_of(REQUEST, REQUEST, st.sampled_from([b"\1no request", b"{", whole(b"")]))
    ),
    min_size=1,
    max_size=8,
)


@dataclass
class Rekeyed:
    """A rekey task of a topic, and the decoders before and behind it."""

    topic: str

    def __post_init__(self) -> None:
        schemas, operations = default_schemas(), Operations()
        kinds = {0: "spans"} if self.topic == SPANS else None
        self.operations = operations
        self.direct = EventDecoder(schemas, operations, otlp_kinds=kinds)
        sources = {(self.topic, ORIGIN): SOURCE}
        self.behind = EventDecoder(schemas, operations, rekeyed=(1, sources))
        self.runner = RekeyRunner(
            self.direct, operations, schemas, self.topic, ORIGIN, INTERNAL, PARTITIONS
        )

    def events(
        self, decoder: EventDecoder, topic: int, name: str, partition: int, records: list[Record]
    ) -> tuple[list[Placed], list[dict[str, Any]]]:
        """Return the good events of some records, and those that are rejected, with their keys."""
        events, bad, step = decoder.decode_batches([batch(records)], [topic], [0])
        good: list[Placed] = []
        for i, row in enumerate(events.row.tolist()):
            origin = step.origin(row)
            assert events.topic[i] == (SOURCE if origin else topic)
            place = (origin.topic, origin.partition) if origin else (name, partition)
            where = *place, step.record(row).offset, int(events.kafka_us[i])
            ids = events.trace_id[i].tolist(), events.event_key[i].tolist()
            good.append((*where, *ids, events.body[i]))
        rejected = [
            rejected_event(step, row, reason, detail, name, partition)
            for row, reason, detail in zip(bad.row, bad.reason, bad.detail, strict=True)
        ]
        for one, row in zip(rejected, bad.row, strict=True):
            one["published_with"] = rejected_key(step.record(row).key, one)
        return good, rejected

    def take(self, records: list[Record], cuts: Sequence[int]) -> list[OutRecord]:
        """Hand records to the task, cut into chunks at some places; return what it writes."""
        edges = sorted({0, len(records), *(c % len(records) for c in cuts)})
        for a, b in pairwise(edges):
            part = records[a:b]
            chunk = Chunk(self.topic, ORIGIN, part[0].offset, part[-1].offset + 1, [batch(part)])
            self.runner.step([chunk], {}, T0_US)
        return self.runner.collect(MS)[0]


def records_of(sent: Sequence[tuple[bytes | None, bytes | None]]) -> list[Record]:
    """Return what was sent as records of the origin."""
    return [Record(70 + 2 * i, MS + 3 * i, key, value) for i, (key, value) in enumerate(sent)]


def check(topic: str, sent: Sequence[tuple[bytes | None, bytes | None]], cuts: list[int]) -> None:
    """Hold what is read behind a rekey task against what is read at the origin."""
    world = Rekeyed(topic)
    records = records_of(sent)
    expected, refused = world.events(world.direct, 0, topic, ORIGIN, records)
    good: list[Placed] = []
    bad: list[dict[str, Any]] = []
    out = world.take(records, cuts)
    assert {record.topic for record in out} <= {INTERNAL}
    for partition in range(PARTITIONS):
        mine = [Record(i, MS + 9_000, r.key, r.value) for i, r in enumerate(out)]
        mine = [r for r, o in zip(mine, out, strict=True) if o.partition == partition]
        if not mine:
            continue
        found, also = world.events(world.behind, 1, INTERNAL, partition, mine)
        for one in found:
            high, low = one[4]  # type: ignore[misc]
            if high or low:
                assert murmur2_partition(b"%016x%016x" % (high, low), PARTITIONS) == partition
        offsets = [one[2] for one in found]
        assert offsets == sorted(offsets)  # type: ignore[type-var]
        good += found
        bad += also
    assert sorted(map(repr, good)) == sorted(map(repr, expected))
    assert sorted(map(repr, bad)) == sorted(map(repr, refused))
    counts = world.runner.counts
    assert counts["moved"] + counts["stayed"] == len(good)
    assert counts["rejected"] == len(bad)


@given(NATIVES, st.lists(st.integers(0, 50), max_size=3))
@example([(None, encode_batch([native(1, 1), native(2, 2)]))], [])
def test_native_events_are_the_same_elsewhere(
    sent: list[tuple[bytes | None, bytes | None]], cuts: list[int]
) -> None:
    """Alone, in batch messages, without a trace, bad: each once, with its own place and time."""
    check(NATIVE, sent, cuts)


@given(REQUESTS, st.lists(st.integers(0, 50), max_size=3))
@example([(None, request([(1, 1), (2, 0), (3, 1)], True))], [])
def test_requests_are_split_by_trace(
    sent: list[tuple[bytes | None, bytes]], cuts: list[int]
) -> None:
    """A request of spans of many traces, protobuf or JSON: each span goes where its trace lies."""
    check(SPANS, sent, cuts)


@tried(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 7), few=25, many=100)
def test_a_state_cut_anywhere_goes_on_where_it_stood(numbers: list[int], every: int) -> None:
    """Cuts and restores between steps: the same events, each once, and the same counts."""
    sent = [(None, whole(native(n, i + 1))) for i, n in enumerate(numbers)]
    records = records_of(sent)
    straight = Rekeyed(NATIVE)
    expected = straight.take(records, [])
    cut, out = Rekeyed(NATIVE), []
    for at in range(0, len(records), every):
        out += cut.take(records[at : at + every], [])
        segment = cut.runner.collect(MS)[1]
        lost = Rekeyed(NATIVE)
        lost.runner.load([segment])
        cut = lost
        assert cut.runner.positions == {
            NATIVE: records[min(at + every, len(records)) - 1].offset + 1
        }
    assert cut.runner.counts == straight.runner.counts
    bodies = [sorted(_bodies(straight, some)) for some in (expected, out)]
    assert bodies[0] == bodies[1]


def _bodies(world: Rekeyed, out: list[OutRecord]) -> list[bytes]:
    records = [Record(i, MS, None, one.value) for i, one in enumerate(out)]
    events, _, _ = world.behind.decode_batches([batch(records)], [1], [0])
    return list(events.body)


def test_a_task_that_read_all_says_so_to_every_partition() -> None:
    """After what it read, once a second when nothing comes, and never while it is behind."""
    world = Rekeyed(NATIVE)
    runner = world.runner
    (one,) = records_of([(None, whole(native(1, 1)))])
    chunk = Chunk(NATIVE, ORIGIN, one.offset, one.offset + 1, [batch([one])])
    runner.step([chunk], {NATIVE: 0}, T0_US)
    runner.step([], {NATIVE: T0_US + 7}, T0_US + 10)
    out, _ = runner.collect(MS)
    assert [record.partition for record in out[1:]] == list(range(PARTITIONS))
    records = [Record(i, MS, None, record.value) for i, record in enumerate(out)]
    _, _, step = world.behind.decode_batches([batch(records)], [1], [0])
    assert [o.read_to_us for o in step.origins()] == [0] + [T0_US + 7] * PARTITIONS
    assert {o.source for o in step.origins()} == {SOURCE}
    for later_us, marks in ((500_000, 0), (1_000_010, PARTITIONS), (1_200_000, 0)):
        runner.step([], {NATIVE: T0_US + later_us}, T0_US + later_us)
        assert runner.is_dirty == bool(marks)
        assert len(runner.collect(MS)[0]) == marks


def test_what_is_no_message_of_a_rekey_task_is_read_as_an_event_or_refused() -> None:
    """Nobody else writes there; if somebody does, nothing breaks and nothing is lost silently."""
    world = Rekeyed(NATIVE)
    (torn,) = world.take(records_of([(None, whole(native(1, 1)))]), [])
    assert torn.value is not None
    values = [whole(native(3, 3)), torn.value[:-5], torn.value + b"\0", torn.value[:12], b"junk"]
    records = [Record(i, MS, None, value) for i, value in enumerate(values)]
    events, bad, _ = world.behind.decode_batches([batch(records)], [1], [0])
    assert events.topic.tolist() == [1]
    assert bad.row == [1, 2, 3, 4]
    assert set(bad.reason[:3]) == {"invalid_avro"}


def test_events_of_an_origin_that_is_not_known_any_more_are_joined_all_the_same() -> None:
    """`rekey` was changed while messages waited: they count for the topic they are read from."""
    world = Rekeyed(NATIVE)
    out = world.take(records_of([(None, whole(native(1, 1)))]), [])
    other = EventDecoder(default_schemas(), world.operations, rekeyed=(1, {}))
    records = [Record(i, MS, None, record.value) for i, record in enumerate(out)]
    events, _, step = other.decode_batches([batch(records)], [1], [0])
    assert events.topic.tolist() == [1]
    origin = step.origin(0)
    assert origin is not None
    assert (origin.topic, origin.source) == (NATIVE, None)
    assert events.kafka_us.tolist() == [MS * 1000]
    assert np.array_equal(origin.offset, [70])
