"""A rekeyed topic read at any pace falsifies no answer: each of its partitions is waited for."""

import random
from typing import Any

import pytest

from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.rekey_stage import RekeyFactory
from streams.runtime.topics import REKEYED
from streams.runtime.topics import TRACES as TRACES_TOPIC
from streams.settings import WorkerSettings
from streams.units import SECOND_US
from tests.property.test_join_lag import (
    BEGIN_US,
    HOUR_SECONDS,
    SEED,
    TRACES,
    Fed,
    events_of,
    statuses,
)
from tests.record_batches import batch

ORIGINS = 3


class Partition(Fed):
    """The join of one partition, and the tasks that rekey one of its topics for it."""

    def __init__(self, rekeyed: str) -> None:
        pipeline = load_pipeline(WorkerSettings(contract="seed", rekey=rekeyed))
        self.rekeyed = rekeyed
        factory = JoinFactory(pipeline, 1, {rekeyed: ORIGINS})
        super().__init__(factory.make(0), factory.sources.topics)
        self.tasks = [RekeyFactory(pipeline, rekeyed, 1).make(p) for p in range(ORIGINS)]
        self.origins: list[list[Record]] = [[] for _ in range(ORIGINS)]
        for trace in range(1, TRACES + 1):
            for event in events_of(trace, BEGIN_US + trace * HOUR_SECONDS * SECOND_US // TRACES):
                topic = SEED.topic(event["module"])
                log = self.origins[trace % ORIGINS] if topic == rekeyed else self.logs[topic]
                value = encode("telemetry_event", event)
                log.append(Record(len(log), event["timestamp"] // 1_000, None, value))
        self.read = [0] * ORIGINS

    def rekey(self, partition: int, count: int, now_us: int) -> None:
        """Let a rekey task take up to so many records, and commit."""
        task, log, start = self.tasks[partition], self.origins[partition], self.read[partition]
        records = log[start : start + count]
        end = start + len(records)
        chunks = [Chunk(self.rekeyed, partition, start, end, [batch(records)])] if records else []
        self.read[partition] = end
        task.step(chunks, {self.rekeyed: now_us if end == len(log) else 0}, now_us)
        for one in task.collect(now_us // 1000)[0]:
            out = self.logs[REKEYED]
            out.append(Record(len(out), now_us // 1000, one.key, one.value))

    def is_read(self) -> bool:
        """Whether every topic was read to its end, by the join and by the tasks before it."""
        is_placed = all(at == len(log) for at, log in zip(self.read, self.origins, strict=True))
        return is_placed and super().is_read()

    def end(self, now_us: int) -> None:
        """Let a minute pass in which nothing comes."""
        for partition in range(ORIGINS):
            self.rekey(partition, 0, now_us + 60 * SECOND_US)
        self.step(dict.fromkeys(self.topics, 100), now_us + 60 * SECOND_US)
        self.step({}, now_us + 60 * SECOND_US)


@pytest.mark.parametrize("module", ["ALPHA", "BETA", "GAMMA"])
def test_one_partition_of_a_rekeyed_topic_an_hour_behind_makes_no_trace_incomplete(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick partitions bring events of now: the join waits for the slow one all the same."""
    partition = Partition(SEED.topic(module))
    seen = statuses(partition, monkeypatch)
    now_us = BEGIN_US + 2 * HOUR_SECONDS * SECOND_US
    while not partition.is_read():
        for p in range(ORIGINS):
            partition.rekey(p, 1 if p == 1 else 50, now_us)
        partition.step(dict.fromkeys(partition.topics, 20), now_us)
        now_us += SECOND_US // 10
    partition.end(now_us)
    assert seen == [(1, 0)] * TRACES
    assert partition.held, "the other topics ran ahead, and nobody held them"
    assert partition.runner.task.state.accounting()["open"] == 0


def test_any_pace_gives_whole_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However unevenly origins, internal topic and others are read, nothing is called missing."""
    for seed in range(3):
        rng = random.Random(seed)
        partition = Partition(SEED.topic(rng.choice(("ALPHA", "BETA", "GAMMA"))))
        seen = statuses(partition, monkeypatch)
        now_us = BEGIN_US + 2 * HOUR_SECONDS * SECOND_US
        while not partition.is_read():
            for p in range(ORIGINS):
                partition.rekey(p, rng.choice((0, 0, 2, 30)), now_us)
            pace = {topic: rng.choice((0, 0, 3, 40)) for topic in partition.topics}
            partition.step(pace, now_us)
            now_us += SECOND_US // 10
        partition.end(now_us)
        assert seen == [(1, 0)] * TRACES


def test_a_join_that_is_restored_forgets_the_position_of_a_topic_it_reads_no_more() -> None:
    """It is the rekey task's now; what is written of it by the join would undo the task's."""
    before = load_pipeline(WorkerSettings(contract="seed"))
    old: Any = JoinFactory(before, 1).make(0)
    topic = SEED.topic("BETA")
    (value,) = [
        encode("telemetry_event", e) for e in events_of(1, BEGIN_US) if e["module"] == "BETA"
    ][:1]
    record = Record(0, BEGIN_US // 1000, None, value)
    old.step([Chunk(topic, 0, 0, 1, [batch([record])])], {}, BEGIN_US)
    _, segment = old.collect(BEGIN_US // 1000)
    partition = Partition(topic)
    partition.runner.load([segment])
    assert topic not in partition.runner.positions
    assert topic not in partition.runner.task.state.positions
    assert len(partition.runner.task.state.open) == 1


def causes_of(partition: Partition, module: str) -> dict[str, set[str]]:
    """Run a partition to its end; return why spans of a module are missing, by trace."""
    now_us = BEGIN_US + 2 * HOUR_SECONDS * SECOND_US
    while not partition.is_read():
        for p in range(ORIGINS):
            partition.rekey(p, 20, now_us)
        partition.step(dict.fromkeys(partition.topics, 20), now_us)
        now_us += SECOND_US // 10
    partition.end(now_us)
    partition.end(now_us + 600 * SECOND_US)
    out, _ = partition.runner.collect(now_us // 1000)
    traces = [decode(one.value) for one in out if one.topic == TRACES_TOPIC]
    return {
        trace["trace_id"]: {m["cause"] for m in trace["missing"] if m["module"] == module}
        for trace in traces
    }


def test_a_module_is_silent_when_all_partitions_of_its_topic_are() -> None:
    """One event from any of them, after a trace began, and it was not the module that was quiet."""
    module = "GAMMA"
    partition = Partition(SEED.topic(module))
    events = partition.origins
    partition.origins = [[] for _ in range(ORIGINS)]
    found = causes_of(partition, module)
    assert len(found) == TRACES
    assert set.union(*found.values()) == {"MODULE_SILENT"}

    partition = Partition(SEED.topic(module))
    last = f"{TRACES:032x}"
    kept = [record for record in events[TRACES % ORIGINS] if last in repr(record.value)]
    partition.origins = [[] for _ in range(ORIGINS)]
    partition.origins[-1] = [one._replace(offset=i) for i, one in enumerate(kept)]
    found = causes_of(partition, module)
    assert found.pop(last) == set()
    assert set.union(*found.values()) == {"NEVER_ARRIVED"}
