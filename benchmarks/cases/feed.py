"""Sends a load to a topic, as fast as it goes or at the pace of its arrival times; a process.

One process encodes, another hands the records to the client, so that neither waits for the other.
Run by the cases: `python -m benchmarks.cases.feed SPEC`, SPEC being the JSON of a `FeedSpec`. Its
last line on standard output is the JSON of what it did.
"""

import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from multiprocessing.queues import Queue
from queue import Full
from typing import Any, Final

import numpy as np
from confluent_kafka import Producer

from benchmarks.cases.load import Batch, Load, encode, rows

BATCHES_AHEAD: Final = 6
BURST_ROWS: Final = 1_000
"""Spans handed over between two looks at the clock, at a pace."""
FLUSH_SECONDS: Final = 120.0
TELL_SECONDS: Final = 5.0


@dataclass(frozen=True)
class FeedSpec:
    """What a feed is told.

    Attributes:
        broker: bootstrap address.
        topic: where the spans go.
        load: the fields of a `Load`.
        is_paced: send each span at its arrival time by the clock, not as fast as it goes.
        sent_path: file of float64 seconds, one a trace, filled with when the last of its spans
            was handed to the client; "" for none.
    """

    broker: str
    topic: str
    load: dict[str, Any]
    is_paced: bool = False
    sent_path: str = ""

    def text(self) -> str:
        """Return the specification as the command line takes it."""
        return json.dumps(asdict(self))


def _encode_into(load: Load, queue: "Queue[Batch | None]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ends with the process that it works for
    parent = multiprocessing.parent_process()
    for batch in chain((encode(load, given) for given in rows(load)), [None]):
        while parent is None or parent.is_alive():
            try:
                queue.put(batch, timeout=1.0)
                break
            except Full:
                continue
        else:
            queue.cancel_join_thread()
            return


def batches(load: Load) -> Iterator[Batch]:
    """Yield the encoded spans, made by another process ahead of time."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[Batch | None] = context.Queue(BATCHES_AHEAD)
    maker = context.Process(target=_encode_into, args=(load, queue), daemon=True)
    maker.start()
    while (batch := queue.get()) is not None:
        yield batch
    maker.join()


class Feed:
    """Hands a load to the client."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._load = Load(**{**spec.load, "part": tuple(spec.load["part"])})
        self._refused: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": spec.broker,
                "enable.idempotence": True,
                "linger.ms": 5 if spec.is_paced else 20,
                "batch.size": 1 << 19,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 400_000,
                "queue.buffering.max.kbytes": 1 << 19,
                "partitioner": "murmur2_random",
                "log_level": 3,
                "on_delivery": self._delivered,
                "delivery.report.only.error": True,
            }
        )
        self._sent = np.memmap(spec.sent_path, np.float64, "r+") if spec.sent_path else np.empty(0)
        self._records = 0
        self._began = 0.0
        self._behind_s = 0.0
        # While traces both start and end the rate is what was asked for; before and after, less.
        load = self._load
        self._full_from_s = load.base_us / 1e6 + load.seconds - load.traces / load.traces_per_s
        self._full_until_s = load.base_us / 1e6 + load.traces / load.traces_per_s
        self._full_s = max(0.0, self._full_until_s - self._full_from_s)
        self._full_records = 0
        self._told_at = time.monotonic()

    def run(self) -> dict[str, float]:
        """Send everything and return what was done.

        Raises:
            RuntimeError: the broker did not take all of it.
        """
        for batch in batches(self._load):
            if self._spec.is_paced:
                self._send_paced(batch)
            else:
                self._send(batch, 0, len(batch.start))
            self._tell()
        seconds = time.monotonic() - self._began
        left = self._producer.flush(FLUSH_SECONDS)
        if left or self._refused:
            raise RuntimeError(f"{left} records left unsent; refused: {self._refused[:3]}")
        if not self._spec.is_paced:  # as fast as it goes is as fast as the broker takes it
            seconds = time.monotonic() - self._began
        return {
            "records": self._records,
            "seconds": round(seconds, 3),
            "behind_s_max": round(self._behind_s, 4),
            "full_rate": round(
                self._full_records / self._full_s if self._full_s else self._records / seconds, 1
            ),
        }

    def _send_paced(self, batch: Batch) -> None:
        at, n = 0, len(batch.start)
        while at < n:
            now_s = time.time()
            due = int(np.searchsorted(batch.arrival_us, now_s * 1e6, "right"))
            if due <= at:
                time.sleep(0.002)
                continue
            self._behind_s = max(self._behind_s, now_s - batch.arrival_us[at] / 1e6)
            due = min(due, at + BURST_ROWS)
            if len(self._sent):
                first = ~batch.is_again[at:due]
                self._sent[batch.number[at:due][first] - self._load.first] = now_s
            self._send(batch, at, due)
            if self._full_from_s <= time.time() < self._full_until_s:
                self._full_records += due - at
            at = due

    def _send(self, batch: Batch, start: int, end: int) -> None:
        produce, poll, topic = self._producer.produce, self._producer.poll, self._spec.topic
        buffer = batch.buffer
        self._began = self._began or time.monotonic()
        for p, q, timestamp_ms in zip(
            batch.start[start:end].tolist(),
            batch.end[start:end].tolist(),
            batch.timestamp_ms[start:end].tolist(),
            strict=True,
        ):
            body = buffer[p:q]
            while True:
                try:
                    produce(topic, body, body[1:33], timestamp=timestamp_ms)
                    break
                except BufferError:
                    poll(0.02)
        poll(0)
        self._records += end - start

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._refused.append(str(error))

    def _tell(self) -> None:
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            low, high = self._load.part
            total = self._load.traces * (min(self._load.spans, high) - low)
            print(f"  fed {self._records:,} of about {total:,} spans", file=sys.stderr, flush=True)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it kills it
    spec = FeedSpec(**json.loads(sys.argv[1]))
    print(json.dumps(Feed(spec).run()), flush=True)


if __name__ == "__main__":
    main()
