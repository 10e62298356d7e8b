"""When committed output arrives at a reader that runs all the time, and what follows from it.

Owns a `read_committed` reader of the traces, recovery times and silences. A record's arrival is
the wall clock of this process; its timestamp is that of the cut which published it, so that it says
whose output it is.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.fault.harness import TRACES


@dataclass
class Partition:
    """What arrived from one partition, in order.

    Attributes:
        arrived_unix: when each record was read, seconds.
        cut_unix: when it was published, as the worker's clock said, seconds; never falls.
    """

    arrived_unix: list[float] = field(default_factory=list)
    cut_unix: list[float] = field(default_factory=list)

    def first_after(self, cut_unix: float) -> float | None:
        """Return when the first record of a cut later than that arrived; None before it did."""
        at = bisect_right(self.cut_unix, cut_unix)
        return self.arrived_unix[at] if at < len(self.arrived_unix) else None

    def silence(self, from_unix: float, to_unix: float) -> float:
        """Return the longest time without a record that ends or begins in a stretch, seconds."""
        begin = max(0, bisect_left(self.arrived_unix, from_unix) - 1)
        end = bisect_right(self.arrived_unix, to_unix) + 1
        times = self.arrived_unix[begin:end]
        return max((b - a for a, b in pairwise(times)), default=0.0)


class Arrivals:
    """Reads the traces topic, from now to `end`."""

    def __init__(self, broker: str, partitions: int) -> None:
        self.partitions: Mapping[int, Partition] = {p: Partition() for p in range(partitions)}
        self._ending = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "arrivals",  # never committed, never joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,  # a broker that is down is what we want
            }
        )
        self._consumer.assign([TopicPartition(TRACES, p, 0) for p in range(partitions)])
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop reading; what arrived stays."""
        self._ending.set()
        self._thread.join(30)

    @property
    def count(self) -> int:
        """How many records have arrived."""
        return sum(len(p.arrived_unix) for p in self.partitions.values())

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    messages = self._consumer.consume(500, 0.1)
                except KafkaException:
                    time.sleep(0.1)  # it was down; the consumer finds it again
                    continue
                now = time.time()
                for message in messages:
                    if message.error() is None:
                        partition = self.partitions[message.partition()]
                        partition.arrived_unix.append(now)
                        partition.cut_unix.append(message.timestamp()[1] / 1_000)
        finally:
            self._consumer.close()


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value that a share of the values does not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
