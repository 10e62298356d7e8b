"""What the collector counts; read by scrapers, written by its threads."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.monitoring.durations import Durations


@dataclass
class Meters:
    """Counts since the start.

    Attributes:
        requests: by (path, status).
        seconds: from a request's head to its answer, by path.
        refused: requests that were not taken, by reason.
        taken_events: that are safe, by kind.
        rejected_events: by (kind, reason).
        unkept_rejections: rejected events that the topic of rejected events lacks.
        received_bytes, inflated_bytes: of requests, by kind.
        open_requests: not answered yet, by protocol.
        held_bytes: of requests that are not answered yet.
        cut: connections that were ended, by reason.
        connections: gives how many are open.
    """

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, Durations] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    taken_events: Counter[str] = field(default_factory=Counter)
    rejected_events: Counter[tuple[str, str]] = field(default_factory=Counter)
    unkept_rejections: Counter[str] = field(default_factory=Counter)
    received_bytes: Counter[str] = field(default_factory=Counter)
    inflated_bytes: Counter[str] = field(default_factory=Counter)
    open_requests: Counter[str] = field(default_factory=Counter)
    held_bytes: int = 0
    cut: Counter[str] = field(default_factory=Counter)
    connections: Callable[[], int] = field(default=lambda: 0)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Take in a request that is over; on the loop."""
        self.requests[path, status] += 1
        self.seconds.setdefault(path, Durations()).add(seconds)

    def watch(self, connections: Callable[[], int]) -> None:
        """Take what gives how many connections are open."""
        self.connections = connections
