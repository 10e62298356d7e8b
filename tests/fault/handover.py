"""How long a partition was silent when its worker joined, left or died.

Owns the reading of silences around changes. A change is measured only when no other one came in its
stretch, so that each silence has one cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.fault.arrivals import Arrivals, quantile
from tests.fault.fleet import Life

MEASURED: Final = ("join", "term", "kill", "pause", "quiet")
STRETCH_SECONDS: Final = 18.0
"""Within it, a change is over: session, takeover, and the start of a worker."""
ALONE_SECONDS: Final = 12.0
"""A change is measured when the next one comes no earlier."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something done to a worker or to the broker at a time."""

    at_unix: float
    kind: str
    seat: str


def handovers(
    changes: Sequence[Change], lives: Sequence[Life], arrivals: Arrivals
) -> dict[str, Any]:
    """Return, by kind of change, the largest silences of partitions that stayed and that moved.

    Each is {"count", "p50", "p95", "max"} in seconds over (change, partition) pairs.
    """
    # All of them: a worker that gets a partition back later has taken it over before, too.
    taken = [(at, partition) for life in lives for partition, at in life.takeovers()]
    found: dict[str, list[float]] = {}
    ordered = sorted(changes, key=lambda change: change.at_unix)
    for index, change in enumerate(ordered):
        later = ordered[index + 1].at_unix if index + 1 < len(ordered) else float("inf")
        if change.kind not in MEASURED or later - change.at_unix < ALONE_SECONDS:
            continue
        end = min(change.at_unix + STRETCH_SECONDS, later)
        moved = {p for at, p in taken if change.at_unix <= at <= end}
        for number, partition in arrivals.partitions.items():
            what = "moved" if number in moved else "stayed"
            silence = partition.silence(change.at_unix, end)
            found.setdefault(f"{change.kind} {what}", []).append(silence)
    return {
        name: {
            "count": len(values),
            "p50": quantile(values, 0.5),
            "p95": quantile(values, 0.95),
            "max": quantile(values, 1.0),
        }
        for name, values in sorted(found.items())
    }
