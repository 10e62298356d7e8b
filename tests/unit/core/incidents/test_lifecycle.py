"""What people hear: orders, silences, flapping, occurrences, escalation, changes told together."""

from collections.abc import Iterable
from typing import Any

import pytest

from streams.core.incidents.book import IncidentBook
from streams.core.incidents.commands import Answer
from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.settings import DampingSettings, IncidentSettings
from streams.core.incidents.silences import Silence
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved

HOP = "transfer_beta_gamma>rendering"
LOSS = alert("fidelity_burn", HOP, 10)
BASE = {
    "relations": RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND),
    "damping": DampingSettings(half_life_us=60 * SECOND),
    "quiet_us": 5 * SECOND,
    "reopen_us": 600 * SECOND,
}


class Desk:
    """A book with a clock, and a hand that writes commands."""

    def __init__(self, **settings: Any) -> None:
        self.book = IncidentBook(IncidentSettings(**(BASE | settings)), TOPOLOGY)
        self.events: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.numbers = 0

    def at(self, now: float, *alerts: dict[str, Any], orders: Iterable[Any] = ()) -> list[str]:
        events, answers = self.book.step(alerts, round(now * SECOND), True, orders)
        self.events += events
        self.answers += answers
        return [f"{event['event']} {event['reason']}" for event in events]

    def order(self, now: float, command: str, **fields: Any) -> Answer:
        self.numbers += 1
        base = {"actor": "kim", "reason": "because", "command_id": f"c{self.numbers}"}
        self.at(now, orders=[{"command": command, **base, **fields}])
        return self.answers[-1]

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


def flip(number: int, at: float, *, is_firing: bool) -> dict[str, Any]:
    """Return the state of the one alert after a flip, as an alert that fires and ends in turn."""
    began = at if is_firing else at - 1
    return LOSS | {
        "version": number + 1,
        "state": "FIRING" if is_firing else "RESOLVED",
        "firing_since": round(began * SECOND),
        "last_seen": round(at * SECOND),
    }


# --- orders


def test_an_acknowledgment_is_told_with_who_and_why() -> None:
    """The event carries the command; another one that takes it too is refused."""
    desk = Desk()
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    answer = desk.order(12, "ack", incident_id=id_, command_id="mine")
    assert (answer.refused, answer.version, desk.last["event"]) == ("", 2, "ACKNOWLEDGED")
    assert desk.last["acknowledged_by"] == desk.last["command_actor"] == "kim"
    assert (desk.last["acknowledged_at"], desk.last["command_id"]) == (12 * SECOND, "mine")
    assert "kim has acknowledged it already" in desk.order(13, "ack", incident_id=id_).refused


def test_an_order_that_is_sent_again_is_answered_as_the_first_time() -> None:
    """Whoever waits is told what became of it; nothing is done twice."""
    desk = Desk()
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    first = desk.order(12, "ack", incident_id=id_, command_id="mine")
    events = len(desk.events)
    again = desk.order(14, "ack", incident_id=id_, command_id="mine", reason="said otherwise")
    assert (again.refused, again.incident_id, again.version) == ("", id_, first.version)
    assert (again.at_us, again.first_us) == (14 * SECOND, 12 * SECOND)
    silence = {"matcher": {"module": "ALPHA"}, "command_id": "s"}
    for at in (20, 22):  # --for counts from when it is typed
        assert desk.order(at, "silence", until_us=(at + 60) * SECOND, **silence).refused == ""
    assert desk.book.state.silences["s"].until_us == 80 * SECOND
    refused = desk.order(30, "ack", incident_id="nobody", command_id="r")
    assert desk.order(31, "ack", incident_id="nobody", command_id="r").refused == refused.refused
    assert (len(desk.events), desk.book.discarded["command_known"]) == (events, 3)


@pytest.mark.parametrize("other", [{"actor": "lee"}, {"command": "resolve"}, {"incident_id": "x"}])
def test_an_id_that_another_order_has_is_refused(other: dict[str, str]) -> None:
    """With whose it is; it is not carried out, and the first one's answer stays."""
    desk = Desk()
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    order = {"command": "ack", "incident_id": id_, "command_id": "mine"}
    desk.order(12, **order)
    answer = desk.order(13, **(order | other))
    assert "used before by kim's ack" in answer.refused
    assert desk.order(14, **order).refused == ""
    assert len(desk.events) == 2


@pytest.mark.parametrize("command", ["ack", "resolve", "merge"])
def test_orders_about_what_is_not_open_are_refused(command: str) -> None:
    """Nothing changes, and the reason is said."""
    desk = Desk()
    assert "no such incident" in desk.order(1, command, incident_id="x", into="y").refused
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    desk.at(12, resolved(LOSS, 12))
    assert desk.at(30) == ["RESOLVED quiet"]
    assert "is resolved" in desk.order(31, command, incident_id=id_, into="y").refused
    assert len(desk.events) == 2


def test_a_person_ends_an_incident_though_its_alert_fires() -> None:
    """What only goes on is counted; what begins anew brings it back."""
    desk = Desk()
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    assert desk.order(12, "resolve", incident_id=id_).version == 2
    assert (desk.last["event"], desk.last["resolved_at"] > 0) == ("RESOLVED", True)
    assert desk.at(13, LOSS | {"version": 2, "last_seen": 13 * SECOND}) == []
    assert desk.at(200, resolved(LOSS, 14, version=3)) == []
    again = LOSS | {"version": 4, "firing_since": 200 * SECOND, "last_seen": 200 * SECOND}
    assert desk.at(201, again) == ["REOPENED fires again"]
    assert (desk.last["incident_id"], desk.last["version"]) == (id_, 3)
    assert desk.last["suppressed"] == {"resolved_by_person": 2}


def test_a_merge_by_a_person_holds() -> None:
    """The alerts of both stay together, though nothing but a person's word relates them."""
    desk = Desk()
    storm = alert("duplicate_rate", "ALPHA", 10)
    desk.at(11, LOSS, storm)
    first, second = (event["incident_id"] for event in desk.events)
    assert "itself" in desk.order(12, "merge", incident_id=first, into=first).refused
    assert desk.order(12, "merge", incident_id=second, into=first).refused == ""
    merged, into = desk.events[-2:]
    assert (merged["event"], merged["merged_into"], merged["version"]) == ("MERGED", first, 2)
    assert (into["event"], into["reason"], into["merged_from"]) == ("UPDATED", "merged", [second])
    assert into["alert_count"] == 2
    assert merged["reason"] == "merged", "a word to switch on; who it was stands in the history"
    assert merged["history"][-1]["text"] == "merged by kim: because"
    desk.at(13, storm | {"version": 2, "count": 99}, LOSS | {"version": 2})
    assert list(desk.book.open) == [first]
    assert desk.order(14, "ack", incident_id=second).incident_id == first


# --- silences


def test_what_is_silenced_is_counted_and_told_when_the_silence_ends() -> None:
    """Nobody hears of it until then; then it is opened with all its alert states."""
    desk = Desk()
    assert desk.order(5, "silence", matcher={"module": "GAMMA"}, until_us=30 * SECOND).refused == ""
    assert desk.at(11, LOSS) == []
    assert desk.at(20, LOSS | {"version": 2, "last_seen": 20 * SECOND}) == []
    assert desk.at(29) == []
    assert desk.at(30) == ["OPENED opened"]
    assert (desk.last["alerts_in"], desk.last["suppressed"]) == (2, {"silenced": 1})


def test_what_ends_within_its_silence_is_never_told() -> None:
    """It is in the books all the same."""
    desk = Desk()
    desk.order(5, "silence", matcher={"module": "GAMMA"}, until_us=90 * SECOND)
    desk.at(11, LOSS)
    desk.at(12, resolved(LOSS, 12))
    assert desk.at(40) == []
    assert desk.at(95) == []
    (row,) = desk.book.state.ledger.rows.values()
    assert dict(row.became) == {"silenced": 2}


def test_a_silence_over_an_open_incident_is_told_and_ends_with_an_order() -> None:
    """Its end is told too, and nothing escalates meanwhile."""
    desk = Desk(escalate_us={"ERROR": 10 * SECOND})
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    desk.order(12, "silence", incident_id=id_, until_us=100 * SECOND, command_id="s1")
    assert (desk.last["reason"], desk.last["silenced"]) == ("silenced", True)
    assert desk.last["alerts"][0]["silenced_by"] == "s1"
    assert desk.at(50) == []
    assert desk.order(51, "unsilence", silence_id="s1").refused == ""
    assert [e["reason"] for e in desk.events[-2:]] == ["unsilenced", "escalated"] or (
        desk.last["reason"] == "escalated"
    )
    assert desk.last["silenced"] is False
    assert "no such silence" in desk.order(52, "unsilence", silence_id="s1").refused


def test_a_window_of_the_contract_silences() -> None:
    """It holds in its time, and no order ends it."""
    window = Silence("maintenance/deploy", {"owner": "output-team"}, 0, 20 * SECOND)
    desk = Desk(maintenance=(window,))
    assert desk.at(11, LOSS) == []
    refused = desk.order(12, "unsilence", silence_id="maintenance/deploy").refused
    assert "the contract declares" in refused
    assert desk.at(20) == ["OPENED opened"]


def test_a_silence_must_lie_ahead_and_has_a_bound() -> None:
    """Over already, without an end in sight, or one too many: refused."""
    desk = Desk(max_silences=1)
    ever_us = 8_000 * 365 * 86_400 * SECOND
    assert "90 days" in desk.order(9, "silence", matcher={"kind": "*"}, until_us=ever_us).refused
    assert "over already" in desk.order(9, "silence", matcher={"kind": "*"}, until_us=9).refused
    desk.order(10, "silence", matcher={"kind": "*"}, until_us=99 * SECOND)
    assert (
        "already" in desk.order(11, "silence", matcher={"kind": "*"}, until_us=99 * SECOND).refused
    )
    assert desk.book.discarded["command_refused"] == 3


# --- flapping


@pytest.mark.parametrize("gap", [0.5, 2, 5.5, 8, 20, 45])
@pytest.mark.parametrize("ends_firing", [False, True])
def test_fifty_flips_are_at_most_three_events(gap: float, ends_firing: bool) -> None:
    """Quicker than the quiet time or slower: at most 3 events, and the books hold every state."""
    desk = Desk()
    flips = 51 if ends_firing else 50
    for number in range(flips):
        desk.at(20 + number * gap, flip(number, 20 + number * gap, is_firing=number % 2 == 0))
    before = len(desk.events)
    assert before <= 3
    last = 20 + flips * gap
    for tick in range(20):
        desk.at(last + 30 * tick)
    assert len(desk.events) <= 3
    assert desk.events[-1]["event"] == ("RESOLVED" if not ends_firing else desk.last["event"])
    if ends_firing:
        assert desk.last["event"] in ("REOPENED", "UPDATED", "OPENED"), "it fires: people know"
        assert desk.last["resolved_at"] == 0
    (row,) = desk.book.state.ledger.rows.values()
    assert row.alerts == flips


def test_a_flapping_incident_says_so_once() -> None:
    """After some flips it is marked, and stays open until its alert is stable."""
    desk = Desk()
    for number in range(6):
        desk.at(20 + number, flip(number, 20 + number, is_firing=number % 2 == 0))
    assert [e["reason"] for e in desk.events] == ["opened", "flapping"]
    assert desk.last["flapping"] is True
    assert desk.at(60) == []
    assert desk.at(400) == ["RESOLVED quiet"]


def test_a_problem_that_returns_much_later_is_told_at_once() -> None:
    """Damping is for what flips, not for what comes back."""
    desk = Desk()
    desk.at(20, flip(0, 20, is_firing=True))
    desk.at(30, flip(1, 30, is_firing=False))
    desk.at(40)
    assert desk.at(300, flip(2, 300, is_firing=True)) == ["REOPENED fires again"]


# --- occurrences, escalation, and what is told together


def test_a_rule_may_ask_for_several_occurrences() -> None:
    """The incident opens with the state that reaches the number; resolved states do not count."""
    desk = Desk(occurrences={"fidelity_burn": 3}, damping=DampingSettings(half_life_us=0))
    assert desk.at(11, LOSS) == []
    assert desk.at(12, resolved(LOSS, 12)) == []
    assert desk.at(13, LOSS | {"version": 3, "firing_since": 13 * SECOND}) == []
    assert desk.at(14, LOSS | {"version": 4, "firing_since": 13 * SECOND}) == ["OPENED opened"]
    assert desk.last["alerts_in"] == 4


def test_nobody_came_in_time() -> None:
    """An incident escalates once, after the time of its severity, unless it was acknowledged."""
    desk = Desk(escalate_us={"ERROR": 60 * SECOND})
    storm = alert("duplicate_rate", "ALPHA", 10)
    desk.at(11, LOSS, storm)
    taken = desk.events[0]["incident_id"]
    desk.order(20, "ack", incident_id=taken)
    assert desk.at(70) == []
    assert desk.at(71) == ["UPDATED escalated"]
    assert (desk.last["incident_id"] != taken, desk.last["escalated"]) == (True, True)
    assert desk.at(999) == []


def test_alerts_that_join_soon_are_told_together() -> None:
    """The first waits for others; later ones for the next telling; worse is told at once."""
    desk = Desk(hold_us=2 * SECOND, update_us=30 * SECOND)
    silent = alert("module_silent", "GAMMA", 10)
    assert desk.at(11, LOSS) == []
    assert desk.at(12.9, silent) == []
    assert desk.at(13) == ["OPENED opened"]
    assert desk.last["alert_count"] == 2
    one, two = (alert("fidelity_burn", f"{edge}", 10) for edge in (
        "rendering>delivery", "quality_scoring>transfer_beta_gamma"))  # fmt: skip
    assert desk.at(20, one) == []
    assert desk.at(25, two | {"module": "INTEGRATION"}) == []
    assert desk.at(42.9) == []
    assert desk.at(43) == ["UPDATED joined"]
    assert desk.last["alert_count"] == 4
    assert desk.at(44, silent | {"version": 2, "severity": "CRITICAL"}) == ["UPDATED worse"]


def test_an_alert_that_joins_without_news_is_told_within_the_refresh_time() -> None:
    """Else it would stand in no event until the incident's next one, which may be its end."""
    desk = Desk(update_us=5 * SECOND, refresh_us=30 * SECOND)
    assert desk.at(11, LOSS) == ["OPENED opened"]
    late = alert("missing_acknowledgment", "rendering>delivery", 12, severity="WARN")
    same_module = late | {"module": LOSS["module"]}
    assert desk.at(13, same_module) == []
    assert desk.at(40.9) == []
    assert desk.at(41) == ["UPDATED joined"]
    assert {one["fingerprint"] for one in desk.last["alerts"]} == {
        LOSS["fingerprint"],
        late["fingerprint"],
    }
    assert desk.at(99) == []


def test_another_alert_in_the_lead_is_no_news_of_its_own() -> None:
    """The place to look at is the same: it is told within the refresh time, like whatever joins."""
    desk = Desk(update_us=5 * SECOND, refresh_us=30 * SECOND)
    failing = alert("metric_rate", "GAMMA", 12)
    assert desk.at(13, failing) == ["OPENED opened"]
    title = desk.last["title"]
    silent = alert("module_silent", "GAMMA", 12, severity=failing["severity"])
    assert desk.at(14, silent) == []
    assert desk.at(42) == []
    assert desk.at(43) == ["UPDATED joined"]
    assert desk.last["title"] != title
    assert desk.last["causes"][0]["module"] == "GAMMA"


def test_an_incident_returns_beside_a_new_alert_that_waits() -> None:
    """What comes in the same step as a return is grouped all the same when its time has come."""
    desk = Desk(hold_us=2 * SECOND)
    desk.at(11, LOSS)
    desk.at(14)
    desk.at(30, resolved(LOSS, 20))
    desk.at(40)
    assert desk.last["event"] == "RESOLVED"
    new = [alert(f"odd_kind_{n}", "ALPHA", 41) for n in range(20)]
    assert min(one["fingerprint"] for one in new) < LOSS["fingerprint"]  # it is taken in before
    again = LOSS | {"version": 3, "firing_since": 41 * SECOND, "last_seen": 42 * SECOND}
    desk.at(42, again, *new)
    desk.at(45)
    told = {one["fingerprint"] for event in desk.events for one in event["alerts"]}
    assert {one["fingerprint"] for one in new} <= told


def test_a_wide_or_fast_problem_is_worse_than_its_alerts() -> None:
    """A burn that eats the budget within hours, and alerts in three modules, raise the severity."""
    desk = Desk()
    desk.at(11, LOSS | {"value": 300.0, "unit": "burn rate"})
    assert desk.last["severity"] == "CRITICAL"
    wide = Desk()
    silent = alert("module_silent", "BETA", 10, severity="WARN")
    wide.at(11, silent)
    assert wide.last["severity"] == "WARN"
    loss = alert("fidelity_burn", "quality_scoring>transfer_beta_gamma", 10, severity="WARN")
    wide.at(12, loss, alert("module_silent", "GAMMA", 11, severity="WARN"))
    assert wide.last["blast_radius"]["modules"] == ["BETA", "GAMMA", "INTEGRATION"]
    assert wide.last["severity"] == "ERROR"


def test_a_member_that_turns_out_unrelated_leaves() -> None:
    """When the cause that held it ended before it began, it is an incident of its own."""
    desk = Desk()
    silent = alert("module_silent", "GAMMA", 10, last=40)
    desk.at(41, silent, LOSS | {"firing_since": 11 * SECOND})
    far = alert("missing_acknowledgment", "delivery>acknowledgment", 60, last=61)
    desk.at(61, far)
    assert len(desk.book.open) == 1, "it fires still, so it may explain what begins now"
    told = desk.at(62, resolved(silent, 41))
    assert told == ["OPENED opened", "UPDATED split"], "in between it is in both, never in none"
    found, left = desk.events[-2:]
    assert found["split_from"] == left["incident_id"]
    assert [a["kind"] for a in found["alerts"]] == ["missing_acknowledgment"]
    assert any("another problem" in entry["text"] for entry in left["history"])


# --- who


def test_a_silence_is_told_with_who_why_and_until_when() -> None:
    """The event carries the order and the silence, its history both, also after its end."""
    desk = Desk()
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    until = 3_600 * SECOND
    desk.order(12, "silence", incident_id=id_, until_us=until, command_id="s1", reason="a restart")
    told = desk.last
    assert (told["command"], told["command_id"]) == ("silence", "s1")
    assert (told["command_actor"], told["command_reason"]) == ("kim", "a restart")
    (silence,) = told["silences"]
    assert silence == {
        "silence_id": "s1", "actor": "kim", "reason": "a restart",
        "start": 12 * SECOND, "end": until,
    }  # fmt: skip
    texts = [entry["text"] for entry in told["history"]]
    assert "silenced by kim, until 1970-01-01T01:00:00Z: a restart" in texts
    desk.order(20, "unsilence", silence_id="s1", actor="lee", reason="done early")
    told = desk.last
    assert (told["reason"], told["silences"]) == ("unsilenced", [])
    assert (told["command"], told["command_actor"]) == ("unsilence", "lee")
    assert "the silence of kim was ended by lee: done early" in [
        entry["text"] for entry in told["history"]
    ]


def test_a_silence_says_how_many_alerts_it_hides() -> None:
    """None may be a slip of the pen: names are matched as they are written."""
    desk = Desk()
    desk.at(11, LOSS, alert("duplicate_rate", "ALPHA", 10), alert("odd_kind", "GAMMA", 10))
    hidden = [
        desk.order(12, "silence", matcher=matcher, until_us=90 * SECOND).alerts_hidden
        for matcher in ({"module": "gamma"}, {"module": "GAMMA"}, {"module": "*A*"})
    ]
    assert hidden == [0, 2, 3]
    assert desk.order(13, "silence", incident_id="nobody", until_us=90 * SECOND).refused
    assert desk.answers[-1].alerts_hidden is None


def test_a_silence_that_ends_by_itself_says_so() -> None:
    """Nobody ordered its end, so no order is told anew."""
    desk = Desk()
    desk.at(11, LOSS)
    desk.order(12, "silence", matcher={"module": "GAMMA"}, until_us=30 * SECOND, command_id="s1")
    desk.at(30)
    assert (desk.last["reason"], desk.last["command_id"]) == ("unsilenced", "s1")
    assert desk.last["history"][-2]["text"] == "the silence of kim is over"


def test_a_window_of_the_contract_is_named() -> None:
    """It is nobody's order: the silence says it, and the command is left as it was."""
    window = Silence(
        "maintenance/upgrade", {"module": "GAMMA"}, 20 * SECOND, 60 * SECOND, "contract", "planned"
    )
    desk = Desk(maintenance=(window,))
    desk.at(11, LOSS)
    desk.at(20)
    assert (desk.last["silenced"], desk.last["command"]) == (True, "")
    assert desk.last["silences"][0]["silence_id"] == "maintenance/upgrade"
    said = "silenced by the window 'upgrade' of the contract, until 1970-01-01T00:01:00Z: planned"
    assert said in [entry["text"] for entry in desk.last["history"]]


def test_the_history_names_who_took_and_who_ended() -> None:
    """With the reason, which is shortened there and whole in the event."""
    desk = Desk()
    desk.at(11, LOSS)
    id_ = desk.last["incident_id"]
    desk.order(12, "ack", incident_id=id_, actor="lee", reason="looking\nat it")
    assert desk.last["history"][-1]["text"] == "acknowledged by lee: looking at it"
    desk.order(13, "resolve", incident_id=id_, reason="x" * 1_000)
    assert desk.last["history"][-1]["text"] == f"resolved by kim: {'x' * 199}\u2026"
    assert (desk.last["reason"], desk.last["command_reason"]) == (
        "resolved by a person",
        "x" * 1_000,
    )


def test_who_silenced_is_kept_until_it_is_told() -> None:
    """An event that waits for others carries the order all the same."""
    desk = Desk(update_us=30 * SECOND)
    desk.at(11, LOSS)
    desk.order(12, "silence", matcher={"kind": "*"}, until_us=900 * SECOND, command_id="s1")
    assert desk.last["event"] == "OPENED"  # told together with what else comes
    (incident,) = desk.book.state.open.values()
    assert incident.command["command_id"] == "s1"
    assert desk.at(45) == ["UPDATED silenced"]
    assert desk.last["command_actor"] == "kim"
