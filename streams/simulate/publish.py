"""From emissions to a broker: encodes, hands over, and keeps the pace that a clock sets.

Owns nothing but the order of these calls; encoder, producer, clock and sleep are given to it, so
that it runs the same against a real broker, an embedded one or a list. Invariant: every event that
the simulation yields is handed over exactly once, in its order.
"""

from collections.abc import Callable
from typing import Protocol

from streams.simulate.events import Event
from streams.simulate.pipeline import Simulation


class Produce(Protocol):
    """Hands one message to the broker's client; blocks while the client's queue is full."""

    def __call__(self, topic: str, key: bytes, value: bytes, timestamp_us: int) -> None:
        """Take over the message."""


class Publisher:
    """Publishes a simulation.

    Args:
        simulation: what to publish; nobody else may take emissions from it.
        encode: one event to the bytes of its message, wire header included.
        produce: takes a message over.
    """

    def __init__(
        self, simulation: Simulation, encode: Callable[[Event], bytes], produce: Produce
    ) -> None:
        self._simulation = simulation
        self._encode = encode
        self._produce = produce

    def publish_until(self, until_us: int) -> int:
        """Publish what is due before `until_us`; return how many events that were."""
        count = 0
        for topic, key, event, emit_us in self._simulation.emissions(until_us):
            self._produce(topic, key.encode(), self._encode(event), emit_us)
            count += 1
        return count

    def run(
        self,
        now_us: Callable[[], int],
        sleep_s: Callable[[float], None],
        slice_us: int = 50_000,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> int:
        """Publish in step with the clock until all is out or it is stopped; return the count.

        The simulation's start must be the clock's time, or what is overdue goes out at once.
        """
        assert slice_us > 0, slice_us
        count = 0
        while not (self._simulation.is_drained or is_stopped()):
            count += self.publish_until(now_us())
            if not self._simulation.is_drained:
                sleep_s(slice_us / 1e6)
        return count
