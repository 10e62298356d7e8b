"""How bad an incident is: its worst alert, how fast an error budget burns, and how far it spreads.

Invariant: more alerts, a faster burn or more modules never make it milder.
"""

from collections.abc import Mapping
from typing import Any, Final

from streams.core.alerts.finding import FIDELITY_BURN, MISSING_ACKNOWLEDGMENT, SEVERITIES

BUDGET_GONE_RATE: Final = 100.0
"""At this burn rate the budget of 30 days is gone within 7.2 hours: before the next shift comes."""
SPREAD_MODULES: Final = 3
"""Alerts in so many modules are no longer a matter of one team: one severity worse."""


def severity_of(alert: Mapping[str, Any]) -> int:
    """Return how bad an alert is alone, as an index of `SEVERITIES`."""
    level = _level(alert["severity"])
    is_burn = alert["kind"] in (FIDELITY_BURN, MISSING_ACKNOWLEDGMENT)
    if is_burn and alert["unit"] != "ratio" and alert["value"] >= BUDGET_GONE_RATE:
        return max(level, _level("CRITICAL"))
    return level


def spread(level: int, modules: int) -> int:
    """Return how bad an incident is whose worst alert has a level, with alerts in some modules."""
    if modules < SPREAD_MODULES or level < _level("WARN"):
        return level
    return min(level + 1, len(SEVERITIES) - 1)


def worse(severity: str, level: int) -> str:
    """Return the worse of a severity and a level."""
    return SEVERITIES[max(_level(severity), level)]


def _level(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0
