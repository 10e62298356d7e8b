"""Case `step`: what does a step of the join cost a span, and what however little is in it?

In process and without a broker: record batches as the consumer hands them out go through the
worker's own runners, one a partition: decode, join, judge, write the traces; then a cut of the
state. Two sizes of steps give a line: its slope is the cost of a span, its start that of a step.
A digest of all records published and all pieces of state tells whether two versions do the same.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.cases.lab import CONTRACT, PROFILE, Lab
from benchmarks.cases.load import Load, encode, rows
from benchmarks.cases.outputs import Outputs
from benchmarks.cases.report import Report, whole
from streams.codec.recordbatch import Record
from streams.compiled import loading
from streams.core.traces.murmur2 import murmur2_partition
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.heap import bound_heap, collect_seldom
from streams.runtime.join_runner import JoinRunner
from streams.settings import load_settings
from streams.state.segment import encode_pieces
from streams.units import SECOND_US
from tests.record_batches import batch

NEEDS_BROKER: Final = False
TOPIC: Final = "spans"
TRACES: Final = "traces.assembled.v1"
SUMMARIES: Final = "summaries"
PARTITIONS: Final = 4
BATCH_RECORDS: Final = 2_000
"""Records of a batch, as a busy producer makes them of a quarter of a megabyte."""
BASE_US: Final = 1_790_000_000 * SECOND_US
COLLECT_EVERY: Final = 200_000
"""Objects between two runs of the cycle collector, as in the worker."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spans", type=int, default=400_000, help="in all partitions")
    parser.add_argument("--rows", type=int, default=20_000, help="records of a large step")
    parser.add_argument("--few", type=int, default=4_000, help="records of a small step")
    parser.add_argument("--rounds", type=int, default=3, help="with each size; the least counts")


def make_quick(options: argparse.Namespace) -> None:
    options.spans, options.rows, options.few, options.rounds = 16_000, 2_000, 500, 1


class Cost(NamedTuple):
    """CPU seconds of a step of so many records, and of the cut after it."""

    records: int
    step_s: float
    cut_s: float


@dataclass
class Pass:
    """One pass over the whole load.

    Attributes:
        costs: of the steps in order, the drain at the end of each partition not among them.
        digest: of all that was published and all pieces of state.
        faults: what of the traces is not as the load says.
        calls: of Python and C functions in a step, where they were counted.
    """

    costs: list[Cost] = field(default_factory=list)
    digest: str = ""
    faults: list[str] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)


def run(_lab: Lab | None, options: argparse.Namespace) -> Report:
    """Take the load in steps of two sizes, a few times each in turns."""
    bound_heap()
    loading.load()
    load = Load(options.seed, BASE_US, options.spans // 8)
    parts = records_of(load)
    spans = sum(map(len, parts))
    collect_seldom(COLLECT_EVERY)
    report = Report("step")
    report.header = ("records a step", "steps", "step, us a span", "cut, us a span", "digest")
    sizes = (options.few, options.rows)
    passes: dict[int, list[Pass]] = {size: [] for size in sizes}
    chunked = {size: [chunks(part, p, size) for p, part in enumerate(parts)] for size in sizes}
    for _ in range(options.rounds):
        for size in sizes:
            passes[size].append(take(load, chunked[size]))
    points = []
    for size, several in passes.items():
        digests = {one.digest for one in several}
        report.check(f"steps of {size}", several[0].faults)
        report.check(f"steps of {size}", [] if len(digests) == 1 else ["outputs differ by round"])
        costs = least([one.costs for one in several])
        count = sum(cost.records for cost in costs)
        step_s, cut_s = sum(cost.step_s for cost in costs), sum(cost.cut_s for cost in costs)
        points.append((count / len(costs), step_s / len(costs), cut_s / len(costs)))
        report.rows.append(
            (
                whole(size),
                whole(len(costs)),
                f"{step_s / count * 1e6:.3f}",
                f"{cut_s / count * 1e6:.3f}",
                several[0].digest[:16],
            )
        )
    calls = take(load, chunked[options.rows], is_counted=True).calls
    report.figures = {
        "spans": spans,
        **_line(points),
        "us_a_span": round((step_s + cut_s) / count * 1e6, 4),
        "step_us_a_span": round(step_s / count * 1e6, 4),
        "calls_a_step": round(statistics.median(calls)),
        "digests": [passes[size][0].digest for size in sizes],
    }
    report.notes.append(_note(report.figures, options))
    return report


def _line(points: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    """Return slope and start of the lines through (records, CPU s of step, CPU s of cut)."""
    (few, few_step_s, few_cut_s), (many, step_s, cut_s) = points
    per_step, per_cut = (step_s - few_step_s) / (many - few), (cut_s - few_cut_s) / (many - few)
    return {
        "slope_us_a_span": round(per_step * 1e6, 4),
        "fixed_ms_a_step": round((step_s - per_step * many) * 1e3, 3),
        "slope_us_a_span_cut": round(per_cut * 1e6, 4),
        "fixed_ms_a_cut": round((cut_s - per_cut * many) * 1e3, 3),
    }


def _note(figures: dict[str, Any], options: argparse.Namespace) -> str:
    return (
        f"{figures['us_a_span']:.2f} us a span in steps of {options.rows:,}, a cut after each. "
        f"A step costs {figures['fixed_ms_a_step']:.1f} ms and "
        f"{figures['slope_us_a_span']:.2f} us a span, a cut {figures['fixed_ms_a_cut']:.1f} ms "
        f"and {figures['slope_us_a_span_cut']:.2f} us; a step makes "
        f"{figures['calls_a_step']:,} calls of functions. CPU of this process; of each step the "
        f"least of {options.rounds} rounds."
    )


def least(rounds: Sequence[Sequence[Cost]]) -> list[Cost]:
    """Return of each step its least cost in any round: what else the machine does only adds."""
    return [
        Cost(same[0].records, min(c.step_s for c in same), min(c.cut_s for c in same))
        for same in zip(*rounds, strict=True)
    ]


def records_of(load: Load) -> list[list[Record]]:
    """Return the records of each partition in order of arrival."""
    parts: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    partition_of: dict[bytes, int] = {}
    for block in (encode(load, given) for given in rows(load)):
        for begin, end, at_ms in zip(
            block.start.tolist(), block.end.tolist(), block.timestamp_ms.tolist(), strict=True
        ):
            body = block.buffer[begin:end]
            key = body[1:33]
            partition = partition_of.get(key)
            if partition is None:
                partition = partition_of[key] = murmur2_partition(key, PARTITIONS)
            parts[partition].append(Record(len(parts[partition]), at_ms, key, body))
    return parts


def chunks(part: Sequence[Record], partition: int, size: int) -> list[Chunk]:
    """Return the chunks of a partition, of `size` records but for the last."""
    found = []
    for at in range(0, len(part), size):
        some = part[at : at + size]
        batches = [batch(some[i : i + BATCH_RECORDS]) for i in range(0, len(some), BATCH_RECORDS)]
        found.append(Chunk(TOPIC, partition, at, at + len(some), batches))
    return found


def take(load: Load, parts: Sequence[Sequence[Chunk]], *, is_counted: bool = False) -> Pass:
    """Take the whole load with fresh runners, a step a chunk, a cut after each."""
    done, digest, outputs = Pass(), hashlib.sha256(), Outputs(load)
    with tempfile.TemporaryDirectory(prefix="spanloom-bench-") as folder:
        factory = JoinFactory(load_pipeline(_settings(Path(folder))), PARTITIONS)
        for partition, part in enumerate(parts):
            runner = factory.make(partition)
            assert isinstance(runner, JoinRunner)
            for number, chunk in enumerate(part):
                now_us = BASE_US + int(load.seconds * SECOND_US) + number * SECOND_US
                step = partial(runner.step, [chunk], {}, now_us)
                began = time.process_time()
                if is_counted:
                    done.calls.append(calls_in(step))
                else:
                    step()
                stepped = time.process_time()
                published, pieces = _cut(runner, now_us, number)
                cut = time.process_time()
                done.costs.append(Cost(chunk.rows, stepped - began, cut - stepped))
                _note_all(digest, published, pieces, outputs)
            # All has been read for long: what is open is closed.
            end_us = now_us + 3_600 * SECOND_US
            runner.step([], {TOPIC: end_us}, end_us)
            _note_all(digest, *_cut(runner, end_us, number + 1), outputs)
    done.digest, done.faults = digest.hexdigest(), outputs.faults()
    return done


def _cut(runner: JoinRunner, now_us: int, number: int) -> tuple[list[OutRecord], list[bytes]]:
    published, segment = runner.collect(now_us // 1000)
    return published, encode_pieces(segment, 1, number)


def _note_all(
    digest: Any, published: Sequence[OutRecord], pieces: Sequence[bytes], outputs: Outputs
) -> None:
    for record in published:
        digest.update(repr((record.topic, record.partition, record.key)).encode())
        digest.update(record.value or b"")
    for piece in pieces:
        digest.update(piece)
    traces = [r for r in published if r.topic == TRACES]
    if traces:
        keys, values = [r.key or b"" for r in traces], [r.value or b"" for r in traces]
        outputs.add(keys, values, [1.0] * len(traces))


def calls_in(work: Callable[[], object]) -> int:
    """Return how many functions of Python and C a call calls; what operators do is not counted."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def _settings(folder: Path) -> Any:
    """Return the settings of the comparison's worker, see `candidate.sh`."""
    return load_settings(
        contract=str(CONTRACT),
        profile=str(PROFILE),
        state_dir=folder,
        input_topics=(TOPIC,),
        summary_topic=SUMMARIES,
        fixed_wait_seconds=30,
        closed_retention_seconds=60,
    )
