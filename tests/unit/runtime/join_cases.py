"""Join runners as the worker makes them, on a small contract, and telemetry for them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.join_runner import JoinRunner
from streams.settings import load_settings
from tests.record_batches import batch
from tests.unit.codec import codec_cases

T0_US = codec_cases.T0_US
SECOND_US = 1_000_000
PARTITION, PARTITIONS = 3, 8
A, B, OTHER, LINKS = "telemetry.a.v1", "telemetry.b.v1", "telemetry.other.v1", "spanloom.links.v1"
TOPICS = (A, B, OTHER, LINKS)
CONTRACT = """
version: "1.0.0"
name: small
modules:
  A: {owner: a-team}
  B: {owner: b-team}
flows:
  f:
    entry: go
    wait_ms: 1000
    settle_ms: 10
    stages:
      - {id: go, module: A, name: go}
      - {id: mid, module: A, name: mid, after: [go]}
      - {id: end, module: B, name: end, after: [mid]}
"""


def join_runner(tmp_path: Path, partitions: int = PARTITIONS, **settings: Any) -> JoinRunner:
    """Return the runner of one partition, without state."""
    path = tmp_path / "contract.yaml"
    path.write_text(CONTRACT, "utf-8")
    pipeline = load_pipeline(load_settings(contract=str(path), **settings))
    made = JoinFactory(pipeline, partitions).make(PARTITION)
    assert isinstance(made, JoinRunner)
    return made


def span(stage: str, number: int, at_us: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the span of a stage; 1 is the root, which all the others have for parent."""
    return codec_cases.event(
        **{
            "module": "B" if stage == "end" else "A",
            "name": stage,
            "span_id": f"{number:016x}",
            "parent_span_id": "" if number == 1 else f"{1:016x}",
            "timestamp": T0_US + at_us,
            "duration_us": 5,
            **changes,
        }
    )


def whole_trace(**changes: Any) -> list[dict[str, Any]]:
    """Return the three spans of a whole trace, 10 us apart."""
    return [span(s, i + 1, 10 * i, **changes) for i, s in enumerate(("go", "mid", "end"))]


def chunk(topic: str, *values: Mapping[str, Any] | bytes | None, start: int = 0) -> Chunk:
    """Return a chunk of events, or of values as they are, each half a second after its event."""
    records = []
    for at, one in enumerate(values):
        if isinstance(one, Mapping):
            arrived_ms = (one["timestamp"] + SECOND_US // 2) // 1000
            key, value = (
                one["trace_id"].encode() or None,
                encode("telemetry_event", one),
            )
        else:
            arrived_ms, key, value = T0_US // 1000, b"key", one
        records.append(Record(start + at, arrived_ms, key, value))
    return Chunk(topic, PARTITION, start, start + len(values), [batch(records)] if records else [])


def feed(runner: JoinRunner, *chunks: Chunk) -> None:
    """Let a runner take chunks in, while nothing is known of where the topics end."""
    runner.step(chunks, {}, now_us=T0_US)


def let_time_pass(runner: JoinRunner, seconds: float) -> None:
    """Let the clock say that all topics were read to their end so long after T0."""
    at_us = T0_US + round(seconds * SECOND_US)
    runner.step([], dict.fromkeys(TOPICS, at_us), now_us=at_us)


def cut(runner: JoinRunner, seconds: float = 0.0) -> list[OutRecord]:
    """End a cut so long after T0 and return its outputs."""
    return runner.collect(T0_US // 1000 + round(seconds * 1000))[0]


def of_topic(outputs: Sequence[OutRecord], topic: str) -> list[OutRecord]:
    """Return the outputs of one topic."""
    return [record for record in outputs if record.topic == topic]


def decoded(outputs: Sequence[OutRecord], topic: str) -> list[dict[str, Any]]:
    """Return the outputs of one topic as records."""
    return [decode(record.value) for record in of_topic(outputs, topic)]


def summaries(outputs: Sequence[OutRecord], topic: str) -> list[dict[str, Any]]:
    """Return the outputs of the topic of summaries."""
    return [json.loads(record.value) for record in of_topic(outputs, topic)]
