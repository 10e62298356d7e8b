"""The embedded broker: it has an address, takes records, gives them back, and forgets all."""

import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.runtime.embedded import EmbeddedBroker


def test_what_is_produced_is_consumed(embedded: str) -> None:
    """Records come back in order, with their keys, offsets and times."""
    host, port = embedded.split(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    producer = Producer({"bootstrap.servers": embedded, "log_level": 0})
    for i in range(5):
        producer.produce("round.trip", b"v%d" % i, b"k", partition=2, timestamp=1_000 + i)
    assert producer.flush(120) == 0
    consumer = Consumer({"bootstrap.servers": embedded, "group.id": "g", "log_level": 0})
    try:
        consumer.assign([TopicPartition("round.trip", 2, 0)])
        deadline, seen = time.monotonic() + 120, []
        while len(seen) < 5 and time.monotonic() < deadline:
            seen += [m for m in consumer.consume(5, 1.0) if m.error() is None]
    finally:
        consumer.close()
    assert [(m.offset(), m.key(), m.value(), m.timestamp()[1]) for m in seen] == [
        (i, b"k", b"v%d" % i, 1_000 + i) for i in range(5)
    ]


def test_after_it_is_closed_nothing_answers() -> None:
    """The broker lives exactly as long as it is open."""
    with EmbeddedBroker() as broker:
        assert AdminClient({"bootstrap.servers": broker.address}).list_topics(timeout=60).brokers
        address = broker.address
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.5)
