"""Alerts as evidence: what a rule found speaks for its module, as other evidence does.

The rule has tested already, so the score does not say how far beyond its threshold a value is but
that it is beyond doubt; the share of trace evidence that can be trusted weighs it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.core.causes.evidence import (
    ALERT,
    LOG_NEW,
    METRIC_SHIFT,
    MISSING_EDGE,
    TRACE_ERRORS,
    TRACE_SLOW,
    Evidence,
)
from streams.core.incidents.topology import Topology

ALERT_SCORE: Final = 12.0
_NOWHERE: Final = Topology()
_KIND_WORDS: Final = (
    (TRACE_ERRORS, ("error", "malformed", "schema", "retry", "duplicate", "circuit")),
    (TRACE_SLOW, ("deadline", "slow", "latency", "lag", "back_pressure")),
    (LOG_NEW, ("log_",)),
    (METRIC_SHIFT, ("metric", "threshold", "anomaly", "signal")),
    (MISSING_EDGE, ("fidelity", "missing", "silent", "restarted", "mispartitioned")),
)


def alert_evidence(
    alerts: Iterable[Mapping[str, Any]], topology: Topology = _NOWHERE
) -> list[Evidence]:
    """Return one evidence for each alert that names a module; resolved ones count, too."""
    return [
        Evidence(
            evidence_kind(alert["kind"]),
            alert["module"],
            alert.get("component")
            or topology.component_of(alert.get("flow", ""), alert.get("to_stage", "")),
            alert.get("name", ""),
            alert.get("from_stage", ""),
            alert.get("to_stage", ""),
            alert["firing_since"],
            ALERT_SCORE,
            min(1.0, max(0.0, alert.get("fidelity_ratio", 1.0))),
            alert.get("explanation", "") or f"alert {alert['kind']} of {alert['module']}",
        )
        for alert in alerts
        if alert["module"]
    ]


def evidence_kind(kind: str) -> str:
    """Return the evidence kind of an alert kind; what is lost or silent is a missing edge."""
    return next((k for k, words in _KIND_WORDS if any(w in kind for w in words)), ALERT)
