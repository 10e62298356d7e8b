"""Consumer lag delays answers and never falsifies them: the seed pipeline, by the real codec."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.join_runner import JoinRunner
from streams.runtime.runner import Runner
from streams.settings import WorkerSettings
from streams.units import SECOND_US
from tests.record_batches import batch

BEGIN_US = 1_760_000_000 * SECOND_US
HOUR_SECONDS = 3_600
TRACES = 60
SEED = load_contract("seed")


def events_of(trace: int, begin_us: int) -> list[dict[str, Any]]:
    """Return the spans of one whole record of the seed pipeline, 50 ms apart."""
    flow = SEED.flows["record"]
    stages = [stage for stage in flow.stages if stage.required and stage.when is None]
    return [
        {
            "event_id": "",
            "trace_id": f"{trace:032x}",
            "span_id": f"{100 * trace + i + 1:016x}",
            "parent_span_id": f"{100 * trace + i:016x}" if i else "",
            "timestamp": begin_us + i * SECOND_US // 20,
            "module": stage.module,
            "component": stage.component,
            "event_type": "TRACE",
            "severity": "INFO",
            "name": stage.name,
            "value": 0.0,
            "unit": "",
            "dimensions": {"ack_pattern": "sync"} if stage.id == "delivery" else {},
            "record_id": f"rec-{trace}",
            "batch_id": "",
            "correlation_id": "",
            "operation": "",
            "actor": "",
            "duration_us": 1_000,
            "status": "OK",
            "span_kind": "INTERNAL",
            "trace_flags": 1,
            "links": [],
        }
        for i, stage in enumerate(stages)
    ]


class Fed:
    """A join that is fed from its topics at any pace; holds are obeyed.

    Args:
        runner: of one partition.
        topics: that it reads; their logs are empty.
    """

    def __init__(self, runner: Runner, topics: Sequence[str]) -> None:
        assert isinstance(runner, JoinRunner)
        self.runner = runner
        self.topics = tuple(topics)
        self.logs: dict[str, list[Record]] = {topic: [] for topic in topics}
        self.at = dict.fromkeys(topics, 0)
        self.held: set[str] = set()
        self.open_most = 0

    def step(self, wanted: dict[str, int], now_us: int) -> None:
        """Feed up to so many records of each topic that is not held."""
        chunks = []
        for topic, count in wanted.items():
            start = self.at[topic]
            records = self.logs[topic][start : start + count]
            if topic not in self.runner.held and records:
                chunks.append(Chunk(topic, 0, start, start + len(records), [batch(records)]))
                self.at[topic] += len(records)
        ended = {t: now_us if self.at[t] == len(self.logs[t]) else 0 for t in self.topics}
        self.runner.step(chunks, ended, now_us)
        self.held |= self.runner.held
        self.open_most = max(self.open_most, len(self.runner.task.state.open))

    def is_read(self) -> bool:
        """Whether every topic was read to its end."""
        return all(self.at[topic] == len(log) for topic, log in self.logs.items())


class Partition(Fed):
    """The join of one partition of the contract's topics."""

    def __init__(self) -> None:
        pipeline = load_pipeline(WorkerSettings(contract="seed"))
        super().__init__(JoinFactory(pipeline, 1).make(0), pipeline.telemetry)
        for trace in range(1, TRACES + 1):
            for event in events_of(trace, BEGIN_US + trace * HOUR_SECONDS * SECOND_US // TRACES):
                log = self.logs[SEED.topic(event["module"])]
                value = encode("telemetry_event", event)
                log.append(Record(len(log), event["timestamp"] // 1_000, None, value))


def statuses(partition: Fed, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Note (revision, status) of each trace as it is published."""
    seen: list[tuple[int, int]] = []
    writer = partition.runner._writer
    records = writer.records

    def note(batch: Any, number: int) -> Any:
        seen.extend(zip(batch.revision.tolist(), batch.status.tolist(), strict=True))
        return records(batch, number)

    monkeypatch.setattr(writer, "records", note)
    return seen


@pytest.mark.parametrize("slow", ["ALPHA", "BETA", "GAMMA", "INTEGRATION"])
def test_a_topic_an_hour_behind_makes_no_trace_incomplete(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever topic is read last: every trace closes once, complete, and few are open at once."""
    partition = Partition()
    seen = statuses(partition, monkeypatch)
    behind = SEED.topic(slow)
    now_us = BEGIN_US + 2 * HOUR_SECONDS * SECOND_US
    while not partition.is_read():
        partition.step({topic: 3 if topic == behind else 20 for topic in partition.topics}, now_us)
        now_us += SECOND_US // 10
    partition.step({}, now_us + 60 * SECOND_US)
    assert seen == [(1, 0)] * TRACES
    assert partition.held
    assert partition.open_most < TRACES / 4
    assert partition.runner.task.state.accounting()["open"] == 0


def test_any_pace_of_the_topics_gives_whole_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However unevenly the topics are read, nothing that arrived is said to be missing."""
    for seed in range(3):
        rng = random.Random(seed)
        partition = Partition()
        seen = statuses(partition, monkeypatch)
        now_us = BEGIN_US + 2 * HOUR_SECONDS * SECOND_US
        while not partition.is_read():
            pace = {topic: rng.choice((0, 0, 3, 40)) for topic in partition.topics}
            partition.step(pace, now_us)
            now_us += SECOND_US // 10
        partition.step({}, now_us + 60 * SECOND_US)
        assert seen == [(1, 0)] * TRACES
