"""Stand-ins for the monitor: a Kafka client that says what a test wants, and hosts as it reads."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from streams.monitoring.meter import Meter
from streams.runtime.task import TaskId


class Connection:
    """A connection to a broker, stamped as aiokafka stamps its own."""

    def __init__(self, made_at: float) -> None:
        self._last_action = made_at


class FakeLink:
    """A Kafka client that is up and has nothing to tell."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.lags: dict[str, int | None] = {}
        self.unfetched: set[str] = set()
        self.answer_age_seconds: dict[str, float] = {}
        self.flows = True

    def connections(self) -> Sequence[Connection]:
        return self.made

    def lag(self, topic: str, partition: int, position: int) -> int | None:
        return self.lags.get(topic, 0)

    def fetched_at_ms(self, topic: str, partition: int) -> int | None:
        if topic in self.unfetched:
            return None
        return int(time.time() * 1000 - self.answer_age_seconds.get(topic, 0) * 1000)

    def is_flowing(self) -> bool:
        return self.flows


class Host:
    """What the monitor reads of a task's host."""

    def __init__(self, name: str, runner: Any, topics: Sequence[str] = ("a",)) -> None:
        kind, _, partition = name.rpartition("-")
        self.id = TaskId(kind, int(partition))
        self.runner = runner
        self.topics = tuple(topics)
        self.cuts = 9
        self.recent_restarts = 2
        self.lost_to_retention = 4
        self.local_rebuilds = Counter({"damaged": 3})
        self.waiting_for = "disk_full"
        self.rest = ""
        self.inbox = (30, 4_000)
        self.meter = Meter()
        self.meter.restarts = 5


class Runner:
    """A task that a test moves by hand."""

    def __init__(self) -> None:
        self.rows = 0
        self.is_dirty = False
        self.held: frozenset[str] = frozenset()
        self.positions: dict[str, int] = {}

    def status(self) -> dict[str, Any]:
        return {"rows": self.rows, "reasons": {"unreadable": 3}}
