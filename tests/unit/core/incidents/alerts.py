"""Alerts for tests of incidents, with everything but the point at hand filled in."""

from typing import Any

from streams.core.alerts.finding import fingerprint
from tests.synthetic_pipeline import SECOND, STAGES


def alert(kind: str, where: str, since: float = 10, **fields: Any) -> dict[str, Any]:
    """Return a firing alert at "stage>stage", at ">stage", or at a module; times in seconds."""
    near, arrow, far = where.partition(">")
    module = STAGES[far] if arrow else where
    print_ = fingerprint(kind, module, "", near if arrow else "", far, where)
    last = fields.pop("last", since + 1)
    return {
        "fingerprint": print_,
        "version": 1,
        "kind": kind,
        "state": "FIRING",
        "severity": "ERROR",
        "flow": "record" if arrow else "",
        "module": module,
        "component": "",
        "from_stage": near if arrow else "",
        "to_stage": far,
        "name": where,
        "firing_since": round(since * SECOND),
        "last_seen": round(last * SECOND),
        "count": 10,
        "value": 0.3,
        "threshold": 0.05,
        "unit": "ratio",
        "explanation": "it does",
        "trace_ids": [],
        "record_ids": [],
        "batch_ids": [],
        "contract_version": "1",
    } | fields


def resolved(of: dict[str, Any], last: float, version: int = 2) -> dict[str, Any]:
    """Return the state of an alert that ended."""
    return of | {"state": "RESOLVED", "version": version, "last_seen": round(last * SECOND)}
