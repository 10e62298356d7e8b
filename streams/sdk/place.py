"""A place: who makes events, and what all of its events have in common."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol


class Taker(Protocol):
    """What takes finished events: a caller looks at its queue itself, which is cheaper than asking.

    Attributes:
        queue: what waits.
        room: up to so many an event may be appended; beyond it `crowded` is called.
        cut: how many texts, dimensions and links were beyond their bound.
        refused: how often something was said that cannot be told.
    """

    queue: deque[Any]
    room: int
    born_ns: int
    characters_max: int
    queued_characters: int
    cut: int
    refused: int

    def crowded(self, item: Any) -> None:
        """Take an event where there is little room, or drop it."""

    def of_parent(self) -> None:
        """Drop a span that the process began from which this one was forked."""

    def unsampled(self, place: Place, *, is_root: bool, is_sent: bool) -> None:
        """Count a span whose trace is not sampled, and the trace where it began it."""


class Place:
    """A component of a module.

    Attributes:
        module, component, actor: as in TelemetryEvent.
        topic: where its events go.
        threshold: a trace that begins here is sampled from this value of its id's low 56 bits on.
        baggage_dimensions: entries of the baggage that become dimensions of each event.
        emitter: takes its events.
        key: of events without a trace.
        shapes: what spans have in common by name, kind, status and flags, see `sdk.encode`.
    """

    __slots__ = (
        "actor", "baggage_dimensions", "component", "emitter", "key", "module", "shapes",
        "threshold", "topic",
    )  # fmt: skip

    def __init__(
        self,
        emitter: Taker,
        module: str,
        component: str,
        topic: str,
        actor: str = "",
        threshold: int = 0,
        baggage_dimensions: tuple[str, ...] = (),
    ) -> None:
        self.emitter = emitter
        self.module = module
        self.component = component
        self.topic = topic
        self.actor = actor
        self.threshold = threshold
        self.baggage_dimensions = baggage_dimensions
        self.key = f"{module}.{component}".encode()
        self.shapes: dict[tuple[str, int, int, int], Any] = {}
