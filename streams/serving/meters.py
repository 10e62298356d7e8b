"""What every server counts of its requests and connections; read by scrapers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.monitoring.durations import Durations


@dataclass
class RequestMeters:
    """Counts since the start; all but `cut` and `refused` on the loop.

    Attributes:
        requests: by (path as described, status).
        seconds: from a request's head to the end of its answer, by path.
        open_requests: not answered yet, by path or protocol.
        refused: requests that were not carried out, by reason.
        cut: connections that were ended, by reason.
        connections: gives how many are open.
    """

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, Durations] = field(default_factory=dict)
    open_requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    connections: Callable[[], int] = field(default=lambda: 0)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Take in a request that is over."""
        self.requests[path, status] += 1
        self.seconds.setdefault(path, Durations()).add(seconds)

    def watch(self, connections: Callable[[], int]) -> None:
        """Take what gives how many connections are open."""
        self.connections = connections
