"""Events, parcels and outlets of the collector's tests."""

import threading
from typing import Any

from streams.collector.parcel import Parcel, Settled
from tests.integration.traces import event_of

START_US = 1_790_000_000_000_000


def event(trace: int = 1, span: int = 1, **changed: Any) -> dict[str, Any]:
    """Return an event of the schema."""
    return event_of(trace, span, START_US) | changed


def as_json(one: dict[str, Any]) -> dict[str, Any]:
    """Return an event as a sender of JSON writes it."""
    return {name: value for name, value in one.items() if name != "value"}


class Outlet:
    """Takes parcels, and says of each what it is told to."""

    def __init__(self, said: str = "") -> None:
        self.said = said
        self.parcels: list[Parcel] = []
        self.lock = threading.Lock()

    def send(self, parcel: Parcel, settled: Settled) -> None:
        """Keep a parcel and settle it."""
        with self.lock:
            self.parcels.append(parcel)
        settled(self.said)
