"""What is read for lists: no more than may matter, and no more is kept than is shown."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Producer

from streams.cli.connection import connect
from streams.cli.incident_reading import audit, standing
from streams.codec.records import encode
from streams.engine.incidents import IncidentTask
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.reading import Message, Place, Reading, Span
from streams.settings import load_settings
from tests.synthetic_pipeline import INCIDENTS, SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved

DAY_MS = 24 * 3_600 * 1_000


class Topic:
    """A topic of one partition, as a reading shows it; a record's time is its number of days."""

    def __init__(self, values: list[bytes | None]) -> None:
        self.values = values
        self.read: list[int] = []

    def spans(self, topics: list[str]) -> dict[Place, Span]:
        return {(name, 0): Span(0, len(self.values)) for name in topics}

    def since(self, topic: str, at_ms: int) -> dict[Place, int]:
        return {(topic, 0): min(max(0, -(-at_ms // DAY_MS)), len(self.values))}

    def records(self, starts: dict[Place, int]) -> Iterator[Message | None]:
        ((topic, partition), first), *_ = starts.items()
        yield None  # nothing is new for a moment
        for offset, value in enumerate(self.values[first:], first):
            self.read.append(offset)
            yield Message(topic, partition, offset, offset * DAY_MS, None, value)


def events() -> list[bytes | None]:
    """Return what is told of two incidents: one goes on, one ends and comes back and ends."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    lasting, brief = alert("module_silent", "ALPHA", 10), alert("odd_kind", "PHI", 10)
    again = brief | {"version": 3, "firing_since": 30 * SECOND, "last_seen": 31 * SECOND}
    told: list[bytes | None] = [b"not ours"]
    steps: list[tuple[int, list[dict[str, Any]]]] = [
        (11, [lasting, brief]), (12, [resolved(brief, 12)]), (20, []), (31, [again]),
        (32, [resolved(again, 32, version=4)]), (400, []), (900, []),
    ]  # fmt: skip
    for now, states in steps:
        for output in task.step(states, now * SECOND, True):
            if output.topic_kind == "incidents":
                told.append(encode("incident_event", output.record))
    return told


@pytest.mark.parametrize("everything", [False, True])
def test_the_last_version_of_what_stands_is_kept(*, everything: bool) -> None:
    """An incident that ended is dropped as soon as that is read, unless all are asked for."""
    found = standing(cast("Reading", Topic(events())), "t", everything=everything)
    shown = [(one["module"], one["event"]) for one in found]
    assert shown == [("ALPHA", "OPENED"), *[("PHI", "RESOLVED")] * everything]


def test_no_answer_is_read_that_no_silence_can_come_from() -> None:
    """A silence lasts for 90 days; a day more is read, for clocks differ."""
    topic = Topic([None] * 200)
    assert audit(cast("Reading", topic), "t", 200 * DAY_MS * 1_000) == []
    assert topic.read == list(range(200 - 91, 200))


def test_a_broker_that_knows_no_times_is_read_from_the_beginning() -> None:
    """The embedded one finds no record of any time: nothing may be missed for that."""
    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.address, "log_level": 0})
        for number in range(3):
            producer.produce("answers", b"v", partition=0, timestamp=1_000 * (number + 1))
        assert producer.flush(20) == 0
        with Reading(connect(load_settings(broker=broker.address))) as reading:
            assert reading.since("answers", 2_000)["answers", 0] == 0
