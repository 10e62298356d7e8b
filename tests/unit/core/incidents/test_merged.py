"""After a merge: what was silenced stays silenced, and who asks for the old id is told the new."""

import json

from streams.core.incidents.incident import Incident
from streams.core.incidents.placing import WAS_IN_MAX
from streams.core.incidents.settings import IncidentSettings
from streams.engine.audit import audit_event
from streams.engine.incidents import IncidentTask
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert
from tests.unit.core.incidents.test_lifecycle import BASE, LOSS, Desk

STORM = alert("duplicate_rate", "ALPHA", 10)
THIRD = alert("odd_kind", "BETA", 10)


def opened(desk: Desk) -> dict[str, str]:
    """Open an incident for each of three alerts; return their ids by module."""
    desk.at(11, LOSS, STORM, THIRD)
    return {event["module"]: event["incident_id"] for event in desk.events}


def test_a_silence_of_an_incident_follows_its_alerts_into_another_one() -> None:
    """What a person silenced stays so; the alerts of the other one are heard as before."""
    desk = Desk()
    ids = opened(desk)
    until = 900 * SECOND
    desk.order(12, "silence", incident_id=ids["ALPHA"], until_us=until, command_id="s1")
    desk.order(13, "merge", incident_id=ids["ALPHA"], into=ids["GAMMA"])
    hidden = {one["module"]: one["silenced_by"] for one in desk.last["alerts"]}
    assert hidden == {"GAMMA": "", "ALPHA": "s1"}
    assert [one["silence_id"] for one in desk.last["silences"]] == ["s1"]
    told = len(desk.events)
    desk.at(14, STORM | {"version": 2, "severity": "CRITICAL"})
    assert len(desk.events) == told, "it would have been told to be worse"
    desk.order(15, "unsilence", incident_id=ids["ALPHA"])
    assert desk.answers[-1].refused == ""
    hidden = {one["module"]: one["silenced_by"] for one in desk.last["alerts"]}
    assert (set(hidden.values()), desk.last["severity"]) == ({""}, "CRITICAL")


def test_a_silence_follows_through_several_merges_and_a_restart() -> None:
    """Each id that an alert was under counts, also after the state was read back."""
    desk = Desk()
    ids = opened(desk)
    desk.order(12, "silence", incident_id=ids["ALPHA"], until_us=900 * SECOND, command_id="s1")
    desk.order(13, "merge", incident_id=ids["ALPHA"], into=ids["BETA"])
    desk.order(14, "merge", incident_id=ids["BETA"], into=ids["GAMMA"])
    settings = IncidentSettings(**BASE)  # type: ignore[arg-type]
    task = IncidentTask(settings, TOPOLOGY)
    task.book = desk.book
    saved = json.loads(json.dumps(task.snapshot()))
    desk.book = IncidentTask.restore(settings, TOPOLOGY, saved).book
    desk.at(15, STORM | {"version": 2})
    (incident,) = desk.book.open.values()
    assert incident.members[STORM["fingerprint"]].silenced_by == "s1"
    assert incident.members[THIRD["fingerprint"]].silenced_by == ""


def test_a_silence_of_the_one_that_takes_over_hides_what_comes_into_it() -> None:
    """It is for all alerts of that incident, whenever they came."""
    desk = Desk()
    ids = opened(desk)
    desk.order(12, "silence", incident_id=ids["GAMMA"], until_us=900 * SECOND, command_id="s1")
    desk.order(13, "merge", incident_id=ids["ALPHA"], into=ids["GAMMA"])
    assert {one["silenced_by"] for one in desk.last["alerts"]} == {"s1"}


def test_a_silence_counts_the_alerts_that_came_from_a_merged_incident() -> None:
    """A pattern that names the old id hides them, and says how many."""
    desk = Desk()
    ids = opened(desk)
    desk.order(12, "merge", incident_id=ids["ALPHA"], into=ids["GAMMA"])
    matcher = {"incident_id": ids["ALPHA"][:20] + "*"}
    assert desk.order(13, "silence", matcher=matcher, until_us=90 * SECOND).alerts_hidden == 1


def test_orders_about_a_merged_incident_reach_the_one_that_took_it_over() -> None:
    """Also through several merges; the answer and the audit entry say which one it was."""
    desk = Desk()
    ids = opened(desk)
    desk.order(12, "merge", incident_id=ids["ALPHA"], into=ids["BETA"])
    desk.order(13, "merge", incident_id=ids["BETA"], into=ids["GAMMA"])
    taken = desk.order(14, "ack", incident_id=ids["ALPHA"])
    assert (taken.refused, taken.incident_id, taken.version) == ("", ids["GAMMA"], 3)
    assert (desk.last["incident_id"], desk.last["acknowledged_by"]) == (ids["GAMMA"], "kim")
    said = audit_event(taken, 0)["dimensions"]
    assert (said["incident_id"], said["ordered_incident_id"]) == (ids["GAMMA"], ids["ALPHA"])
    silence = desk.order(15, "silence", incident_id=ids["BETA"], until_us=90 * SECOND)
    assert (silence.refused, silence.incident_id, silence.alerts_hidden) == ("", ids["GAMMA"], 3)
    assert {one["silenced_by"] for one in desk.last["alerts"]} == {silence.command.command_id}
    ended = desk.order(16, "unsilence", incident_id=ids["ALPHA"])
    assert (ended.refused, ended.incident_id) == ("", ids["GAMMA"])
    assert {one["silenced_by"] for one in desk.last["alerts"]} == {""}
    over = desk.order(17, "resolve", incident_id=ids["BETA"])
    assert (over.refused, over.incident_id, desk.last["event"]) == ("", ids["GAMMA"], "RESOLVED")


def test_what_the_one_that_took_over_refuses_is_said_with_its_id() -> None:
    """And two incidents become one for those who look at both: a merge follows nobody."""
    desk = Desk()
    ids = opened(desk)
    desk.order(12, "merge", incident_id=ids["ALPHA"], into=ids["GAMMA"])
    said = f"the incident is merged into {ids['GAMMA']}"
    merge = desk.order(13, "merge", incident_id=ids["BETA"], into=ids["ALPHA"])
    assert merge.refused == f"into: {said}"
    desk.order(14, "ack", incident_id=ids["GAMMA"])
    again = desk.order(15, "ack", incident_id=ids["ALPHA"])
    assert again.refused == f"{said}: kim has acknowledged it already"
    assert again.incident_id == ids["ALPHA"]
    none = desk.order(16, "unsilence", incident_id=ids["ALPHA"])
    assert none.refused == f"{said}: there is no such silence"


def test_who_ends_the_silences_of_an_incident_is_told_which_ones_came_with_another() -> None:
    """A silence of a merged incident ends under the old id, or by its own."""
    desk = Desk()
    ids = opened(desk)
    desk.order(12, "silence", incident_id=ids["ALPHA"], until_us=900 * SECOND, command_id="s1")
    desk.order(13, "merge", incident_id=ids["ALPHA"], into=ids["GAMMA"])
    refused = desk.order(14, "unsilence", incident_id=ids["GAMMA"]).refused
    assert refused == "there is no such silence of this incident: its alerts are hidden by s1"
    assert desk.order(15, "unsilence", silence_id="s1").refused == ""


def test_a_state_of_before_knows_no_more_than_that_it_is_gone() -> None:
    """Entries of an earlier version are read, and say what they know."""
    settings = IncidentSettings(**BASE)  # type: ignore[arg-type]
    task = IncidentTask(settings, TOPOLOGY)
    saved = task.snapshot() | {"entries": [("gone", "x", [3, 5])]}
    task = IncidentTask.restore(settings, TOPOLOGY, json.loads(json.dumps(saved)))
    order = {"command": "ack", "incident_id": "x", "actor": "kim", "reason": "r"}
    _, (answer,) = task.book.step([], SECOND, True, [order | {"command_id": "c"}])
    assert answer.refused == "the incident is merged into another one or was resolved long ago"


def test_an_alert_knows_a_bounded_number_of_incidents_that_it_was_in() -> None:
    """Merges without end leave the latest."""
    desk = Desk()
    desk.at(11, LOSS)
    (incident,) = desk.book.open.values()
    for number in range(WAS_IN_MAX + 3):
        into = desk.book.open[f"i{number}"] = Incident(f"i{number}", founder=LOSS["fingerprint"])
        desk.book.placing.merge(incident, into)
        incident = into
    assert incident.members[LOSS["fingerprint"]].was_in == [
        f"i{number}" for number in range(2, WAS_IN_MAX + 2)
    ]
