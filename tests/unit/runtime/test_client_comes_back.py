"""Clients whose broker, just started, names no broker: they come back when it does.

librdkafka before 2.16 may take such an answer for the truth: it lets go of all brokers, and asks
none again before the process ends (its issue 5301). With `metadata.recovery.strategy` "none" every
version does so. A single broker that restarts was enough for it: a worker stood still, and what an
application told of itself was dropped.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from confluent_kafka import KafkaException, Producer

from streams.runtime import topics
from streams.runtime.commit import producer_for, settings_for
from streams.runtime.embedded import EmbeddedBroker
from streams.sdk import Telemetry
from tests.brokerless import Brokerless
from tests.fault.harness import wait_for

TOPIC = "telemetry.alpha.v1"
NOBODY_TIMES = 3
"""So often a client is told that there is nobody: once was enough."""
BACK_SECONDS = 30.0


@pytest.fixture
def broker() -> Iterator[Brokerless]:
    """Return a broker that has the topic, and can be made to name nobody."""
    with EmbeddedBroker() as embedded, Brokerless(embedded.address) as made:
        client = topics.admin({"bootstrap.servers": embedded.address})
        topics.embedded_partitions(client, [TOPIC])
        yield made


def restarted(broker: Brokerless, producer: Producer) -> None:
    """Let the broker go and come back, first without naming a broker."""
    broker.restart(names_nobody=True)
    said = broker.said_nobody

    def is_told() -> bool:
        with suppress(KafkaException):  # the connection is just made anew
            producer.list_topics(timeout=0.5)
        return broker.said_nobody >= said + NOBODY_TIMES

    wait_for(is_told, BACK_SECONDS, lambda: "it is not told that there is nobody")
    broker.names_nobody = False


def test_a_producer_delivers_after_its_broker_named_nobody(broker: Brokerless) -> None:
    """With the settings of every producer of ours."""
    base = {"bootstrap.servers": broker.address, "log_level": 0}
    producer = Producer(settings_for(base))
    arrived: list[object] = []

    def heard(error: object, _: object) -> None:
        arrived.append(error)

    for number in (1, 2):
        producer.produce(TOPIC, b"x", partition=0, on_delivery=heard)
        assert producer.flush(BACK_SECONDS) == 0
        assert arrived == [None] * number
        if number == 1:
            restarted(broker, producer)


def test_a_transaction_commits_after_its_broker_named_nobody(broker: Brokerless) -> None:
    """What a worker commits with."""
    producer = producer_for({"bootstrap.servers": broker.address, "log_level": 0}, "t")
    producer.init_transactions(BACK_SECONDS)
    for number in (1, 2):
        producer.begin_transaction()
        producer.produce(TOPIC, b"x", partition=0)
        producer.commit_transaction(BACK_SECONDS)
        if number == 1:
            restarted(broker, producer)


def test_telemetry_arrives_after_its_broker_named_nobody(broker: Brokerless) -> None:
    """What an application tells of itself waits, and is not dropped."""
    telemetry = Telemetry("ALPHA", "probe", broker.address)
    with telemetry.span("before"):
        pass
    assert telemetry.flush(BACK_SECONDS)
    broker.restart(names_nobody=True)
    time.sleep(0.2)
    with telemetry.span("meanwhile"):
        pass
    wait_for(lambda: broker.said_nobody > 0, BACK_SECONDS, lambda: "it is not told of nobody")
    broker.names_nobody = False
    assert telemetry.flush(BACK_SECONDS), telemetry.counts()
    assert telemetry.close(5).dropped == {}
