"""Which errors of a Kafka client pass by themselves.

`KafkaError.retriable()` does not say: it is set by the calls of a transaction alone, and is False
for whatever a consumer hands out. A consumer of a named group looks for its coordinator although it
joins nothing, and hands out every answer but "not available": a broker that starts, stops or moves
the group ends a reading that takes such an error for the end.
"""

from typing import Final

from confluent_kafka import KafkaError

_TRANSIENT: Final = frozenset(
    {
        # The connection; the client makes another one.
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.REQUEST_TIMED_OUT,
        # The coordinator of the group: it starts, moves, or reads the group.
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        # The partition was made, or has changed hands, a moment ago.
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    }
)


def is_transient(error: KafkaError) -> bool:
    """Whether an error passes by itself, so that whoever has a deadline goes on until that."""
    return error.retriable() or error.code() in _TRANSIENT
