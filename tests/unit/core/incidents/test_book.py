"""The life of incidents: opened, updated, merged, resolved, reopened, bounded."""

from typing import Any

from streams.core.incidents.book import IncidentBook
from streams.core.incidents.incident import incident_id
from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.settings import DampingSettings, IncidentSettings
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved

HOP = "transfer_beta_gamma>rendering"
SETTINGS = IncidentSettings(
    relations=RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND),
    damping=DampingSettings(half_life_us=5 * SECOND),
    quiet_us=5 * SECOND,
    reopen_us=20 * SECOND,
)


def names(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["event"], event["version"]) for event in events]


def book(**settings: Any) -> IncidentBook:
    known = {f: getattr(SETTINGS, f) for f in ("relations", "damping", "quiet_us", "reopen_us")}
    return IncidentBook(IncidentSettings(**(known | settings)), TOPOLOGY)


def tell(of: IncidentBook, *alerts: dict[str, Any], now: float = 0) -> list[dict[str, Any]]:
    return of.update(alerts, round(now * SECOND), caught_up=True)


def test_an_alert_opens_an_incident_for_its_owner() -> None:
    """The first event names what, where, since when, and who has to know."""
    silent = alert("module_silent", "GAMMA", 10, last=13, unit="s", value=3.0)
    (event,) = tell(book(), silent)
    assert names([event]) == [("OPENED", 1)]
    assert event["incident_id"] == incident_id([silent])
    assert event["title"] == "Module GAMMA is silent"
    assert (event["owner"], event["channel"]) == ("output-team", "#gamma")
    assert event["playbook"] == "output"
    assert event["opened_at"] == event["timestamp"] == 13 * SECOND
    assert event["blast_radius"]["flows"] == ["record"]
    assert (event["alerts_in"], event["alerts_suppressed"]) == (1, 0)


def test_growth_alone_is_told_once_it_is_a_magnitude() -> None:
    """Doublings of the only alert cause no event until its count is tenfold."""
    incidents = book()
    loss = alert("fidelity_burn", HOP, count=10)
    tell(incidents, loss)
    for version, count in ((2, 20), (3, 40), (4, 80)):
        assert tell(incidents, loss | {"version": version, "count": count}) == []
    (event,) = tell(incidents, loss | {"version": 5, "count": 160})
    assert names([event]) == [("UPDATED", 2)]
    assert (event["alerts_in"], event["alerts_suppressed"]) == (5, 3)
    assert event["blast_radius"]["records"] == 160


def test_worse_is_told_at_once() -> None:
    """An alert that becomes more severe updates its incident; milder is no news."""
    incidents = book()
    loss = alert("fidelity_burn", HOP)
    tell(incidents, loss)
    (event,) = tell(incidents, loss | {"version": 2, "severity": "CRITICAL"})
    assert (event["event"], event["severity"]) == ("UPDATED", "CRITICAL")
    assert tell(incidents, loss | {"version": 3, "severity": "WARN"}) == []


def test_a_repeated_state_counts_for_nothing() -> None:
    """A state delivered again, or an older one, changes neither incident nor accounting."""
    incidents = book()
    loss = alert("fidelity_burn", HOP, version=3)
    tell(incidents, loss)
    assert tell(incidents, loss, loss | {"version": 2}) == []
    assert incidents.discarded["alert_known"] == 2


def test_a_cause_takes_the_lead() -> None:
    """A silent module that comes later renames the incident of its effect."""
    incidents = book()
    tell(incidents, alert("fidelity_burn", HOP, 10))
    (event,) = tell(incidents, alert("module_silent", "GAMMA", 11, last=14))
    assert names([event]) == [("UPDATED", 2)]
    assert event["title"] == "Module GAMMA is silent"
    assert event["kinds"] == ["module_silent", "fidelity_burn"]
    assert [a["joined_because"] for a in event["alerts"]] == [
        "GAMMA is silent, so nothing crosses the edges into and out of it",
        "it is the first sign of the problem",
    ]


def test_a_cause_of_two_incidents_merges_them() -> None:
    """When one cause explains two open incidents the older takes the younger over."""
    incidents = book()
    (first,) = tell(incidents, alert("missing_acknowledgment", "delivery>acknowledgment", 10))
    (second,) = tell(incidents, alert("fidelity_burn", HOP, 12))
    assert first["incident_id"] != second["incident_id"]
    merged, updated = tell(incidents, alert("module_silent", "GAMMA", 11, last=14))
    assert names([merged, updated]) == [("MERGED", 2), ("UPDATED", 2)]
    assert merged["incident_id"] == second["incident_id"]
    assert merged["title"].startswith(f"Merged into incident {first['incident_id']}: ")
    assert updated["incident_id"] == first["incident_id"]
    assert len(updated["alerts"]) == 3
    assert updated["alerts_in"] == 3


def test_it_ends_when_all_are_quiet_by_the_time_of_others() -> None:
    """An incident is resolved once all its alerts are and a later alert shows that time passed."""
    incidents = book()
    loss = alert("fidelity_burn", HOP, 10)
    tell(incidents, loss)
    assert tell(incidents, resolved(loss, 15)) == []
    events = tell(incidents, alert("duplicate_rate", "ALPHA", 19, last=20))
    assert names(events) == [("OPENED", 1), ("RESOLVED", 2)]
    assert events[1]["resolved_at"] == events[1]["timestamp"] == 20 * SECOND


def test_it_ends_by_the_clock_when_nothing_else_comes() -> None:
    """Without later alerts the clock ends it; while something is unread it stands still."""
    incidents = book()
    loss = alert("fidelity_burn", HOP, 10)
    tell(incidents, loss, now=100)
    tell(incidents, resolved(loss, 15), now=110)
    assert tell(incidents, now=114) == []
    assert incidents.update([], 200 * SECOND, caught_up=False) == []
    assert tell(incidents, now=200.5) == []
    assert names(tell(incidents, now=201)) == [("RESOLVED", 2)]


def test_the_same_alert_reopens_its_incident() -> None:
    """An alert that fires again soon reopens; after that time it is a new incident."""
    incidents = book()
    loss = alert("fidelity_burn", HOP, 10)
    (opened,) = tell(incidents, loss, now=10)
    tell(incidents, resolved(loss, 15), now=16)
    assert names(tell(incidents, now=30)) == [("RESOLVED", 2)]
    again = loss | {"version": 3, "firing_since": 30 * SECOND, "last_seen": 31 * SECOND}
    (event,) = tell(incidents, again, now=31)
    assert names([event]) == [("REOPENED", 3)]
    assert (event["incident_id"], event["resolved_at"]) == (opened["incident_id"], 0)
    tell(incidents, resolved(again, 35, version=4), now=36)
    tell(incidents, now=60)
    later = loss | {"version": 5, "firing_since": 99 * SECOND, "last_seen": 99 * SECOND}
    (event,) = tell(incidents, later, now=100)
    assert names([event]) == [("OPENED", 1)]
    assert event["incident_id"] != opened["incident_id"]


def test_an_alert_that_came_and_went_between_two_steps_is_told() -> None:
    """Fired and resolved within one step, it still opens an incident and ends it."""
    incidents = book()
    loss = alert("fidelity_burn", HOP, 10)
    events = tell(incidents, resolved(loss, 15), loss, now=100)
    assert names(events) == [("OPENED", 1)]
    assert (events[0]["alerts_in"], events[0]["alerts_suppressed"]) == (2, 1)
    assert names(tell(incidents, now=105)) == [("RESOLVED", 2)]


def test_bounds_are_kept_and_counted() -> None:
    """Beyond a bound nothing is kept, and what was refused is counted by reason."""
    incidents = book(max_open=1, max_alerts=1)
    tell(incidents, alert("fidelity_burn", HOP, 10))
    assert tell(incidents, alert("duplicate_rate", "ALPHA", 10)) == []
    assert incidents.discarded["incident_over_bound"] == 1
    assert tell(incidents, alert("context_restarted", HOP, 10)) == []
    assert incidents.discarded["alert_over_bound"] == 1
    assert len(incidents.open) == 1
