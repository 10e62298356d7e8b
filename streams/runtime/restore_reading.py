"""Reads a changelog partition to its end, as a restore does.

Owns the consumers that join no group and commit nothing. Invariant: what is returned was committed,
and it is all that was committed when the reading began.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.runtime import refusals
from streams.runtime.link import open_client
from streams.runtime.transient import is_transient
from streams.runtime.watermarks import watermarks
from streams.state.local import Record

_READ_SECONDS: Final = 120.0
"""A broker that sends nothing for so long is given up."""
_ASK_SECONDS: Final = 120.0
"""A broker that has just started, or a topic just made, is not known everywhere for a while."""
_SAY_SECONDS: Final = 2.0
"""How often a long restore says how far it is."""
_FETCH_BYTES: Final = 16 << 20
_FETCH_WAIT_MS: Final = 10
"""The end is told by an empty fetch, which by default waits at the broker for 500 ms."""
_POLL_SECONDS: Final = 0.02
"""A consumer waits for so long for more, the end of the topic seen or not."""
_LOOK: Final = "Operator action: look at the broker; the worker starts again from its last commit."

log = structlog.get_logger()


def read_from(
    base: Mapping[str, object], topic: str, partition: int, start: int
) -> tuple[list[Record], int]:
    """Return the records from an offset to the end, in order, and the offset after them; blocking.

    Raises:
        BrokerError: it cannot be read.
    """
    consumer = _consumer(base)
    records: list[Record] = []
    try:
        low, high = _watermarks(consumer, topic, partition)
        if high <= max(low, start):
            return records, start
        progress = _Progress(topic, partition, max(low, start), high)
        consumer.assign([TopicPartition(topic, partition, max(low, start))])
        while progress.is_in_time():
            for message in consumer.consume(500, _POLL_SECONDS):
                error = message.error()
                if error is None:
                    start = message.offset() + 1
                    records.append((message.key(), message.value()))
                    progress.add(start, len(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    return records, start
                elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    continue  # librdkafka looks for a coordinator that is never needed here
                elif refusals.is_of_right(error):
                    raise refusals.of_right(error, "Read", f"topic {topic}")
                elif not is_transient(error):
                    raise BrokerError(f"{topic}: {error.str()}. " + _LOOK)
    finally:
        consumer.close()
    raise BrokerError(f"{topic} sends nothing for {_READ_SECONDS:.0f} s. " + _LOOK)


def end_of(base: Mapping[str, object], topic: str, partition: int) -> int:
    """Return the offset after the last record of a partition; blocking.

    Raises:
        BrokerError: it cannot be asked.
    """
    consumer = _consumer(base)
    try:
        return _watermarks(consumer, topic, partition)[1]
    finally:
        consumer.close()


def beginnings(base: Mapping[str, object], topics: Sequence[str], partition: int) -> dict[str, int]:
    """Return the first offset that is still there of a partition of some topics; blocking.

    Raises:
        BrokerError: a topic cannot be asked.
    """
    settings = {**base, "group.id": "spanloom-restore", "enable.auto.commit": False}
    consumer = open_client(Consumer, settings)
    try:
        return {topic: _watermarks(consumer, topic, partition)[0] for topic in topics}
    finally:
        consumer.close()


def stood_at(
    base: Mapping[str, object], group: str, topics: Sequence[str], partition: int
) -> dict[str, int]:
    """Return the offset that a group committed of a partition, of those topics that it read.

    Raises:
        BrokerError: the broker does not answer, or refuses.
    """
    settings = {**base, "group.id": group, "enable.auto.commit": False}
    consumer = open_client(Consumer, settings)
    wanted = [TopicPartition(topic, partition) for topic in topics]
    deadline = time.monotonic() + _ASK_SECONDS
    try:
        while True:
            try:
                found = consumer.committed(wanted, timeout=_READ_SECONDS)
                return {at.topic: at.offset for at in found if at.offset >= 0}
            except KafkaException as error:
                reason = error.args[0]
                if refusals.is_of_right(reason):
                    raise refusals.of_right(reason, "Read", f"group {group}") from error
                if not is_transient(reason) or time.monotonic() > deadline:
                    raise BrokerError(f"offsets of {group}: {reason.str()}. " + _LOOK) from error
            time.sleep(_POLL_SECONDS)
    finally:
        consumer.close()


class _Progress:
    """Says now and then how far a long restore is."""

    def __init__(self, topic: str, partition: int, start: int, end: int) -> None:
        self._name = {"topic": topic, "partition": partition}
        self._start, self._end = start, end
        self._began = self._said = self._heard = time.monotonic()
        self._records = self._size_bytes = 0

    def is_in_time(self) -> bool:
        """Whether the broker still moves: the last record is not too long ago."""
        return time.monotonic() - self._heard < _READ_SECONDS

    def add(self, offset: int, size_bytes: int) -> None:
        """Count one record, after which reading goes on at an offset."""
        self._records += 1
        self._size_bytes += size_bytes
        now = self._heard = time.monotonic()
        if now - self._said < _SAY_SECONDS:
            return
        self._said = now
        log.info(
            "restoring",
            **self._name,
            records=self._records,
            size_bytes=self._size_bytes,
            done_ratio=round((offset - self._start) / max(1, self._end - self._start), 3),
            seconds=round(now - self._began, 1),
        )


def _consumer(base: Mapping[str, object]) -> Consumer:
    consumer: Consumer = open_client(
        Consumer,
        {
            **base,
            "group.id": "spanloom-restore",  # never committed, never joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
            "fetch.max.bytes": _FETCH_BYTES,
            "max.partition.fetch.bytes": _FETCH_BYTES,
        },
    )
    return consumer


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    try:
        return watermarks(consumer, topic, partition, _ASK_SECONDS)
    except KafkaException as error:
        reason = error.args[0]
        if refusals.is_of_right(reason):
            raise refusals.of_right(reason, "Describe", f"topic {topic}") from error
        raise BrokerError(f"{topic}/{partition}: {reason.str()}. " + _LOOK) from error
