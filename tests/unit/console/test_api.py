"""Questions over HTTP: what is asked wrongly is told, what is right is what a slow search finds."""

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.console.api import application
from streams.console.archive.archive import Archive
from streams.console.openapi import openapi
from streams.console.paths.every import PATHS
from streams.console.questions.queries import Queries
from streams.console.times import iso, time_us
from streams.runtime import topics
from streams.units import HOUR_US
from tests.unit.console.at_hand import (
    SECOND,
    T0_US,
    alert_state,
    archive_in,
    event,
    incident,
    message,
    trace,
    window,
)
from tests.unit.console.open_to_all import open_to_all

Ask = Callable[..., httpx.Response]
DAY = "start=2025-10-09T00:00:00Z&end=2025-10-10T00:00:00Z"


def log_of(seed: int) -> list[dict[str, Any]]:
    """Return traces with revisions, in an order as they might come."""
    chance = random.Random(seed)
    found = []
    for n in range(40):
        start = T0_US + chance.randrange(50) * SECOND  # several begin together
        for revision in range(1, chance.choice((2, 2, 3, 4))):
            status = chance.choice(("COMPLETE", "BROKEN"))
            found.append(
                trace(
                    f"{n:032x}",
                    revision=revision,
                    start=start,
                    status=status,
                    flow=chance.choice(("record", "")),
                    duration_us=chance.randrange(10) * 1000,
                    record_id=f"rec-{n % 7}",
                )
            )
    chance.shuffle(found)
    return found


@contextmanager
def asked_of(archive: Archive) -> Iterator[Ask]:
    """Return how to ask an archive."""
    with ThreadPoolExecutor(2) as workers:
        app = application(open_to_all(Queries(archive, 256 << 20, 1), workers), {})

        def ask(path: str, base: str = "http://localhost:8090") -> httpx.Response:
            async def get() -> httpx.Response:
                transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                    return await client.get(path)

            return asyncio.run(get())

        yield ask


@pytest.fixture(scope="module", params=[0])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ask, list[Any]]]:
    """Return how to ask an archive of files and tail, which nobody changes, and its traces."""
    traces = log_of(request.param)
    archive = archive_in(tmp_path_factory.mktemp("archive"), rows=17)
    for offset, one in enumerate(traces):
        archive.take(message(topics.TRACES, offset, one))
    known = {"record_ids": ["rec-1"], "trace_ids": [f"{2:032x}"]}
    archive.take(message(topics.INCIDENTS, 0, incident("c" * 32, version=1, **known)))
    archive.take(
        message(topics.INCIDENTS, 1, incident("c" * 32, version=2, event="RESOLVED", **known))
    )
    archive.take(message(topics.INCIDENTS, 2, incident("d" * 32, trace_ids=[], record_ids=[])))
    archive.take(message(topics.STATS, 0, window(window_start=T0_US, revision=1, ratio=0.5)))
    archive.take(message(topics.STATS, 1, window(window_start=T0_US, revision=2, ratio=0.75)))
    with asked_of(archive) as ask:
        yield ask, traces


def last_of(traces: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the highest revision of each trace."""
    return {one["trace_id"]: one for one in sorted(traces, key=lambda t: t["revision"])}


@pytest.mark.parametrize("filled", range(3), indirect=True)
@pytest.mark.parametrize("query", ["", "&status=BROKEN", "&flow=record&min_duration_us=4000"])
def test_pages_are_what_a_search_finds(filled: tuple[Ask, list[Any]], query: str) -> None:
    """All pages together are each trace once, at its last revision, the newest first."""
    ask, traces = filled
    wanted = [
        one
        for one in last_of(traces).values()
        if ("BROKEN" not in query or one["status"] == "BROKEN")
        and ("flow" not in query or (one["flow"] == "record" and one["duration_us"] >= 4000))
    ]
    wanted.sort(key=lambda t: (t["start"], t["trace_id"]), reverse=True)
    found, token = [], ""
    while True:
        answer = ask(f"/api/v1/traces?{DAY}&limit=7{query}&continuation_token={token}").json()
        found += answer["traces"]
        token = answer["continuation_token"]
        if not token:
            break
        assert len(answer["traces"]) == 7
    assert [(t["trace_id"], t["revision"], t["status"]) for t in found] == [
        (t["trace_id"], t["revision"], t["status"]) for t in wanted
    ]
    assert [t["start"] for t in found] == [iso(t["start"]) for t in wanted]


def test_a_range_has_its_start_and_not_its_end(filled: tuple[Ask, list[Any]]) -> None:
    """[start, end): a trace that begins at the end is in the next range."""
    ask, traces = filled
    start = min(one["start"] for one in traces)
    at, end = iso(start), iso(start + 1)
    same = [t for t in last_of(traces).values() if t["start"] == start]
    assert len(ask(f"/api/v1/traces?start={at}&end={end}").json()["traces"]) == len(same)
    assert ask(f"/api/v1/traces?start={at}&end={at}").json()["traces"] == []
    ever = ask("/api/v1/traces?start=0001-01-01&end=9999-12-31T23:59:59.999999Z&limit=1000").json()
    assert len(ever["traces"]) == len(last_of(traces))


def test_one_trace_has_its_spans_and_revisions(filled: tuple[Ask, list[Any]]) -> None:
    """The last revision is told whole; a number that is none is null."""
    ask, traces = filled
    wanted = last_of(traces)[f"{3:032x}"]
    found = ask(f"/api/v1/traces/{3:032X}").json()
    assert found["revision"] == wanted["revision"]
    assert [one["revision"] for one in found["revisions"]] == list(range(1, wanted["revision"] + 1))
    assert [span["span_id"] for span in found["spans"]] == [
        span["span_id"] for span in wanted["spans"]
    ]
    assert found["spans"][0]["value"] is None
    (critical,) = found["critical_path"]
    (span,) = wanted["spans"]
    assert critical == {
        "span_id": span["span_id"],
        "own_us": span["duration_us"],
        "waited_us": 0,
    }
    assert ask("/api/v1/traces/ffff").status_code == 404


def test_what_the_list_of_spans_is_made_of(tmp_path: Path) -> None:
    """Spans, annotations, synthetic spans and repeated ids add up to its length."""
    one, log = event("span"), event("log")
    link = one | {"operation": "LINK", "actor": "spanloom", "span_id": "f" * 16}
    spans = [one, one | {"event_id": log["event_id"]}, log, link]
    archive = archive_in(tmp_path)
    counts = {"span_count": 1, "annotation_count": 1, "evicted_count": 7}
    archive.take(message(topics.TRACES, 0, trace("ab" * 16, spans=spans, **counts)))
    with asked_of(archive) as ask:
        found = ask(f"/api/v1/traces/{'ab' * 16}").json()
    assert found["events_in_spans"] == {
        "spans": 1,
        "annotations": 1,
        "synthetic": 1,
        "repeated": 1,
    }
    assert sum(found["events_in_spans"].values()) == len(found["spans"])


def test_what_is_not_there_is_told_as_json(filled: tuple[Ask, list[Any]]) -> None:
    """A program that reads `error` is told of a wrong path and of a wrong method, too."""
    ask, _ = filled
    wrong = ask("/api/v1/trace")
    assert (wrong.status_code, wrong.headers["content-type"]) == (404, "application/json")
    assert "no such path; /api/v1/openapi.json" in wrong.json()["error"]
    method = ask("/api/v1/audit/query")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert "this path takes POST alone" in method.json()["error"]
    assert ask("/nowhere").text == "Not Found"


def test_a_record_has_its_history_over_all_traces(filled: tuple[Ask, list[Any]]) -> None:
    """Every trace that it went through, every event, every incident that names it."""
    ask, traces = filled
    found = ask("/api/v1/records/rec-1").json()
    wanted = [t for t in last_of(traces).values() if t["spans"][0]["record_id"] == "rec-1"]
    assert {t["trace_id"] for t in found["traces"]} == {t["trace_id"] for t in wanted}
    assert len(found["entries"]) == len(wanted)
    times = [one["timestamp"] for one in found["entries"]]
    assert times == sorted(times)
    assert [one["incident_id"] for one in found["incidents"]] == ["c" * 32]
    assert ask("/api/v1/records/nobody").status_code == 404


@pytest.mark.parametrize("kind", ["records", "lineage"])
def test_an_id_with_slashes_is_asked_for(tmp_path: Path, kind: str) -> None:
    """All that follows, decoded, is the id; meters and access log see the path's description."""
    archive = archive_in(tmp_path)
    archive.take(message(topics.TRACES, 0, trace("e" * 32, start=T0_US, record_id="a/b c?d")))
    archive.take(message(topics.TRACES, 1, trace("f" * 32, start=T0_US, record_id="a\n/")))
    with asked_of(archive) as ask:
        for there in ("a%2Fb%20c%3Fd", "a/b%20c%3Fd", "a%0A%2F"):
            answer = ask(f"/api/v1/{kind}/{there}")
            assert answer.status_code == 200, there
        for gone in ("a", "a%2Fb", "a%2Fb%20c", "a%2Fb%20c%3Fd%2F", "%2Fa"):
            answer = ask(f"/api/v1/{kind}/{gone}")
            assert (answer.status_code, answer.json()["error"]) == (404, "there is none of that id")
        assert "no such path" in ask(f"/api/v1/{kind}/").json()["error"]


def test_the_description_knows_a_record_by_its_name(tmp_path: Path) -> None:
    """The access log writes down this instead of an id, which may be personal."""
    with ThreadPoolExecutor(1) as workers:
        interface = open_to_all(Queries(archive_in(tmp_path), 256 << 20, 1), workers)
        served = {interface.route(one).path for one in PATHS}
    assert {"/api/v1/records/{record_id}", "/api/v1/lineage/{record_id}"} <= served


def test_times_have_years_of_four_digits() -> None:
    """As ISO 8601 has them, and as they are read again."""
    first_us = time_us("0001-01-01", "start")
    assert iso(first_us) == "0001-01-01T00:00:00.000000Z"
    assert iso(time_us("0987-06-05T04:03:02.000001", "start")) == "0987-06-05T04:03:02.000001Z"
    assert iso(time_us("9999-12-31T23:59:59.999999Z", "end")) == "9999-12-31T23:59:59.999999Z"
    assert iso(first_us - 1) is None


def test_incidents_are_told_at_their_last_version(filled: tuple[Ask, list[Any]]) -> None:
    """Open ones and ended ones apart; one has all its versions."""
    ask, _ = filled
    assert {i["incident_id"] for i in ask("/api/v1/incidents").json()["incidents"]} == {
        "c" * 32,
        "d" * 32,
    }
    (ended,) = ask("/api/v1/incidents?state=ended").json()["incidents"]
    assert (ended["incident_id"], ended["event"]) == ("c" * 32, "RESOLVED")
    (open_,) = ask("/api/v1/incidents?state=open").json()["incidents"]
    assert open_["incident_id"] == "d" * 32
    one = ask(f"/api/v1/incidents/{'c' * 32}").json()
    assert [version["event"] for version in one["versions"]] == ["OPENED", "RESOLVED"]


def test_an_incident_tells_its_alerts_as_they_were_and_as_they_are(tmp_path: Path) -> None:
    """The event stays what it was; beside it stands what its alerts said since."""
    archive = archive_in(tmp_path)
    told = incident("c" * 32, alert_count=7, alerts_firing=4)
    archive.take(message(topics.INCIDENTS, 0, told))
    first, second = told["alerts"]
    same = {name: first[name] for name in ("fingerprint", "firing_since", "last_seen")}
    over = alert_state(**same, version=2, state="RESOLVED", severity="ERROR")
    archive.take(message(topics.ALERTS, 0, over))
    with asked_of(archive) as ask:
        one = ask(f"/api/v1/incidents/{'c' * 32}").json()
    assert [alert["state"] for alert in one["alerts"]] == ["FIRING", "FIRING"]
    assert [(alert["fingerprint"], alert["state"]) for alert in one["alerts_now"]] == [
        (first["fingerprint"], "RESOLVED"),
        (second["fingerprint"], "FIRING"),
    ]
    assert one["alerts_now"][0]["last_seen"] == one["alerts"][0]["last_seen"]
    assert (one["alerts_firing"], one["alerts_firing_now"]) == (4, 3)


def test_incidents_of_a_time_are_those_open_then(tmp_path: Path) -> None:
    """An incident is told for [start, end) when it was open at a moment of it, at either bound."""
    archive = archive_in(tmp_path, rows=3)
    lives: dict[str, tuple[int, int | None]] = {}
    for n, (opened, ended) in enumerate([(0, 3), (2, None), (4, 5), (5, 9), (8, None)]):
        name = f"{n:032x}"
        lives[name] = (opened, ended)
        told: dict[str, Any] = {"opened_at": T0_US + opened * SECOND, "resolved_at": 0}
        last: dict[str, Any] = {"version": 2, "event": "RESOLVED" if n else "MERGED"}
        events = [told | {"version": 1, "timestamp": told["opened_at"]}]
        if ended is not None:
            events.append(told | last | {"timestamp": T0_US + ended * SECOND})
        for version, one in enumerate(events):
            archive.take(message(topics.INCIDENTS, 2 * n + version, incident(name, **one)))
    with asked_of(archive) as ask:
        for start in (None, 3, 5):
            for end in (None, 5, 6, 9):
                bounds = {"start": start, "end": end}
                query = "&".join(
                    f"{name}={iso(T0_US + at * SECOND)}"
                    for name, at in bounds.items()
                    if at is not None
                )
                answer = ask(f"/api/v1/incidents?{query}").json()["incidents"]
                wanted = {
                    name
                    for name, (opened, ended) in lives.items()
                    if (end is None or opened < end)
                    and (start is None or ended is None or ended > start)
                }
                assert {one["incident_id"] for one in answer} == wanted, query
        late = iso(T0_US + SECOND)
        assert ask(f"/api/v1/incidents?start={late}&end={iso(T0_US)}").status_code == 400


def test_fidelity_is_told_by_edge(filled: tuple[Ask, list[Any]]) -> None:
    """A window counts at its last revision."""
    ask, _ = filled
    (series,) = ask(f"/api/v1/fidelity?{DAY}").json()["series"]
    assert [one["ratio"] for one in series["windows"]] == [0.75]
    none = {"series": [], "tiers": [], "is_cut": False}
    assert ask(f"/api/v1/fidelity?{DAY}&flow=none").json() == none
    (series,) = ask(f"/api/v1/fidelity?{DAY}&step=3600").json()["series"]
    assert [(one["ratio"], one["window_us"]) for one in series["windows"]] == [
        (392 / 400, HOUR_US)  # of the sums, not what the windows say
    ]
    assert ask(f"/api/v1/fidelity?{DAY}&step=1").status_code == 400  # more points than any chart


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("start=2025-10-09", "end: missing"),
        ("start=yesterday&end=2025-10-09", "start: 'yesterday' is no time"),
        ("start=2025-10-10&end=2025-10-09", "end: before start"),
        (f"{DAY}&limit=0", "limit: '0' is not a whole number from 1 to 1000"),
        (f"{DAY}&limit=-1", "limit: '-1' is not a whole number from 1 to 1000"),
        (f"{DAY}&limit=1.5", "limit: '1.5' is not a whole number from 1 to 1000"),
        (f"{DAY}&min_duration_us=-1", "min_duration_us: '-1' is not a whole number from 0 to"),
        (f"{DAY}&limit=9999999999999999999", "limit:"),
        (f"{DAY}&status=LOST", "status: one of COMPLETE"),
        (f"{DAY}&stat=1", "stat: no such parameter"),
        (f"{DAY}&continuation_token=x", "continuation_token: not one that this answer gave"),
        (f"{DAY}&continuation_token=WyJ4IiwxXQ", "continuation_token: not one that"),
        (f"{DAY}&flow={'x' * 300}", "flow: at most 200 characters"),
        (f"{DAY}&status=", "status: it is empty"),
        (f"{DAY}&min_duration_us=", "min_duration_us: it is empty"),
        (f"{DAY}&limit=", "limit: it is empty"),
        ("start=&end=2025-10-09", "start: missing"),
        (f"{DAY}&status=BROKEN&status=", "status: given 2 times"),
        (f"{DAY}&status=BROKEN&flow=a&status=COMPLETE", "status: given 2 times"),
        (f"{DAY}&end=2025-10-11", "end: given 2 times"),
        (f"{DAY}&continuation_token=&continuation_token=", "continuation_token: given 2 times"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(
    filled: tuple[Ask, list[Any]], query: str, words: str
) -> None:
    """400, with the parameter and what it may be; never 500."""
    answer = filled[0](f"/api/v1/traces?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(words)


@pytest.mark.parametrize("text", ["' OR 1=1 --", "x'; DROP TABLE rows; --", "%00", "\u202e"])
def test_what_is_asked_never_becomes_a_statement(filled: tuple[Ask, list[Any]], text: str) -> None:
    """Text is a value, wherever it stands."""
    ask, _ = filled
    assert ask(f"/api/v1/traces?{DAY}&flow={text}").json()["traces"] == []
    assert ask(f"/api/v1/records/{text}").status_code == 404


def test_the_description_has_every_path_and_parameter() -> None:
    """It is made of what reads the parameters."""
    document = openapi(PATHS)
    assert set(document["paths"]) == {one.path for one in PATHS}
    traces = document["paths"]["/api/v1/traces"]["get"]["parameters"]
    assert [p["name"] for p in traces if p["required"]] == ["start", "end"]


def test_another_name_of_the_loopback_is_refused(filled: tuple[Ask, list[Any]]) -> None:
    """A page elsewhere cannot ask by a name of its own that leads here."""
    ask, _ = filled
    assert ask("/api/v1/incidents", "http://evil.example").status_code == 400


def test_what_the_archive_cannot_answer_is_no_crash(
    filled: tuple[Ask, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone, memory that is short: 503, and the reason in the log alone."""
    ask, _ = filled

    def gone(*_: Any) -> None:
        raise FileNotFoundError("/secret/place")

    monkeypatch.setattr(Queries, "incidents", gone)
    answer = ask("/api/v1/incidents")
    assert answer.status_code == 503
    assert "secret" not in answer.text
