"""The checks of incidents find what they are there to find."""

from typing import Any

from tests.fault.checks import Verdict, check_incidents
from tests.fault.incidents import disorder, doubled, overcounted, untold


def alert(print_: str, version: int = 1, state: str = "FIRING") -> dict[str, Any]:
    return {"fingerprint": print_, "version": version, "state": state}


def event(id_: str, version: int, name: str, *prints: str, **fields: Any) -> dict[str, Any]:
    return {
        "incident_id": id_,
        "version": version,
        "event": name,
        "timestamp": version,
        "alerts": [alert(print_) for print_ in prints],
        "alert_count": len(prints),
        "alerts_in": len(prints),
    } | fields


GOOD = [
    event("x", 1, "OPENED", "a"),
    event("x", 2, "ACKNOWLEDGED", "a"),
    event("y", 1, "OPENED", "b"),
    event("x", 3, "RESOLVED", "a"),
    event("x", 4, "REOPENED", "a"),
    event("y", 2, "MERGED", "b"),
    event("x", 5, "UPDATED", "a", "b"),
]
ALERTS = [alert("a"), alert("b"), alert("c", state="RESOLVED")]


def test_a_whole_life_passes() -> None:
    """Opened, taken, ended, reopened, and another one taken over: nothing is wrong."""
    verdict = Verdict()
    check_incidents(verdict, ALERTS, GOOD)
    assert verdict.is_good, verdict.problems


def test_an_alert_that_nobody_heard_of_is_lost() -> None:
    """One that fired and is in no event; one that never fired is not missed."""
    assert untold([*ALERTS, alert("d")], GOOD) == ["d"]


def test_a_life_out_of_order_is_wrong() -> None:
    """Updated after the end, opened twice, begun with an update, time that goes back."""
    for bad in (
        [event("x", 1, "OPENED"), event("x", 2, "RESOLVED"), event("x", 3, "UPDATED")],
        [event("x", 1, "OPENED"), event("x", 2, "OPENED")],
        [event("x", 1, "UPDATED")],
        [event("x", 1, "OPENED", timestamp=9), event("x", 2, "UPDATED")],
    ):
        assert len(disorder(bad)) == 1


def test_an_alert_in_two_open_incidents_is_wrong() -> None:
    """After one of them is over it may be in both."""
    two = [event("x", 1, "OPENED", "a"), event("y", 1, "OPENED", "a")]
    assert doubled(two) == ["a"]
    assert doubled([*two, event("y", 2, "RESOLVED", "a")]) == []


def test_states_counted_twice_are_seen() -> None:
    """More states in the books than there were; a merged one's are in the other's."""
    assert overcounted(ALERTS, GOOD) == 0
    assert overcounted(ALERTS, [*GOOD, event("x", 6, "UPDATED", "a", alerts_in=5)]) == 2


def test_gaps_and_repeats_of_versions_are_seen() -> None:
    """A version that is there twice, and one that is left out."""
    for versions in ((1, 1), (1, 3)):
        verdict = Verdict()
        check_incidents(verdict, [], [event("x", v, "OPENED") for v in versions])
        assert verdict.repeated == 1
