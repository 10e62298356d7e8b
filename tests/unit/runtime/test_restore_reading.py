"""A changelog is read to its end over errors that pass, and no further than those that stay."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError, RightError
from streams.runtime import restore_reading
from streams.runtime.restore_reading import read_from, stood_at


def failed(code: int) -> Any:
    return SimpleNamespace(error=lambda: KafkaError(code))


class Record:
    """A record of a changelog."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"%d" % self._offset

    def value(self) -> bytes:
        return b"v"

    def __len__(self) -> int:
        return 1


class Consumer:
    """A consumer whose polls bring what a test says."""

    def __init__(self, *polls: Sequence[Any]) -> None:
        self._polls = list(polls)
        self.is_closed = False

    def get_watermark_offsets(self, _at: object, timeout: float) -> tuple[int, int]:
        return 0, 3

    def assign(self, _at: object) -> None:
        pass

    def consume(self, _count: int, _timeout: float) -> Sequence[Any]:
        return self._polls.pop(0)

    def close(self) -> None:
        self.is_closed = True


def read(monkeypatch: pytest.MonkeyPatch, consumer: Consumer) -> tuple[list[Any], int]:
    monkeypatch.setattr(restore_reading, "_consumer", lambda _base: consumer)
    try:
        return read_from({}, "changelog", 0, 0)
    finally:
        assert consumer.is_closed


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TRANSPORT,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ],
)
def test_a_coordinator_that_is_not_needed_ends_no_restore(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The client looks for one and hands out what it is told; a broker's restart is enough."""
    end = failed(KafkaError._PARTITION_EOF)
    consumer = Consumer([failed(code), Record(0)], [failed(code)], [Record(2), end])
    assert read(monkeypatch, consumer) == ([(b"0", b"v"), (b"2", b"v")], 3)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, RightError),
        (KafkaError.OFFSET_OUT_OF_RANGE, BrokerError),
    ],
)
def test_what_does_not_pass_ends_the_restore(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    """With what an operator can do about it."""
    with pytest.raises(kind, match="Operator action"):
        read(monkeypatch, Consumer([failed(code)]))


class Group:
    """A consumer that is asked where a group stands."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.is_closed = False

    def committed(self, wanted: Sequence[TopicPartition], timeout: float) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        return [TopicPartition(at.topic, at.partition, answer[at.topic]) for at in wanted]

    def close(self) -> None:
        self.is_closed = True


def stand(monkeypatch: pytest.MonkeyPatch, group: Group) -> dict[str, int]:
    monkeypatch.setattr(restore_reading, "open_client", lambda _kind, _settings: group)
    try:
        return stood_at({}, "g", ["a", "b"], 2)
    finally:
        assert group.is_closed


def test_a_group_stands_where_it_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that it never read is left out; a transaction that is not settled is waited for."""
    group = Group(KafkaError.UNSTABLE_OFFSET_COMMIT, {"a": 7, "b": -1001})
    assert stand(monkeypatch, group) == {"a": 7}


def test_a_group_that_may_not_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right that is missing is said."""
    with pytest.raises(RightError, match="Read group g"):
        stand(monkeypatch, Group(KafkaError.GROUP_AUTHORIZATION_FAILED))
    with pytest.raises(BrokerError, match="offsets of g"):
        stand(monkeypatch, Group(KafkaError.INVALID_GROUP_ID))
