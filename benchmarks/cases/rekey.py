"""Case `rekey`: what does it cost a span to be placed anew? Needs no broker."""

import argparse
import random
from collections.abc import Callable
from typing import Any, Final

from benchmarks.cases.lab import Lab
from benchmarks.cases.otlp import ROUNDS, add_options, batch_of, cpu_us, make_quick, message_of
from benchmarks.cases.report import Report
from streams.codec.eventbatch import encode_batch
from streams.codec.events import EventDecoder
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.requests import SPANS
from streams.codec.otlp.services import Services
from streams.codec.recordbatch import RecordBatch
from streams.codec.schemas import default_schemas
from streams.core.columns import Operations
from streams.core.signals.series import SeriesBook
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.runtime.heap import bound_heap
from streams.runtime.rekey_runner import RekeyRunner

__all__ = ["NEEDS_BROKER", "add_options", "make_quick", "run"]
NEEDS_BROKER: Final = False
ORIGIN: Final = "otlp_spans"
INTERNAL: Final = "spanloom.rekeyed.v1"
PARTITIONS: Final = 4


def run(_lab: Lab | None, options: argparse.Namespace) -> Report:
    """Time what a join does with a topic, and what rekeying it adds before that."""
    bound_heap()
    report = Report("rekey")
    report.header = ("what", "us of CPU a span", "spans per CPU s")
    rng = random.Random(options.seed)
    count = options.spans // options.spans_a_message
    values = [message_of(rng, options.spans_a_message) for _ in range(count)]
    n = count * options.spans_a_message
    encoder = OtlpEncoder(default_schemas().current("telemetry_event"), Services())
    native = batch_of([encode_batch(encoder.bodies(SPANS, value)) for value in values])
    otlp = batch_of(values)
    direct, behind = _join({0: SPANS}), _join(None, rekeyed=(1, {(ORIGIN, 0): 0}))
    placed = [_batch_at(_step(_task(SPANS), otlp), p) for p in range(PARTITIONS)]

    def read_placed() -> int:
        return sum(len(behind.decode_batches([b], [1], [0])[0]) for b in placed)

    ways: dict[tuple[str, str], Callable[[], Any]] = {
        ("otlp_us", "OTLP messages into columns of a join, without"): lambda: direct.decode_batches(
            [otlp], [0], [0]
        ),
        ("rekey_otlp_us", "a rekey task, OTLP messages"): _timed(SPANS, otlp),
        ("rekey_native_us", "a rekey task, batch messages of our own"): _timed("", native),
        ("rekeyed_us", "rekeyed events into columns of a join"): read_placed,
    }
    for (figure, name), way in ways.items():
        us = cpu_us(way, ROUNDS) / n
        report.rows.append((name, f"{us:.2f}", f"{1e6 / us:,.0f}"))
        report.figures[figure] = round(us, 3)
    report.notes.append(
        f"{n:,} spans a step, {options.spans_a_message} a message, to {PARTITIONS} partitions."
    )
    report.check("rekey", [] if read_placed() == n else ["spans are missing"])
    return report


def _timed(kind: str, batch: RecordBatch) -> Callable[[], Any]:
    task = _task(kind)
    return lambda: _step(task, batch)


def _step(task: RekeyRunner, batch: RecordBatch) -> list[OutRecord]:
    task.step([Chunk(ORIGIN, 0, 0, batch.next_offset, [batch])], {}, 0)
    return task.collect(0)[0]


def _task(kind: str) -> RekeyRunner:
    schemas, operations = default_schemas(), Operations()
    decoder = EventDecoder(schemas, operations, otlp_kinds={0: kind} if kind else None)
    return RekeyRunner(decoder, operations, schemas, ORIGIN, 0, INTERNAL, PARTITIONS)


def _join(kinds: dict[int, str] | None, **rekeyed: Any) -> EventDecoder:
    series = SeriesBook(1_000)
    return EventDecoder(default_schemas(), Operations(), series=series, otlp_kinds=kinds, **rekeyed)


def _batch_at(out: list[OutRecord], partition: int) -> RecordBatch:
    return batch_of([o.value for o in out if o.partition == partition and o.value is not None])
