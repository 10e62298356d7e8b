"""The words for how well something does, and their order.

Owns what a severity means for health. Invariant: whatever is added to what is known, the worst of
it never gets better.
"""

from collections.abc import Iterable
from typing import Final, Literal

from streams.core.alerts.finding import SEVERITIES

Status = Literal["HEALTHY", "UNKNOWN", "DEGRADED", "UNHEALTHY"]
HEALTHY: Final = "HEALTHY"
UNKNOWN: Final = "UNKNOWN"
DEGRADED: Final = "DEGRADED"
UNHEALTHY: Final = "UNHEALTHY"
STATUSES: Final[tuple[Status, ...]] = (HEALTHY, UNKNOWN, DEGRADED, UNHEALTHY)
"""From the best to the worst. What was not seen lately may be dead: it is worse than well. It is
better than what is known to be hurt, so that silence hides no trouble."""

_OF_SEVERITY: Final[dict[str, Status]] = {
    "WARN": DEGRADED,
    "ERROR": DEGRADED,
    "CRITICAL": UNHEALTHY,
}
"""CRITICAL says that the promise is broken now. INFO says that something happened, not that
something is wrong."""


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of some statuses; HEALTHY of none."""
    return max(statuses, key=STATUSES.index, default=HEALTHY)


def is_bad(status: Status) -> bool:
    """Say whether something is known to be wrong."""
    return status in (DEGRADED, UNHEALTHY)


def of_severity(severity: str) -> Status:
    """Return what an open trouble of a severity makes of its place, were nothing else known."""
    return _OF_SEVERITY.get(severity, HEALTHY)


def weight(severity: str) -> int:
    """Return how much a trouble counts beside others: 0 (INFO) to 3 (CRITICAL)."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0
