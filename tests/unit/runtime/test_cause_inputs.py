"""What a join hands to the causes task: a bounded sample of the traces, and changes."""

from pathlib import Path
from typing import Any

import pytest

from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.runtime import cause_inputs, cause_runner, topics
from streams.runtime.build import load_pipeline
from streams.runtime.cause_runner import CauseRunner
from streams.runtime.chunk import Chunk
from streams.runtime.global_stage import GlobalFactory
from streams.runtime.stage_runner import StageRunner
from streams.settings import load_settings
from tests.record_batches import batch
from tests.signal_cases import SECOND, T0, cell, partial, series
from tests.unit.codec import codec_cases
from tests.unit.runtime.join_cases import (
    PARTITIONS,
    A,
    B,
    chunk,
    cut,
    decoded,
    feed,
    join_runner,
    let_time_pass,
    of_topic,
    whole_trace,
)


def traces(numbers: range) -> list[dict[str, Any]]:
    return [span for n in numbers for span in whole_trace(trace_id=f"{n * 7919 + 1:032x}")]


def closed(runner: Any, numbers: range, start: int = 0) -> list[Any]:
    """Return the outputs of a cut in which those traces were closed."""
    spans = traces(numbers)
    feed(runner, chunk(A, *(s for s in spans if s["module"] != "B"), start=2 * start))
    feed(runner, chunk(B, *(s for s in spans if s["module"] == "B"), start=start))
    let_time_pass(runner, 60)
    return cut(runner, 60 + start)


def test_a_cut_hands_on_a_bounded_sample(tmp_path: Path) -> None:
    """As they are written; of few traces all, of many so many."""
    runner = join_runner(tmp_path, cause_traces_per_cut=4 * PARTITIONS)
    few = closed(runner, range(3))
    written = {r.key: r.value for r in of_topic(few, topics.TRACES)}
    assert {r.key: r.value for r in of_topic(few, topics.CAUSE_INPUTS)} == written
    many = of_topic(closed(runner, range(3, 40), start=3), topics.CAUSE_INPUTS)
    assert len({r.key for r in many}) == 4
    assert {r.partition for r in many} == {0}


def test_the_sample_depends_on_the_ids_alone(tmp_path: Path) -> None:
    """Whatever the chunks: the same traces of a cut."""
    given = {"cause_traces_per_cut": 4 * PARTITIONS}
    whole, parted = (join_runner(tmp_path, **given) for _ in range(2))
    one = of_topic(closed(whole, range(30)), topics.CAUSE_INPUTS)
    spans = traces(range(30))
    for at in range(30):
        mine = spans[3 * at : 3 * at + 3]
        feed(parted, chunk(A, *mine[:2], start=2 * at))
        feed(parted, chunk(B, mine[2], start=at))
        let_time_pass(parted, 60)
    other = of_topic(cut(parted, 60), topics.CAUSE_INPUTS)
    assert sorted(r.key or b"" for r in one) == sorted(r.key or b"" for r in other)


def test_none_are_sampled_where_none_are_wanted(tmp_path: Path) -> None:
    """Changes still go."""
    runner = join_runner(tmp_path, cause_traces_per_cut=0)
    outputs = closed(runner, range(3))
    assert of_topic(outputs, topics.CAUSE_INPUTS) == []


def test_changes_go_on_and_other_audit_events_do_not(tmp_path: Path) -> None:
    """By the event's name, as the contract's `events` have it."""
    runner = join_runner(tmp_path)
    given = {"event_type": "AUDIT", "trace_id": "", "span_id": "", "parent_span_id": ""}
    audit = [
        codec_cases.event(**given, module="A", name=name, operation=operation)
        for name, operation in (("change_applied", "DEPLOY"), ("record_read", "READ"))
    ]
    feed(runner, chunk(A, *audit))
    (record,) = decoded(cut(runner), topics.CAUSE_INPUTS)
    assert (record["name"], record["operation"]) == ("change_applied", "DEPLOY")


def of(kind: str, tmp_path: Path) -> StageRunner:
    """Return the runner of a task of the global stage."""
    del tmp_path
    made = GlobalFactory(load_pipeline(load_settings(contract="seed")), 1).make(kind, 0)
    assert isinstance(made, StageRunner)
    return made


def take(runner: StageRunner, topic: str, *values: bytes) -> None:
    start = runner.positions.get(topic, 0)
    records = [Record(start + at, T0 // 1000, None, value) for at, value in enumerate(values)]
    end = start + len(values)
    runner.step([Chunk(topic, 0, start, end, [batch(records)])], {topic: T0}, T0)


def test_ended_windows_reach_the_causes_task(tmp_path: Path) -> None:
    """The signals task tells them, all partitions together; the causes task reads them."""
    signals, causes = of("signals", tmp_path), of("causes", tmp_path)
    start = T0 // (10 * SECOND) * 10 * SECOND
    told = partial(start, start + 20 * SECOND, {series(): cell(3.0, at_us=start)})
    take(signals, topics.SIGNALS, encode("signal_partial", told))
    windows = of_topic(signals.collect(1)[0], topics.CAUSE_INPUTS)
    rows = [decode(r.value) for r in windows]
    assert [len(row["series"]) for row in rows] == [1, 0]
    assert rows[-1]["watermark"] == start + 20 * SECOND
    take(causes, topics.CAUSE_INPUTS, *(r.value or b"" for r in windows))
    assert causes.task.counters() == {}
    assert causes.is_dirty, "a stretch is over"


def test_the_causes_task_is_cut_after_very_much_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a restart reads again has an end, whatever comes of stretches."""
    monkeypatch.setattr(cause_runner, "ROWS_MAX", 3)
    causes = of("causes", tmp_path)
    start = T0 // (10 * SECOND) * 10 * SECOND
    waiting = encode("signal_partial", partial(start, start, {series(): cell(3.0, at_us=start)}))
    take(causes, topics.CAUSE_INPUTS, waiting, waiting)
    assert not causes.is_dirty
    take(causes, topics.CAUSE_INPUTS, waiting)
    assert causes.is_dirty
    causes.collect(1)
    take(causes, topics.CAUSE_INPUTS, waiting, waiting)
    assert not causes.is_dirty


def test_partitions_share_the_sample(tmp_path: Path) -> None:
    """So that all of them together fill no stretch, however many they are."""
    runner = join_runner(tmp_path)
    many = of_topic(closed(runner, range(40)), topics.CAUSE_INPUTS)
    assert len({r.key for r in many}) == 32 // PARTITIONS


def test_a_very_large_trace_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic is meant for small records."""
    monkeypatch.setattr(cause_inputs, "VALUE_BYTES_MAX", 10)
    runner = join_runner(tmp_path)
    assert of_topic(closed(runner, range(2)), topics.CAUSE_INPUTS) == []
    assert runner.status()["reasons"]["cause_trace_too_large"] == 2


def test_the_causes_task_is_cut_when_a_stretch_is_over(tmp_path: Path) -> None:
    """What only comes in is read again after a restart: its state is large."""
    causes = of("causes", tmp_path)
    assert isinstance(causes, CauseRunner)
    start = T0 // (10 * SECOND) * 10 * SECOND
    waiting = partial(start, start, {series(): cell(3.0, at_us=start)})
    take(causes, topics.CAUSE_INPUTS, encode("signal_partial", waiting))
    assert not causes.is_dirty
    over = partial(start, start + 10 * SECOND, {})
    take(causes, topics.CAUSE_INPUTS, encode("signal_partial", over))
    assert causes.is_dirty
