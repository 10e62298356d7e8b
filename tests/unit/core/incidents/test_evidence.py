"""Evidence of open incidents: told when it changes the likeliest cause, and only then."""

from dataclasses import replace
from typing import Any

from streams.core.causes.evidence import METRIC_SHIFT, Evidence
from streams.core.incidents.book import IncidentBook
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


def sign(component: str, at: float, module: str = "BETA") -> Evidence:
    where = f"{module}.{component}"
    return Evidence(
        METRIC_SHIFT, module, component, "cpu_percent", since_us=round(at * SECOND), score=20.0,
        bits=18.0, sentence=f"{where} is hot",
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
