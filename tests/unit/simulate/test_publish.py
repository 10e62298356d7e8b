"""Emissions on their way to a broker."""

import json

from streams.simulate.pipeline import Simulation
from streams.simulate.publish import Publisher
from tests.unit.simulate.oracle_recount import SEED_CONTRACT, START_US

Message = tuple[str, bytes, bytes, int]


def simulation() -> Simulation:
    return Simulation(SEED_CONTRACT, 5, START_US, seconds=2, records_per_second=5)


class Producer:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def __call__(self, topic: str, key: bytes, value: bytes, timestamp_us: int) -> None:
        self.messages.append((topic, key, value, timestamp_us))


class Clock:
    """A clock that only moves while somebody sleeps."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        return self.at_us

    def sleep_s(self, seconds: float) -> None:
        self.at_us += int(seconds * 1e6)


def encode(event: dict[str, object]) -> bytes:
    return json.dumps(event).encode()


def test_every_emission_is_produced_once_in_order() -> None:
    """A paced run hands over exactly what the simulation yields, and says how much that was."""
    producer, clock = Producer(), Clock()
    count = Publisher(simulation(), encode, producer).run(clock.now_us, clock.sleep_s)
    expected = [
        (topic, key.encode(), encode(event), emit_us)
        for topic, key, event, emit_us in simulation().drain()
    ]
    assert producer.messages == expected
    assert count == len(expected)


def test_nothing_is_published_before_its_time() -> None:
    """An event waits until the clock has passed its emission."""
    producer = Producer()
    publisher = Publisher(simulation(), encode, producer)
    until_us = START_US + 700_000
    assert publisher.publish_until(until_us) == len(producer.messages) > 0
    assert all(emit_us < until_us for *_, emit_us in producer.messages)
    assert publisher.publish_until(until_us) == 0


def test_a_run_can_be_stopped() -> None:
    """Once stopped, the run ends and the rest stays unpublished."""
    producer, clock = Producer(), Clock()
    planned = simulation()
    stop_us = START_US + 500_000
    Publisher(planned, encode, producer).run(
        clock.now_us, clock.sleep_s, is_stopped=lambda: clock.at_us >= stop_us
    )
    assert producer.messages
    assert not planned.is_drained
