"""What an open incident says of its places now, when it last spoke long ago."""

from typing import Any

import pytest

from streams.core.health.troubles import Trouble, troubles_of
from streams.core.incidents.book import IncidentBook
from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.settings import DampingSettings, IncidentSettings
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved

LOSS = alert("fidelity_burn", "transfer_beta_gamma>rendering", 10)
SILENT = alert("module_silent", "GAMMA", 10, severity="CRITICAL")
SETTINGS = IncidentSettings(
    relations=RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND),
    damping=DampingSettings(half_life_us=300 * SECOND),
    quiet_us=5 * SECOND,
)


class Desk:
    """A book with a clock, and what a reader of its topic and of the alerts' knows."""

    def __init__(self) -> None:
        self.book = IncidentBook(SETTINGS, TOPOLOGY)
        self.told: dict[str, Any] = {}
        self.last: dict[str, Any] = {}

    def at(self, now: float, *alerts: dict[str, Any]) -> None:
        for event in self.book.update(alerts, round(now * SECOND), caught_up=True):
            self.told[event["incident_id"]] = event
        self.last |= {one["fingerprint"]: one for one in alerts}

    def troubles(self) -> list[Trouble]:
        open_ = [self.told[id_] for id_ in self.book.open]
        return list(troubles_of(open_, self.last))


def test_an_alert_that_ends_while_another_goes_on_hurts_no_longer() -> None:
    """The incident says nothing of the end: there is an event with both alerts, and no other."""
    desk = Desk()
    desk.at(11, SILENT, LOSS)
    (event,) = desk.told.values()
    assert (event["event"], event["severity"], event["alerts_firing"]) == ("OPENED", "CRITICAL", 2)
    assert {one.severity for one in desk.troubles()} == {"CRITICAL", "ERROR"}
    desk.at(12, resolved(SILENT, 12))
    desk.at(1_000)
    assert list(desk.told.values()) == [event], "nobody is told of the end"
    assert [one.severity for one in troubles_of([event])].count("CRITICAL") == 2, "as it was told"
    assert {one.severity for one in desk.troubles()} == {"ERROR"}, "as it is"


def test_an_incident_that_waits_for_its_alerts_to_be_stable_hurts_nobody() -> None:
    """An alert that came back once is damped: its incident stays open for minutes after its end."""
    desk = Desk()
    desk.at(11, LOSS)
    desk.at(20, resolved(LOSS, 15))
    again = LOSS | {"version": 3, "firing_since": 21 * SECOND, "last_seen": 22 * SECOND}
    desk.at(22, again)
    desk.at(30, resolved(again, 25, version=4))
    desk.at(200)
    assert desk.book.open, "it is not quiet for long enough"
    (event,) = desk.told.values()
    assert event["alerts_firing"] == 1, "what it said is minutes old"
    assert desk.troubles() == []
    desk.at(210, again | {"version": 5, "firing_since": 205 * SECOND, "last_seen": 209 * SECOND})
    assert {one.severity for one in desk.troubles()} == {"ERROR"}, "it hurts as soon as it fires"


def _incident(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    firing = sum(one["state"] == "FIRING" for one in alerts)
    about = {"module": alerts[0]["module"], "component": "", "severity": "CRITICAL", "causes": []}
    told = [one | {"caused_by": ""} for one in alerts]
    return {"incident_id": "c" * 32, "alerts": told, "alerts_firing": firing} | about | fields


def _ends(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {one["fingerprint"]: resolved(one, 20) for one in alerts}


def test_the_alerts_that_are_left_say_how_bad_it_is() -> None:
    """Three modules make it worse than its alerts, two do not; no more than it said itself."""
    places = ("ALPHA", "BETA", "GAMMA")
    alerts = [alert("error_spans", place, severity="ERROR") for place in places]
    incident = _incident(*alerts)

    def own(last: dict[str, Any], **fields: Any) -> tuple[str, str]:
        first = next(troubles_of([incident | fields], last))
        return first.module, first.severity

    assert own({}) == ("ALPHA", "CRITICAL")
    assert own({}, severity="ERROR") == ("ALPHA", "ERROR")
    assert own(_ends(alerts[1])) == ("ALPHA", "ERROR")
    assert own(_ends(alerts[0])) == ("", "ERROR"), "of no module, as nothing fires at its place"
    assert list(troubles_of([incident], _ends(*alerts))) == []


def test_alerts_that_an_event_leaves_out_count_as_it_told_them() -> None:
    """It lists the leading ones; of the others nobody can say whether they are over."""
    first, second = (alert("error_spans", place) for place in ("ALPHA", "BETA"))
    incident = _incident(first, second, alerts_firing=7)
    found = [(one.module, one.severity) for one in troubles_of([incident], _ends(first, second))]
    assert found == [("ALPHA", "CRITICAL")]


@pytest.mark.parametrize(
    ("told", "last", "is_firing"),
    [
        # The same episode: what lasted longer is later, and an end is the last of it.
        (("FIRING", 10, 20), ("RESOLVED", 10, 20), False),
        (("FIRING", 10, 20), ("RESOLVED", 10, 90), False),
        (("FIRING", 10, 20), ("FIRING", 10, 90), True),
        # A later episode counts, whichever topic tells it first.
        (("FIRING", 50, 51), ("RESOLVED", 10, 60), True),
        (("RESOLVED", 10, 60), ("FIRING", 50, 51), True),
        (("FIRING", 10, 60), ("RESOLVED", 50, 51), False),
        # The topic of alerts may be behind, or the alert began anew by what it had seen before.
        (("RESOLVED", 10, 60), ("FIRING", 10, 20), True),
        (("FIRING", 10, 60), ("RESOLVED", 10, 20), True),
        (("RESOLVED", 10, 60), ("RESOLVED", 10, 20), False),
    ],
)
def test_the_later_of_two_states_counts(
    told: tuple[str, int, int], last: tuple[str, int, int], is_firing: bool
) -> None:
    """The topics of incidents and of alerts are read beside each other: either may be ahead."""

    def state(of: tuple[str, int, int]) -> dict[str, Any]:
        names = ("state", "firing_since", "last_seen")
        return LOSS | dict(zip(names, of, strict=True))

    found = list(troubles_of([_incident(state(told))], {LOSS["fingerprint"]: state(last)}))
    assert bool(found) == is_firing
