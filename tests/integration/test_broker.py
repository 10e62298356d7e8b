"""The broker that the integration tests lean on keeps the promises of Kafka's transactions."""

import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

DEADLINE_SECONDS = 120.0


def make_topic(broker: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(DEADLINE_SECONDS)


def read_committed(broker: str, group_id: str, topic: str, count: int) -> list[bytes]:
    """Return the first `count` committed values of a topic, or those that came in time."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group_id,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                values.append(message.value())
    finally:
        consumer.close()
    return values


def test_committed_records_arrive_and_aborted_ones_never(
    broker: str, topic_prefix: str, group_id: str, unique: str
) -> None:
    """A read_committed reader sees what was committed, in order, and nothing that was aborted."""
    topic = f"{topic_prefix}transactions.v1"
    make_topic(broker, topic, partitions=1)
    producer = Producer({"bootstrap.servers": broker, "transactional.id": unique})
    producer.init_transactions(DEADLINE_SECONDS)
    for value, is_committed in ((b"first", True), (b"aborted", False), (b"second", True)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(DEADLINE_SECONDS)  # even the aborted record must reach the log
        if is_committed:
            producer.commit_transaction(DEADLINE_SECONDS)
        else:
            producer.abort_transaction(DEADLINE_SECONDS)

    assert read_committed(broker, group_id, topic, count=2) == [b"first", b"second"]


def test_an_older_holder_of_a_transactional_id_is_fenced(
    broker: str, topic_prefix: str, unique: str
) -> None:
    """A second producer with the same transactional id shuts the first one out."""
    topic = f"{topic_prefix}fencing.v1"
    make_topic(broker, topic, partitions=1)
    settings = {"bootstrap.servers": broker, "transactional.id": unique}
    older = Producer(settings)
    older.init_transactions(DEADLINE_SECONDS)
    older.begin_transaction()
    older.produce(topic, b"from the older")
    newer = Producer(settings)
    newer.init_transactions(DEADLINE_SECONDS)

    with pytest.raises(KafkaException, match=r"(?i)fenced|newer") as refusal:
        older.commit_transaction(DEADLINE_SECONDS)

    assert refusal.value.args[0].fatal()
