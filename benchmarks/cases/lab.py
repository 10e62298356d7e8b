"""Where a case runs: a broker, its topics, and the shipped worker as processes.

Invariant: what a lab or a run started is ended and what it made on the broker is deleted when its
`with` block ends, however it ends.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.cases.feed import FeedSpec
from benchmarks.cases.load import Load
from streams.runtime import topics
from tests.fault import harness
from tests.ports import free_port, free_ports

ROOT: Final = Path(__file__).resolve().parents[2]
BROKER_SCRIPT: Final = ROOT / "deploy" / "kafka" / "broker.sh"
CONTRACT: Final = ROOT / "benchmarks" / "candidate.yaml"
PROFILE: Final = ROOT / "benchmarks" / "candidate-profile.yaml"
CANDIDATE: Final = ("--contract", str(CONTRACT), "--profile", str(PROFILE))
START_SECONDS: Final = 300.0
STOP_SECONDS: Final = 120.0
DELETE_SECONDS: Final = 120.0
METRICS_OPTION: Final = "--metrics-port"
"""The worker's option that makes it serve /metrics."""
WAIT_SECONDS: Final = 30.0
"""After so long in event time a trace closes that lacks a stage, unless a case says otherwise."""


class CaseError(Exception):
    """A case could not be run to its end; says what happened."""


def say(text: str) -> None:
    """Tell the user how far the case is."""
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}", file=sys.stderr, flush=True)


@dataclass
class Lab:
    """A broker and a folder.

    Attributes:
        broker: bootstrap address.
        folder: where state, logs and files of the runs go.
        broker_pid: process of a broker of our own, 0 for somebody else's.
        settings: SPANLOOM_* settings of every worker, by name.
        node: the environment by which a broker of our own is known, empty for somebody else's.
    """

    broker: str
    folder: Path
    broker_pid: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    node: Mapping[str, str] = field(default_factory=dict)
    _runs: int = 0

    def stop_broker(self) -> None:
        """Stop the broker of our own; what it holds stays.

        Raises:
            CaseError: it did not stop.
        """
        if _script(self.node, "stop") != 0:
            raise CaseError("the broker did not stop: its words are above")

    def start_broker(self) -> None:
        """Start the broker of our own again, on the same address.

        Raises:
            CaseError: it did not start.
        """
        if _script(self.node, "start") != 0:
            raise CaseError("the broker did not start again: its words are above")

    def run(
        self,
        name: str,
        partitions: int,
        wait_s: float = WAIT_SECONDS,
        reads: Sequence[str] = CANDIDATE,
    ) -> "Run":
        """Return a run with topics and a group of its own.

        Args:
            name: of the case.
            partitions: of each topic.
            wait_s: how long a trace waits for a span that is missing.
            reads: the worker's options that say what its input is.
        """
        self._runs += 1
        unique = f"bench-{name}-{os.getpid()}-{self._runs}"
        return Run(self, unique, partitions, self.folder / unique, wait_s, reads)


@contextmanager
def open_lab(broker: str, settings: Mapping[str, str]) -> Iterator[Lab]:
    """Yield a lab on a named broker, or on a fresh one of its own that is deleted at the end.

    Raises:
        CaseError: no broker could be started.
    """
    with tempfile.TemporaryDirectory(prefix="spanloom-bench-") as folder:
        if broker:
            yield Lab(broker, Path(folder), 0, settings)
            return
        port, controller_port = _free_ports()
        environment = {
            **os.environ,
            "PORT": str(port),
            "CONTROLLER_PORT": str(controller_port),
            "SPANLOOM_KAFKA_HOME": os.environ.get("SPANLOOM_KAFKA_HOME") or str(_kafka_home()),
        }
        say(f"starting a broker on 127.0.0.1:{port}")
        try:
            if _script(environment, "start", "--fresh") != 0:
                raise CaseError("no broker could be started: its words are above")
            node = Path(environment["SPANLOOM_KAFKA_HOME"]) / f"node-{port}"
            pid = int((node / "pid").read_text())
            yield Lab(f"127.0.0.1:{port}", Path(folder), pid, settings, environment)
        finally:
            _script(environment, "forget")


def _kafka_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "spanloom-kafka"


def _free_ports() -> tuple[int, int]:
    """Return PORT and CONTROLLER_PORT where the environment has them, else two free ports."""
    if "PORT" in os.environ:
        port = int(os.environ["PORT"])
        return port, int(os.environ.get("CONTROLLER_PORT", port + 1))
    port, controller_port = free_ports(2)
    return port, controller_port


def _script(environment: Mapping[str, str], *arguments: str) -> int:
    # The node inherits these descriptors: a pipe would stay open as long as it runs.
    return subprocess.run(
        [BROKER_SCRIPT, *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=2,  # a step towards the figures, not one of them
        check=False,
    ).returncode


class WorkerProcess(harness.WorkerProcess):
    """One `spanloom worker` that serves its metrics and measures itself."""

    def __init__(self, command: list[str], environment: Mapping[str, str], place: Path) -> None:
        self.metrics_port = free_port()
        super().__init__([*command, METRICS_OPTION, str(self.metrics_port)], environment, place)

    def restored(self) -> list[dict[str, Any]]:
        """Return its `task_restored` events so far."""
        return self.events("task_restored")

    def is_ready(self, tasks: int) -> bool:
        """Whether it consumes: it says so, or it has restored so many tasks."""
        lines = self.out.read_text("utf-8", "replace").splitlines()
        return any(t.startswith("ready ") for t in lines) or len(self.restored()) >= tasks

    def result(self) -> dict[str, Any]:
        """Return what it measured itself, from its first record to its last step."""
        lines = self.out.read_text("utf-8").splitlines()
        said = [line.removeprefix("RESULT ") for line in lines if line.startswith("RESULT ")]
        if not said:
            raise CaseError(f"the worker printed no RESULT: {self.tail()}")
        result: dict[str, Any] = json.loads(said[-1])
        return result

    def finish(self, seconds: float) -> None:
        """Wait for its good end.

        Raises:
            CaseError: it takes longer, or ends with another exit code than 0.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CaseError(f"the worker still runs after {seconds:.0f} s: {self.tail()}") from None
        if code != 0:
            raise CaseError(f"the worker ended with {code}: {self.tail()}")

    def stop(self) -> None:
        """Ask it to end and wait for that."""
        self.terminate()
        self.finish(STOP_SECONDS)


class Run:
    """Topics, workers and feeds of one measurement."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        partitions: int,
        folder: Path,
        wait_s: float,
        reads: Sequence[str] = CANDIDATE,
    ) -> None:
        self.lab = lab
        self.name = name
        self.partitions = partitions
        self.folder = folder
        self.input_topic = f"{name}.spans"
        self.traces_topic = f"{name}.{topics.TRACES}"
        self.workers: list[WorkerProcess] = []
        self._wait_s = wait_s
        self._reads = reads
        self._feeds: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Run":
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        processes: list[subprocess.Popen[Any]] = [*self._feeds]
        for process in processes + [worker.process for worker in self.workers]:
            if process.poll() is None:
                process.kill()
                process.wait()
        self._delete_topics()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create_topics(self, config: Mapping[str, str] | None = None) -> None:
        """Make the input topic and all that the worker writes; `config` goes to both."""
        admin = AdminClient({"bootstrap.servers": self.lab.broker, "log_level": 0})
        given = dict(config or {})
        traces = topics.spec(self.traces_topic, self.partitions, topics.TRACES)
        specs = [
            topics.TopicSpec(self.input_topic, self.partitions, {"retention.ms": "-1", **given}),
            topics.TopicSpec(self.traces_topic, self.partitions, {**traces.config, **given}),
        ]
        topics.create(admin, specs)
        command = [sys.executable, "-m", "streams.cli.main", "topics", "create", *self.names()]
        done = subprocess.run(
            [*command, "--partitions", str(self.partitions)],
            env=self.environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CaseError(f"topics could not be created: {done.stdout}")

    def _delete_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.lab.broker, "log_level": 0})
        mine = [t for t in admin.list_topics(timeout=DELETE_SECONDS).topics if self.name in t]
        for deleted in (admin.delete_topics(mine) if mine else {}).values():
            deleted.result(DELETE_SECONDS)

    def names(self) -> list[str]:
        """Return the options that say where its topics are."""
        names = ["--broker", self.lab.broker, "--input-topic", self.input_topic]
        return [*names, "--derived-prefix", f"{self.name}."]

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Return what its processes see; `settings` become SPANLOOM_* variables."""
        given = {**self.lab.settings, **settings}
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("SPANLOOM_")},
            "PYTHONPATH": str(ROOT),
            **{f"SPANLOOM_{name.upper()}": str(value) for name, value in given.items()},
        }

    # --- feeding

    def feed(
        self, load: Load, *, is_paced: bool = False, sent_path: Path | None = None
    ) -> Callable[[], dict[str, float]]:
        """Start to send a load; the result waits for its end and returns what was done."""
        spec = FeedSpec(
            self.lab.broker, self.input_topic, asdict(load), is_paced, str(sent_path or "")
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cases.feed", spec.text()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._feeds.append(process)

        def end() -> dict[str, float]:
            out, _ = process.communicate()
            if process.returncode != 0:
                raise CaseError(f"the feed ended with {process.returncode}: its words are above")
            done: dict[str, float] = json.loads(out.splitlines()[-1])
            return done

        return end

    # --- workers

    def worker(
        self, *arguments: str, settings: Mapping[str, object] | None = None, state: str = "state"
    ) -> WorkerProcess:
        """Start a worker; `settings` become SPANLOOM_* variables."""
        command = [sys.executable, "-m", "streams.cli.main", "worker", *self.names()]
        command += ["--group", self.name, "--state-dir", str(self.folder / state)]
        command += [
            *self._reads,
            "--fixed-waits",
            str(self._wait_s),
            "--log-level",
            "INFO",
            *arguments,
        ]
        place = self.folder / f"worker-{len(self.workers)}"
        started = WorkerProcess(command, self.environment(settings or {}), place)
        self.workers.append(started)
        return started

    def lose_state(self, state: str = "state") -> None:
        """Delete the local state, as a lost disk would."""
        shutil.rmtree(self.folder / state)

    def wait_until_ready(self, worker: WorkerProcess, tasks: int) -> float:
        """Return the seconds from the worker's start until it consumes."""
        self.wait_for(lambda: worker.is_ready(tasks), START_SECONDS, "the worker consumes", 0.01)
        return time.time() - worker.started_unix

    def watch(self, seconds: float) -> None:
        """Let time pass while the workers live.

        Raises:
            CaseError: one ended.
        """
        until = time.monotonic() + seconds
        self.wait_for(lambda: time.monotonic() >= until, seconds + START_SECONDS, "time passes", 1)

    def wait_for(
        self, is_so: Callable[[], bool], seconds: float, what: str, pause_s: float = 0.1
    ) -> None:
        """Wait until something is so.

        Raises:
            CaseError: a worker ended, or it took longer.
        """
        deadline = time.monotonic() + seconds
        while not is_so():
            for worker in self.workers:
                if worker.process.poll() not in (None, 0, -9):
                    code = worker.process.returncode
                    raise CaseError(f"the worker ended with {code}: {worker.tail()}")
            if time.monotonic() > deadline:
                tails = "\n".join(worker.tail() for worker in self.workers if worker.is_alive)
                raise CaseError(f"not within {seconds:.0f} s: {what}\n{tails}")
            time.sleep(pause_s)

    def committed(self) -> int:
        """Return how many input records the group's transactions have committed."""
        consumer = Consumer({"bootstrap.servers": self.lab.broker, "group.id": self.name})
        try:
            wanted = [TopicPartition(self.input_topic, p) for p in range(self.partitions)]
            return sum(max(0, at.offset) for at in consumer.committed(wanted, timeout=30))
        finally:
            consumer.close()

    def end_offset(self) -> int:
        """Return how many records the input topic has."""
        consumer = Consumer({"bootstrap.servers": self.lab.broker, "group.id": self.name})
        try:
            wanted = [TopicPartition(self.input_topic, p) for p in range(self.partitions)]
            return sum(int(consumer.get_watermark_offsets(tp, timeout=30)[1]) for tp in wanted)
        finally:
            consumer.close()
