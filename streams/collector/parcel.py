"""What goes to a topic: one Kafka message, ready, and how many events it holds."""

from collections.abc import Callable
from typing import NamedTuple


class Parcel(NamedTuple):
    """One message.

    Attributes:
        topic, partition: where it goes.
        key: None for a batch, whose partition was computed from its events.
        value: with its wire header.
        events: how many it holds.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    events: int


Settled = Callable[[str], None]
"""Told once, in any thread: "" when a parcel is safe, else why it is not (a bounded name)."""
