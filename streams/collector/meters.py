"""What the collector counts; read by scrapers, written by its threads."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from streams.serving.meters import RequestMeters


@dataclass
class Meters(RequestMeters):
    """Counts since the start.

    Attributes:
        taken_events: that are safe, by kind.
        rejected_events: by (kind, reason).
        unkept_rejections: rejected events that the topic of rejected events lacks.
        received_bytes, inflated_bytes: of requests, by kind.
        held_bytes: of requests that are not answered yet.
    """

    taken_events: Counter[str] = field(default_factory=Counter)
    rejected_events: Counter[tuple[str, str]] = field(default_factory=Counter)
    unkept_rejections: Counter[str] = field(default_factory=Counter)
    received_bytes: Counter[str] = field(default_factory=Counter)
    inflated_bytes: Counter[str] = field(default_factory=Counter)
    held_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
