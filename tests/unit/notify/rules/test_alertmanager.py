"""Incidents as alerts: stable labels, one active set each, ends only by an end."""

from streams.notify.rules.alertmanager import (
    BATCH_MAX,
    INCIDENTS_MAX,
    AlertBook,
    Lease,
    alert_of,
    labels_of,
)
from streams.notify.rules.payload import rfc3339
from streams.units import MINUTE_US, SECOND_US
from tests.notify_events import OPENED_US, incident

NOW = OPENED_US + MINUTE_US
ID = "a" * 32
LEASE = Lease(resend_us=MINUTE_US, active_us=10 * MINUTE_US, resolved_us=15 * MINUTE_US)


def book() -> AlertBook:
    """Return a book without alerts."""
    return AlertBook("https://c.example.org/{incident_id}", LEASE)


def test_an_alert_says_who_it_is_of_and_why() -> None:
    """Labels identify and route; annotations explain; the link leads to the page."""
    alert = alert_of(incident(), "https://c.example.org/{incident_id}", NOW + MINUTE_US)
    assert alert["labels"] == {
        "alertname": "SpanloomIncident", "incident_id": ID, "severity": "error",
        "module": "BETA", "owner": "team-beta", "channel": "#beta",
    }  # fmt: skip
    assert alert["annotations"]["explanation"].startswith("8 of 400 records")
    assert alert["annotations"]["causes"] == "unknown"
    assert alert["annotations"]["page"] == alert["generatorURL"] == f"https://c.example.org/{ID}"
    assert alert["startsAt"] == rfc3339(OPENED_US)


def test_labels_do_not_change_with_the_version() -> None:
    """Or each update would be another alert."""
    assert labels_of(incident(version=1)) == labels_of(incident(version=7, event="UPDATED"))
    assert "owner" not in labels_of(incident(owner=""))


def test_an_active_alert_is_said_again_with_its_lease_renewed() -> None:
    """Nobody else keeps it alive; when nobody says it again it is over after the lease."""
    said = book()
    said.note(incident(), NOW)
    (batch,) = said.again(NOW + MINUTE_US)
    assert [a["endsAt"] for a in batch] == [rfc3339(NOW + 11 * MINUTE_US)]
    assert said.active == 1


def test_a_resolved_alert_is_said_again_for_a_while_and_then_forgotten() -> None:
    """A replica that was away hears of the end; the end keeps its time."""
    said = book()
    said.note(incident(), NOW)
    said.note(incident(version=2, event="RESOLVED"), NOW + MINUTE_US)
    for minutes in (1, 15):
        (batch,) = said.again(NOW + minutes * MINUTE_US)
        assert [a["endsAt"] for a in batch] == [rfc3339(NOW + MINUTE_US)]
    assert said.again(NOW + 16 * MINUTE_US + 1) == []
    assert said.active == 0


def test_a_change_of_severity_ends_the_earlier_label_set_in_the_same_breath() -> None:
    """One alert active at a time, though labels are what Alertmanager tells alerts apart by."""
    said = book()
    said.note(incident(severity="WARN"), NOW)
    said.note(incident(version=2, event="UPDATED", severity="CRITICAL"), NOW + SECOND_US)
    alerts = said.alerts_of(ID, NOW + SECOND_US)
    by_severity = {a["labels"]["severity"]: a["endsAt"] for a in alerts}
    assert by_severity == {
        "warn": rfc3339(NOW + SECOND_US),
        "critical": rfc3339(NOW + SECOND_US + LEASE.active_us),
    }
    assert said.active == 1
    said.note(incident(version=3, event="UPDATED", severity="WARN"), NOW + 2 * SECOND_US)
    assert said.active == 1


def test_nothing_but_an_end_ends() -> None:
    """Acknowledged, silenced, or a kind that is not known: the alert stays active."""
    for version, kind in enumerate(("UPDATED", "ACKNOWLEDGED", "SILENCED", "REOPENED"), 2):
        said = book()
        said.note(incident(), NOW)
        said.note(incident(version=version) | {"event": kind, "silenced": True}, NOW)
        assert said.active == 1, kind
        (alert,) = said.alerts_of(ID, NOW)
        assert alert["annotations"]["silenced"] == "true"
    said.note(incident(version=9, event="MERGED"), NOW)
    assert said.active == 0


def test_an_earlier_version_does_not_wake_what_has_ended() -> None:
    """A repeat after a restart changes nothing."""
    said = book()
    said.note(incident(version=2, event="RESOLVED"), NOW)
    said.note(incident(version=1), NOW + SECOND_US)
    assert said.active == 0


def test_requests_and_memory_are_bounded() -> None:
    """A storm goes out in requests of 64 alerts; beyond 10,000 the oldest are left to a lease."""
    said, one = book(), incident()
    for number in range(INCIDENTS_MAX + 5):
        said.note(one | {"incident_id": f"{number:032x}"}, NOW)
    batches = said.again(NOW)
    assert sum(map(len, batches)) == INCIDENTS_MAX
    assert max(map(len, batches)) == BATCH_MAX
    assert said.alerts_of(f"{4:032x}", NOW) == []
