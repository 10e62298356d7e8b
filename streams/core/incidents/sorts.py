"""What an alert is about, told from its kind and name: work that piles up, time, or anything else.

Owns the order of the engine's own kinds, too. Invariant: an answer is a function of kind and name.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from streams.core.alerts.finding import (
    CLOCK_SKEW,
    CONTEXT_RESTARTED,
    DEADLINE_MISSED,
    DUPLICATE_RATE,
    ERROR_SPANS,
    FIDELITY_BURN,
    MISPARTITIONED,
    MISSING_ACKNOWLEDGMENT,
    MODULE_SILENT,
)
from streams.core.causes.metric_kinds import LATENCY, metric_kind

CAUSE_ORDER: Final = (
    MISPARTITIONED,
    MODULE_SILENT,
    CONTEXT_RESTARTED,
    CLOCK_SKEW,
    ERROR_SPANS,
    FIDELITY_BURN,
    MISSING_ACKNOWLEDGMENT,
    DEADLINE_MISSED,
    DUPLICATE_RATE,
)
"""Of two alerts at equal depth, the kind that stands first is more likely the other's cause."""

_NAMES_MAX: Final = 10_000
"""Names of alerts that are remembered; they are as many as a contract's series, usually."""


def is_congestion(kind: str) -> bool:
    """Say whether a kind of alert is about work that piles up, which its takers bring about."""
    return "backpressure" in kind.replace("_", "") or kind.startswith("queue")


def is_late(alert: Mapping[str, Any]) -> bool:
    """Say whether an alert is about time: of waiting, of a step, or of what came too late."""
    kind = alert["kind"]
    if kind == DEADLINE_MISSED or is_congestion(kind):
        return True
    return kind not in CAUSE_ORDER and _signal(alert["name"]) == LATENCY


@lru_cache(_NAMES_MAX)
def _signal(name: str) -> str:
    return metric_kind(name).signal
