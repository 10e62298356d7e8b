"""What is told of an incident that people know: which change, how soon, and which never alone."""

from typing import Any

import pytest

from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.settings import DampingSettings
from tests.synthetic_pipeline import SECOND
from tests.unit.core.incidents.alerts import alert, resolved
from tests.unit.core.incidents.test_lifecycle import LOSS, Desk

UPDATE, REFRESH, STEADY = 30, 300, 25


def desk(**settings: Any) -> Desk:
    """Return a desk whose news are told together."""
    base: dict[str, Any] = {"update_us": UPDATE * SECOND, "refresh_us": REFRESH * SECOND}
    return Desk(**(base | {"damping": DampingSettings(half_life_us=0)} | settings))


def later(of: dict[str, Any], version: int, at: float, **fields: Any) -> dict[str, Any]:
    """Return a further state of an alert that fires."""
    return of | {"version": version, "last_seen": round(at * SECOND)} | fields


# --- it became worse


def test_several_steps_of_severity_are_told_as_one() -> None:
    """A warning that is an error a second later waits for the others; it is told in time."""
    it = desk()
    warning = LOSS | {"severity": "WARN"}
    assert it.at(11, warning) == ["OPENED opened"]
    assert it.at(13, later(warning, 2, 13, severity="ERROR")) == []
    assert it.at(11 + UPDATE - 0.1) == []
    assert it.at(11 + UPDATE) == ["UPDATED worse"]
    assert it.last["severity"] == "ERROR"
    assert it.at(200) == []


def test_the_worst_severity_waits_for_nobody() -> None:
    """It is told at once, with whatever else was held back."""
    it = desk()
    warning = LOSS | {"severity": "WARN"}
    it.at(11, warning)
    assert it.at(13, later(warning, 2, 13, severity="ERROR")) == []
    assert it.at(14, later(warning, 3, 14, severity="CRITICAL")) == ["UPDATED worse"]
    assert it.last["severity"] == "CRITICAL"
    assert it.at(14 + UPDATE) == []


def test_a_step_long_after_the_last_event_is_told_at_once() -> None:
    """There is nothing to wait for: people have heard nothing for a while."""
    it = desk()
    warning = LOSS | {"severity": "WARN"}
    it.at(11, warning)
    told = it.at(11 + UPDATE, later(warning, 2, 11 + UPDATE, severity="ERROR"))
    assert told == ["UPDATED worse"]


def test_worse_goes_before_other_news_that_wait() -> None:
    """One event says both, and names the graver one."""
    it = desk()
    warning = LOSS | {"severity": "WARN"}
    it.at(11, warning)
    upstream = alert("fidelity_burn", "quality_scoring>transfer_beta_gamma", 10, severity="WARN")
    assert it.at(12, upstream) == []
    assert it.at(13, later(warning, 2, 13, severity="ERROR")) == []
    assert it.at(11 + UPDATE) == ["UPDATED worse"]
    assert it.last["alert_count"] == 2


def test_a_severity_that_was_reached_at_an_end_is_told_when_it_begins_anew() -> None:
    """An alert that became critical and ended in one step tells nobody; the next beginning does."""
    it = desk(update_us=0)
    it.at(11, LOSS)
    assert it.at(12, resolved(LOSS, 12) | {"severity": "CRITICAL"}) == []
    again = later(LOSS, 3, 14, firing_since=14 * SECOND, severity="CRITICAL")
    assert it.at(14, again) == ["UPDATED worse"]


# --- while it grows


def growing() -> tuple[Desk, dict[str, Any]]:
    """Return a desk that told a warning, which is an error now, as an alert begins beside it."""
    near = RelationSettings(causal_us=60 * SECOND, short_us=5 * SECOND)
    it = desk(steady_us=STEADY * SECOND, relations=near)
    warning = LOSS | {"severity": "WARN"}
    it.at(11, warning)
    error = later(warning, 2, 13, severity="ERROR")
    beside = alert("missing_acknowledgment", "rendering>delivery", 30, severity="WARN")
    assert it.at(31, error, beside) == []
    return it, error


def test_what_goes_on_to_grow_is_told_once_it_has_grown() -> None:
    """An update at its time would have been overtaken by the next; nothing of it is lost."""
    it, error = growing()
    assert it.at(11 + UPDATE) == []
    assert it.at(45, later(error, 3, 45, severity="CRITICAL")) == ["UPDATED worse"]
    assert (it.last["severity"], it.last["alert_count"]) == ("CRITICAL", 2)
    assert [it.at(at) for at in range(46, 200)] == [[]] * 154


def test_what_stands_still_is_told_before_twice_the_time() -> None:
    """The last alert began so long ago as two windows without another one need."""
    it, _ = growing()
    assert it.at(30 + STEADY - 0.1) == []
    assert it.at(30 + STEADY) == ["UPDATED worse"]
    assert (it.last["severity"], it.last["alert_count"]) == ("ERROR", 2)


def test_a_severity_that_has_waited_is_told_with_the_next_state() -> None:
    """Whoever answers for errors hears of one as soon as there is more to say of it."""
    it, error = growing()
    assert it.at(11 + UPDATE + 1, later(error, 3, 42)) == ["UPDATED worse"]


def test_growth_without_end_is_told_all_the_same() -> None:
    """An alert in each second: twice the update time after the last event people hear of it."""
    it = desk(steady_us=STEADY * SECOND)
    it.at(11, LOSS)
    for at in range(12, 11 + 2 * UPDATE):
        edge = "quality_scoring>transfer_beta_gamma"
        assert it.at(at, alert("fidelity_burn", edge, at, fingerprint=f"{at}")) == []
    assert len(it.book.open) == 1
    assert it.at(11 + 2 * UPDATE) == ["UPDATED joined"]
    assert it.last["alert_count"] == 2 * UPDATE


def test_what_is_no_growth_does_not_wait_for_its_end() -> None:
    """Who will be told what from now on is news at its own time."""
    it, _ = growing()
    until_us = 900 * SECOND
    it.order(32, "silence", incident_id=it.last["incident_id"], until_us=until_us)
    assert it.at(11 + UPDATE) == ["UPDATED silenced"]


def test_a_look_at_the_cause_puts_no_refresh_off() -> None:
    """Both are due at once: what joined is told all the same."""
    it = desk(refresh_us=REFRESH * SECOND)
    it.at(11, alert("module_silent", "BETA", 10))
    joined = alert("module_silent", "GAMMA", 10)
    assert it.at(12, joined) == []
    assert it.at(11 + UPDATE) == []
    assert it.at(11 + REFRESH, later(joined, 2, 11 + REFRESH)) == ["UPDATED joined"]


# --- where it reaches


def test_a_module_that_was_named_as_in_the_way_is_no_news_of_its_own() -> None:
    """The event before said that GAMMA comes after; that it is hit is told with what is next."""
    it = desk()
    assert it.at(11, alert("module_silent", "BETA", 10)) == ["OPENED opened"]
    assert "GAMMA" in it.last["blast_radius"]["downstream"]
    assert it.at(12, alert("module_silent", "GAMMA", 10)) == []
    assert len(it.book.open) == 1
    assert it.at(11 + REFRESH - 0.1) == []
    assert it.at(11 + REFRESH) == ["UPDATED joined"]
    assert it.last["blast_radius"]["modules"] == ["BETA", "GAMMA"]


def test_a_module_that_nobody_expected_is_told_soon() -> None:
    """It lies neither among those that were hit nor in their way: the blast radius is another."""
    it = desk()
    assert it.at(11, LOSS) == ["OPENED opened"]
    known = it.last["blast_radius"]
    assert "INTEGRATION" not in known["modules"] + known["downstream"]
    near = alert("fidelity_burn", "quality_scoring>transfer_beta_gamma", 10)
    assert it.at(12, near) == []
    assert it.at(11 + UPDATE) == ["UPDATED joined"]
    assert "INTEGRATION" in it.last["blast_radius"]["modules"]


# --- how fast it grows


def test_what_goes_on_at_its_pace_is_no_news() -> None:
    """Ten times the records in ten times the time; a hundred times is news."""
    it = desk(update_us=0)
    it.at(11, later(LOSS, 1, 11, count=10))
    for number in range(2, 101):
        assert it.at(10 + number, later(LOSS, number, 10 + number, count=10 * number)) == []
    assert it.at(115, later(LOSS, 101, 115, count=4_000)) == ["UPDATED grown"]
    assert it.last["blast_radius"]["records"] == 4_000


def test_an_alert_that_joined_with_more_records_is_no_growth() -> None:
    """It counts what it counts: what was told has not grown, though this is larger."""
    it = desk()
    it.at(11, later(LOSS, 1, 11, count=10))
    joined = alert("missing_acknowledgment", "rendering>delivery", 11, severity="WARN", count=450)
    assert joined["module"] == LOSS["module"]
    assert it.at(12, joined) == []
    states = later(LOSS, 2, 14, count=11), later(joined, 2, 14, count=460)
    assert it.at(14, *states) == []
    assert len(it.book.open) == 1
    assert it.at(11 + UPDATE) == []
    assert it.at(11 + REFRESH) == ["UPDATED joined"]
    states = later(LOSS, 3, 312, count=2_000), later(joined, 3, 312, count=2_000_000)
    assert it.at(312, *states) == []
    assert it.at(11 + REFRESH + UPDATE) == ["UPDATED grown"]


def test_what_is_silenced_is_no_growth() -> None:
    """An alert that nobody wants to hear does not make an incident larger."""
    it = desk(update_us=0)
    it.order(9, "silence", matcher={"kind": "missing_acknowledgment"}, until_us=900 * SECOND)
    it.at(11, later(LOSS, 1, 11, count=10))
    hidden = alert("missing_acknowledgment", "rendering>delivery", 11, severity="WARN", count=450)
    assert it.at(12, hidden) == []
    assert it.at(14, later(LOSS, 2, 14, count=11), later(hidden, 2, 14, count=460)) == []


# --- the end


@pytest.mark.parametrize("news", ["worse", "joined"])
def test_what_has_ended_is_told_with_the_end(news: str) -> None:
    """No update right before the resolution: nothing fires any more, and the end says the rest."""
    it = desk(quiet_us=60 * SECOND)
    warning = LOSS | {"severity": "WARN"}
    it.at(11, warning)
    near = alert("fidelity_burn", "quality_scoring>transfer_beta_gamma", 10, severity="WARN")
    more = [near] if news == "joined" else [later(warning, 2, 12, severity="ERROR")]
    assert it.at(12, *more) == []
    ends = [resolved(one, 20, version=9) for one in (warning, near)]
    assert it.at(21, *(ends if news == "joined" else ends[:1])) == []
    assert it.at(50) == []
    assert it.at(90) == ["RESOLVED quiet"]
    expected = ("WARN", 2) if news == "joined" else ("ERROR", 1)
    assert (it.last["severity"], it.last["alert_count"]) == expected


def test_what_begins_anew_brings_its_news_along() -> None:
    """What was held back at an end that was none is told when something fires again."""
    it = desk(quiet_us=60 * SECOND)
    warning = LOSS | {"severity": "WARN"}
    it.at(11, warning)
    assert it.at(12, later(warning, 2, 12, severity="ERROR")) == []
    assert it.at(20, resolved(warning, 20, version=3) | {"severity": "ERROR"}) == []
    assert it.at(45) == []
    again = later(warning, 4, 50, firing_since=50 * SECOND, severity="ERROR")
    assert it.at(50, again) == ["UPDATED worse"]


# --- whose it is


def test_the_lead_stays_with_the_likeliest_place() -> None:
    """An alert up the flow that nothing else speaks for changes neither name nor owner."""
    it = desk(update_us=5 * SECOND)
    kinds = ("metric_rate", "metric_threshold", "queue_lag")
    it.at(13, *(alert(kind, "GAMMA", 12, severity="CRITICAL") for kind in kinds))
    known = {name: it.last[name] for name in ("title", "owner", "module")}
    assert known["owner"] == "output-team"
    into = it.last["incident_id"]
    far = alert("metric_rate", "ALPHA", 13, severity="WARN", last=80)
    assert it.at(81, far) == ["OPENED opened"]
    it.order(82, "merge", incident_id=it.last["incident_id"], into=into)
    assert (it.last["incident_id"], it.last["alert_count"]) == (into, 4)
    assert {name: it.last[name] for name in known} == known
    assert it.at(200) == []
    more = [alert(f"metric_{n}", "ALPHA", 13, severity="CRITICAL", last=200) for n in range(6)]
    assert it.at(201, *more) == []
    assert it.at(206) == ["UPDATED cause"]
    assert (it.last["owner"], it.last["module"]) == ("ingestion-team", "ALPHA")


def test_another_owner_is_news_also_where_the_place_is_the_same() -> None:
    """The one who was told first need not be the one who can mend it."""
    it = desk(update_us=5 * SECOND)
    slow = alert("metric_rate", "GAMMA", 12)
    assert it.at(13, slow) == ["OPENED opened"]
    owner, id_ = it.last["owner"], it.last["incident_id"]
    (incident,) = it.book.open.values()
    named = alert("module_silent", "GAMMA", 12, owner="night-shift")
    assert it.at(14, named) == []
    assert it.at(18) == ["UPDATED cause"]
    assert (it.last["owner"] != owner, it.last["owner"]) == (True, "night-shift")
    assert incident.incident_id == id_
