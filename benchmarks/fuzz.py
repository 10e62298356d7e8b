"""Does hostile telemetry harm the shipped worker? `make fuzz ARGS="--seed 7 --json fuzz.json"`.

Starts a broker and the worker, mixes records that no producer should send into good traffic whose
truth is known, and holds what comes out against both. Ends with 0 when the worker lived, every
record was accounted for, the good traces came out whole, and memory stayed under the bound.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import KafkaError, Producer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.arguments import report_file
from benchmarks.fuzz_verdict import Sent, verdict
from benchmarks.hostile import GIANT, Hostile, giant_trace, hostile
from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.runtime import topics
from streams.runtime.build import Pipeline, load_pipeline
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.link import Link
from streams.runtime.reading import Reading
from streams.settings import load_settings
from streams.simulate import Emission, Simulation
from streams.units import SECOND_US
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "deploy" / "kafka" / "broker.sh"
PARTITIONS = 4
RECORDS_PER_SECOND = 40
START_SECONDS = 15  # the worker is up by then
MESSAGE_BYTES_MAX = 6 << 20
MEMORY_MAX_BYTES = 1 << 30
EMBEDDED_SPANS_MAX = 2_000
GROUP = "fuzz"


@dataclass(frozen=True)
class Stage:
    """Where the run takes place: a broker's address, and what it can carry."""

    address: str
    is_embedded: bool
    spans: int
    large_bytes: int


@dataclass
class Traffic:
    """What is sent: good and hostile records in one order, and the giant trace beside them."""

    simulation: Simulation
    good: list[Emission]
    bad: dict[int, list[Hostile]]
    topics: list[str]
    giant_key: bytes = b""
    giant_values: Iterator[bytes] = field(default_factory=lambda: iter(()))
    spans: int = 0

    @property
    def total(self) -> int:
        """How many records that are."""
        return len(self.good) + sum(map(len, self.bad.values())) + self.spans


def main() -> int:
    """Run once and return the exit code."""
    arguments = _arguments()
    console = Console(stderr=True)
    with ExitStack() as stack:
        stage = stack.enter_context(_stage(arguments, console))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanloom-fuzz-")))
        settings = load_settings(
            broker=stage.address, group=GROUP, contract="seed", embedded=stage.is_embedded
        )
        pipeline = load_pipeline(settings)
        _make_topics(stage, pipeline)
        traffic = _traffic(arguments, stage, pipeline)
        report = _run(arguments, stage, traffic, folder, console)
    text = json.dumps(report, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    for problem in report["problems"]:
        console.print(f"[red]problem:[/] {problem}", highlight=False)
    return 1 if report["problems"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides all that chance decides")
    parser.add_argument("--seconds", type=float, default=20, help="length of the good traffic")
    parser.add_argument("--each", type=int, default=100, help="hostile records of each kind")
    parser.add_argument("--spans", type=int, default=1_000_000, help="spans of the giant trace")
    parser.add_argument("--timeout", type=float, default=300, help="seconds the worker may take")
    parser.add_argument("--embedded", action="store_true", help="no real broker, smaller records")
    parser.add_argument("--kinds", help="only these kinds of hostile records, by comma")
    parser.add_argument(
        "--json", type=report_file, metavar="FILE", help="write the report here too"
    )
    return parser.parse_args()


# --- the broker


@contextmanager
def _stage(arguments: argparse.Namespace, console: Console) -> Iterator[Stage]:
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if arguments.embedded or missing:
        why = "asked for" if arguments.embedded else f"{' and '.join(missing)} missing"
        console.print(f"embedded broker ({why}): it keeps 5 MB a partition, so records are smaller")
        with EmbeddedBroker() as broker:
            spans = min(arguments.spans, EMBEDDED_SPANS_MAX)
            yield Stage(broker.address, True, spans, 600 << 10)
        return
    port, controller_port = free_ports(2)
    environment = {**os.environ, "PORT": str(port), "CONTROLLER_PORT": str(controller_port)}

    def script(*words: str) -> None:
        subprocess.run([SCRIPT, *words], env=environment, stdout=sys.stderr, check=True)

    script("start", "--fresh")
    try:
        yield Stage(f"127.0.0.1:{port}", False, arguments.spans, 5 << 20)
    finally:
        script("forget")


def _make_topics(stage: Stage, pipeline: Pipeline) -> None:
    client = topics.admin({"bootstrap.servers": stage.address})
    if stage.is_embedded:
        topics.embedded_partitions(client, pipeline.telemetry)
        return
    specs = [topics.spec(name, PARTITIONS) for name in pipeline.telemetry[:-1]]
    # Larger than a deployment's: a record that the broker refuses never reaches the worker.
    specs = [
        replace(s, config={**s.config, "max.message.bytes": str(MESSAGE_BYTES_MAX)}) for s in specs
    ]
    specs += [topics.spec(pipeline.derived(name), PARTITIONS, name) for name in topics.DERIVED]
    topics.create(client, specs)


# --- the traffic


def _traffic(arguments: argparse.Namespace, stage: Stage, pipeline: Pipeline) -> Traffic:
    rng = Random(arguments.seed)
    start_us = time.time_ns() // 1000 + START_SECONDS * SECOND_US
    simulation = Simulation(
        load_contract("seed"), arguments.seed, start_us, arguments.seconds, RECORDS_PER_SECOND
    )
    good = list(simulation.drain())
    bases = [e.event for e in rng.sample(good, 200) if e.event["event_type"] == "TRACE"]
    # Few of the large ones on the embedded broker, which would drop the records before them.
    large_each = 2 if stage.is_embedded else min(arguments.each, 10)
    bad: dict[int, list[Hostile]] = {}
    kinds = arguments.kinds.split(",") if arguments.kinds else None
    for record in hostile(rng, bases, arguments.each, stage.large_bytes, large_each):
        place = rng.randrange(len(good))
        if kinds is None or record.kind in kinds:
            bad.setdefault(place, []).append(record)
    key, values = giant_trace(rng, good[len(good) // 2].event, stage.spans)
    return Traffic(simulation, good, bad, list(pipeline.telemetry[:-1]), key, values, stage.spans)


class Sender:
    """Sends the traffic live and learns where each hostile record came to lie."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.sent = Sent()
        self.failed = ""
        self._stage = stage
        self._rng = Random(f"{seed}/where")
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._stage.address,
                "partitioner": "murmur2_random",
                "enable.idempotence": not self._stage.is_embedded,
                "message.max.bytes": 2 * MESSAGE_BYTES_MAX,
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": 50_000,
                "log_level": 0,
            }
        )

    def send(self, traffic: Traffic, progress: Progress) -> None:
        """Send everything, each good event at its time; all is acknowledged when this returns."""
        bar = progress.add_task("waiting for the worker", total=traffic.total)
        giant = threading.Thread(target=self._send_giant, args=(traffic, progress, bar))
        for number, emission in enumerate(traffic.good):
            self._wait_until(emission.emit_us)
            behind_us = time.time_ns() // 1000 - emission.emit_us
            self.sent.behind_max_us = max(self.sent.behind_max_us, behind_us)
            value = encode("telemetry_event", emission.event)
            self._produce(self._producer, emission.topic, emission.key.encode(), value)
            self.sent.add_good(emission.event)
            bad = traffic.bad.get(number, ())
            for record in bad:
                self._send_hostile(record, self._rng.choice(traffic.topics))
            if number == len(traffic.good) // 3:
                giant.start()
            progress.update(bar, advance=1 + len(bad), description=f"sending {traffic.total:,}")
        giant.join()
        if self._producer.flush(120) or self.failed:
            raise SystemExit(f"fuzz: not everything was acknowledged {self.failed}")

    def _wait_until(self, time_us: int) -> None:
        while (ahead_us := time_us - time.time_ns() // 1000) > 0:
            self._producer.poll(min(ahead_us / SECOND_US, 0.1))

    def _send_giant(self, traffic: Traffic, progress: Progress, bar: Any) -> None:
        """Send the giant trace as fast as the broker takes it, beside everything else."""
        producer = self._new_producer()
        topic = traffic.good[len(traffic.good) // 2].topic
        self.sent.giant_trace_id = traffic.giant_key.decode()
        self.sent.by_kind[GIANT] += traffic.spans
        for number, value in enumerate(traffic.giant_values, start=1):
            self._produce(producer, topic, traffic.giant_key, value)
            if number % 10_000 == 0:
                progress.advance(bar, 10_000)
        if producer.flush(120):
            self.failed = "(the giant trace)"

    def _send_hostile(self, record: Hostile, topic: str) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            self._delivered(error, message)
            if error is None:
                at = message.topic(), message.partition(), message.offset()
                self.sent.hostile[at] = record

        self.sent.by_kind[record.kind] += 1
        self._produce(self._producer, topic, record.key, record.value, delivered)

    def _produce(
        self, producer: Producer, topic: str, key: bytes, value: bytes | None, report: Any = None
    ) -> None:
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=report or self._delivered)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.failed = f"({error.str()})"


# --- the run


def _run(
    arguments: argparse.Namespace, stage: Stage, traffic: Traffic, folder: Path, console: Console
) -> dict[str, Any]:
    sender = Sender(stage, arguments.seed)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        (folder / "out").open("w+b") as out,
        (folder / "err").open("w+b") as err,
    ):
        worker = subprocess.Popen(
            _command(stage, traffic.total, folder),
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env={**os.environ, "SPANLOOM_EMBEDDED": "1" if stage.is_embedded else "0"},
        )
        try:
            sender.send(traffic, progress)
            began = time.monotonic()
            memory = _await(worker, arguments.timeout, progress)
            seconds = time.monotonic() - began
        finally:
            if worker.poll() is None:
                worker.kill()
            code = worker.wait()
        out.seek(0)
        err.seek(0)
        accounts = _accounts(out.read().decode())
        log = err.read().decode(errors="replace").splitlines()
    with Reading(Link.plain(stage.address)) as reading:
        report, problems = verdict(reading, GROUP, sender.sent, accounts, traffic.simulation.truth)
    if code != 0:
        last = " | ".join(log[-3:])
        problems.insert(0, f"The worker ended with {code} after {seconds:.0f} s: {last}")
    if memory >= MEMORY_MAX_BYTES:
        problems.append(f"The worker took {memory:,} bytes, {MEMORY_MAX_BYTES:,} are the bound.")
    head = {
        "seed": arguments.seed,
        "broker": "embedded" if stage.is_embedded else "kafka",
        "sent": traffic.total,
        "worker_exit_code": code,
        "worker_memory_max_bytes": memory,
        "seconds_after_sending": round(seconds, 1),
        "large_event_bytes": stage.large_bytes,
    }
    return {**head, **report, "problems": problems, "passed": not problems}


def _command(stage: Stage, total: int, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "streams.cli.main", "worker", "--contract", "seed"]
    command += ["--broker", stage.address, "--group", GROUP, "--state-dir", str(folder / "state")]
    return [*command, "--exit-after", str(total), "--drain-seconds", "60"]


def _await(worker: subprocess.Popen[bytes], timeout: float, progress: Progress) -> int:
    """Wait for the worker's end and return the most memory it was seen with, in bytes."""
    bar = progress.add_task("joining", total=None)
    memory = 0
    deadline = time.monotonic() + timeout
    while worker.poll() is None and time.monotonic() < deadline:
        memory = max(memory, _memory(worker.pid))
        progress.update(bar, description=f"joining, {memory >> 20:,} MB")
        time.sleep(0.2)
    return memory


def _memory(pid: int) -> int:
    """Return a process's high water mark in bytes, 0 when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) << 10


def _accounts(output: str) -> Counter[str]:
    """Return the accounts that the worker printed at its end; empty when it did not."""
    for line in output.splitlines():
        name, _, rest = line.partition(" ")
        if name == "ACCOUNTS":
            return Counter(json.loads(rest))
    return Counter()


if __name__ == "__main__":
    sys.exit(main())
