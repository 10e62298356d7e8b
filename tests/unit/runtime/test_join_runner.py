"""The runner of a join: rejections with their place, partials in good time, a state that lasts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.codec.recordbatch import Record
from streams.core.traces.links import CONTEXT_RESTARTED
from streams.errors import StateError
from streams.runtime import topics
from streams.runtime.chunk import Chunk
from streams.runtime.join_runner import JoinRunner
from streams.runtime.recall import TraceReader
from streams.runtime.rejecting import VALUE_MAX
from streams.state.segment import Segment, encode_pieces, read_piece
from tests.record_batches import batch
from tests.unit.runtime.join_cases import (
    LINKS,
    OTHER,
    PARTITION,
    PARTITIONS,
    SECOND_US,
    T0_US,
    TOPICS,
    A,
    B,
    chunk,
    cut,
    decoded,
    feed,
    join_runner,
    let_time_pass,
    of_topic,
    span,
    whole_trace,
)
from tests.unit.state.decoded import decode_pieces


def accounts(runner: JoinRunner) -> dict[str, int]:
    """Return the accounts that are not zero."""
    return {name: n for name, n in runner.status()["accounting"].items() if n}


def through_bytes(segments: Sequence[Segment]) -> list[Segment]:
    """Return segments as a restore reads them."""
    pieces = [encode_pieces(segment, 1, at) for at, segment in enumerate(segments)]
    return [decode_pieces([read_piece(p).payload for p in part]) for part in pieces]


# --- traces and rejections


def test_spans_of_all_topics_make_one_trace(tmp_path: Path) -> None:
    """A trace whose spans came by two topics is published once, to its own partition."""
    runner = join_runner(tmp_path)
    go, mid, end = whole_trace()
    feed(runner, chunk(A, go, mid), chunk(B, end))
    assert runner.positions == {A: 2, B: 1}
    assert runner.rows == 3
    let_time_pass(runner, 60)
    outputs = cut(runner, 60)
    (record,) = of_topic(outputs, topics.TRACES)
    assert (record.partition, record.key) == (PARTITION, go["trace_id"].encode())
    (trace,) = decoded(outputs, topics.TRACES)
    assert (trace["status"], trace["revision"]) == ("COMPLETE", 1)
    assert trace["spans"] == [go, mid, end]
    assert accounts(runner) == {"accepted": 3, "joined": 3}


def test_a_rejected_event_names_its_place_and_reason(tmp_path: Path) -> None:
    """Each bad record is told with topic, partition, offset, key, time and value as it came."""
    runner = join_runner(tmp_path)
    good = whole_trace()
    feed(runner, chunk(A, good[0], b"junk!", good[1], start=7), chunk(B, None, good[2], start=40))
    outputs = cut(runner)
    junk, empty = decoded(outputs, topics.REJECTED)
    assert (junk["reason"], junk["topic"], junk["partition"]) == ("bad_magic", A, PARTITION)
    assert (junk["offset"], junk["key"], junk["value"]) == (8, b"key", b"junk!")
    assert (junk["timestamp"], junk["value_bytes"]) == (T0_US, 5)
    assert (empty["reason"], empty["topic"], empty["offset"]) == ("empty_value", B, 40)
    assert (empty["value"], empty["value_bytes"]) == (b"", 0)
    records = of_topic(outputs, topics.REJECTED)
    assert [(r.partition, r.key) for r in records] == [(PARTITION, b"key")] * 2
    assert accounts(runner) == {"accepted": 5, "rejected": 2, "open": 3}
    assert runner.status()["reasons"] == {"bad_magic": 1, "empty_value": 1}


def test_a_rejected_event_is_published_with_the_key_that_came(tmp_path: Path) -> None:
    """A key, an empty one and none are three things."""
    runner = join_runner(tmp_path)
    keys = [b"key", b"", None]
    records = [Record(i, T0_US // 1000, key, b"junk!") for i, key in enumerate(keys)]
    feed(runner, Chunk(A, PARTITION, 0, len(records), [batch(records)]))
    outputs = cut(runner)
    assert [r.key for r in of_topic(outputs, topics.REJECTED)] == keys
    assert [r["key"] for r in decoded(outputs, topics.REJECTED)] == [b"key", b"", b""]


def test_a_large_rejected_value_is_cut_and_its_size_told(tmp_path: Path) -> None:
    """What is kept of a bad value is bounded; how large it was is not lost."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, b"x" * (VALUE_MAX + 5)))
    (rejected,) = decoded(cut(runner), topics.REJECTED)
    assert len(rejected["value"]) == VALUE_MAX
    assert rejected["value_bytes"] == VALUE_MAX + 5


def test_every_record_is_accounted_for(tmp_path: Path) -> None:
    """Good, bad, twice or without a trace: the outcomes add up to what was accepted."""
    runner = join_runner(tmp_path)
    go, mid, end = whole_trace()
    untraced = span("go", 9, event_type="METRIC", trace_id="", span_id="", parent_span_id="")
    feed(runner, chunk(A, go, go, mid, untraced), chunk(OTHER, b"junk"), chunk(B, end))
    let_time_pass(runner, 60)
    feed(runner, chunk(A, mid, start=4))
    expected = {"accepted": 7, "joined": 3, "duplicate": 2, "untraced": 1, "rejected": 1}
    assert accounts(runner) == expected


# --- partials


def test_partials_are_sent_at_most_once_a_second(tmp_path: Path) -> None:
    """Counts within a second of the last partial wait in the state for the next one."""
    runner = join_runner(tmp_path)
    sent = []
    for at, seconds in enumerate((10.0, 10.4, 10.999, 11.0)):
        feed(runner, chunk(A, span("go", at + 1), start=at))
        sent.append(decoded(cut(runner, seconds), topics.PARTIALS))
    assert [len(partials) for partials in sent] == [1, 0, 0, 1]
    first, last = sent[0][0], sent[3][0]
    for partial, events in ((first, 1), (last, 4)):
        (scope,) = [s for s in partial["scopes"] if s["kind"] == "total"]
        assert scope["counters"]["events"] == events, "absolute, not what was added"
        assert partial["window_start"] == T0_US
        assert (partial["partition"], partial["partitions_total"]) == (PARTITION, PARTITIONS)
    assert last["sequence"] > first["sequence"]


def test_partials_have_one_partition_and_a_key_of_window_and_source(tmp_path: Path) -> None:
    """All partitions report to one task, and a later partial replaces an earlier one."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, span("go", 1)))
    (record,) = of_topic(cut(runner, 10), topics.PARTIALS)
    assert (record.partition, record.key) == (0, f"{T0_US}/{PARTITION}".encode())


def test_a_quiet_partition_still_says_how_far_it_is(tmp_path: Path) -> None:
    """When time passes and nothing comes, an empty partial tells the new watermark."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, span("go", 1)))  # known to the broker half a second after it happened
    let_time_pass(runner, 60)
    cut(runner, 60)
    let_time_pass(runner, 65)
    assert runner.is_dirty
    (partial,) = decoded(cut(runner, 65), topics.PARTIALS)
    assert partial["scopes"] == []
    assert partial["watermark"] == T0_US + 65 * SECOND_US - SECOND_US // 2
    let_time_pass(runner, 65.9)
    assert not runner.is_dirty, "not at every tick"
    let_time_pass(runner, 66)
    assert runner.is_dirty
    (partial,) = decoded(cut(runner, 66), topics.PARTIALS)
    assert partial["watermark"] == T0_US + 66 * SECOND_US - SECOND_US // 2


def test_time_that_stands_still_asks_for_no_cut(tmp_path: Path) -> None:
    """A topic that is behind holds the watermark, and a watermark that stands is not news."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, *whole_trace()))
    let_time_pass(runner, 60)
    cut(runner, 60)
    behind = dict.fromkeys(TOPICS, T0_US + 90 * SECOND_US) | {B: 0}
    runner.step([], behind, now_us=T0_US + 90 * SECOND_US)
    assert not runner.is_dirty


def test_a_partition_without_any_event_says_nothing(tmp_path: Path) -> None:
    """Before the first event nothing is known of the stream's time: there is nothing to tell."""
    runner = join_runner(tmp_path)
    let_time_pass(runner, 60)
    assert not runner.is_dirty


# --- the state


def test_a_restored_task_goes_on_where_the_cut_was(tmp_path: Path) -> None:
    """Its segments give a fresh task its positions, its accounts and its open traces."""
    go, mid, end = whole_trace()
    one = join_runner(tmp_path)
    segments = []
    feed(one, chunk(A, go, b"junk"), chunk(LINKS))
    segments.append(one.collect(1)[1])
    feed(one, chunk(A, mid, mid, start=2))
    segments.append(one.collect(2)[1])

    other = join_runner(tmp_path)
    other.load(through_bytes(segments))
    assert other.positions == one.positions == {A: 4, LINKS: 0}
    assert accounts(other) == accounts(one) == {"accepted": 4, "rejected": 1, "open": 3}
    for runner in (one, other):
        feed(runner, chunk(B, end))
        let_time_pass(runner, 60)
        (trace,) = decoded(cut(runner, 60), topics.TRACES)
        assert trace["spans"] == [go, mid, end]
        expected = {"accepted": 5, "joined": 3, "duplicate": 1, "rejected": 1}
        assert accounts(runner) == expected


def test_what_a_cut_published_is_not_published_again(tmp_path: Path) -> None:
    """The next cut of the same task, and of one that was restored, are silent about it."""
    one = join_runner(tmp_path)
    feed(one, chunk(A, *whole_trace(), b"junk"))
    let_time_pass(one, 60)
    outputs, segment = one.collect(T0_US // 1000 + 60_000)
    assert len(of_topic(outputs, topics.TRACES)) == len(of_topic(outputs, topics.REJECTED)) == 1
    other = join_runner(tmp_path)
    other.load(through_bytes([segment]))
    for runner in (one, other):
        again = cut(runner, 62)
        assert of_topic(again, topics.TRACES) == of_topic(again, topics.REJECTED) == []


def test_a_late_span_asks_for_its_trace_and_amends_it(tmp_path: Path) -> None:
    """A span after the close has the last revision read back, and the next one holds them all."""
    runner = join_runner(tmp_path, halves_bytes_max=0)
    go, mid, end = whole_trace()
    feed(runner, chunk(A, go, mid))
    let_time_pass(runner, 60)
    (first,) = of_topic(cut(runner, 60), topics.TRACES)
    feed(runner, chunk(B, end))
    trace_id = bytes.fromhex(go["trace_id"])
    assert runner.pending_recalls() == [(trace_id, T0_US // 1000 + 60_000, 1)]
    revision, bodies = TraceReader().read(first.value)
    runner.recalled(trace_id, bodies)
    assert (revision, runner.pending_recalls()) == (1, [])
    let_time_pass(runner, 120)
    (trace,) = decoded(cut(runner, 120), topics.TRACES)
    assert (trace["revision"], trace["status"]) == (2, "COMPLETE")
    assert trace["spans"] == [go, mid, end]


def test_a_trace_that_cannot_be_read_back_is_counted_late(tmp_path: Path) -> None:
    """When the first revision is gone, the late span is an outcome with a reason, not an error."""
    runner = join_runner(tmp_path, halves_bytes_max=0)
    go, mid, end = whole_trace()
    feed(runner, chunk(A, go, mid))
    let_time_pass(runner, 60)
    cut(runner, 60)
    feed(runner, chunk(B, end))
    runner.recalled(bytes.fromhex(go["trace_id"]), None)
    assert runner.is_dirty
    assert accounts(runner) == {"accepted": 3, "joined": 2, "late": 1}
    assert runner.status()["reasons"] == {"recall_failed": 1, "halves_bytes_max": 1}


def test_a_half_that_is_still_in_memory_is_not_read_back(tmp_path: Path) -> None:
    """What asks for its last revision finds the events where they were kept, and amends it."""
    runner = join_runner(tmp_path)
    go, mid, end = whole_trace()
    feed(runner, chunk(A, go, mid))
    let_time_pass(runner, 60)
    cut(runner, 60)
    feed(runner, chunk(B, end))
    assert runner.pending_recalls() == []
    let_time_pass(runner, 120)
    (trace,) = decoded(cut(runner, 120), topics.TRACES)
    assert (trace["revision"], trace["status"], trace["spans"]) == (2, "COMPLETE", [go, mid, end])


def test_a_synthetic_span_makes_the_next_revision(tmp_path: Path) -> None:
    """Read from the links topic: what is held elsewhere is restarted; it counts as no span."""
    runner = join_runner(tmp_path)
    go, mid, _ = whole_trace()
    feed(runner, chunk(A, go, mid))
    let_time_pass(runner, 60)
    (fragment,) = decoded(cut(runner, 60), topics.FRAGMENTS)
    assert (fragment["partition"], fragment["stages"]) == (PARTITION, ["go", "mid"])
    told = {"relation": "continues_in", "stages": "end"}
    link = span("x", 77, name=CONTEXT_RESTARTED, component="link", dimensions=told)
    feed(runner, chunk(topics.LINKS, link))
    let_time_pass(runner, 120)
    (trace,) = decoded(cut(runner, 120), topics.TRACES)
    assert (trace["revision"], trace["span_count"], trace["annotation_count"]) == (2, 2, 0)
    assert len(trace["spans"]) == 3
    assert [row["cause"] for row in trace["missing"]] == ["CONTEXT_RESTARTED"]
    assert accounts(runner) == {"accepted": 2, "joined": 2}
    assert runner.status()["reasons"] == {"link_accepted": 1, "link_joined": 1}


def test_a_state_of_topics_with_other_partitions_is_refused(tmp_path: Path) -> None:
    """Keys have moved: what is open would never get the rest, what is closed would come twice."""
    one = join_runner(tmp_path)
    one.step([chunk(A, span("go", 1))], {}, T0_US)
    segment = one.collect(1)[1]
    grown = join_runner(tmp_path, partitions=PARTITIONS + 1)
    with pytest.raises(StateError, match=r"topics with 8 partitions, they have 9.*new group"):
        grown.load(through_bytes([segment]))
