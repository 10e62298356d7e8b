"""Metrics of the collector: its catalogue of names, filled when a scraper asks.

Owns the names. Invariant: every bound that refuses, drops or delays something has a counter here.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streams import __version__
from streams.monitoring.durations import histogram
from streams.monitoring.metrics import Entry, Row, exposition_of, make_family

CollectorMetricName = Literal[
    "spanloom_collector_build_info", "spanloom_collector_ready", "spanloom_collector_healthy",
    "spanloom_collector_requests", "spanloom_collector_request_seconds",
    "spanloom_collector_open_requests", "spanloom_collector_waiting_requests",
    "spanloom_collector_refused_requests", "spanloom_collector_held_bytes",
    "spanloom_collector_received_bytes", "spanloom_collector_inflated_bytes",
    "spanloom_collector_taken_events", "spanloom_collector_rejected_events",
    "spanloom_collector_unkept_rejections", "spanloom_collector_acknowledged_events",
    "spanloom_collector_flying_messages", "spanloom_collector_kafka_away",
    "spanloom_collector_renewed_clients", "spanloom_collector_buffered_events",
    "spanloom_collector_drained_events", "spanloom_collector_buffer_events",
    "spanloom_collector_buffer_bytes", "spanloom_collector_buffer_bytes_max",
    "spanloom_collector_buffer_syncs", "spanloom_collector_torn_bytes",
    "spanloom_collector_connections", "spanloom_collector_cut_connections",
    "spanloom_collector_grpc_connections", "spanloom_collector_grpc_connections_max",
    "spanloom_collector_keys_unreadable",
]  # fmt: skip
"""Every name: a typo fails the type check."""

COLLECTOR_CATALOGUE: Final[Mapping[CollectorMetricName, Entry]] = {
    "spanloom_collector_build_info": Entry("gauge", ("version", "python"), "1; what runs."),
    "spanloom_collector_ready": Entry("gauge", (), "1 while events are taken, as /ready says."),
    "spanloom_collector_healthy": Entry("gauge", (), "1 while all threads work, as /health says."),
    "spanloom_collector_requests": Entry(
        "counter", ("path", "code"), "Requests answered; 499 for senders that went away first."
    ),
    "spanloom_collector_request_seconds": Entry(
        "histogram", ("path",), "From the head of a request to its answer."
    ),
    "spanloom_collector_open_requests": Entry(
        "gauge", ("protocol",), "Requests not answered yet, by protocol."
    ),
    "spanloom_collector_waiting_requests": Entry("gauge", (), "Requests that wait to be decoded."),
    "spanloom_collector_refused_requests": Entry(
        "counter", ("reason",), "Requests of which nothing was taken, by reason."
    ),
    "spanloom_collector_held_bytes": Entry("gauge", (), "Bytes of requests not answered yet."),
    "spanloom_collector_received_bytes": Entry(
        "counter", ("kind",), "Bytes of requests as they were sent."
    ),
    "spanloom_collector_inflated_bytes": Entry(
        "counter", ("kind",), "Bytes of requests when they were inflated."
    ),
    "spanloom_collector_taken_events": Entry(
        "counter", ("kind",), "Events whose sender was told that they are safe."
    ),
    "spanloom_collector_rejected_events": Entry(
        "counter", ("kind", "reason"), "Events and whole requests that were rejected, by reason."
    ),
    "spanloom_collector_unkept_rejections": Entry(
        "counter", ("reason",), "Rejected events that telemetry.rejected.v1 lacks, by reason."
    ),
    "spanloom_collector_acknowledged_events": Entry(
        "counter", ("topic",), "Events that all replicas have, by topic."
    ),
    "spanloom_collector_flying_messages": Entry(
        "gauge", (), "Messages that Kafka was given and has not answered for."
    ),
    "spanloom_collector_kafka_away": Entry("gauge", (), "1 while Kafka takes nothing."),
    "spanloom_collector_renewed_clients": Entry(
        "counter", (), "Kafka clients made anew because the old one could not go on."
    ),
    "spanloom_collector_buffered_events": Entry(
        "counter", ("reason",), "Events that went to the buffer, by reason."
    ),
    "spanloom_collector_drained_events": Entry(
        "counter", (), "Events of the buffer that Kafka has now."
    ),
    "spanloom_collector_buffer_events": Entry("gauge", (), "Events in the buffer."),
    "spanloom_collector_buffer_bytes": Entry("gauge", (), "Bytes of the buffer."),
    "spanloom_collector_buffer_bytes_max": Entry("gauge", (), "What it may take."),
    "spanloom_collector_buffer_syncs": Entry("counter", (), "Syncs of the buffer's files."),
    "spanloom_collector_torn_bytes": Entry(
        "gauge", (), "Ends of the buffer's files that a crash cut short, promised to nobody."
    ),
    "spanloom_collector_connections": Entry("gauge", (), "Connections of HTTP that are open."),
    "spanloom_collector_grpc_connections": Entry(
        "gauge", (), "Connections of gRPC that are open, as the kernel counts them."
    ),
    "spanloom_collector_grpc_connections_max": Entry(
        "gauge", (), "So many there may be: gRPC ends those beyond them and counts none."
    ),
    "spanloom_collector_cut_connections": Entry(
        "counter", ("reason",), "Connections ended because their client was too slow, by reason."
    ),
    "spanloom_collector_keys_unreadable": Entry(
        "gauge", (), "1 while the file of keys cannot be read; nobody may send then."
    ),
}
Rows = Mapping[CollectorMetricName, Iterable[Row]]


class CollectorCollector(Collector):
    """Turns rows into metrics.

    Args:
        rows: gives the values of all names but the build's.
    """

    def __init__(self, rows: Callable[[], Rows]) -> None:
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the catalogue."""
        rows: dict[CollectorMetricName, Iterable[Row]] = {
            "spanloom_collector_build_info": [((__version__, platform.python_version()), 1)],
            **self._rows(),
        }
        for name, entry in COLLECTOR_CATALOGUE.items():
            make = histogram if entry.kind == "histogram" else make_family
            yield make(name, entry, rows[name])


def exposition(rows: Callable[[], Rows]) -> Callable[[str], tuple[str, bytes]]:
    """Return a function that gives (content type, text) of all metrics to whoever accepts them."""
    return exposition_of(CollectorCollector(rows))
