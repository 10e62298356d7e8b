"""Samples of running workers, from outside: /proc and their metrics endpoint, by a thread."""

import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.cases.lab import WorkerProcess
from benchmarks.cases.proc import Usage, stat, usage

ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Sample:
    """The workers at one moment.

    Attributes:
        at_s: seconds of the monotonic clock.
        workers: what their process trees use, together.
        broker_cpu_s: of a broker of our own, else 0.
        values: sums over all tasks of all workers, by metric name, and by "name:account" where a
            metric has accounts or reasons; empty while a worker does not answer.
    """

    at_s: float
    workers: Usage
    broker_cpu_s: float
    values: dict[str, float] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Return how many records have been accepted."""
        return int(self.values.get("spanloom_records_total:accepted", 0))

    @property
    def open_traces(self) -> int:
        """Return how many traces wait for more spans."""
        return int(self.values.get("spanloom_open_traces", 0))


def read_metrics(port: int) -> dict[str, float]:
    """Return the metrics of one worker, added up over its tasks; {} when it does not answer."""
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return parse_metrics(text)


def parse_metrics(text: str) -> dict[str, float]:
    """Return the values of a Prometheus exposition, added up over the label `task`."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, value = line.rpartition(" ")
        metric, _, labels = name.partition("{")
        for label in ("account", "reason"):
            _, is_there, rest = labels.partition(f'{label}="')
            if is_there:
                metric += ":" + rest.partition('"')[0]
        found[metric] = found.get(metric, 0.0) + float(value)
    return found


class Sampler:
    """Samples workers while its `with` block runs.

    Args:
        workers: whom; read anew each time, so that it may grow.
        broker_pid: a broker of our own, 0 for none.
        interval_s: time between two samples.
    """

    def __init__(
        self, workers: Sequence[WorkerProcess], broker_pid: int, interval_s: float = 0.25
    ) -> None:
        self.samples: list[Sample] = []
        self._workers = workers
        self._broker_pid = broker_pid
        self._interval_s = interval_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def now(self) -> Sample:
        """Return a sample of this moment."""
        alive = [worker for worker in list(self._workers) if worker.is_alive]
        answers = [read_metrics(worker.metrics_port) for worker in alive]
        values: dict[str, float] = {}
        if all(answers):
            for answer in answers:
                for name, value in answer.items():
                    values[name] = values.get(name, 0.0) + value
        broker = stat(self._broker_pid) if self._broker_pid else None
        used = usage(worker.process.pid for worker in alive)
        return Sample(time.monotonic(), used, broker.cpu_s if broker else 0.0, values)

    def _sample(self) -> None:
        while not self._ending.is_set():
            sample = self.now()
            if sample.workers.rss_bytes:
                self.samples.append(sample)
            self._ending.wait(self._interval_s)

    # --- what the samples say

    @property
    def rss_max_bytes(self) -> int:
        """Return the most memory that the trees used at any moment."""
        tops = [max(s.workers.rss_bytes, s.workers.rss_peak_bytes) for s in self.samples]
        return max(tops, default=0)

    @property
    def open_max(self) -> int:
        """Return the most traces that were open at a sample."""
        return max((s.open_traces for s in self.samples), default=0)

    def broker_cpu_s(self) -> float:
        """Return the broker's CPU seconds while samples were taken."""
        if len(self.samples) < 2:
            return 0.0
        return self.samples[-1].broker_cpu_s - self.samples[0].broker_cpu_s


@dataclass(frozen=True)
class Stretch:
    """What happened between two samples."""

    spans: int
    seconds: float
    cpu_s: float

    @property
    def spans_per_s(self) -> float:
        """Return spans a second."""
        return self.spans / self.seconds if self.seconds > 0 else 0.0

    @property
    def spans_per_cpu_s(self) -> float:
        """Return spans a CPU second of all workers."""
        return self.spans / self.cpu_s if self.cpu_s > 0 else 0.0


def between(first: Sample, last: Sample) -> Stretch:
    """Return what happened between two samples."""
    return Stretch(
        last.accepted - first.accepted,
        last.at_s - first.at_s,
        last.workers.cpu_s - first.workers.cpu_s,
    )
