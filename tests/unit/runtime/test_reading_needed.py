"""A reader that needs few of the records is told how far it has read all the same."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.runtime.link import Link
from streams.runtime.reading import Message, Reading

TOPIC, OTHER = "needed.a", "needed.b"


@pytest.fixture(scope="module")
def filled(embedded: str) -> str:
    """Return a broker with ten records in each of two partitions of a topic, and in another one."""
    producer = Producer({"bootstrap.servers": embedded})
    for n in range(10):
        producer.produce(TOPIC, b"%d" % n, partition=0)
        producer.produce(TOPIC, b"%d" % n, partition=1)
        producer.produce(OTHER, None, b"key", partition=0)
    assert producer.flush(120) == 0
    return embedded


def read(broker: str, needed: Any) -> list[list[Message]]:
    """Return the batches until all 30 records have been met, by the offsets that were told."""
    starts = {(TOPIC, 0): 0, (TOPIC, 1): 0, (OTHER, 0): 0}
    met, found = dict.fromkeys(starts, -1), []
    with Reading(Link.plain(broker)) as reading:
        for messages in islice(reading.batches(starts, 1_000, needed), 200):
            found.append(messages)
            met |= {(m.topic, m.partition): m.offset for m in messages}
            if all(offset == 9 for offset in met.values()):
                return found
    raise AssertionError(met)


def test_what_is_needed_comes_and_the_last_of_each_partition(filled: str) -> None:
    """In their order, whole; of what is not needed no more than tells how far it was read."""
    asked = []

    def needed(topics: Sequence[str], values: Sequence[bytes | None]) -> list[bool]:
        asked.extend(zip(topics, values, strict=True))
        return [topic == TOPIC and value in (b"3", b"5") for topic, value in asked[-len(topics) :]]

    found = read(filled, needed)
    assert sorted(asked, key=str) == sorted(
        [(TOPIC, b"%d" % n) for n in range(10)] * 2 + [(OTHER, None)] * 10, key=str
    )
    for partition in (0, 1):
        mine = [m for some in found for m in some if (m.topic, m.partition) == (TOPIC, partition)]
        assert [m.offset for m in mine if m.value in (b"3", b"5")] == [3, 5]
        assert [m.offset for m in mine] == sorted({m.offset for m in mine})
    for messages in found:
        unneeded = [m for m in messages if m.value not in (b"3", b"5")]
        assert len({(m.topic, m.partition) for m in unneeded}) == len(unneeded)


def test_without_it_all_records_come(filled: str) -> None:
    """As before."""
    found = [m for some in read(filled, None) for m in some]
    assert len(found) == 30
