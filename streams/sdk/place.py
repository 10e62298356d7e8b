"""A place: who makes events, and what all of its events have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.sdk.emitter import Emitter


class Place:
    """A component of a module.

    Attributes:
        module, component, actor: as in TelemetryEvent.
        topic: where its events go.
        threshold: a trace that begins here is sampled from this value of its id's low 56 bits on.
        baggage_dimensions: entries of the baggage that become dimensions of each event.
        emitter: takes its events.
        key: of events without a trace.
        shapes: bytes of spans by name and outcome, see `sdk.encode`.
    """

    __slots__ = (
        "actor", "baggage_dimensions", "component", "emitter", "key", "module", "shapes",
        "threshold", "topic",
    )  # fmt: skip

    def __init__(
        self,
        emitter: Emitter,
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
        self.shapes: dict[tuple[str, bool], bytes] = {}
