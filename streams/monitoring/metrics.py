"""Spanloom's own metrics: a catalogue of names, filled from what the worker says of itself.

Owns the names. Values are read when a scraper asks, so the hot path pays nothing.
Invariant: every bound that can drop, shorten or delay something has a counter here, by reason.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CATALOGUE: Final[Mapping[str, str]] = {
    "spanloom_records": "Input records by account; accepted is the sum of the others.",
    "spanloom_discarded_records": "Records not joined, and bounds that acted, by reason.",
    "spanloom_open_traces": "Traces that wait for more spans.",
    "spanloom_open_bytes": "Bytes of the events of open traces.",
    "spanloom_closed_traces": "Closed traces that can still be amended.",
    "spanloom_watermark_seconds": "No open trace starts before this time; Unix seconds.",
    "spanloom_held_topics": "Topics that are not read further because another one is behind.",
    "spanloom_cuts": "Committed transactions of a task.",
    "spanloom_restarts": "Refused commits of a task in the last five minutes.",
    "spanloom_local_rebuilds": "Local copies of a task's state made anew, by reason.",
    "spanloom_disk_full": "1 while a task takes nothing in because its disk is full.",
    "spanloom_lost_to_retention_records": "Records deleted by the broker before they were read.",
}
Status = Callable[[], Sequence[Mapping[str, Any]]]
"""Gives one mapping a task: what the host counts and, for a join, its status."""


class WorkerCollector(Collector):
    """Turns the status of the tasks into metrics."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they stand."""
        tasks = self._status()
        joins = [task for task in tasks if "accounting" in task]
        yield self._by_key("spanloom_records", "account", joins, "accounting")
        yield self._by_key("spanloom_discarded_records", "reason", tasks, "reasons")
        yield self._by_key("spanloom_local_rebuilds", "reason", tasks, "local_rebuilds")
        yield self._gauge("spanloom_disk_full", tasks, lambda task: task["is_disk_full"])
        for name in ("open_traces", "open_bytes", "closed_traces"):
            yield self._gauge(f"spanloom_{name}", joins, itemgetter(name))
        yield self._gauge(
            "spanloom_watermark_seconds", joins, lambda task: task["watermark_us"] / 1e6
        )
        yield self._gauge("spanloom_held_topics", joins, lambda task: len(task["held_topics"]))
        yield self._gauge("spanloom_restarts", tasks, lambda task: task["restarts"])
        for name in ("cuts", "lost_to_retention"):
            metric = f"spanloom_{name}" + ("_records" if name != "cuts" else "")
            family = CounterMetricFamily(metric, CATALOGUE[metric], labels=["task"])
            for task in tasks:
                family.add_metric([task["task"]], task[name])
            yield family

    def _by_key(
        self, metric: str, label: str, tasks: Sequence[Mapping[str, Any]], field: str
    ) -> Metric:
        family = CounterMetricFamily(metric, CATALOGUE[metric], labels=["task", label])
        for task in tasks:
            for key, value in task.get(field, {}).items():
                family.add_metric([task["task"], key], value)
        return family

    def _gauge(
        self,
        metric: str,
        tasks: Sequence[Mapping[str, Any]],
        value: Callable[[Mapping[str, Any]], float],
    ) -> Metric:
        family = GaugeMetricFamily(metric, CATALOGUE[metric], labels=["task"])
        for task in tasks:
            family.add_metric([task["task"]], value(task))
        return family


def serve_metrics(status: Status, port: int, address: str = "127.0.0.1") -> Callable[[], None]:
    """Serve the metrics over HTTP, on the loopback unless told otherwise; return what stops it."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(status))
    server, thread = start_http_server(port, address, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    return stop
