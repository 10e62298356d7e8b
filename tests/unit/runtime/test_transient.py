"""Errors that pass are told from those that stay; the client speaks of transactions only."""

import pytest
from confluent_kafka import KafkaError

from streams.runtime.transient import is_transient


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
    ],
)
def test_what_passes_is_known_without_the_clients_word(code: int) -> None:
    """A consumer's errors never say that they are retriable."""
    assert not KafkaError(code).retriable()
    assert is_transient(KafkaError(code))


def test_what_stays_is_not_waited_for() -> None:
    """A right that is missing, or an offset that is gone, comes back however often one asks."""
    for code in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._PARTITION_EOF,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._SSL,
    ):
        assert not is_transient(KafkaError(code))


def test_a_transactions_own_word_counts() -> None:
    """Its calls know more of an error than its code."""
    assert is_transient(KafkaError(KafkaError._STATE, "told", False, True))
