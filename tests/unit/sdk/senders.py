"""A sender that keeps what it is given, for tests of what happens before the broker."""

from collections.abc import Callable
from typing import Any

from streams.codec.records import decode
from streams.sdk import Telemetry

PARTITIONS = 4


class ListSender:
    """Keeps messages; is ready, or not, as it is told.

    Attributes:
        messages: (topic, partition, value, events) in the order of sending.
        loses: whether reports do not arrive.
    """

    def __init__(self, counting: Any) -> None:
        self.counting = counting
        self.messages: list[tuple[str, int, bytes, int]] = []
        self.ready = True
        self.loses = False
        self.topics: set[str] | None = None

    def is_ready(self) -> bool:
        return self.ready

    def partitions(self, topic: str) -> tuple[str, int] | None:
        if self.topics is not None and topic not in self.topics:
            return None
        return topic, PARTITIONS

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        events: int,
        lost: Callable[[], None] | None = None,
    ) -> None:
        if self.loses and lost is not None:
            lost()
            return
        self.messages.append((topic, partition, value, events))
        self.counting.arrived(events)

    def poll(self) -> None:
        pass

    def close(self, seconds: float) -> None:
        pass

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events sent, decoded by the engine's codec."""
        return [event for m in self.messages for event in decode(m[2])["events"]]


def kept(telemetry: Telemetry) -> list[dict[str, Any]]:
    """Return what a telemetry of `made` sent, own reports aside."""
    assert telemetry.flush(60)
    sender: Any = telemetry.emitter.sender
    return [e for e in sender.events if e["component"] != "telemetry"]


def made(module: str = "ALPHA", component: str = "parser", **options: Any) -> Telemetry:
    """Return a telemetry whose events are kept in this process."""
    telemetry = Telemetry(module, component, "nowhere:1", **{"linger_seconds": 0.005, **options})
    telemetry.emitter._make_sender = ListSender
    return telemetry
