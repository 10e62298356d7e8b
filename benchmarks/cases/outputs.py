"""What came out: the traces topic as a `read_committed` reader sees it, held against the load.

Every trace is looked at: its id, that it came exactly once, its state and its number of spans. Of
one in `DECODE_EVERY` the whole record is decoded and its spans are compared, byte for byte.
"""

import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from benchmarks.cases.lab import PROFILE, START_SECONDS, CaseError, Run
from benchmarks.cases.load import Load, bodies_of, missing_stage, numbers_of
from streams.codec.profile import load_profile
from streams.codec.recalled import TraceReader
from streams.codec.wire import HEADER_BYTES
from streams.errors import RecordError

DECODE_EVERY: Final = 97
BATCH_RECORDS: Final = 5_000
READ_SECONDS: Final = 600.0
FOLLOWED_RECORDS: Final = 1_000
"""Records that a follower takes in at once: more would keep it from the topic for too long."""
QUIET_SECONDS: Final = 1.0
_COMPLETE: Final = 0
_NAMED: Final = 3
"""Examples in a message."""


def varint(value: bytes, at: int) -> tuple[int, int]:
    """Return the zigzag number at a position of an Avro value, and the position after it."""
    shift = result = 0
    while True:
        octet = value[at]
        at += 1
        result |= (octet & 0x7F) << shift
        if octet < 0x80:
            return (result >> 1) ^ -(result & 1), at
        shift += 7


def head(value: bytes) -> tuple[int, int, int]:
    """Return (revision, status, span count) of an encoded AssembledTrace."""
    at = HEADER_BYTES
    length, at = varint(value, at)  # trace_id
    revision, at = varint(value, at + length)
    for _ in range(2):  # flow, contract_version
        length, at = varint(value, at)
        at += length
    status, at = varint(value, at)
    for _ in range(4):  # closed_by, start, end, duration_us
        _, at = varint(value, at)
    span_count, _ = varint(value, at)
    return revision, status, span_count


class Outputs:
    """The traces that were read, by trace number."""

    def __init__(self, load: Load) -> None:
        self.load = load
        n = load.traces
        self.count = np.zeros(n, np.int32)
        self.status = np.full(n, -1, np.int8)
        self.spans = np.zeros(n, np.int32)
        self.received_s = np.zeros(n, np.float64)
        self.strangers = 0
        self.problems: list[str] = []
        self.decoded = 0
        self._reader = TraceReader(span_schema=load_profile(PROFILE).schema)

    @property
    def traces(self) -> int:
        """Return how many different traces came."""
        return int((self.count > 0).sum())

    def add(self, keys: list[bytes], values: list[bytes], received_s: list[float]) -> None:
        """Take in records of the traces topic."""
        octets = np.frombuffer(bytes.fromhex(b"".join(keys).decode()), ">u8")
        number, is_ours = numbers_of(self.load, octets.reshape(-1, 2).astype(np.uint64))
        self.strangers += int((~is_ours).sum())
        heads = np.array([head(value) for value in values], np.int64).reshape(-1, 3)
        row = number[is_ours] - self.load.first
        np.add.at(self.count, row, 1)
        self.status[row] = heads[is_ours, 1]
        self.spans[row] = heads[is_ours, 2]
        at = np.array(received_s)[is_ours]
        fresh = self.received_s[row] == 0
        self.received_s[row[fresh]] = at[fresh]
        for i in np.flatnonzero(is_ours & (number % DECODE_EVERY == 0)).tolist():
            self._compare(int(number[i]), values[i])

    def _compare(self, number: int, value: bytes) -> None:
        self.decoded += 1
        expected = sorted(bodies_of(self.load, number))
        try:
            _, bodies = self._reader.read(value)
        except RecordError as error:
            self.problems.append(f"trace {number} cannot be decoded: {error}")
            return
        if sorted(bodies) != expected:
            self.problems.append(
                f"trace {number}: {len(bodies)} spans, not byte for byte the {len(expected)} sent"
            )

    def faults(self) -> list[str]:
        """Return what differs from the load; [] when every trace came once, with all its spans."""
        load = self.load
        number = np.arange(load.first, load.first + load.traces, dtype=np.uint64)
        lacks = missing_stage(load, number) >= 0
        found = self.problems[:_NAMED]
        came = self.count > 0
        checks = (
            ("never came", ~came),
            ("came more than once", self.count > 1),
            (
                f"have another number of spans than {load.spans}, or one less where one is missing",
                came & (self.spans != load.spans - lacks),
            ),
            ("are not COMPLETE", came & ~lacks & (self.status != _COMPLETE)),
            ("are COMPLETE without a stage", came & lacks & (self.status == _COMPLETE)),
        )
        for words, wrong in checks:
            if wrong.any():
                named = np.flatnonzero(wrong)[:_NAMED].tolist()
                found.append(f"{int(wrong.sum())} traces {words}, such as {named}")
        if self.strangers:
            found.append(f"{self.strangers} traces that nobody sent")
        return found

    def save(self, path: Path) -> None:
        """Write what was read to a file."""
        np.savez(
            path,
            count=self.count,
            status=self.status,
            spans=self.spans,
            received_s=self.received_s,
            strangers=self.strangers,
            decoded=self.decoded,
            problems=np.array(self.problems, dtype=np.str_),
        )

    @classmethod
    def read(cls, path: Path, load: Load) -> "Outputs":
        """Return what `save` wrote."""
        made = cls(load)
        with np.load(path) as saved:
            for name in ("count", "status", "spans", "received_s"):
                setattr(made, name, saved[name])
            made.strangers = int(saved["strangers"])
            made.decoded = int(saved["decoded"])
            made.problems = saved["problems"].tolist()
        return made


def _consumer(broker: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "bench-reader",  # never committed, never joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": 1 << 16,
        }
    )


def read_all(run: Run, load: Load) -> Outputs:
    """Read the traces topic to its end.

    Raises:
        CaseError: it was not read to its end in time.
    """
    outputs = Outputs(load)
    consumer = _consumer(run.lab.broker)
    waiting = set(range(run.partitions))
    deadline = time.monotonic() + READ_SECONDS
    try:
        consumer.assign([TopicPartition(run.traces_topic, p, 0) for p in waiting])
        while waiting:
            if time.monotonic() > deadline:
                raise CaseError(f"{run.traces_topic} was not read to its end")
            keys, values = [], []
            for message in consumer.consume(BATCH_RECORDS, 0.2):
                if message.error() is None:
                    keys.append(message.key())
                    values.append(message.value())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition())
                else:
                    raise CaseError(f"{run.traces_topic} cannot be read: {message.error()}")
            if keys:
                outputs.add(keys, values, [time.time()] * len(keys))
    finally:
        consumer.close()
    return outputs


# --- reading along


class Follower:
    """A process that reads the traces topic while it is written, and notes when each trace came.

    Args:
        run: whose topic; what is in it already is not read.
    """

    def __init__(self, run: Run) -> None:
        self._path = run.folder / f"followed-{time.monotonic_ns()}.npz"
        self._load: Load | None = None
        context = multiprocessing.get_context("spawn")
        is_ready = context.Event()
        self._is_ending = context.Event()
        self._traces = context.Value("q", 0)
        there, self._loads = context.Pipe(duplex=False)
        signals = _Signals(is_ready, self._is_ending, self._traces, there)
        place = (run.lab.broker, run.traces_topic, run.partitions)
        self._process = context.Process(
            target=_follow, args=(*place, str(self._path), signals), daemon=True
        )
        self._process.start()
        if not is_ready.wait(START_SECONDS):
            raise CaseError("the reader of the traces did not start")

    def expect(self, load: Load) -> None:
        """Say what will come; its clock can start now that the reader stands by."""
        self._load = load
        self._loads.send(load)

    @property
    def traces(self) -> int:
        """Return how many different traces came so far."""
        return int(self._traces.value)

    def result(self) -> Outputs:
        """Read on until nothing comes for a moment; return what came."""
        assert self._load is not None, "expect comes first"
        self._is_ending.set()
        self._process.join()
        if self._process.exitcode != 0:
            raise CaseError(f"the reader of the traces ended with {self._process.exitcode}")
        return Outputs.read(self._path, self._load)


class _Signals(NamedTuple):
    is_ready: Any
    is_ending: Any
    traces: Any
    loads: Any


def _follow(broker: str, topic: str, partitions: int, path: str, signals: _Signals) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ends with the process that it works for
    consumer = _consumer(broker)
    try:
        wanted = [TopicPartition(topic, p) for p in range(partitions)]
        for one in wanted:
            one.offset = consumer.get_watermark_offsets(one, 30)[1]
        consumer.assign(wanted)
        signals.is_ready.set()
        outputs = Outputs(signals.loads.recv())
        _collect(consumer, outputs, signals)
    finally:
        consumer.close()
    outputs.save(Path(path))


def _collect(consumer: Consumer, outputs: Outputs, signals: _Signals) -> None:
    """Read message by message, since a batch would be as old as its first."""
    keys: list[bytes] = []
    values: list[bytes] = []
    received_s: list[float] = []
    poll, clock = consumer.poll, time.time
    parent = multiprocessing.parent_process()
    heard_s = clock()
    while True:
        message = poll(0.02)
        now_s = clock()
        if message is not None and message.error() is None:
            heard_s = now_s
            received_s.append(now_s)
            keys.append(message.key())
            values.append(message.value())
            if len(keys) < FOLLOWED_RECORDS:
                continue
        elif message is not None and message.error().code() != KafkaError._PARTITION_EOF:
            raise CaseError(f"the traces cannot be read: {message.error()}")
        elif signals.is_ending.is_set() and now_s - heard_s > QUIET_SECONDS:
            break
        elif parent is not None and not parent.is_alive():
            raise CaseError("the case has ended")
        if keys:
            outputs.add(keys, values, received_s)
            keys, values, received_s = [], [], []
            signals.traces.value = outputs.traces
