"""Evidence of open incidents: told when it changes the likeliest cause, and only then."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streams.core.causes.evidence import METRIC_SHIFT, Cause, Evidence
from streams.core.incidents.book import IncidentBook
from streams.core.incidents.partition import Partition
from streams.core.incidents.propagation import Propagation
from streams.core.incidents.relate import RelationSettings
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.state import EVIDENCE_MAX
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved

SETTINGS = IncidentSettings(
    relations=RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND),
    quiet_us=60 * SECOND,
    update_us=5 * SECOND,
)
PAIR = [
    alert("metric_threshold", "BETA", 10, component="lookup") | {"fingerprint": "one"},
    alert("metric_threshold", "BETA", 10, component="score") | {"fingerprint": "two"},
]


def sign(component: str, at: float, module: str = "BETA", bits: float = 18.0) -> Evidence:
    where = f"{module}.{component}"
    return Evidence(
        METRIC_SHIFT, module, component, "cpu_percent", since_us=round(at * SECOND), score=20.0,
        bits=bits, sentence=f"{where} is hot",
    )  # fmt: skip


def at(book: IncidentBook, now: float, *alerts: dict[str, Any]) -> list[dict[str, Any]]:
    return book.update(alerts, round(now * SECOND), caught_up=True)


def opened() -> tuple[IncidentBook, dict[str, Any]]:
    """Return a book with one open incident of two places alike, and its first event."""
    book = IncidentBook(SETTINGS, TOPOLOGY)
    (event,) = at(book, 11, *PAIR)
    return book, event


def place(event: dict[str, Any]) -> str:
    return f"{event['causes'][0]['module']}.{event['causes'][0]['component']}"


def test_evidence_that_changes_the_likeliest_cause_is_told() -> None:
    """Within the update time, as a change of the cause, with the figures."""
    book, event = opened()
    other = {"BETA.lookup": "score", "BETA.score": "lookup"}[place(event)]
    book.take_evidence([sign(other, 12)], 12 * SECOND)
    assert at(book, 12) == []
    (news,) = at(book, 17)
    assert (news["event"], news["reason"], place(news)) == ("UPDATED", "cause", f"BETA.{other}")
    assert f"BETA.{other} is hot" in news["causes"][0]["evidence"]


def test_evidence_for_the_likeliest_cause_is_no_news() -> None:
    """It stands in the next event, whatever that is told for."""
    book, event = opened()
    known = place(event).partition(".")[2]
    book.take_evidence([sign(known, 12)], 12 * SECOND)
    assert at(book, 30) == []
    worse = PAIR[0] | {"version": 2, "severity": "CRITICAL", "last_seen": 31 * SECOND}
    (news,) = at(book, 31, worse)
    assert f"BETA.{known} is hot" in str(news["causes"])


def test_evidence_that_grew_after_it_was_first_seen_is_told() -> None:
    """Long after the last alert joined: what was a hint then may decide now."""
    book, event = opened()
    known = place(event).partition(".")[2]
    other = {"lookup": "score", "score": "lookup"}[known]
    book.take_evidence([sign(known, 12), sign(other, 12, bits=1)], 12 * SECOND)
    assert at(book, 17) == []
    for now in (30, 40, 50, 60):
        book.take_evidence([sign(known, now, bits=1), sign(other, now)], now * SECOND)
    (news,) = at(book, 60)
    assert (news["reason"], place(news)) == ("cause", f"BETA.{other}")


def test_a_state_that_changes_the_likeliest_cause_is_told() -> None:
    """No alert joined, and the incident is as severe as before."""
    book = IncidentBook(SETTINGS, TOPOLOGY)
    first = PAIR[0] | {"severity": "CRITICAL"}
    other = [PAIR[1] | {"fingerprint": f, "kind": f"metric_{f}"} for f in ("two", "three")]
    (event,) = at(book, 11, first, *(one | {"severity": "INFO"} for one in other))
    assert place(event) == "BETA.lookup"
    worse = [
        one | {"severity": "CRITICAL", "version": 2, "last_seen": 20 * SECOND} for one in other
    ]
    (news,) = at(book, 20, *worse)
    assert (news["event"], news["reason"], place(news)) == ("UPDATED", "cause", "BETA.score")


@pytest.mark.parametrize("is_late", [False, True])
def test_it_does_not_matter_when_evidence_comes(is_late: bool) -> None:
    """Before or after the last alert that joined: once its time has come, the same is said."""
    book, event = opened()
    other = {"BETA.lookup": "score", "BETA.score": "lookup"}[place(event)]
    third = alert("metric_rate", "BETA", 12, component="jobs")
    signs = [sign(other, 12), sign(place(event).partition(".")[2], 12, bits=3)]
    events = []
    for now in range(12, 30):
        if now == (14 if is_late else 12):
            book.take_evidence(signs, 12 * SECOND)
        events += at(book, now, *([third] if now == 13 else []))
    assert place(events[-1]) == f"BETA.{other}"


def test_components_of_a_module_do_not_share_their_evidence() -> None:
    """Two of them measure under one name: each keeps its own, whichever comes last."""
    for signs in ([sign("score", 12), sign("lookup", 12)], [sign("lookup", 12), sign("score", 12)]):
        book, _ = opened()
        book.take_evidence(signs, 12 * SECOND)
        kept = {item.component for item in book.state.evidence_now()}
        assert kept == {"score", "lookup"}


def test_what_is_needed_by_a_component_alone_is_looked_at() -> None:
    """The contract's `needs` of components lead to another module, as in the ranking."""
    needs = Propagation(needs={("BETA", "lookup"): (("PHI", "jobs"),)})
    book = IncidentBook(SETTINGS, replace(TOPOLOGY, propagation=needs))
    at(book, 11, PAIR[0] | {"severity": "INFO"})
    book.take_evidence([sign("jobs", 12, module="PHI")], 12 * SECOND)
    (incident,) = book.open.values()
    assert incident.pending == "cause"


def test_nobody_is_told_of_the_cause_of_what_is_silenced() -> None:
    """The evidence is in the books, and told when the silence ends."""
    book, event = opened()
    hush = {
        "command": "silence", "command_id": "c", "actor": "kim", "reason": "planned",
        "matcher": {"module": "BETA"}, "until_us": 40 * SECOND,
    }  # fmt: skip
    other = {"BETA.lookup": "score", "BETA.score": "lookup"}[place(event)]
    told = book.update([], 12 * SECOND, True, [hush])
    for now in range(13, 60):
        book.take_evidence([sign(other, now)], now * SECOND)
        told += at(book, now)
    assert [one["reason"] for one in told] == ["silenced", "unsilenced"]
    assert place(told[-1]) == f"BETA.{other}"


def test_a_cause_is_looked_at_once_in_the_update_time() -> None:
    """A look costs a ranking, and something unusual may be seen all the time."""
    looks = []

    def rank(alerts: Sequence[Mapping[str, Any]], partition: Partition) -> list[Cause]:
        looks.append(len(alerts))
        return [Cause(1, "BETA", "lookup", "", "ALERT", 1.0)]

    book = IncidentBook(SETTINGS, TOPOLOGY, rank)
    at(book, 11, *PAIR)
    looks.clear()
    for now in range(12, 42):
        book.take_evidence([sign("score", now)], now * SECOND)
        assert at(book, now) == []
    assert len(looks) == 30 // 5


def test_evidence_keeps_no_incident_open() -> None:
    """Some series is always unusual somewhere: what comes with it is not unread for ever."""
    book, _ = opened()
    ended = [resolved(one, 13) for one in PAIR]
    at(book, 20, *ended)
    events: list[dict[str, Any]] = []
    for now in range(21, 120):
        if now % 10 == 0:
            book.take_evidence([sign("jobs", now, module="PHI")], now * SECOND)
        events += book.update([], now * SECOND, caught_up=now % 10 != 0)
    assert [event["event"] for event in events] == ["RESOLVED"]


def test_the_file_is_bounded() -> None:
    """The strongest signs stay: all of it is one entry of the state."""
    book, _ = opened()
    signs = [replace(sign(f"part{n}", 12), name=f"m{n}", bits=float(n)) for n in range(1_000)]
    book.take_evidence(signs, 12 * SECOND)
    kept = book.state.evidence_now()
    assert len(kept) == EVIDENCE_MAX
    assert min(item.bits for item in kept) == 1_000 - EVIDENCE_MAX
    assert book.state.evidence.left_out == 1_000 - EVIDENCE_MAX


def test_what_fades_is_forgotten() -> None:
    """Half an hour later nothing of it is left."""
    book, event = opened()
    book.take_evidence([sign("score", 12), sign("lookup", 12)], 12 * SECOND)
    book.take_evidence([], 1_800 * SECOND)
    assert book.state.evidence_now() == []
    assert not book.state.evidence.seen
    assert event["causes"]


def test_evidence_of_elsewhere_wakes_nobody() -> None:
    """A module that the alerts do not lead to."""
    book, _ = opened()
    book.take_evidence([sign("jobs", 12, module="PHI")], 12 * SECOND)
    (incident,) = book.open.values()
    assert incident.pending == ""
