"""Asking where a partition ends outlives what passes, and what a client keeps for too long."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.runtime import watermarks as module
from streams.runtime.watermarks import watermarks


class Stale:
    """A client that keeps an answer from before the broker's stop until it looks again."""

    def __init__(self, *codes: int, forgets: bool = True) -> None:
        self.codes = list(codes)
        self.forgets = forgets
        self.looked = 0

    def get_watermark_offsets(self, at: TopicPartition, timeout: float) -> tuple[int, int]:
        assert (at.topic, at.partition) == ("state", 2)
        if self.codes:
            raise KafkaException(KafkaError(self.codes[0]))
        return 3, 9

    def list_topics(self, topic: str, timeout: float) -> None:
        assert topic == "state"
        self.looked += 1
        if self.forgets:
            del self.codes[:1]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)


def test_a_kept_answer_is_asked_anew() -> None:
    """A client that asked in the midst of a shutdown would say so for the whole of its time."""
    client = Stale(KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)
    assert watermarks(client, "state", 2, 60) == (3, 9)
    assert client.looked == 2


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._INVALID_ARG])
def test_what_stays_is_raised_at_once(code: int) -> None:
    """A missing right and a wrong question do not pass."""
    client = Stale(code)
    with pytest.raises(KafkaException):
        watermarks(client, "state", 2, 60)
    assert client.looked == 0


def test_there_is_an_end_to_asking() -> None:
    """A topic that is gone for good is told in the end."""
    client = Stale(KafkaError._UNKNOWN_PARTITION, forgets=False)
    with pytest.raises(KafkaException) as raised:
        watermarks(client, "state", 2, 0.05)
    assert raised.value.args[0].code() == KafkaError._UNKNOWN_PARTITION
    assert client.looked > 0
