"""What the demonstration sees: the derived topics, read as any downstream reader would.

Invariant: nothing here looks into the worker; what is shown and judged came over the broker.
"""

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from streams.codec.records import decode
from streams.core.traces.links import NAMES as LINK_NAMES
from streams.runtime import topics
from streams.runtime.link import open_client

WATCHED: Final = (topics.TRACES, topics.STATS, topics.ALERTS, topics.INCIDENTS)
Edge = tuple[str, str, str]


class Watcher:
    """Reads the derived topics in a thread and keeps the newest of each thing."""

    def __init__(self, broker: str, window_us: int) -> None:
        self._window_us = window_us
        self._broker = broker
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="spanloom-watcher", daemon=True)
        self._stats: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._incidents: dict[str, dict[str, Any]] = {}
        self._traces: dict[str, tuple[int, str, bool]] = {}
        self.news: deque[dict[str, Any]] = deque(maxlen=50)
        self.alerts = 0
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _read(self) -> None:
        consumer = open_client(
            Consumer,
            {
                "bootstrap.servers": self._broker,
                "group.id": "spanloom-demo-watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "log_level": 0,
            },
        )
        try:
            consumer.assign(
                [
                    TopicPartition(topic, partition, 0)
                    for topic in WATCHED
                    for partition in consumer.list_topics(topic, timeout=10)
                    .topics[topic]
                    .partitions
                ]
            )
            while not self._stop.is_set():
                messages = [m for m in consumer.consume(500, 0.2) if m.error() is None]
                with self._lock:
                    for message in messages:
                        self._take(message.topic(), decode(message.value()))
        except Exception as error:
            self.error = error
        finally:
            consumer.close()

    def _take(self, topic: str, record: dict[str, Any]) -> None:
        if topic == topics.TRACES:
            known = self._traces.get(record["trace_id"], (0, "", False))
            is_linked = any(span["name"] in LINK_NAMES for span in record["spans"])
            revision = (record["revision"], record["status"], is_linked)
            self._traces[record["trace_id"]] = max(known, revision)
        elif topic == topics.STATS:
            at = tuple(
                record[name]
                for name in (
                    "window_us",
                    "window_start",
                    "kind",
                    "flow",
                    "from_stage",
                    "to_stage",
                    "module",
                )
            )
            if record["revision"] > self._stats.get(at, {"revision": 0})["revision"]:
                self._stats[at] = record
        elif topic == topics.ALERTS:
            self.alerts += 1
        else:
            known_incident = self._incidents.get(record["incident_id"], {"version": 0})
            if record["version"] > known_incident["version"]:
                self._incidents[record["incident_id"]] = record
                self.news.append(record)

    # --- what was seen

    def incidents(self) -> list[dict[str, Any]]:
        """Return the highest version of each incident, oldest first."""
        with self._lock:
            return sorted(
                self._incidents.values(), key=lambda i: (i["opened_at"], i["incident_id"])
            )

    def edges(self, since_us: int = 0) -> dict[Edge, tuple[int, int]]:
        """Return (expected, observed) of each edge over the windows from `since_us` on."""
        totals: dict[Edge, tuple[int, int]] = {}
        for row in self.rows("edge", since_us):
            edge = (row["flow"], row["from_stage"], row["to_stage"])
            expected, observed = totals.get(edge, (0, 0))
            totals[edge] = (expected + row["expected"], observed + row["observed"])
        return totals

    def rows(self, kind: str, since_us: int = 0) -> Sequence[Mapping[str, Any]]:
        """Return the highest revision of each window's rows of a kind."""
        with self._lock:
            return [
                row
                for row in self._stats.values()
                if row["kind"] == kind
                and row["window_us"] == self._window_us
                and row["window_start"] >= since_us
            ]

    def statuses(self) -> Counter[str]:
        """Return how many traces have which status."""
        with self._lock:
            return Counter(status for _, status, _ in self._traces.values())

    def linked(self) -> int:
        """Return how many traces name other traces of their record."""
        with self._lock:
            return sum(is_linked for _, _, is_linked in self._traces.values())
