"""The embedded broker: librdkafka's mock cluster, for demonstration and tests.

It speaks Kafka over TCP on the loopback, in this process. It has no durability, keeps about 5 MB
a partition, and takes transactions without their effect: the same code path runs on it, the
promises do not hold. Nothing else may be built on it, and the worker says so.
"""

from typing import Self

from confluent_kafka import Producer

from streams.runtime.link import open_client


class EmbeddedBroker:
    """A mock cluster of one broker that lives as long as the object is open."""

    def __init__(self) -> None:
        self._cluster: Producer | None = None
        self.address = ""

    def __enter__(self) -> Self:
        """Start the broker on a free port of the loopback."""
        self._cluster = open_client(
            Producer,
            {"bootstrap.servers": "embedded:1", "test.mock.num.brokers": 1, "log_level": 0},
        )
        assert self._cluster is not None
        broker = next(iter(self._cluster.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the broker; everything it held is gone."""
        self._cluster = None
