"""Incidents as Alertmanager's alerts: labels, annotations, times, and what is said again when.

Alertmanager keeps alerts in memory and calls one over that is not said again, so what is active is
repeated, and what is over for a while too (a replica may have been away). Pure.

Invariants: the labels of one version of an incident never change; no alert has two label sets at
once: where severity, module, owner or channel changed, the earlier set ends in the same request.
An alert ends only by RESOLVED or MERGED, or by the lease when nobody is left to say it again.

Source: Alertmanager's API v2; Prometheus' notifier, which also says an alert again and gives
`endsAt` a few repetitions ahead.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from streams.notify.rules.book import Incident, is_end
from streams.notify.rules.payload import (
    causes_text,
    explanation_text,
    is_silenced,
    page_link,
    rfc3339,
    shorten,
    why_text,
)
from streams.units import SECOND_US

PATH: Final = "/api/v2/alerts"
BATCH_MAX: Final = 64
ALERTNAME: Final = "SpanloomIncident"
TEST_ALERTNAME: Final = "SpanloomTest"
INCIDENTS_MAX: Final = 10_000
"""Incidents said again; beyond it those changed longest ago are left to their lease."""

Alert = dict[str, Any]
Labels = dict[str, str]
_Key = tuple[tuple[str, str], ...]
"""A label set."""


@dataclass(frozen=True, slots=True)
class Lease:
    """How often alerts are said again.

    Attributes:
        resend_us: between two times.
        active_us: an active alert not said again for so long is over.
        resolved_us: for how long a resolved one is said again.
    """

    resend_us: int = 60 * SECOND_US
    active_us: int = 600 * SECOND_US
    resolved_us: int = 900 * SECOND_US


def labels_of(event: Incident, is_test: bool = False) -> Labels:
    """Return the labels of an incident; Alertmanager drops empty ones, so none is sent."""
    labels = {
        "alertname": TEST_ALERTNAME if is_test else ALERTNAME,
        "incident_id": event["incident_id"],
        "severity": event["severity"].lower(),
        "module": event["module"],
        "owner": event["owner"],
        "channel": event["channel"],
    }
    return {name: text for name, text in labels.items() if text}


def alert_of(
    event: Incident,
    page_url: str,
    ends_us: int,
    is_test: bool = False,
    labels: Labels | None = None,
) -> Alert:
    """Return an alert as `POST /api/v2/alerts` takes it.

    Args:
        event: the version of the incident that is told.
        page_url: template of the page's address.
        ends_us: when it is over; in the future while it is active.
        is_test: whether it was made up to try the way.
        labels: an earlier label set, to end it.
    """
    link = page_link(page_url, event)
    annotations = {
        "title": ("[TEST] " if is_test else "") + event["title"],
        "explanation": explanation_text(event),
        "causes": causes_text(event),
        "event": event["event"],
        "version": str(event["version"]),
        "why": why_text(event),
        "silenced": "true" if is_silenced(event) else "",
        "playbook": event["playbook"],
        "page": link,
    }
    alert: Alert = {
        "labels": labels or labels_of(event, is_test),
        "annotations": {name: shorten(text) for name, text in annotations.items() if text},
        "startsAt": rfc3339(min(event["opened_at"], ends_us)),
        "endsAt": rfc3339(ends_us),
    }
    return alert | ({"generatorURL": link} if link else {})


@dataclass(slots=True)
class Said:
    """A label set as the replicas are to know it.

    Attributes:
        event: the version that is said with it.
        ended_us: when it ended; 0 while it is active.
    """

    event: Incident
    ended_us: int = 0


@dataclass(slots=True)
class AlertBook:
    """What one Alertmanager target is to know, now and for a while to come.

    Args:
        page_url: template of the page's address.
        lease: how often it is said again.
    """

    page_url: str
    lease: Lease
    _said: dict[str, dict[_Key, Said]] = field(default_factory=dict)

    @property
    def active(self) -> int:
        """Return how many alerts are active."""
        return sum(not said.ended_us for sets in self._said.values() for said in sets.values())

    def note(self, event: Incident, now_us: int) -> None:
        """Note what is to be known of an incident from now on; an earlier version changes nothing.

        A label set that is no longer the incident's has ended.
        """
        id_ = event["incident_id"]
        sets = self._said.pop(id_, {})
        self._said[id_] = sets  # said last, forgotten last
        if any(said.event["version"] > event["version"] for said in sets.values()):
            return
        own = _key(event)
        for key, said in sets.items():
            if key != own:
                said.ended_us = said.ended_us or now_us
                said.event = event
        was = sets.get(own)
        ended_us = (was.ended_us if was else 0) or now_us
        sets[own] = Said(event, ended_us if is_end(event) else 0)
        while len(self._said) > INCIDENTS_MAX:
            del self._said[next(iter(self._said))]

    def alerts_of(self, incident_id: str, now_us: int) -> list[Alert]:
        """Return everything to say of an incident: its alert, and the label sets that ended."""
        sets = self._said.get(incident_id, {})
        return [self._alert(key, said, now_us) for key, said in sets.items()]

    def again(self, now_us: int) -> list[list[Alert]]:
        """Return all that is to be said again now, in requests of a bounded size."""
        for id_ in list(self._said):
            kept = {
                key: said
                for key, said in self._said[id_].items()
                if not said.ended_us or now_us - said.ended_us <= self.lease.resolved_us
            }
            self._said[id_] = kept
            if not kept:
                del self._said[id_]
        alerts = [alert for id_ in self._said for alert in self.alerts_of(id_, now_us)]
        return [alerts[at : at + BATCH_MAX] for at in range(0, len(alerts), BATCH_MAX)]

    def _alert(self, key: _Key, said: Said, now_us: int) -> Alert:
        ends_us = said.ended_us or now_us + self.lease.active_us
        return alert_of(said.event, self.page_url, ends_us, labels=dict(key))


def _key(event: Incident) -> _Key:
    return tuple(labels_of(event).items())
