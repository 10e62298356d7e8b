"""How many real telemetry events per CPU second does the join take, and what does a cut cost?

The seed pipeline is simulated with planted faults, fixed seed; its events (spans, logs, audits)
go through the join tasks of four partitions in this process: decode, join, judge, count, encode,
and a cut of the state every `--cut-every` steps. With `--broker` they go through the shipped
worker too, from a topic of their own that is deleted at the end.

`python -m benchmarks.events [--seconds 60] [--rate 100] [--rows 5000] [--together 100]
[--broker HOST:PORT]`; `--together` puts so many events into one message.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.codec import recordbatch, wire
from streams.codec.eventbatch import encode_batch
from streams.codec.recordbatch import RecordBatch
from streams.codec.records import encode
from streams.compiled.loading import load
from streams.contract.loader import load_contract
from streams.core.traces.table import Table
from streams.runtime import topics
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.join_runner import JoinRunner
from streams.settings import load_settings
from streams.simulate import Simulation, plan_faults
from streams.state.segment import encode_pieces
from streams.units import SECOND_US
from tests.record_batches import batch

SEED = 7
PARTITIONS = 4
START_US = 1_790_000_000 * SECOND_US
DRAIN_SECONDS = 60.0


class Record(NamedTuple):
    """A record as the consumer hands it out; `topic` says where it belongs."""

    topic: str
    offset: int
    timestamp: int
    key: bytes
    value: bytes


@dataclass
class Costs:
    """What was measured: CPU seconds by kind of work, and the largest state seen."""

    step_seconds: float = 0.0
    cut_ms: list[float] = field(default_factory=list)
    cut_bytes: list[int] = field(default_factory=list)
    open_traces: int = 0
    open_bytes: int = 0


def simulated(seconds: float, rate: float) -> list[list[Record]]:
    """Return the events of each partition in arrival order."""
    contract = load_contract("seed")
    faults = plan_faults(SEED, seconds, contract, START_US)
    simulation = Simulation(contract, SEED, START_US, seconds, rate, faults)
    offset: dict[tuple[str, int], int] = defaultdict(int)
    parts: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for topic, key, event, emit_us in simulation.drain():
        partition = zlib.crc32(key.encode()) % PARTITIONS
        value = encode("telemetry_event", event)
        at = offset[topic, partition]
        offset[topic, partition] = at + 1
        parts[partition].append(Record(topic, at, emit_us // 1000, key.encode(), value))
    return parts


def together(part: Sequence[Record], count: int) -> list[Record]:
    """Return the records as batch messages of `count` consecutive events of a topic."""
    by_topic: dict[str, list[Record]] = defaultdict(list)
    for record in part:
        by_topic[record.topic].append(record)
    messages = []
    for topic, records in by_topic.items():
        for offset, at in enumerate(range(0, len(records), count)):
            some = records[at : at + count]
            value = encode_batch([record.value[wire.HEADER_BYTES :] for record in some])
            messages.append(Record(topic, offset, some[-1].timestamp, some[0].key, value))
    return sorted(messages, key=lambda record: (record.timestamp, record.topic, record.offset))


def steps(part: Sequence[Record], partition: int, rows: int) -> Iterator[list[Chunk]]:
    """Yield the chunks of each step: `rows` records, one chunk a topic."""
    for start in range(0, len(part), rows):
        by_topic: dict[str, list[Record]] = defaultdict(list)
        for record in part[start : start + rows]:
            by_topic[record.topic].append(record)
        yield [
            Chunk(topic, partition, some[0].offset, some[-1].offset + 1, [_batch_of(some)])
            for topic, some in by_topic.items()
        ]


def _batch_of(records: Sequence[Record]) -> RecordBatch:
    return batch([recordbatch.Record(r.offset, r.timestamp, r.key, r.value) for r in records])


def in_process(parts: list[list[Record]], rows: int, cut_every: int) -> Costs:
    """Run the records through one join runner a partition."""
    factory = JoinFactory(load_pipeline(load_settings(contract="seed")), PARTITIONS)
    costs = Costs()
    for partition, part in enumerate(parts):
        runner = factory.make(partition)
        assert isinstance(runner, JoinRunner)
        for number, chunks in enumerate(steps(part, partition, rows), start=1):
            # A cut stamps its outputs with the clock; here it follows the stream.
            now_us = chunks[-1].records[-1].timestamp * 1000
            began = time.process_time()
            runner.step(chunks, {}, now_us)
            costs.step_seconds += time.process_time() - began
            _note_state(runner, costs)
            if number % cut_every == 0:
                _cut(runner, now_us // 1000, number, costs)
    return costs


def _cut(runner: JoinRunner, cut_ms: int, number: int, costs: Costs) -> None:
    began = time.process_time()
    _, segment = runner.collect(cut_ms)
    pieces = encode_pieces(segment, 1, number)
    costs.cut_ms.append((time.process_time() - began) * 1e3)
    costs.cut_bytes.append(sum(map(len, pieces)))


def _note_state(runner: JoinRunner, costs: Costs) -> None:
    open_ = runner.task.state.open
    if len(open_) > costs.open_traces:
        costs.open_traces = len(open_)
        rows = open_.live_rows * _row_bytes(open_.rows)
        costs.open_bytes = open_.live_bytes + rows + len(open_) * _row_bytes(open_.slots)


def _row_bytes(table: Table) -> int:
    return sum(table[name].itemsize * table[name][:1].size for name in table.names())


def through_worker(parts: list[list[Record]], events: int, broker: str) -> dict[str, float]:
    """Run the records through the shipped worker; everything made on the broker is deleted."""
    name = f"bench-events-{time.time_ns()}"
    admin = AdminClient({"bootstrap.servers": broker})
    topics.create(admin, [topics.TopicSpec(name, PARTITIONS, {})])
    try:
        _produce(parts, name, broker)
        common = ["--broker", broker, "--contract", "seed", "--input-topic", name]
        common += ["--derived-prefix", f"{name}."]
        _spanloom("topics", "create", *common, "--partitions", str(PARTITIONS))
        with tempfile.TemporaryDirectory() as folder:
            said = _spanloom(
                *("worker", *common, "--group", name, "--state-dir", folder),
                *("--exit-after", str(events), "--drain-seconds", "5", "--log-level", "WARNING"),
            )
    finally:
        mine = [topic for topic in admin.list_topics(timeout=10).topics if name in topic]
        for deleted in admin.delete_topics(mine).values():
            deleted.result(DRAIN_SECONDS)
    line = next(line for line in said.splitlines() if line.startswith("RESULT "))
    result: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    return result


def _spanloom(*arguments: str) -> str:
    command = [sys.executable, "-m", "streams.cli.main", *arguments]
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout


def _produce(parts: list[list[Record]], topic: str, broker: str) -> None:
    producer = Producer({"bootstrap.servers": broker, "compression.type": "lz4", "linger.ms": 20})
    for partition, part in enumerate(parts):
        for record in part:
            while True:
                try:
                    producer.produce(
                        topic,
                        record.value,
                        record.key,
                        partition=partition,
                        timestamp=record.timestamp,
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
    assert producer.flush(DRAIN_SECONDS) == 0, "the broker did not take all events in time"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=100.0, help="records per second")
    parser.add_argument("--rows", type=int, default=5_000, help="events a step")
    parser.add_argument("--cut-every", type=int, default=1, help="steps a cut")
    parser.add_argument("--together", type=int, default=1, help="events a message")
    parser.add_argument("--uncompiled", action="store_true", help="without compiled loops")
    parser.add_argument("--broker", help="run the shipped worker too, on this broker")
    arguments = parser.parse_args()
    parts = simulated(arguments.seconds, arguments.rate)
    events = sum(map(len, parts))
    size = sum(len(record.value) for part in parts for record in part) / events
    print(f"{events:,} events of {size:.0f} bytes in {PARTITIONS} partitions")
    if arguments.together > 1:
        parts = [together(part, arguments.together) for part in parts]
    if not arguments.uncompiled:
        load()
    costs = in_process(parts, max(1, arguments.rows // arguments.together), arguments.cut_every)
    total = costs.step_seconds + sum(costs.cut_ms) / 1e3
    print(f"in process: {events / total:,.0f} events per CPU second, cuts included")
    print(f"  steps of {arguments.rows:,}: {costs.step_seconds / events * 1e6:.2f} us an event")
    print(
        f"  {len(costs.cut_ms)} cuts: {sum(costs.cut_ms) / len(costs.cut_ms):.1f} ms, "
        f"{sum(costs.cut_bytes) / len(costs.cut_bytes) / 1e3:,.0f} kB each"
    )
    print(
        f"  {costs.open_traces:,} traces open at most in a partition: "
        f"{costs.open_bytes / max(1, costs.open_traces):,.0f} bytes each"
    )
    if arguments.broker:
        told = through_worker(parts, events, arguments.broker)
        print(
            f"worker: {told['spans'] / told['cpu_s']:,.0f} events per CPU second, "
            f"{told['spans'] / told['wall_s']:,.0f} a second"
        )


if __name__ == "__main__":
    main()
