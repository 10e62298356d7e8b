"""At least once: the outputs are with the broker before the state that no longer holds them."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streams.errors import BrokerError
from streams.runtime import delivery, topics
from streams.runtime.commit import ClientLostError, CommitRefusedError, Cut, OutRecord
from streams.runtime.delivery import AtLeastOnce, ExactlyOnce, publisher_for

BASE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
CUT = [OutRecord("traces", 1, b"k", b"t"), OutRecord("traces", 1, b"l", b"u")]
STATE = [OutRecord("changelog", 1, b"1/0/1", b"x"), OutRecord("changelog", 1, b"1/0/0", b"y")]


class Message:
    """A delivered record."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """A producer whose records are acknowledged by a flush; what it refuses is told there."""

    def __init__(self, settings: dict[str, object]) -> None:
        self.settings = settings
        self.calls: list[str] = []
        self.refuses: set[bytes] = set()
        self.never_acknowledges = False
        self._waiting: list[tuple[bytes, Callable[..., None]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def produce(self, topic: str, value: bytes, key: bytes, *given: Any) -> None:
        self.calls.append(f"{topic} {key.decode()}")
        _partition, told, _alias, _timestamp = given
        self._waiting.append((key, told))

    def flush(self, _seconds: float) -> int:
        self.calls.append("flush")
        if self.never_acknowledges:
            return len(self._waiting)
        for at, (key, told) in enumerate(self._waiting):
            error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if key in self.refuses else None
            told(error, Message(40 + at))
        self._waiting = []
        return 0


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> AtLeastOnce:
    """Return a publisher over a fake producer, patient for 30 s."""
    monkeypatch.setattr(delivery, "Producer", FakeProducer)
    made = publisher_for("at_least_once", BASE, "g-join-1", 30.0)
    assert isinstance(made, AtLeastOnce)
    made.start()
    return made


def producer_of(publisher: AtLeastOnce) -> Any:
    return publisher._producer


def test_outputs_are_acknowledged_before_the_state_is_sent(publisher: AtLeastOnce) -> None:
    """A crash between the two repeats outputs; the other way round it would lose them."""
    cut = Cut(7, CUT, STATE, {("telemetry", 1): 9})
    publisher.commit(cut, b"metadata")
    assert producer_of(publisher).calls == [
        "traces k",
        "traces l",
        "flush",
        "changelog 1/0/1",
        "changelog 1/0/0",
        "flush",
    ]
    assert cut.next_changelog_offset == 42, "after the last piece, at 41"


@pytest.mark.parametrize("key", [b"k", b"1/0/1"])
def test_what_the_broker_does_not_take_throws_the_memory_away(
    publisher: AtLeastOnce, key: bytes
) -> None:
    """An output that was refused is never followed by the state that forgets it."""
    producer = producer_of(publisher)
    producer.refuses = {key}
    with pytest.raises(CommitRefusedError):
        publisher.commit(Cut(7, CUT, STATE, {}), None)
    assert ("changelog 1/0/0" in producer.calls) == (key != b"k")


def test_a_broker_that_never_answers_ends_the_worker(
    publisher: AtLeastOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the records arrived is not known: it says so and claims nothing."""
    producer_of(publisher).never_acknowledges = True
    clock = iter(range(0, 1_000, 10))
    monkeypatch.setattr(delivery.time, "monotonic", lambda: next(clock))
    with pytest.raises(BrokerError, match=r"not acknowledged after 30 s.*Operator action"):
        publisher.commit(Cut(7, CUT, STATE, {}), None)


def test_without_transactions_records_are_still_kept_in_order(publisher: AtLeastOnce) -> None:
    """The client retries for as long as the worker is patient, and drops or doubles nothing."""
    settings = producer_of(publisher).settings
    assert settings["enable.idempotence"] is True
    assert settings["message.timeout.ms"] == 30_000
    assert "transactional.id" not in settings


def test_transactions_are_what_is_promised_unless_told_otherwise() -> None:
    """The task's name is the transactional id: its holders fence each other."""
    assert isinstance(publisher_for("exactly_once", BASE, "g-join-1", 30.0), ExactlyOnce)


def test_no_topic_appears_by_being_committed_to(embedded: str) -> None:
    """A deleted one would come back with the broker's partition count, and the join be torn."""
    base = {"bootstrap.servers": embedded, "log_level": 0}
    publisher = AtLeastOnce(base | {"topic.metadata.propagation.max.ms": 0}, 30.0)
    outputs = [OutRecord("traces.gone.v1", 0, b"k", b"t")]
    with pytest.raises(CommitRefusedError, match=r"[Uu]nknown topic"):
        publisher.commit(Cut(7, outputs, [], {}), None)
    assert "traces.gone.v1" not in topics.partition_counts(topics.admin(base))


def test_a_start_goes_on_with_a_new_client_where_one_lost_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two that are told of no broker, and the third one fences."""
    made: list[str] = []
    tried: list[str] = []

    def make(base: object, name: str) -> str:
        made.append(f"{name} {len(made)}")
        return made[-1]

    def init(producer: str, seconds: float, is_there: object) -> None:
        tried.append(producer)
        assert 0 < seconds <= 30
        if len(tried) < 3:
            raise ClientLostError("no brokers")

    monkeypatch.setattr(delivery, "producer_for", make)
    monkeypatch.setattr(delivery, "init_transactions", init)
    publisher_for("exactly_once", BASE, "g-join-1", 30.0).start()
    assert tried == made == [f"g-join-1 {n}" for n in range(3)]
