"""What open incidents say of each place now, and where they see the cause.

Owns the way from an incident's event to places. Nothing is judged anew: severities, what explains
what, and the probabilities of causes are the incident's own. Invariant: an alert that is known to
be over hurts nobody, and no alert's end makes anything worse.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.core.alerts.finding import SEVERITIES
from streams.core.causes.evidence import UNKNOWN as NO_KIND
from streams.core.incidents.severity import severity_of, spread, worse

_FIRING: Final = "FIRING"
_NOWHERE: Final[Mapping[str, float]] = {}
_ANYWHERE: Final = ("", "")

Alert = Mapping[str, Any]
LastStates = Mapping[str, Alert]
"""By fingerprint what an alert said last: `state`, `severity`, `firing_since`, `last_seen`."""
_LAST_FIELDS: Final = ("state", "severity", "firing_since", "last_seen")
_NO_STATES: Final[LastStates] = {}


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


def troubles_of(
    incidents: Iterable[Mapping[str, Any]], last: LastStates = _NO_STATES
) -> Iterator[Trouble]:
    """Yield the places of open incidents: of each alert that fires, and of the incident itself.

    An incident tells its alerts as they were at its last event, which may be long ago: an alert
    that ends while another one goes on is no news to people. So each counts as of its last state.
    The incident itself counts while anything of it fires: by what fires now, and never for more
    than it says itself, whose severity does not become milder. It counts at its place as long as
    an alert fires there, and then for no module.

    Args:
        incidents: events of schema `incident_event`, each the last of its incident.
        last: what alerts said last; one that is not there counts as its incident tells it.
    """
    for incident in incidents:
        blamed = _ranked(incident["causes"])
        alerts = {alert["fingerprint"]: alert for alert in as_of_now(incident["alerts"], last)}
        firing = [alert for alert in alerts.values() if alert["state"] == _FIRING]
        yield from _own(incident, firing, blamed)
        for alert in firing:
            if not alert["module"]:
                continue
            first = _first_cause(alert, alerts)
            yield Trouble(
                incident["incident_id"],
                alert["module"],
                alert["component"],
                alert["severity"] or incident["severity"],
                blamed if first is alert else {first["module"]: 1.0},
            )


def as_of_now(told: Iterable[Alert], last: LastStates) -> list[Alert]:
    """Return alerts as an event tells them, each in its later state: that, or what it said last.

    The two come by topics of their own, so either may be ahead for a moment. In doubt an alert
    fires: one whose last word is that it does, and one of which the event says so, unless the last
    word is an end that is no older. (When an alert begins anew, the violations that it names may be
    older than its last end, see `episode`; so of two states that fire the times prove nothing.)
    """
    return [_later(alert, last.get(alert["fingerprint"])) for alert in told]


def _later(told: Alert, said: Alert | None) -> Alert:
    if said is None or (said["state"] != _FIRING and _age(said) < _age(told)):
        return told
    return {**told, **{name: said[name] for name in _LAST_FIELDS}}


def _age(alert: Alert) -> tuple[int, int]:
    return alert["firing_since"], alert["last_seen"]


def _own(
    incident: Mapping[str, Any], firing: Sequence[Alert], blamed: Mapping[str, float]
) -> Iterator[Trouble]:
    """Yield what an incident is besides its alerts; nothing when all of these are over."""
    place = incident["module"], incident["component"]
    told, id_ = incident["severity"], incident["incident_id"]
    listed = sum(alert["state"] == _FIRING for alert in incident["alerts"])
    if incident["alerts_firing"] > listed:  # of those that it does not list no end is known
        yield Trouble(id_, place[0], place[1], told, blamed)
    elif firing:
        places = {(alert["module"], alert["component"]) for alert in firing}
        module, component = place if place in places else _ANYWHERE
        yield Trouble(id_, module, component, _severity_now(told, firing), blamed)


def _severity_now(told: str, firing: Sequence[Alert]) -> str:
    """Return how bad an incident is by the alerts of it that fire, and at most as it was told."""
    modules = {alert["module"] for alert in firing} - {""}
    worst = max(severity_of({**alert, "severity": alert["severity"] or told}) for alert in firing)
    now = worse("INFO", spread(worst, len(modules)))
    return min(now, told, key=SEVERITIES.index)


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


def _first_cause(alert: Alert, alerts: Mapping[str, Alert]) -> Alert:
    """Return the alert that a chain of explanations begins with; the alert where there is none."""
    seen = {alert["fingerprint"]}
    while (before := alerts.get(alert["caused_by"])) and before["fingerprint"] not in seen:
        seen.add(before["fingerprint"])
        alert = before
    return alert
