"""Metrics of the console: its catalogue of names, filled when a scraper asks.

Owns the names. Invariant: every bound that refuses, drops or
delays something has a counter here, by reason.
"""

import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streams import __version__
from streams.monitoring.durations import histogram
from streams.monitoring.metrics import Entry, Row, by_key, exposition_of, make_family
from streams.serving.meters import RequestMeters

ConsoleMetricName = Literal[
    "spanloom_console_build_info", "spanloom_console_ready", "spanloom_console_healthy",
    "spanloom_console_lag_records", "spanloom_console_archived_records",
    "spanloom_console_unreadable_records", "spanloom_console_files",
    "spanloom_console_file_bytes", "spanloom_console_tail_records",
    "spanloom_console_archive_bytes_per_day", "spanloom_console_disk_used_ratio",
    "spanloom_console_disk_full_days", "spanloom_console_waits",
    "spanloom_console_requests", "spanloom_console_open_requests",
    "spanloom_console_request_seconds", "spanloom_console_refused_requests",
    "spanloom_console_waiting_questions", "spanloom_console_held_answer_bytes",
    "spanloom_console_connections", "spanloom_console_cut_connections",
    "spanloom_console_viewers", "spanloom_console_dropped_viewers",
    "spanloom_console_sessions", "spanloom_console_displaced_sessions",
    "spanloom_console_access_events", "spanloom_console_unwritten_access_events",
    "spanloom_console_keys_unreadable",
]  # fmt: skip
"""Every name: a typo fails the type check."""

CONSOLE_CATALOGUE: Final[Mapping[ConsoleMetricName, Entry]] = {
    "spanloom_console_build_info": Entry("gauge", ("version", "python"), "1; what runs."),
    "spanloom_console_ready": Entry("gauge", (), "1 while topics are read, as /ready says."),
    "spanloom_console_healthy": Entry("gauge", (), "1 while the reader lives, as /health says."),
    "spanloom_console_lag_records": Entry(
        "gauge", ("topic",), "Offsets between what was taken in and the topic's end."
    ),
    "spanloom_console_archived_records": Entry(
        "counter", ("kind",), "Records taken into the archive since the start."
    ),
    "spanloom_console_unreadable_records": Entry(
        "counter", ("topic",), "Records passed over: no value of their schema."
    ),
    "spanloom_console_files": Entry("gauge", ("kind",), "Files of the archive."),
    "spanloom_console_file_bytes": Entry("gauge", ("kind",), "Bytes of the archive's files."),
    "spanloom_console_tail_records": Entry("gauge", ("kind",), "Records that are in memory alone."),
    "spanloom_console_archive_bytes_per_day": Entry(
        "gauge", (), "By what the archive grows, from the whole hours of the last day."
    ),
    "spanloom_console_disk_used_ratio": Entry(
        "gauge", (), "Of the archive's disk, what is in use; none for a bucket."
    ),
    "spanloom_console_disk_full_days": Entry(
        "gauge", (), "Days until that disk is 80 % full; none without growth."
    ),
    "spanloom_console_waits": Entry(
        "gauge", ("what",), "1 for what the reader waits for; none while it reads."
    ),
    "spanloom_console_requests": Entry(
        "counter", ("path", "code"), "Requests answered; 499 for clients that went away first."
    ),
    "spanloom_console_open_requests": Entry(
        "gauge", ("path",), "Requests not answered yet, by path."
    ),
    "spanloom_console_request_seconds": Entry(
        "histogram", ("path",), "From a request to the end of its answer."
    ),
    "spanloom_console_refused_requests": Entry(
        "counter", ("reason",), "Requests that were not carried out, by reason."
    ),
    "spanloom_console_waiting_questions": Entry("gauge", (), "Questions asked and not answered."),
    "spanloom_console_held_answer_bytes": Entry("gauge", (), "Bytes of answers not taken yet."),
    "spanloom_console_connections": Entry("gauge", (), "Connections that are open."),
    "spanloom_console_cut_connections": Entry(
        "counter", ("reason",), "Connections ended because their client was too slow, by reason."
    ),
    "spanloom_console_viewers": Entry("gauge", (), "Pages that look on, live."),
    "spanloom_console_dropped_viewers": Entry(
        "counter", (), "Viewers let go because they did not keep up."
    ),
    "spanloom_console_sessions": Entry("gauge", (), "Logins of browsers."),
    "spanloom_console_displaced_sessions": Entry(
        "counter", (), "Logins that ended because there were too many."
    ),
    "spanloom_console_access_events": Entry(
        "counter", ("event", "outcome"), "Decisions on access, as the access log has them."
    ),
    "spanloom_console_unwritten_access_events": Entry(
        "counter", ("reason",), "Refusals that the access log lacks, by reason."
    ),
    "spanloom_console_keys_unreadable": Entry(
        "gauge", (), "1 while the file of keys cannot be read; nobody has a key then."
    ),
}


Rows = Mapping[ConsoleMetricName, Iterable[Row]]


class ConsoleCollector(Collector):
    """Turns rows of the parts into metrics.

    Args:
        parts: each gives the values of some names; together of all.
    """

    def __init__(self, parts: Iterable[Callable[[], Rows]]) -> None:
        self._parts = tuple(parts)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the catalogue."""
        rows: dict[ConsoleMetricName, Iterable[Row]] = {
            "spanloom_console_build_info": [((__version__, platform.python_version()), 1)]
        }
        for part in self._parts:
            rows |= part()
        for name, entry in CONSOLE_CATALOGUE.items():
            if entry.kind == "histogram":
                yield histogram(name, entry, rows[name])
            else:
                yield make_family(name, entry, rows[name])


def of_requests(meters: RequestMeters) -> Rows:
    """Return what the interface counted."""
    return {
        "spanloom_console_requests": by_key(meters.requests),
        "spanloom_console_open_requests": by_key(meters.open_requests),
        "spanloom_console_request_seconds": [((p,), d) for p, d in meters.seconds.items()],
        "spanloom_console_refused_requests": by_key(meters.refused),
        "spanloom_console_connections": [((), meters.connections())],
        "spanloom_console_cut_connections": by_key(meters.cut),
    }


def exposition(parts: Iterable[Callable[[], Rows]]) -> Callable[[str], tuple[str, bytes]]:
    """Return a function that gives (content type, text) of all metrics to whoever accepts them."""
    given = exposition_of(ConsoleCollector(parts))
    lock = threading.Lock()

    def text(accept: str) -> tuple[str, bytes]:
        with lock:
            return given(accept)

    return text
