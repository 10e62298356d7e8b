"""Case `keeps-up`: does the console archive what one worker produces as fast as it is produced?

One stream of telemetry, the archive benchmark's own: traces of eight spans with dimensions, and for
each an audit entry and a metric point, ten entries. A shipped worker reads a finished topic of it
and writes the derived topics; a shipped console reads both, for of spans it takes what the worker
assembled, and the other events from where they were sent. First one after the other, each alone,
then a fresh worker and a fresh console together on the same stream.

Archive and topics are compared row by row: `tests.fault.comparing`.
"""

import argparse
import re
import resource
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from benchmarks.archive_events import ENTRIES, Source
from benchmarks.cases.lab import (
    ROOT,
    START_SECONDS,
    STOP_SECONDS,
    CaseError,
    Lab,
    Run,
    WorkerProcess,
    say,
)
from benchmarks.cases.proc import usage
from benchmarks.cases.report import Report, megabytes, whole
from benchmarks.decode import STAGES
from streams.runtime import topics
from streams.units import SECOND_US
from tests.fault import harness
from tests.fault.comparing import Difference, compare
from tests.fault.harness import Deployment
from tests.ports import free_port

CONTRACT: Final = ROOT / "benchmarks" / "telemetry.yaml"
DEFAULT_ENTRIES: Final = 600_000
QUICK_ENTRIES: Final = 20_000
EVENT_RATE: Final = 20_000
"""Entries a second of event time."""
TRACES: Final = 1_500
"""Made at a time."""
PAST_SECONDS: Final = 60.0
"""The stream ends so long before it is fed."""
FLUSH_SECONDS: Final = 120.0
RUN_SECONDS: Final = 1_800.0
LOOK_SECONDS: Final = 0.25
"""Between two looks at the console."""
ANSWER_SECONDS: Final = 30.0
_ARCHIVED: Final = re.compile(r'^spanloom_console_archived_records\w*\{kind="(\w+)"\} (\S+)$', re.M)
_LAG: Final = re.compile(r"^spanloom_console_lag_records\{.*\} (\S+)$", re.M)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--entries", type=int, default=DEFAULT_ENTRIES, help=f"in the topic, {ENTRIES} of a trace"
    )
    parser.add_argument("--partitions", type=int, default=4)


def make_quick(options: argparse.Namespace) -> None:
    options.entries = QUICK_ENTRIES


@dataclass(frozen=True)
class Look:
    """A console at one moment.

    Attributes:
        at_s: seconds of the monotonic clock.
        cpu_s: that it has used.
        entries: spans and events that it has taken in.
        lag: records of its topics that it has not read.
    """

    at_s: float
    cpu_s: float
    entries: int
    lag: int


@dataclass(frozen=True)
class Pace:
    """What one process did with the stream.

    Attributes:
        entries: that it took.
        seconds: how long that took.
        cpu_s: of its own, in that time; of a console with the last files, which it writes when
            it ends.
        rss_max_bytes: at most.
    """

    entries: int
    seconds: float
    cpu_s: float
    rss_max_bytes: int

    @property
    def per_s(self) -> float:
        """Return entries a second."""
        return self.entries / max(self.seconds, 1e-9)

    @property
    def per_cpu_s(self) -> float:
        """Return entries a CPU second."""
        return self.entries / max(self.cpu_s, 1e-9)


class Console:
    """One `spanloom console` over the topics of a run, watched by a thread until it ends.

    Attributes:
        looks: in their order, from the first one that it answered.
    """

    def __init__(self, run: Run) -> None:
        self.port = free_port()
        self.archive = run.folder / "archive"
        self.looks: list[Look] = []
        self._rss_max_bytes = 0
        command = [sys.executable, "-m", "streams.cli.main", "console", *run.names()]
        command += ["--contract", str(CONTRACT), "--archive", str(self.archive)]
        command += ["--port", str(self.port), "--log-level", "INFO"]
        self.process = harness.WorkerProcess(command, run.environment({}), run.folder / "console")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="console-watch", daemon=True)
        self._thread.start()

    def end(self) -> Pace:
        """Ask it to end, and return what it did from the first look on.

        Raises:
            CaseError: it did not end well.
        """
        self._ending.set()
        self._thread.join()
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.process.terminate()
        code = self.process.wait(STOP_SECONDS)
        if code != 0:
            raise CaseError(f"the console ended with {code}: {self.process.tail()}")
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = now.ru_utime + now.ru_stime - reaped.ru_utime - reaped.ru_stime
        first, last = self.looks[0], self.looks[-1]
        done = next(look for look in self.looks if look.entries == last.entries)
        return Pace(
            last.entries - first.entries,
            done.at_s - first.at_s,
            cpu_s - first.cpu_s,
            self._rss_max_bytes,
        )

    def kill(self) -> None:
        """End it whatever it does."""
        self._ending.set()
        if self.process.is_alive:
            self.process.kill()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.is_set() and self.process.is_alive:
            found = self._look()
            if found is not None:
                self.looks.append(found)
            self._ending.wait(LOOK_SECONDS)

    def _look(self) -> Look | None:
        url = f"http://127.0.0.1:{self.port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        used = usage([self.process.process.pid])
        self._rss_max_bytes = max(self._rss_max_bytes, used.rss_peak_bytes)
        archived = {kind: int(float(value)) for kind, value in _ARCHIVED.findall(text)}
        lag = sum(int(float(value)) for value in _LAG.findall(text))
        entries = archived["spans"] + archived["events"]
        return Look(time.monotonic(), used.cpu_s, entries, lag)


@contextmanager
def _console(run: Run) -> Iterator[Console]:
    """Yield a console of the run; it does not outlive the block."""
    console = Console(run)
    try:
        yield console
    finally:
        console.kill()


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Measure the worker, the console, and both together."""
    report = Report("keeps-up")
    report.header = ("", "entries", "entries/s", "entries per CPU s", "max RSS")
    traces = options.entries // ENTRIES
    partitions: int = options.partitions
    with lab.run("keeps-up", partitions, reads=("--contract", str(CONTRACT))) as one:
        _feed(one, options.seed, traces)
        say("one worker reads it")
        worker = _ended(_worker(one, traces), traces)
        say("one console reads it, and what the worker wrote")
        with _console(one) as console:
            _wait_until_read(one, console, traces)
            alone = console.end()
            _check(report, "console alone", one, console.archive, traces)
    with lab.run("keeps-up-both", partitions, reads=("--contract", str(CONTRACT))) as both:
        _feed(both, options.seed, traces)
        say("a worker and a console read it together")
        with _console(both) as console:
            started = _worker(both, traces)
            beside = _ended(started, traces)
            at_end = console.looks[-1] if console.looks else Look(time.monotonic(), 0.0, 0, 0)
            _wait_until_read(both, console, traces)
            together = console.end()
            done = next(look for look in console.looks if look.entries == console.looks[-1].entries)
            _check(report, "both together", both, console.archive, traces)
    behind = traces * ENTRIES - at_end.entries
    share = behind / (traces * ENTRIES)
    _tell(report, {"worker": worker, "console": alone}, {"worker": beside, "console": together})
    report.figures |= {
        "behind_entries": behind,
        "behind_s": round(max(0.0, done.at_s - at_end.at_s), 1),
    }
    report.notes += [
        "When the worker beside the console had ended, all traces closed and published, the "
        f"console had {share:.0%} of the entries still to take in, which took it "
        f"{report.figures['behind_s']} s.",
        "An entry is a span, an audit entry or a point. A worker's CPU and time go from its first "
        "record to its last step; a console's from the first moment that it answered, its time to "
        "the last entry in its memory, its CPU to the end of its process, with all files written, "
        "lists of ids, counts and merges.",
    ]
    if not report.faults:
        report.notes.append("Both archives equalled their topics, row by row.")
    return report


def _feed(run: Run, seed: int, traces: int) -> None:
    """Make the topics, and put the stream into the one that the worker reads."""
    run.create_topics()
    say(f"{run.name}: feeding {traces * ENTRIES:,} entries")
    stream_us = traces * ENTRIES * SECOND_US // EVENT_RATE
    start_us = int((time.time() - PAST_SECONDS) * SECOND_US) - stream_us
    source = Source(seed, EVENT_RATE, start_us)
    refused: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": run.lab.broker,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.size": 1 << 19,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 400_000,
            "partitioner": "murmur2_random",
            "log_level": 3,
            "on_delivery": lambda error, _: refused.append(str(error)) if error else None,
            "delivery.report.only.error": True,
        }
    )
    for first in range(0, traces, TRACES):
        for told in source.telemetry(min(TRACES, traces - first)):
            while True:
                try:
                    producer.produce(run.input_topic, told.value, told.key, timestamp=told.at_ms)
                    break
                except BufferError:
                    producer.poll(0.02)
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS)
    if left or refused:
        raise CaseError(f"{left} entries left unsent; refused: {refused[:3]}")


def _worker(run: Run, traces: int) -> WorkerProcess:
    return run.worker("--exit-after", str(traces * ENTRIES), "--instance", "w0")


def _ended(worker: WorkerProcess, traces: int) -> Pace:
    """Wait until a worker has read all of it."""
    peak_bytes = 0
    deadline = time.monotonic() + RUN_SECONDS
    while worker.is_alive and time.monotonic() < deadline:
        peak_bytes = max(peak_bytes, usage([worker.process.pid]).rss_peak_bytes)
        time.sleep(LOOK_SECONDS)
    worker.finish(STOP_SECONDS)
    said = worker.result()
    if said["spans"] != traces * ENTRIES:
        raise CaseError(f"the worker took {said['spans']} of {traces * ENTRIES} entries")
    return Pace(said["spans"], said["wall_s"], said["cpu_s"], peak_bytes)


def _wait_until_read(run: Run, console: Console, traces: int) -> None:
    """Wait until the console has all entries, and has read all that there is."""

    def is_read() -> bool:
        if not console.process.is_alive:
            raise CaseError(f"the console ended: {console.process.tail()}")
        looks = console.looks
        return bool(looks) and looks[-1].entries >= traces * ENTRIES and looks[-1].lag == 0

    run.wait_for(is_read, START_SECONDS + RUN_SECONDS, "the console has all entries")


def _check(report: Report, where: str, run: Run, archive: Path, traces: int) -> None:
    """Compare an archive with the topics."""
    say(f"{where}: comparing archive and topics")
    deployment = Deployment(
        run.lab.broker, run.folder / "compared", run.name, str(CONTRACT), run.partitions
    )
    prefix = f"{run.name}."
    events = (run.input_topic, prefix + topics.AUDIT)
    found = compare(deployment, str(archive), events, prefix=prefix)
    report.check(where, faults(found, traces))


def faults(found: dict[str, Difference], traces: int) -> list[str]:
    """Return what is wrong with an archive, given how it differs from its topics."""
    unlike = [
        f"{kind}: {one.lost} lost, {one.repeated} repeated, {one.wrong} wrong of {one.rows} rows"
        for kind, one in found.items()
        if one.lost or one.repeated or one.wrong
    ]
    wanted = {
        "traces": traces,
        "spans": traces * len(STAGES),
        "events": traces * (ENTRIES - len(STAGES)),
    }
    return unlike + [
        f"{found[kind].rows} {kind} in the topics, not {rows}"
        for kind, rows in wanted.items()
        if found[kind].rows != rows
    ]


def _tell(report: Report, alone: dict[str, Pace], together: dict[str, Pace]) -> None:
    """Put the figures into the report."""
    for how, paces in (("alone", alone), ("together", together)):
        for who, pace in paces.items():
            report.rows.append(
                (
                    f"{who}, {how}",
                    whole(pace.entries),
                    whole(pace.per_s),
                    whole(pace.per_cpu_s),
                    megabytes(pace.rss_max_bytes),
                )
            )
            name = who if how == "alone" else f"{how}_{who}"
            report.figures |= {
                f"{name}_entries": pace.entries,
                f"{name}_entries_per_s": round(pace.per_s),
                f"{name}_entries_per_cpu_s": round(pace.per_cpu_s),
                f"{name}_rss_max_bytes": pace.rss_max_bytes,
            }
    ratio = alone["console"].per_cpu_s / max(alone["worker"].per_cpu_s, 1e-9)
    report.figures["console_per_cpu_s_ratio"] = round(ratio, 3)
    report.notes.append(
        f"Alone, the console takes in {ratio:.0%} of the worker's entries a CPU second (goal: as "
        "fast as one worker produces)."
    )
