"""A deployment on a real broker that may be hurt: workers as processes, what they wrote as records.

Owns the processes that it starts and no others. Everything goes through the shipped command line;
what the worker published is read as an outsider would, `read_committed`.

Invariant: nothing that a deployment started outlives `Deployment.end`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.codec.records import encode
from tests.fault.commits import committed_records
from tests.fault.patience import CALL_SECONDS, PATIENCE

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = ("-m", "streams.cli.main")
TRACES: Final = "traces.assembled.v1"
READ_SECONDS_MAX: Final = 60.0 * PATIENCE
SESSION_SECONDS: Final = 6.0
"""The least that brokers allow by default: how long a dead worker holds its partitions."""
Event = dict[str, Any]


PSEUDONYM_KEYS: Final = "k1 not-a-secret-but-the-key-of-all-tests"
"""What consoles of tests make pseudonyms with."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record of a topic, as a reader of committed records sees it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes


class WorkerProcess:
    """One `spanloom worker`, with its two output files."""

    def __init__(self, command: list[str], environment: Mapping[str, str], place: Path) -> None:
        place.mkdir(parents=True)
        self.out, self.log = place / "out", place / "log"
        self.started_unix = time.time()
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Ask it to end: SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def pause(self) -> None:
        """Let it do nothing, as a long stop of the machine would: SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on: SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Return the exit code; fail with the end of the log when it takes far longer."""
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            waited = seconds * PATIENCE
            raise AssertionError(f"still running after {waited} s: {self.tail()}") from None

    def tail(self) -> str:
        """Return the end of what it said; long enough for a `worker_stands_still`."""
        return self.log.read_text("utf-8", "replace")[-40_000:]

    def events(self, name: str) -> list[Event]:
        """Return its log events of one name."""
        found = []
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if f'"{name}"' in line and line.endswith("}"):  # the last may be half written
                event = json.loads(line)
                if event["event"] == name:
                    found.append(event)
        return found

    def wait_until_restored(self, tasks: int, kind: str = "join", seconds: float = 60) -> None:
        """Wait until it has taken over so many tasks of a kind in all its life."""

        def restored() -> bool:
            names = [str(e["task"]) for e in self.events("task_restored")]
            return sum(name.startswith(kind) for name in names) >= tasks

        wait_for(restored, seconds, lambda: f"{tasks} {kind} tasks restored: {self.tail()}", self)

    def said(self, word: str) -> dict[str, Any]:
        """Return the JSON of its last line that begins with `word`."""
        lines = [t for t in self.out.read_text("utf-8").splitlines() if t.startswith(word + " ")]
        assert lines, f"no {word} line: {self.tail()}"
        said: dict[str, Any] = json.loads(lines[-1].partition(" ")[2])
        return said

    def accounting(self) -> dict[str, int]:
        """Return the accounts that it printed at its end."""
        return self.said("ACCOUNTS")


def wait_for(
    is_so: Callable[[], bool],
    seconds: float,
    what: Callable[[], str],
    worker: WorkerProcess | None = None,
) -> float:
    """Wait until something is so and return how long that took.

    Fails by name when the worker ended, or after far more than `seconds`, see `PATIENCE`.
    """
    began, most = time.monotonic(), seconds * PATIENCE
    while not is_so():
        if worker is not None and not worker.is_alive:
            raise AssertionError(f"the worker ended ({worker.process.returncode}): {worker.tail()}")
        assert time.monotonic() - began < most, f"not within {most} s: {what()}"
        time.sleep(0.1)
    return time.monotonic() - began


@dataclass
class Deployment:
    """Topics, workers and readers of one group on one broker.

    Attributes:
        broker: bootstrap address.
        folder: where state and logs go.
        group: consumer group of the workers.
        contract: what goes to --contract; "" for none.
        partitions: of the telemetry topics.
    """

    broker: str
    folder: Path
    group: str
    contract: str = ""
    partitions: int = 4
    workers: list[WorkerProcess] = field(default_factory=list)
    pseudonym_keys: str = PSEUDONYM_KEYS

    @property
    def environment(self) -> dict[str, str]:
        """Return what every process is given."""
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "SPANLOOM_BROKER": self.broker,
            "SPANLOOM_CONTRACT": self.contract,
            "SPANLOOM_CONSOLE_PSEUDONYM_KEYS": self.pseudonym_keys,
        }

    def cli(self, *arguments: object, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run one command of the shipped command line to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streams.cli.main", *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds * PATIENCE,
            check=False,
        )

    def create_topics(self) -> None:
        """Make the topics with `spanloom topics create`."""
        done = self.cli("topics", "create", "--partitions", self.partitions)
        assert done.returncode == 0, done.stderr

    def start_anew(self) -> None:
        """Delete all topics of the broker and make ours, empty."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.delete_topics()
        self.create_topics()

    def delete_topics(self) -> None:
        """Delete all topics of the broker but its own."""
        delete_topics(self.broker, lambda name: not name.startswith("__"))

    def worker(
        self,
        *arguments: object,
        instance: str = "",
        state: str = "state",
        settings: Mapping[str, object] | None = None,
        program: Sequence[str] = PROGRAM,
        home: Path = REPOSITORY,
    ) -> WorkerProcess:
        """Start a worker.

        Args:
            arguments: more of the command line.
            instance: its static member id; none if absent.
            state: name of the folder of its local state.
            settings: become SPANLOOM_* variables.
            program: runs the command.
            home: the checkout whose code it runs.
        """
        command = [sys.executable, *program, "worker", "--group", self.group]
        command += ["--state-dir", str(self.folder / state), *map(str, arguments)]
        if instance:
            command += ["--instance", instance]
        given = {"session_timeout_seconds": SESSION_SECONDS, **(settings or {})}
        environment = self.environment | {
            f"SPANLOOM_{name.upper()}": str(value) for name, value in given.items()
        }
        environment["PYTHONPATH"] = str(home)
        place = self.folder / f"worker-{len(self.workers)}"  # the list may be shared
        started = WorkerProcess(command, environment, place)
        self.workers.append(started)
        return started

    def lose_state(self, state: str = "state") -> None:
        """Delete the local state, as a lost disk would."""
        shutil.rmtree(self.folder / state, ignore_errors=True)

    def end(self) -> None:
        """Kill what still runs."""
        for worker in self.workers:
            if worker.is_alive:
                worker.kill()

    # --- what went in and what came out

    def feed(self, events: Iterable[tuple[str, Event]], rows_per_second: float = 0) -> int:
        """Send (topic, event) pairs, as fast as it goes or at a pace; return how many."""
        with Feeder(self.broker) as feeder:
            began = time.monotonic()
            for n, (topic, event) in enumerate(events):
                if rows_per_second and n % 50 == 0:
                    time.sleep(max(0.0, n / rows_per_second - (time.monotonic() - began)))
                feeder.send(topic, event)
            return feeder.count

    def read(self, topic: str) -> list[Message]:
        """Return all committed records of a topic, by partition and offset."""
        return read_committed(self.broker, topic)

    def partitions_of(self, topic: str) -> list[int]:
        """Return the partitions of a topic."""
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": self.group})
        try:
            return partitions_of(consumer, topic)
        finally:
            consumer.close()

    def read_by(self, topic: str, decode: Callable[[bytes], Event]) -> list[Event]:
        """Return all committed records of a topic, decoded."""
        return [decode(message.value) for message in self.read(topic)]

    def committed(self) -> int:
        """Return the sum of the group's committed offsets, which the worker's transactions set."""
        return committed_records(self.broker, self.group)


class Feeder:
    """A producer of telemetry that keys and partitions as producers should."""

    def __init__(self, broker: str) -> None:
        self.count = 0
        self._failed: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": broker,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 200_000,
                "log_level": 2,  # a broker that goes away is often what we want
            }
        )

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._producer.flush(60 * PATIENCE) == 0
        assert self._failed == []

    def send(self, topic: str, event: Event) -> None:
        """Send an event with its trace, else its module and component, as key."""
        key = event["trace_id"] or f"{event['module']}.{event['component']}"
        self.send_bytes(topic, key.encode(), encode("telemetry_event", event))

    def send_bytes(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1
    ) -> None:
        """Send any bytes; to a partition, or to the key's own."""
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition=partition, on_delivery=self._delivered
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self.count += 1
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


def read_committed(broker: str, topic: str) -> list[Message]:
    """Return every committed record of a topic, by partition and offset."""
    found = [message for some in committed_batches(broker, topic) for message in some]
    return sorted(found, key=lambda m: (m.partition, m.offset))


def committed_batches(
    broker: str, topic: str, partitions: Sequence[int] = (), records: int = 500
) -> Iterator[list[Message]]:
    """Yield the committed records of a topic, at most so many at once.

    Args:
        broker: bootstrap address.
        topic: to be read to its end.
        partitions: of it, all if absent; each in order of its offsets.
        records: of a batch; what waits in memory beside it is the client's.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "reader",  # never committed, never joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        wanted = partitions or partitions_of(consumer, topic)
        waiting = set(wanted)
        consumer.assign([TopicPartition(topic, p, 0) for p in wanted])
        deadline = time.monotonic() + READ_SECONDS_MAX
        while waiting:
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            found: list[Message] = []
            for message in consumer.consume(records, 0.5):
                error = message.error()
                if error is None:
                    at = message.partition(), message.offset(), message.timestamp()[1]
                    found.append(Message(topic, *at, message.key(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition())
            if found:
                yield found
                deadline = time.monotonic() + READ_SECONDS_MAX
    finally:
        consumer.close()


def partitions_of(consumer: Consumer, topic: str) -> list[int]:
    """Return a topic's partitions; a broker that has just started knows none of them at first."""
    deadline = time.monotonic() + READ_SECONDS_MAX
    while True:
        found = consumer.list_topics(topic, timeout=CALL_SECONDS).topics[topic]
        if found.error is None and found.partitions:
            return sorted(found.partitions)
        assert time.monotonic() < deadline, f"{topic}: {found.error}"
        time.sleep(0.25)


def delete_topics(broker: str, names: Callable[[str], bool]) -> None:
    """Delete the topics whose name is wanted, and wait until they are gone."""
    admin = AdminClient({"bootstrap.servers": broker})

    def there() -> list[str]:
        return [t for t in admin.list_topics(timeout=CALL_SECONDS).topics if names(t)]

    doomed = there()
    for future in (admin.delete_topics(doomed) if doomed else {}).values():
        future.result(CALL_SECONDS)
    wait_for(lambda: not there(), 30, lambda: f"deleted: {there()}")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process from running while the block does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- laws about what was published


def highest(traces: Iterable[Event]) -> dict[str, Event]:
    """Return the valid revision of each trace."""
    found: dict[str, Event] = {}
    for trace in traces:
        known = found.get(trace["trace_id"])
        if known is None or trace["revision"] > known["revision"]:
            found[trace["trace_id"]] = trace
    return found


def assert_revisions_are_whole(traces: Sequence[Event]) -> int:
    """Fail when a (trace, revision) is there twice or one is left out; return their number."""
    seen = Counter((t["trace_id"], t["revision"]) for t in traces)
    twice = [at for at, n in seen.items() if n > 1]
    assert twice == [], f"{len(twice)} (trace, revision) published twice: {twice[:3]}"
    count = Counter(t["trace_id"] for t in traces)
    last = {trace_id: t["revision"] for trace_id, t in highest(traces).items()}
    gaps = [trace_id for trace_id, revision in last.items() if revision != count[trace_id]]
    assert gaps == [], f"{len(gaps)} traces with a gap in their revisions: {gaps[:3]}"
    return len(seen)


def span_ids(trace: Event) -> list[str]:
    """Return the span ids of a trace, in order of event time."""
    return [span["span_id"] for span in trace["spans"]]


def assert_spans_are_whole(traces: Sequence[Event], expected: Mapping[str, set[str]]) -> None:
    """Fail unless the valid revisions hold exactly the expected spans, each once."""
    valid = highest(traces)
    wrong = sorted(valid.keys() ^ expected.keys())
    assert wrong == [], f"{len(wrong)} traces lost or invented: {wrong[:3]}"
    lost = {t: len(expected[t] - set(span_ids(valid[t]))) for t in expected}
    twice = {t: len(span_ids(valid[t])) - len(set(span_ids(valid[t]))) for t in expected}
    extra = {t: len(set(span_ids(valid[t])) - expected[t]) for t in expected}
    sums = [sum(found.values()) for found in (lost, twice, extra)]
    assert sums == [0, 0, 0], f"spans lost, twice, invented: {sums}"


def balance(accounting: Mapping[str, int]) -> int:
    """Return how many accepted events no account explains: 0 when it balances."""
    explained = ("joined", "duplicate", "late", "untraced", "rejected", "evicted", "open")
    return accounting["accepted"] - sum(accounting[name] for name in explained)
