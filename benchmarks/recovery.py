"""How long does a task need to have its state again, and how long does a cut hold it up?

Events of traces that stay open go through join tasks, which are cut every `--rows` events. Then the
state is read back: from the local copy, and with `--broker` from the changelog alone, as a worker
does it, all partitions at once. Last, what a cut and a step of the folding take at that size.

`python -m benchmarks.recovery [--traces 125000] [--partitions 4] [--broker HOST:PORT]`
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from streams.codec.recordbatch import Record
from streams.codec.records import encode
from streams.runtime import topics
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.changelog import Changelog
from streams.runtime.chunk import Chunk
from streams.runtime.commit import Cut, OutRecord, commit_cut, init_transactions, producer_for
from streams.runtime.join_runner import JoinRunner
from streams.settings import load_settings
from streams.state.compaction import STEP_BYTES, Compaction
from streams.state.live import LiveSegments, piece_key
from streams.state.local import LocalState
from streams.state.segment import Segment, encode_pieces
from streams.units import SECOND_US
from tests.record_batches import batch

SPANS = 8
START_US = 1_790_000_000 * SECOND_US
OPEN_SECONDS = 10
"""All events lie so close together that no trace is due."""


@dataclass
class Figures:
    """What was measured; seconds of wall time, of the slowest partition where they run at once."""

    traces: int
    partitions: int
    spans: int
    changelog_bytes: int = 0
    segments: int = 0
    local_seconds: float = 0.0
    local_cpu_seconds: float = 0.0
    local_read_seconds: float = 0.0
    changelog_seconds: float = 0.0
    changelog_cpu_seconds: float = 0.0
    changelog_read_seconds: float = 0.0
    collect_ms: list[float] = field(default_factory=list)
    encode_ms: list[float] = field(default_factory=list)
    whole_collect_ms: float = 0.0
    fold_step_ms: list[float] = field(default_factory=list)
    fold_seconds: float = 0.0


def events(traces: range, start: int) -> list[Record]:
    """Return the spans of some traces, from an offset on."""
    made: list[Record] = []
    for trace in traces:
        trace_id = f"{trace + 1:032x}"
        for n in range(SPANS):
            at_us = START_US + trace % (OPEN_SECONDS * 1000) * 1000 + n * 100
            event = {
                "event_id": "",
                "trace_id": trace_id,
                "span_id": f"{n + 1:016x}",
                "parent_span_id": f"{n:016x}" if n else "",
                "timestamp": at_us,
                "module": ("ALPHA", "BETA", "GAMMA")[n % 3],
                "component": "worker",
                "event_type": "TRACE",
                "severity": "INFO",
                "value": 0.0,
                "unit": "",
                "dimensions": {},
                "batch_id": "",
                "correlation_id": "",
                "operation": "",
                "actor": "",
                "span_kind": "INTERNAL",
                "links": [],
                "name": f"stage-{n}",
                "record_id": f"r{trace}",
                "duration_us": 1_000 + n,
                "status": "OK",
                "trace_flags": 1,
            }
            value = encode("telemetry_event", event)
            made.append(Record(start + len(made), at_us // 1000, trace_id.encode(), value))
    return made


class State:
    """One partition's task, fed and cut; keeps what its cuts would have committed."""

    def __init__(self, factory: JoinFactory, partition: int) -> None:
        runner = factory.make(partition)
        assert isinstance(runner, JoinRunner)
        self.partition = partition
        self.runner = runner
        self.segments: list[Segment] = []

    def feed(self, traces: int, rows: int, figures: Figures) -> None:
        """Open so many traces, with a cut every `rows` events."""
        per_step = max(1, rows // SPANS)
        offset = 0
        for first in range(0, traces, per_step):
            records = events(range(first, min(traces, first + per_step)), offset)
            end = offset + len(records)
            self.runner.step(
                [Chunk(topics.OTHER, self.partition, offset, end, [batch(records)])], {}, START_US
            )
            offset = end
            began = time.perf_counter()
            _, segment = self.runner.collect(START_US // 1000 + first)
            figures.collect_ms.append((time.perf_counter() - began) * 1e3)
            self.segments.append(segment)

    def pieces(self, figures: Figures) -> dict[bytes, bytes]:
        """Return the state as the changelog has it."""
        found: dict[bytes, bytes] = {}
        for number, segment in enumerate(self.segments):
            began = time.perf_counter()
            encoded = encode_pieces(segment, 1, number)
            figures.encode_ms.append((time.perf_counter() - began) * 1e3)
            found |= {piece_key(1, number, i): piece for i, piece in enumerate(encoded)}
        return found


def restored(factory: JoinFactory, partition: int, segments: list[Segment], spans: int) -> None:
    """Put a task together and see that it is whole."""
    runner = factory.make(partition)
    assert isinstance(runner, JoinRunner)
    runner.load(segments)
    assert runner.task.state.open.live_rows == spans, (runner.task.state.open.live_rows, spans)


def at_once(calls: Sequence[Callable[[], Any]]) -> tuple[float, float, list[Any]]:
    """Return how long some calls take in threads, their CPU seconds, and what they return."""
    with ThreadPoolExecutor(len(calls)) as pool:
        began, cpu_began = time.perf_counter(), time.process_time()
        results = [future.result() for future in [pool.submit(call) for call in calls]]
        return time.perf_counter() - began, time.process_time() - cpu_began, results


def from_local(
    factory: JoinFactory, states: list[dict[bytes, bytes]], folder: Path, figures: Figures
) -> None:
    """Measure a restart that finds its local copy."""
    for partition, pieces in enumerate(states):
        local = LocalState(folder / str(partition), f"bench/{partition}")
        for key, value in pieces.items():
            local.write([(key, value)], 1, replace=False)
        local.close()

    def restart(partition: int) -> float:
        began = time.perf_counter()
        local = LocalState(folder / str(partition), f"bench/{partition}")
        found = local.load()
        assert found is not None
        live = LiveSegments()
        live.add(value for _, value in found[0])
        segments = live.segments()
        read_seconds = time.perf_counter() - began
        restored(factory, partition, segments, figures.spans // figures.partitions)
        local.close()
        return read_seconds

    calls = [partial(restart, p) for p in range(len(states))]
    figures.local_seconds, figures.local_cpu_seconds, read = at_once(calls)
    figures.local_read_seconds = max(read)


def from_changelog(
    factory: JoinFactory,
    states: list[dict[bytes, bytes]],
    broker: str,
    folder: Path,
    figures: Figures,
) -> None:
    """Measure a restart that has the changelog alone; the topic is deleted at the end."""
    base = {"bootstrap.servers": broker}
    name = f"bench-recovery-{time.time_ns()}"
    admin = AdminClient(base)
    topics.create(admin, [topics.changelog_spec(name, len(states))])
    try:
        for partition, pieces in enumerate(states):
            producer = producer_for(base, f"{name}-{partition}")
            init_transactions(producer)
            for key, value in pieces.items():
                record = OutRecord(name, partition, key, value)
                commit_cut(producer, Cut(0, [], [record], {}), None)

        def restart(partition: int) -> float:
            began = time.perf_counter()
            changelog = Changelog(base, name, partition, folder / str(partition))
            found = changelog.restore()
            read_seconds = time.perf_counter() - began
            restored(factory, partition, found.segments, figures.spans // figures.partitions)
            changelog.close()
            return read_seconds

        calls = [partial(restart, p) for p in range(len(states))]
        figures.changelog_seconds, figures.changelog_cpu_seconds, read = at_once(calls)
        figures.changelog_read_seconds = max(read)
    finally:
        for future in admin.delete_topics([name]).values():
            future.result(30)


def holding_up(state: State, pieces: dict[bytes, bytes], figures: Figures) -> None:
    """Measure what a full segment took in the loop, and what folding takes beside it."""
    began = time.perf_counter()
    state.runner.task.state.segment(full=True)
    figures.whole_collect_ms = (time.perf_counter() - began) * 1e3
    live = LiveSegments()
    live.add(pieces.values())
    made = Compaction(live.line(), 1, pieces.__getitem__)
    while made.base is None:
        began = time.perf_counter()
        made.step(STEP_BYTES)
        figures.fold_step_ms.append((time.perf_counter() - began) * 1e3)
    figures.fold_seconds = sum(figures.fold_step_ms) / 1e3


def measure(traces: int, partitions: int, rows: int, broker: str) -> Figures:
    """Run all parts once."""
    each = traces // partitions
    figures = Figures(each * partitions, partitions, each * partitions * SPANS)
    factory = JoinFactory(load_pipeline(load_settings()), partitions)
    states = [State(factory, p) for p in range(partitions)]
    for state in states:
        state.feed(each, rows, figures)
    pieces = [state.pieces(figures) for state in states]
    figures.changelog_bytes = sum(len(v) for p in pieces for v in p.values())
    figures.segments = sum(len(state.segments) for state in states)
    with tempfile.TemporaryDirectory() as folder:
        from_local(factory, pieces, Path(folder) / "local", figures)
        if broker:
            from_changelog(factory, pieces, broker, Path(folder) / "fresh", figures)
    holding_up(states[0], pieces[0], figures)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--traces", type=int, default=125_000, help="open at once")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rows", type=int, default=20_000, help="events a cut")
    parser.add_argument("--broker", default="", help="HOST:PORT, for the changelog's part")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    figures = measure(options.traces, options.partitions, options.rows, options.broker)
    said = asdict(figures)
    if options.json:
        options.json.write_text(json.dumps(said))
    for name, value in said.items():
        if isinstance(value, list):
            text = f"mean {sum(value) / len(value):.1f}, max {max(value):.1f} (of {len(value)})"
        else:
            text = str(value if isinstance(value, int) else round(value, 2))
        sys.stdout.write(f"{name:24} {text}\n")


if __name__ == "__main__":
    main()
