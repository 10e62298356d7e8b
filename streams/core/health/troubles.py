"""What open incidents say of each place, and where they see the cause.

Owns the way from an incident's event to places. Nothing is judged anew: severities, what explains
what, and the probabilities of causes are the incident's own.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from streams.core.causes.evidence import UNKNOWN as NO_KIND

_FIRING: Final = "FIRING"
_NOWHERE: Final[Mapping[str, float]] = {}


class Trouble(NamedTuple):
    """One place in trouble.

    Attributes:
        incident_id: that tells of it.
        module: where it is; "" for an incident of none.
        component: of the module; "" for the module as a whole.
        severity: how bad it is there.
        blamed: by module, the probability that the cause lies in it; together 1 at most.
    """

    incident_id: str
    module: str
    component: str
    severity: str
    blamed: Mapping[str, float] = _NOWHERE


def troubles_of(incidents: Iterable[Mapping[str, Any]]) -> Iterator[Trouble]:
    """Yield the places of open incidents: of each alert that fires, and of the incident itself.

    Args:
        incidents: events of schema `incident_event`, each the last of its incident.
    """
    for incident in incidents:
        blamed = _ranked(incident["causes"])
        about = (incident["incident_id"], incident["module"], incident["component"])
        yield Trouble(*about, incident["severity"], blamed)
        alerts = {alert["fingerprint"]: alert for alert in incident["alerts"]}
        for alert in alerts.values():
            if alert["state"] != _FIRING or not alert["module"]:
                continue
            first = _first_cause(alert, alerts)
            yield Trouble(
                incident["incident_id"],
                alert["module"],
                alert["component"],
                alert["severity"] or incident["severity"],
                blamed if first is alert else {first["module"]: 1.0},
            )


def _ranked(causes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the probability by module; what nothing speaks for is nobody's fault."""
    found: dict[str, float] = {}
    left = 1.0
    for cause in causes:
        share = max(0.0, min(left, cause["probability"]))
        left -= share
        if cause["module"] and cause["kind"] != NO_KIND:
            found[cause["module"]] = found.get(cause["module"], 0.0) + share
    return found


def _first_cause(
    alert: Mapping[str, Any], alerts: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Return the alert that a chain of explanations begins with; the alert where there is none."""
    seen = {alert["fingerprint"]}
    while (before := alerts.get(alert["caused_by"])) and before["fingerprint"] not in seen:
        seen.add(before["fingerprint"])
        alert = before
    return alert
