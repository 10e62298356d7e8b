"""Where a partition begins and ends, asked until the broker says so."""

import time
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.runtime import refusals
from streams.runtime.transient import is_transient

_CALL_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.25
_UNKNOWN: Final = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC})


def watermarks(consumer: Any, topic: str, partition: int, seconds: float) -> tuple[int, int]:
    """Return the first offset of a partition and the one after its last committed record; blocking.

    What passes by itself is waited for. A client that asked while its broker shut down keeps the
    answer "unknown partition" for minutes, after the broker is back too: it is told to look again.

    Args:
        consumer: of confluent_kafka; need not be assigned anything.
        topic: the partition's.
        partition: which.
        seconds: how long to ask.

    Raises:
        KafkaException: a right is missing, the error stays, or there was no answer in time.
    """
    deadline = time.monotonic() + seconds
    at = TopicPartition(topic, partition)
    while True:
        try:
            low, high = consumer.get_watermark_offsets(at, timeout=_CALL_SECONDS)
            return int(low), int(high)
        except KafkaException as error:
            reason = error.args[0]
            is_over = refusals.is_of_right(reason) or not is_transient(reason)
            if is_over or time.monotonic() > deadline:
                raise
        if reason.code() in _UNKNOWN:
            with suppress(KafkaException):
                consumer.list_topics(topic, timeout=_CALL_SECONDS)
        time.sleep(_PAUSE_SECONDS)
