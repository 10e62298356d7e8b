"""The telemetry that is fed while faults happen, with all that goes wrong on its way.

Owns what is lost, repeated, late, out of order, damaged or off by a wrong clock, all decided by
one seed. It keeps no truth: that is read from the input topics, see `tests.fault.oracle`.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.simulate import Emission, Simulation
from streams.simulate.faults import Fault
from streams.units import SECOND_US
from tests.fault.harness import Feeder

DAY_US: Final = 86_400 * SECOND_US
SIMULATED_SECONDS: Final = 36_000.0
"""More than any run lasts: traffic ends when the faults do."""
SLICE_US: Final = SECOND_US // 5
SKEW_PERIOD_US: Final = 20 * SECOND_US
POISONS: Final = (
    "tombstone",
    "short",
    "magic",
    "schema",
    "torn",
    "overlong",
    "trace_id",
    "no_trace",
    "span_id",
    "timestamp",
    "module",
)


@dataclass(frozen=True)
class Mix:
    """Shares of the events to which each thing happens; the rest arrives as it should.

    Attributes:
        lost: never sent.
        repeated: sent twice or three times, soon after or when the trace has long closed.
        reordered: delayed by up to two seconds, within the wait.
        late: held back for 8 to 40 seconds, when its trace has been published.
        poisoned: a record that is no event goes first.
        ancient: a copy in a trace of its own, days old: too late for any trace. Not before
            `Feed.allow_ancient`: until a partition was read, nothing is too late for it.
        skewed: share of the stretches of 20 s in which a module's clock is wrong by up to 2 s.
    """

    lost: float = 0.02
    repeated: float = 0.3
    reordered: float = 0.1
    late: float = 0.01
    poisoned: float = 0.01
    ancient: float = 0.001
    skewed: float = 0.3


class Sending(NamedTuple):
    """One record on its way: when it is due, and where to."""

    due_us: int
    topic: str
    key: bytes | None
    value: bytes | None


class Traffic:
    """All records of a run, in the order in which they are sent."""

    def __init__(
        self,
        seed: int,
        start_us: int,
        records_per_second: float = 30.0,
        mix: Mix | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        self._simulation = Simulation(
            load_contract("seed"), seed, start_us, SIMULATED_SECONDS, records_per_second, faults
        )
        self._chance = Random(f"{seed}/traffic")
        self._seed = seed
        self._start_us = start_us
        self.has_past = True
        self._mix = mix or Mix()
        self._queue: list[tuple[int, int, Sending]] = []
        self._numbers = count()

    def until(self, until_us: int) -> Iterator[Sending]:
        """Yield what is due before a time and was not yielded yet."""
        for emission in self._simulation.emissions(until_us):
            self._send(emission)
        while self._queue and self._queue[0][0] < until_us:
            yield heappop(self._queue)[2]

    def rest(self) -> Iterator[Sending]:
        """Yield what was held back, at once; nothing new happens in the pipeline."""
        while self._queue:
            yield heappop(self._queue)[2]

    def _send(self, emission: Emission) -> None:
        chance, mix = self._chance, self._mix
        event = self._skewed(emission)
        if chance.random() < mix.poisoned:
            self._put(emission, self._poison(event), emission.emit_us)
        if chance.random() < mix.ancient and self.has_past:
            self._send_ancient(emission, event)
        if chance.random() < mix.lost:
            return
        value = encode("telemetry_event", event)
        at_us = emission.emit_us
        kind = chance.random()
        if kind < mix.late:
            at_us += chance.randrange(8 * SECOND_US, 40 * SECOND_US)
        elif kind < mix.late + mix.reordered:
            at_us += chance.randrange(2 * SECOND_US)
        self._put(emission, value, at_us)
        if chance.random() < mix.repeated:
            for _ in range(chance.choice((1, 1, 1, 2))):
                later = 20 if chance.random() < 0.1 else 1
                self._put(emission, value, at_us + chance.randrange(later * SECOND_US))

    def _put(self, emission: Emission, value: bytes | None, due_us: int) -> None:
        sending = Sending(due_us, emission.topic, emission.key.encode(), value)
        heappush(self._queue, (due_us, next(self._numbers), sending))

    def _skewed(self, emission: Emission) -> dict[str, Any]:
        """Return the event as a module with a wrong clock would have written it."""
        event = emission.event
        stretch = (emission.emit_us - self._start_us) // SKEW_PERIOD_US
        clock = Random(f"{self._seed}/clock/{event['module']}/{stretch}")
        if clock.random() >= self._mix.skewed:
            return event
        off_us = clock.randrange(-2 * SECOND_US, SECOND_US)
        return {**event, "timestamp": event["timestamp"] + off_us}

    def _send_ancient(self, emission: Emission, event: dict[str, Any]) -> None:
        if not event["trace_id"]:
            return
        trace_id = f"{self._chance.getrandbits(128) or 1:032x}"
        old = {**event, "trace_id": trace_id, "timestamp": event["timestamp"] - 3 * DAY_US}
        value = encode("telemetry_event", old)
        for _ in range(self._chance.choice((1, 2))):
            self._put(emission._replace(key=trace_id), value, emission.emit_us)

    def _poison(self, event: dict[str, Any]) -> bytes | None:
        """Return the value of a record that cannot be an event."""
        kind = self._chance.choice(POISONS)
        broken = {
            "trace_id": {"trace_id": "X" * 32},
            "no_trace": {"event_type": "TRACE", "trace_id": ""},
            "span_id": {"event_type": "TRACE", "trace_id": "1" * 32, "span_id": "nothing"},
            "timestamp": {"timestamp": -1},
            "module": {"module": ""},
        }
        if kind == "tombstone":
            return None
        if kind == "short":
            return b"\0\0"
        value = encode("telemetry_event", {**event, **broken.get(kind, {})})
        if kind == "magic":
            return b"\1" + value[1:]
        if kind == "schema":
            return b"\0\0\0\x7f\x7f" + value[5:]
        if kind == "torn":
            return value[: self._chance.randrange(6, len(value) - 1)]
        return value + b"rest" if kind == "overlong" else value


class Feed:
    """Sends a run's traffic in a thread, as time goes by, until it is told to end.

    `faults` returns what goes wrong in the pipeline itself that begins then, in us.
    """

    def __init__(
        self,
        broker: str,
        seed: int,
        records_per_second: float,
        mix: Mix,
        faults: Callable[[int], Sequence[Fault]] = lambda _: (),
    ) -> None:
        self.start_us = time.time_ns() // 1_000
        self.sent = 0
        troubles = faults(self.start_us)
        self._traffic = Traffic(seed, self.start_us, records_per_second, mix, troubles)
        self._traffic.has_past = False
        self._broker = broker
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def allow_ancient(self) -> None:
        """Begin to send events that are too late: all partitions have been read."""
        self._traffic.has_past = True

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def end(self, seconds: float = 300) -> int:
        """Send what was held back, wait until the broker has all, and return how many it has.

        Raises:
            AssertionError: a record could not be delivered.
        """
        self._ending.set()
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the feed did not end within {seconds} s"
        assert self._error is None, f"the feed failed: {self._error!r}"
        return self.sent

    def _run(self) -> None:
        try:
            with Feeder(self._broker) as feeder:
                while not self._ending.wait(SLICE_US / SECOND_US):
                    for sending in self._traffic.until(time.time_ns() // 1_000):
                        feeder.send_bytes(sending.topic, sending.key, sending.value)
                    self.sent = feeder.count
                for sending in self._traffic.rest():
                    feeder.send_bytes(sending.topic, sending.key, sending.value)
                self.sent = feeder.count
        except BaseException as error:
            self._error = error
