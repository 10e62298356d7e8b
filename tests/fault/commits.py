"""How far a group of workers has come in telemetry, by the offsets that their commits set."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.fault.patience import CALL_SECONDS, PATIENCE

_NO_COORDINATOR: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


def committed_records(broker: str, group: str) -> int:
    """Return the sum of a group's committed offsets."""
    with _member(broker, group) as consumer:
        return sum(max(0, at.offset) for at in _commits(consumer))


def has_read_all(broker: str, group: str) -> bool:
    """Whether a group has committed something of each telemetry partition with records."""
    with _member(broker, group) as consumer:
        unread = [at for at in _commits(consumer) if at.offset <= 0]
        return not any(consumer.get_watermark_offsets(at, CALL_SECONDS)[1] for at in unread)


@contextmanager
def _member(broker: str, group: str) -> Iterator[Consumer]:
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group})
    try:
        yield consumer
    finally:
        consumer.close()


def _commits(consumer: Consumer) -> list[TopicPartition]:
    topics = consumer.list_topics(timeout=CALL_SECONDS).topics
    names = [t for t in topics if t.startswith("telemetry.") and "rejected" not in t]
    return _asked(consumer, [TopicPartition(t, p) for t in names for p in topics[t].partitions])


def _asked(consumer: Consumer, wanted: list[TopicPartition]) -> list[TopicPartition]:
    """Ask until the broker has found the group's coordinator, which a new group makes it do."""
    deadline = time.monotonic() + 30 * PATIENCE
    while True:
        try:
            offsets: list[TopicPartition] = consumer.committed(wanted, timeout=CALL_SECONDS)
            return offsets
        except KafkaException as error:
            # `retriable()` speaks of transactions only: of these it says no.
            if error.args[0].code() not in _NO_COORDINATOR or time.monotonic() > deadline:
                raise
            time.sleep(0.25)
