"""A topic and a receiver in memory, for a target at work without a broker."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from streams.codec.records import encode
from streams.notify.http import Attempt
from streams.notify.rules.outbox import Position
from streams.notify.topic import Assigned, CaughtUp, Fetched, Happened


class FakeView:
    """What a target sees of a topic: records are shown once it is assigned.

    Attributes:
        committed: positions, in order.
    """

    topic = "incidents.events.v1"

    def __init__(
        self, records: Mapping[int, Mapping[str, Any] | bytes], start: Position | None = None
    ) -> None:
        self._records = dict(records)
        self._start = start or Position(0, 0)
        self._happened: list[Happened] = []
        self.position: Position | None = None
        self.committed: list[Position] = []
        self.is_paused = False
        self.is_closed = False
        self.lost = 0
        self.can_commit = True

    def subscribe(self) -> None:
        self.position = self._start
        self._happened = [Assigned(self._start, False, False, self.lost)]
        for offset, event in sorted(self._records.items()):
            if offset >= self._start.follow_from:
                value = event if isinstance(event, bytes) else encode("incident_event", event)
                self._happened.append(Fetched(offset, time.time_ns() // 1000, value))
        self._happened.append(CaughtUp())

    def take(self, seconds: float, is_paused: bool) -> list[Happened]:
        assert not self.is_closed
        self.is_paused = is_paused
        if is_paused or not self._happened:
            time.sleep(0.01)
            return []
        taken, self._happened = self._happened[:1], self._happened[1:]
        return taken

    def commit(self, position: Position) -> bool:
        assert not self.is_closed
        if not self.can_commit:
            return False
        if not self.committed or self.committed[-1] != position:
            self.committed.append(position)
        return True

    def ends(self) -> tuple[int, int]:
        return 0, max(self._records, default=-1) + 1

    def close(self) -> None:
        self.is_closed = True


class FakeSender:
    """A receiver that answers as it is told.

    Args:
        answer: what an attempt at an event gives; raises where a sender would break.
    """

    def __init__(self, answer: Callable[[Mapping[str, Any]], Attempt]) -> None:
        self._answer = answer
        self.sent: list[str] = []
        self.noted: list[str] = []
        self.again_after: list[int] = []
        self.forgotten = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def send(self, event: Mapping[str, Any], is_test: bool = False) -> Attempt:
        self.sent.append(f"{event['incident_id'][0]}{event['version']}")
        return self._answer(event)

    def note(self, event: Mapping[str, Any]) -> None:
        self.noted.append(f"{event['incident_id'][0]}{event['version']}")

    def forget(self) -> None:
        self.forgotten += 1

    async def again(self) -> None:
        self.again_after.append(len(self.noted))

    def replicas(self) -> dict[str, str]:
        return {}
