"""Spanloom's own metrics: a catalogue of names, filled from what the worker says of itself.

Owns the names. Values are read when a scraper asks, so the hot path pays nothing.
Invariant: every bound that can drop, shorten or delay something has a counter here, by reason.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streams import __version__
from streams.monitoring.liveness import Cause
from streams.monitoring.meter import Sample
from streams.monitoring.view import View

MetricName = Literal[
    "spanloom_build_info", "spanloom_ready", "spanloom_healthy", "spanloom_complaints",
    "spanloom_tasks", "spanloom_broker_silent_seconds", "spanloom_loop_blocked_seconds",
    "spanloom_rebalance_seconds", "spanloom_rebalance_seconds_max", "spanloom_worker_restarts",
    "spanloom_records", "spanloom_discarded_records", "spanloom_open_traces", "spanloom_open_bytes",
    "spanloom_shelved_bytes",
    "spanloom_closed_traces", "spanloom_watermark_seconds", "spanloom_held_topics",
    "spanloom_mispartitioned_topic", "spanloom_rekeyed_records",
    "spanloom_untreated_records",
    "spanloom_lag_records", "spanloom_task_records", "spanloom_progress_age_seconds",
    "spanloom_stalled_seconds", "spanloom_inbox_records", "spanloom_inbox_bytes",
    "spanloom_cuts", "spanloom_cut_seconds", "spanloom_cut_seconds_max", "spanloom_cut_bytes",
    "spanloom_cut_bytes_max", "spanloom_restore_seconds", "spanloom_restarts",
    "spanloom_refused_commits", "spanloom_given_up_commits", "spanloom_local_rebuilds",
    "spanloom_disk_full", "spanloom_lost_to_retention_records", "spanloom_bounds_met",
]  # fmt: skip
"""Every name: a typo fails the type check."""


class Entry(NamedTuple):
    """A metric of the catalogue.

    Samples of a counter end in `_total`, those of a summary in `_count` and `_sum`, those of a
    histogram in `_bucket` too.
    """

    kind: Literal["counter", "gauge", "summary", "histogram"]
    labels: tuple[str, ...]
    text: str


_TASK: Final = ("task",)
CATALOGUE: Final[Mapping[MetricName, Entry]] = {
    "spanloom_build_info": Entry("gauge", ("version", "python"), "1; what runs."),
    "spanloom_ready": Entry("gauge", (), "1 while the worker consumes, as /ready says."),
    "spanloom_healthy": Entry("gauge", (), "1 while nothing takes too long, as /health says."),
    "spanloom_complaints": Entry("gauge", ("cause",), "What takes too long, by cause."),
    "spanloom_tasks": Entry("gauge", ("kind",), "Tasks of this worker; a join is a partition."),
    "spanloom_broker_silent_seconds": Entry("gauge", (), "Since the last answer of a broker."),
    "spanloom_loop_blocked_seconds": Entry("gauge", (), "Since the worker's loop last turned."),
    "spanloom_rebalance_seconds": Entry("summary", (), "Pauses of rebalances."),
    "spanloom_rebalance_seconds_max": Entry("gauge", (), "The longest pause of a rebalance."),
    "spanloom_worker_restarts": Entry(
        "counter",
        ("reason",),
        "With --workers: times that this worker was started again since its supervisor's start, "
        "by reason.",
    ),
    "spanloom_records": Entry(
        "counter",
        ("task", "account"),
        "Input records by account; accepted is the sum of the others.",
    ),
    "spanloom_discarded_records": Entry(
        "counter", ("task", "reason"), "Records not joined, and bounds that acted, by reason."
    ),
    "spanloom_open_traces": Entry("gauge", _TASK, "Traces that wait for more spans."),
    "spanloom_open_bytes": Entry("gauge", _TASK, "Bytes of the events of open traces."),
    "spanloom_shelved_bytes": Entry(
        "gauge", _TASK, "Bytes of buffers with events of open traces that lie on disk."
    ),
    "spanloom_closed_traces": Entry("gauge", _TASK, "Closed traces that can still be amended."),
    "spanloom_watermark_seconds": Entry(
        "gauge", _TASK, "No open trace starts before this time; Unix seconds."
    ),
    "spanloom_held_topics": Entry(
        "gauge", _TASK, "Topics that are not read further because another one is behind."
    ),
    "spanloom_mispartitioned_topic": Entry(
        "gauge",
        ("task", "topic", "found"),
        "1 for a topic whose keys do not lie where they should, as far as a partition shows.",
    ),
    "spanloom_rekeyed_records": Entry(
        "counter",
        ("task", "what"),
        "Events of rekeyed topics: moved to another partition, stayed, rejected.",
    ),
    "spanloom_untreated_records": Entry(
        "counter",
        ("task", "field"),
        "Records taken in while a personal field stays as it comes, for want of a key; by field.",
    ),
    "spanloom_lag_records": Entry(
        "gauge", ("task", "topic", "partition"), "Records not joined yet, as of the last fetch."
    ),
    "spanloom_task_records": Entry(
        "counter", _TASK, "Records that a task took in; compare tasks for uneven partitions."
    ),
    "spanloom_progress_age_seconds": Entry("gauge", _TASK, "Since records were last joined."),
    "spanloom_stalled_seconds": Entry(
        "gauge", _TASK, "For how long there has been lag and no progress, without an excuse."
    ),
    "spanloom_inbox_records": Entry("gauge", _TASK, "Records fetched and not joined yet."),
    "spanloom_inbox_bytes": Entry("gauge", _TASK, "Bytes fetched and not joined yet."),
    "spanloom_cuts": Entry("counter", _TASK, "Committed transactions of a task."),
    "spanloom_cut_seconds": Entry("summary", _TASK, "From collecting a cut to its commit."),
    "spanloom_cut_seconds_max": Entry("gauge", _TASK, "The longest cut."),
    "spanloom_cut_bytes": Entry("summary", _TASK, "Values that a cut published, with its state."),
    "spanloom_cut_bytes_max": Entry("gauge", _TASK, "The largest cut."),
    "spanloom_restore_seconds": Entry("summary", _TASK, "Reading the state back."),
    "spanloom_restarts": Entry(
        "gauge", _TASK, "Refused commits of a task within restart_window_seconds."
    ),
    "spanloom_refused_commits": Entry("counter", _TASK, "Refused commits of a task."),
    "spanloom_given_up_commits": Entry(
        "counter", _TASK, "Those of them whose client did not come back from a call."
    ),
    "spanloom_local_rebuilds": Entry(
        "counter", ("task", "reason"), "Local copies of a task's state made anew, by reason."
    ),
    "spanloom_disk_full": Entry(
        "gauge", _TASK, "1 while a task takes nothing in because its disk is full."
    ),
    "spanloom_lost_to_retention_records": Entry(
        "counter", _TASK, "Records deleted by the broker before they were read."
    ),
    "spanloom_bounds_met": Entry(
        "counter",
        ("task", "bound"),
        "Times that a bound on memory or work acted, by bound; nothing is lost by these. "
        "Without a task: the process.",
    ),
}
_FAMILIES: Final[Mapping[str, Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "summary": SummaryMetricFamily,
}
Row = tuple[Sequence[object], Any]
"""Label values, and a number or, for a summary, a `Sample`."""


def family(name: MetricName, rows: Iterable[Row]) -> Metric:
    """Return a metric of the catalogue with its values."""
    return make_family(name, CATALOGUE[name], rows)


def make_family(name: str, entry: Entry, rows: Iterable[Row]) -> Metric:
    """Return a metric of a catalogue with its values."""
    made: Any = _FAMILIES[entry.kind](name, entry.text, labels=entry.labels)
    for labels, value in rows:
        texts = [str(label) for label in labels]
        if isinstance(value, Sample):
            made.add_metric(texts, value.count, value.sum)
        else:
            made.add_metric(texts, value)
    metric: Metric = made
    return metric


class WorkerCollector(Collector):
    """Turns a view of the worker into metrics.

    Args:
        view: gives the last look.
        blocked_seconds: gives for how long the worker's loop has not turned.
    """

    def __init__(self, view: Callable[[], View], blocked_seconds: Callable[[], float]) -> None:
        self._view = view
        self._blocked_seconds = blocked_seconds

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they stand."""
        view = self._view()
        yield from self._of_the_worker(view)
        yield from _of_the_joins([task for task in view.tasks if "accounting" in task])
        yield from _of_all_tasks(view)

    def _of_the_worker(self, view: View) -> Iterator[Metric]:
        blocked_seconds = self._blocked_seconds()
        complaints = view.complaints(blocked_seconds)
        by_cause = Counter(complaint.cause for complaint in complaints)
        kinds = Counter(str(task["task"]).rpartition("-")[0] for task in view.tasks)
        build = (__version__, platform.python_version())
        yield family("spanloom_build_info", [(build, 1)])
        yield family("spanloom_ready", [((), int(not view.not_ready))])
        yield family("spanloom_healthy", [((), int(not complaints and not view.failed))])
        causes = [((cause,), by_cause[cause]) for cause in get_args(Cause)]
        yield family("spanloom_complaints", causes)
        yield family("spanloom_tasks", [((kind,), n) for kind, n in kinds.items()])
        silent_seconds = view.waits.silent_seconds
        yield family("spanloom_broker_silent_seconds", [((), silent_seconds)])
        yield family("spanloom_loop_blocked_seconds", [((), blocked_seconds)])
        yield family("spanloom_rebalance_seconds", [((), view.rebalances)])
        yield family("spanloom_rebalance_seconds_max", [((), view.rebalances.max)])
        yield family("spanloom_worker_restarts", by_key(view.restarted))


def _of_the_joins(joins: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    yield family("spanloom_records", _by_key(joins, "accounting"))
    yield family("spanloom_open_traces", _each(joins, "open_traces"))
    yield family("spanloom_open_bytes", _each(joins, "open_bytes"))
    yield family("spanloom_shelved_bytes", _each(joins, "shelved_bytes"))
    yield family("spanloom_closed_traces", _each(joins, "closed_traces"))
    watermarks = [((task["task"],), task["watermark_us"] / 1e6) for task in joins]
    yield family("spanloom_watermark_seconds", watermarks)
    held = [((task["task"],), len(task["held_topics"])) for task in joins]
    yield family("spanloom_held_topics", held)
    misplaced = [
        ((task["task"], topic, found["found"]), 1)
        for task in joins
        for topic, found in task["mispartitioned"].items()
    ]
    yield family("spanloom_mispartitioned_topic", misplaced)


def _of_all_tasks(view: View) -> Iterator[Metric]:
    tasks, waits = view.tasks, view.waits.tasks
    yield family("spanloom_discarded_records", _by_key(tasks, "reasons"))
    yield family("spanloom_rekeyed_records", _by_key(tasks, "rekeyed"))
    yield family("spanloom_untreated_records", _by_key(tasks, "untreated"))
    lags = [
        ((task["task"], topic, str(task["task"]).rpartition("-")[2]), lag)
        for task in tasks
        for topic, lag in task["lag"].items()
        if lag is not None
    ]
    yield family("spanloom_lag_records", lags)
    yield family("spanloom_task_records", _each(tasks, "records_taken"))
    ages = [((task,), wait.age_seconds) for task, wait in waits.items()]
    yield family("spanloom_progress_age_seconds", ages)
    stalls = [((task,), wait.stalled_seconds) for task, wait in waits.items()]
    yield family("spanloom_stalled_seconds", stalls)
    yield family("spanloom_inbox_records", _each(tasks, "inbox_records"))
    yield family("spanloom_inbox_bytes", _each(tasks, "inbox_bytes"))
    yield family("spanloom_cuts", _each(tasks, "cuts"))
    yield family("spanloom_cut_seconds", _each(tasks, "cut_seconds"))
    yield family("spanloom_cut_seconds_max", _largest(tasks, "cut_seconds"))
    yield family("spanloom_cut_bytes", _each(tasks, "cut_bytes"))
    yield family("spanloom_cut_bytes_max", _largest(tasks, "cut_bytes"))
    yield family("spanloom_restore_seconds", _each(tasks, "restore_seconds"))
    yield family("spanloom_restarts", _each(tasks, "restarts"))
    yield family("spanloom_refused_commits", _each(tasks, "refused_commits"))
    yield family("spanloom_given_up_commits", _each(tasks, "given_up_commits"))
    yield family("spanloom_local_rebuilds", _by_key(tasks, "local_rebuilds"))
    yield family("spanloom_disk_full", _each(tasks, "is_disk_full"))
    yield family("spanloom_lost_to_retention_records", _each(tasks, "lost_to_retention"))
    bounds = [*_by_key(tasks, "bounds_met"), *view.bounds_met.items()]
    yield family("spanloom_bounds_met", bounds)


def _by_key(tasks: Sequence[Mapping[str, Any]], field: str) -> Iterator[Row]:
    for task in tasks:
        for key, value in task.get(field, {}).items():
            yield (task["task"], key), value


def _each(tasks: Sequence[Mapping[str, Any]], field: str) -> Iterator[Row]:
    for task in tasks:
        yield (task["task"],), task[field]


def _largest(tasks: Sequence[Mapping[str, Any]], field: str) -> Iterator[Row]:
    for task in tasks:
        yield (task["task"],), task[field].max


def by_key(counts: Mapping[Any, float]) -> list[Row]:
    """Return one row a key; a key of several labels is a tuple."""
    return [
        (key if isinstance(key, tuple) else (key,), value) for key, value in dict(counts).items()
    ]


def exposition_of(collector: Collector) -> Callable[[str], tuple[str, bytes]]:
    """Return a function that gives (content type, text) of a collector's metrics and the process's.

    It takes the content types that somebody accepts.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)

    def text(accept: str) -> tuple[str, bytes]:
        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)

    return text


class Exposition:
    """The text of all metrics, made once a view however often it is asked for.

    Args:
        view: gives the last look; the same object until there is a newer one.
        blocked_seconds: gives for how long the worker's loop has not turned.
    """

    def __init__(self, view: Callable[[], View], blocked_seconds: Callable[[], float]) -> None:
        self._view = view
        self._blocked_seconds = blocked_seconds
        self._registry = CollectorRegistry()
        self._registry.register(WorkerCollector(view, blocked_seconds))
        ProcessCollector(registry=self._registry)  # memory, CPU, open files, by their usual names
        self._made: dict[str, tuple[View, int, bytes]] = {}

    def text(self, accept: str) -> tuple[str, bytes]:
        """Return (content type, text) for someone who accepts certain content types."""
        encode, content_type = choose_encoder(accept)
        view, blocked_seconds = self._view(), int(self._blocked_seconds())
        made = self._made.get(content_type)
        if made is None or made[0] is not view or made[1] != blocked_seconds:
            made = view, blocked_seconds, encode(self._registry)
            self._made[content_type] = made
        return content_type, made[2]
