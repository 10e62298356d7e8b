"""The sender against a broker in this process: straight to Kafka, by the disk, and back."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.collector.buffer import Buffer
from streams.collector.parcel import Parcel
from streams.collector.sender import Sender
from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.link import Link

TOPIC = "telemetry.other.v1"


@pytest.fixture
def broker() -> Iterator[str]:
    """Yield the address of a broker in this process that has the topic."""
    with EmbeddedBroker() as one:
        client = topics.admin({"bootstrap.servers": one.address})
        topics.embedded_partitions(client, [TOPIC])
        yield one.address


def wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def send(sender: Sender, count: int) -> list[str]:
    """Send parcels and return what was said of them."""
    said: list[str] = []
    done = threading.Event()

    def settled(word: str) -> None:
        said.append(word)
        if len(said) == count:
            done.set()

    for n in range(count):
        sender.send(Parcel(TOPIC, 0, None, b"%d" % n, 1), settled)
    assert done.wait(120)
    return said


def test_what_kafka_takes_needs_no_disk(tmp_path: Path, broker: str) -> None:
    """Told when it is acknowledged; counted by topic."""
    buffer = Buffer(tmp_path, 1 << 20, 1 << 16)
    sender = Sender(Link.plain(broker), buffer, 5)
    assert send(sender, 20) == [""] * 20
    assert (sender.acknowledged[TOPIC], buffer.syncs, sender.flying) == (20, 0, 0)
    sender.close(5)
    buffer.close()


def test_without_kafka_the_disk_takes_it_and_the_next_one_sends_it(
    tmp_path: Path, broker: str
) -> None:
    """A client without a broker fails in time; another sender finds the files and sends them."""
    buffer = Buffer(tmp_path, 1 << 20, 1 << 16)
    sender = Sender(Link.plain("127.0.0.1:1"), buffer, 0.3)
    assert send(sender, 5) == [""] * 5
    assert sender.is_away
    assert sender.said
    assert sum(sender.buffered.values()) == buffer.held_events == 5
    sender.close(1)
    buffer.close()
    buffer = Buffer(tmp_path, 1 << 20, 1 << 16)
    sender = Sender(Link.plain(broker), buffer, 5)
    wait(lambda: buffer.is_empty)
    assert (sender.drained_events, buffer.held_events) == (5, 0)
    sender.close(5)
    buffer.close()


class Raising:
    """A client that raises what broke it, in place of calling its callback."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def poll(self, _seconds: float) -> int:
        raise KafkaException(KafkaError(KafkaError._FATAL, "a gap", fatal=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_kafka_is_back_also_while_nothing_is_sent(tmp_path: Path, broker: str) -> None:
    """An idle collector would else call it away for ever; a broken client is replaced."""
    buffer = Buffer(tmp_path, 1 << 20, 1 << 16)
    sender = Sender(Link.plain(broker), buffer, 5)
    sender._hear("_producer", KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert sender.is_away
    wait(lambda: not sender.is_away)
    sender._hear("_producer", KafkaError(KafkaError._FATAL, "a gap", fatal=True))
    wait(lambda: sender.producers == 1 and not sender.is_away)
    sender._producer = Raising(sender._producer)
    wait(lambda: sender.producers == 2 and not sender.is_away)
    assert send(sender, 3) == [""] * 3
    assert sender.is_alive
    sender.close(5)
    assert not sender.is_alive
    buffer.close()


def test_no_topic_appears_by_being_sent_to(tmp_path: Path) -> None:
    """One that was deleted would come back with the broker's partition count; the disk waits."""
    with EmbeddedBroker() as one:
        buffer = Buffer(tmp_path, 1 << 20, 1 << 16)
        sender = Sender(Link.plain(one.address), buffer, 1)
        assert send(sender, 1) == [""]
        there = topics.partition_counts(topics.admin({"bootstrap.servers": one.address}))
        assert TOPIC not in there
        assert buffer.held_events == 1
        assert sender.said
        sender.close(1)
        buffer.close()
