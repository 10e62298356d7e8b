"""The audit query, history, lineage and metrics, against a slow search of the same events."""

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from streams.console import arrow
from streams.console.api import application
from streams.console.archive.archive import Archive
from streams.console.questions.queries import Queries
from streams.console.times import iso
from streams.runtime import topics
from tests.unit.console.at_hand import (
    SECOND,
    T0_US,
    TELEMETRY,
    archive_in,
    batch,
    event,
    incident,
    message,
    trace,
    window,
)
from tests.unit.console.open_to_all import open_to_all

Post = Callable[..., httpx.Response]
RANGE = {"start": "2025-10-09T00:00:00Z", "end": "2025-10-10T00:00:00Z"}
SEVERITIES = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")


def events_of(chance: random.Random) -> list[dict[str, Any]]:
    """Return events of all types, some at the same time."""
    found = []
    for n in range(60):
        kind = chance.choice(("metric_outside_traces", "log", "audit", "span"))
        found.append(
            event(
                kind,
                event_id=f"{n:08x}-0000-4000-8000-{chance.getrandbits(48):012x}",
                span_id=f"{n + 1:016x}",
                parent_span_id="",
                timestamp=T0_US + chance.randrange(20) * SECOND,
                module=chance.choice(("ALPHA", "BETA")),
                component=chance.choice(("parser", "delivery")),
                severity=chance.choice(SEVERITIES),
                record_id=f"rec-{chance.randrange(4)}",
                correlation_id=chance.choice(("", "cor-1")),
                actor=chance.choice(("", "svc-a")),
                operation=chance.choice(("", "DELIVER")),
                trace_id=f"{chance.randrange(1, 5):032x}"
                if kind != "metric_outside_traces"
                else "",
                links=[],
            )
        )
    return found


def fill(archive: Archive, events: list[dict[str, Any]]) -> None:
    """Take events in: traces in two revisions, a part of the rest sent again in a batch."""
    spans: dict[str, list[dict[str, Any]]] = {}
    for one in events:
        if one["event_type"] == "TRACE":
            spans.setdefault(one["trace_id"], []).append(one)
    offset = 0
    for trace_id, own in spans.items():
        for revision, part in ((1, own[:1]), (2, own)):
            start = min(one["timestamp"] for one in part)
            whole = trace(trace_id, revision=revision, spans=part, start=start)
            archive.take(message(topics.TRACES, offset, whole))
            offset += 1
    others = [one for one in events if one["event_type"] != "TRACE"]
    for offset, one in enumerate(others):
        archive.take(message(TELEMETRY, offset, one))
    again = message(TELEMETRY, len(others), others[0])
    archive.take(again._replace(value=batch(others[:7])))


@pytest.fixture(scope="module", params=range(3))
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Post, list[dict[str, Any]]]]:
    """Return how to ask an archive of files and tail, which nobody changes, and its events."""
    events = events_of(random.Random(request.param))
    archive = archive_in(tmp_path_factory.mktemp("archive"), rows=17)
    fill(archive, events)
    with ask_of(archive) as post:
        yield post, events


class ask_of:  # noqa: N801
    """How to ask an archive."""

    def __init__(self, archive: Archive) -> None:
        self._workers = ThreadPoolExecutor(2)
        interface = open_to_all(Queries(archive, 256 << 20, 1), self._workers)
        self._app = application(interface, {})

    def __enter__(self) -> Post:
        def post(path: str, body: Any = None, headers: Any = None) -> httpx.Response:
            async def send() -> httpx.Response:
                transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
                base = "http://localhost:8090"
                async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                    if body is None:
                        return await client.get(path, headers=headers)
                    return await client.post(path, json=body, headers=headers)

            return asyncio.run(send())

        return post

    def __exit__(self, *_: object) -> None:
        self._workers.shutdown()


def searched(events: list[dict[str, Any]], **query: Any) -> list[str]:
    """Return the ids of the events that fit, by a slow search."""
    lists = {"record_ids": "record_id", "trace_ids": "trace_id", "modules": "module"}
    lists |= {"event_types": "event_type"}
    found = []
    for one in events:
        fits = all(one[column] in query[name] for name, column in lists.items() if name in query)
        least = query.get("severity_minimum", "DEBUG")
        fits = fits and SEVERITIES.index(one["severity"]) >= SEVERITIES.index(least)
        single = ("actor", "component", "correlation_id", "operation")
        if fits and all(one[name] == query[name] for name in single if name in query):
            found.append(one)
    return [one["event_id"] for one in sorted(found, key=lambda e: (e["timestamp"], e["event_id"]))]


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"record_ids": ["rec-1", "rec-3"]},
    {"trace_ids": [f"{2:032x}"]},
    {"modules": ["BETA"]},
    {"event_types": ["AUDIT", "TRACE"]},
    {"severity_minimum": "ERROR"},
    {"actor": "svc-a"},
    {"component": "delivery"},
    {"correlation_id": "cor-1"},
    {"operation": "DELIVER", "modules": ["ALPHA"], "severity_minimum": "WARN"},
    {"record_ids": ["no such"]},
)


@pytest.mark.parametrize("query", FILTERS, ids=lambda q: ",".join(q) or "all")
def test_audit_finds_what_a_slow_search_finds(
    asked: tuple[Post, list[dict[str, Any]]], query: dict[str, Any]
) -> None:
    """Each event once, over all pages, in order, and the total is told on each page."""
    post, events = asked
    expected = searched(events, **query)
    found: list[str] = []
    token = None
    while True:
        answer = post(
            "/api/v1/audit/query",
            {"time_range": RANGE, "limit": 7, "continuation_token": token} | query,
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["total_count"] == len(expected)
        found += [one["event_id"] for one in page["entries"]]
        token = page["continuation_token"]
        if not token:
            break
        assert len(page["entries"]) == 7
    assert found == expected


def test_an_entry_is_the_event_as_it_came(asked: tuple[Post, list[dict[str, Any]]]) -> None:
    """With all its fields; times as text."""
    post, events = asked
    answer = post("/api/v1/audit/query", {"time_range": RANGE, "limit": 1000}).json()
    by_id = {one["event_id"]: one for one in events}
    for entry in answer["entries"]:
        whole = by_id[entry["event_id"]]
        assert entry["timestamp"] == iso(whole["timestamp"])
        same = ("module", "operation", "actor", "record_id", "dimensions", "name", "event_type")
        assert {name: entry[name] for name in same} == {name: whole[name] for name in same}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "time_range"),
        ({"time_range": {"start": "x", "end": "y"}}, "time_range.start"),
        ({"time_range": RANGE, "severity_minimum": "BAD"}, "severity_minimum"),
        ({"time_range": RANGE, "limit": 0}, "limit"),
        ({"time_range": RANGE, "continuation_token": "e30"}, "continuation_token"),
        ({"time_range": RANGE, "who": 1}, "who"),
        ({"time_range": RANGE, "record_ids": ["x" * 201]}, "record_ids"),
        ({"time_range": {"start": RANGE["end"], "end": RANGE["start"]}}, "time_range.end"),
        ([], "the request"),
    ],
)
def test_a_wrong_question_is_told(tmp_path: Path, body: Any, word: str) -> None:
    """400, and which field it is."""
    with ask_of(archive_in(tmp_path)) as post:
        answer = post("/api/v1/audit/query", body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(word)


def test_the_same_as_arrow(asked: tuple[Post, list[dict[str, Any]]]) -> None:
    """Times are timestamps, dimensions maps, and the next page stands in the schema."""
    post, _ = asked
    question = {"time_range": RANGE, "limit": 20}
    told = post("/api/v1/audit/query", question).json()
    answer = post("/api/v1/audit/query", question, {"Accept": f"{arrow.MEDIA}, */*;q=0.1"})
    assert answer.headers["content-type"] == arrow.MEDIA
    table = pa.ipc.open_stream(answer.content).read_all()
    assert [str(field.type) for field in table.schema if field.name in ("timestamp", "name")] == [
        "timestamp[us, tz=UTC]", "string",
    ]  # fmt: skip
    assert table["event_id"].to_pylist() == [one["event_id"] for one in told["entries"]]
    times = [iso(int(at.timestamp() * SECOND)) for at in table["timestamp"].to_pylist()]
    assert times == [one["timestamp"] for one in told["entries"]]
    maps = [dict(pairs) for pairs in table["dimensions"].to_pylist()]
    assert maps == [one["dimensions"] for one in told["entries"]]
    said = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert said["total_count"] == str(told["total_count"])
    assert said.keys() == {"total_count", "as_of", "continuation_token"}
    rest = question | {"continuation_token": said["continuation_token"]}
    assert post("/api/v1/audit/query", rest).json()["as_of"] == said["as_of"] > told["as_of"]
    nothing = post("/api/v1/audit/query", question | {"actor": "nobody"}, {"Accept": arrow.MEDIA})
    assert pa.ipc.open_stream(nothing.content).read_all().num_rows == 0
    one = post("/api/v1/records/rec-1", None, {"Accept": arrow.MEDIA})
    assert one.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("accept", "is_arrow"),
    [
        ("", False),
        ("*/*", False),
        ("application/*", False),
        (arrow.MEDIA, True),
        (arrow.MEDIA.upper(), True),
        (f"{arrow.MEDIA};q=0", False),
        (f"{arrow.MEDIA} ; Q=0.000, */*", False),
        (f"{arrow.MEDIA};q=0.1", True),
        (f"application/json, {arrow.MEDIA};q=0.1", False),
        (f"application/json, {arrow.MEDIA}", True),
        (f"Application/JSON;charset=utf-8;q=0.2, {arrow.MEDIA};q=0.3", True),
        (f"{arrow.MEDIA};q=0.5, */*", False),
        (f"{arrow.MEDIA};q=0.5, */*, application/json;q=0.4", True),
        (f"{arrow.MEDIA};q=nan", False),
        (f"{arrow.MEDIA};q=7", False),
    ],
)
def test_arrow_comes_to_who_likes_it_best(
    asked: tuple[Post, list[dict[str, Any]]], accept: str, is_arrow: bool
) -> None:
    """As the weights of Accept say; of what is liked alike, what is named."""
    answer = asked[0]("/api/v1/audit/query", {"time_range": RANGE, "limit": 1}, {"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (arrow.MEDIA if is_arrow else "application/json")


def test_a_question_has_a_greatest_length(tmp_path: Path) -> None:
    """More than a mebibyte is not read."""
    with ask_of(archive_in(tmp_path)) as post:
        answer = post("/api/v1/audit/query", {"time_range": RANGE, "actor": "x" * (1 << 20)})
    assert answer.status_code == 413


def test_a_record_has_all_its_events(asked: tuple[Post, list[dict[str, Any]]]) -> None:
    """Spans, log lines, audit entries and metrics that name it, each once, in order."""
    post, events = asked
    answer = post("/api/v1/records/rec-1", None).json()
    entries = [one["event_id"] for one in answer["entries"]]
    assert sorted(entries) == sorted(e["event_id"] for e in events if e["record_id"] == "rec-1")
    times = [one["timestamp"] for one in answer["entries"]]
    assert times == sorted(times)
    assert answer["is_cut"] is False


def linked(archive: Archive) -> None:
    """Take in a record, the batch that it went into, and a record made of the batch."""
    about = {"severity": "INFO", "record_id": "", "batch_id": ""}
    spans = {
        "a": {"record_id": "first", "dimensions": {"source_system": "orders"}, "links": []},
        "b": {"links": [{"trace_id": "a" * 32, "span_id": "a" * 16}], "dimensions": {}},
        "c": {
            "record_id": "second",
            "dimensions": {"destination": "crm"},
            "links": [{"trace_id": "b" * 32, "span_id": "b" * 16}],
        },
    }
    for offset, (name, fields) in enumerate(spans.items()):
        ids = {"trace_id": name * 32, "span_id": name * 16, "parent_span_id": "", "name": name}
        one = event(
            "span", event_id=f"event-{name}", timestamp=T0_US + offset, **about | ids | fields
        )
        archive.take(message(topics.TRACES, offset, trace(name * 32, spans=[one], start=T0_US)))


def test_lineage_follows_links_both_ways(tmp_path: Path) -> None:
    """Forward from what was read, backward from what was delivered."""
    archive = archive_in(tmp_path)
    linked(archive)
    with ask_of(archive) as post:
        there = post("/api/v1/lineage/first?direction=forward", None).json()
        back = post("/api/v1/lineage/second?direction=backward", None).json()
        middle = post("/api/v1/lineage/first?direction=backward", None).json()
        unknown = post("/api/v1/lineage/third", None)
    assert [node["label"] for node in there["nodes"]] == ["orders", "a", "b", "c", "crm"]
    assert [node["label"] for node in back["nodes"]] == ["crm", "c", "b", "a", "orders"]
    assert [node["label"] for node in middle["nodes"]] == ["a", "orders"]
    assert there["source_system"] == back["source_system"] == "orders"
    assert there["destinations"] == ["crm"]
    assert there["ingested_at"] == iso(T0_US)
    assert {edge["kind"] for edge in there["edges"]} == {"read", "link", "deliver"}
    assert unknown.status_code == 404


def test_traces_are_found_by_a_dimension(tmp_path: Path) -> None:
    """That one of their spans has."""
    archive = archive_in(tmp_path)
    linked(archive)
    path = f"/api/v1/traces?start={RANGE['start']}&end={RANGE['end']}&dimension="
    with ask_of(archive) as post:
        of_crm = post(f"{path}destination=crm", None).json()
        none = post(f"{path}destination=orders", None).json()
        wrong = post(f"{path}crm", None)
    assert [one["trace_id"] for one in of_crm["traces"]] == ["c" * 32]
    assert none["traces"] == []
    assert wrong.status_code == 400
    assert wrong.json()["error"].startswith("dimension")


def test_metrics_are_series_of_steps(tmp_path: Path) -> None:
    """By name and dimensions, a point a step; an event that was sent twice counts once."""
    archive = archive_in(tmp_path)
    values = {0: 1.0, 1: 3.0, 61: 10.0}
    for offset, (second, value) in enumerate(values.items()):
        about = {"timestamp": T0_US + second * SECOND, "value": value, "event_id": f"m-{second}"}
        one = event(name="pipeline.beta.quality.gauge.score", dimensions={"source": "x"}, **about)
        archive.take(message(TELEMETRY, 2 * offset, one))
        archive.take(message(TELEMETRY, 2 * offset + 1, one | {"dimensions": {"source": "y"}}))
    archive.take(message(TELEMETRY, 6, one | {"dimensions": {"source": "x"}}))
    start, end = iso(T0_US), iso(T0_US + 120 * SECOND)
    path = f"/api/v1/metrics?start={start}&end={end}&name=pipeline.*.score&step=60"
    with ask_of(archive) as post:
        found = post(path, None).json()
        of_x = post(f"{path}&dimension=source=x", None).json()
        wrong = post(f"{path}&dimension=x", None)
        none = post(path.replace("score", "other"), None).json()
    assert [one["dimensions"] for one in found["series"]] == [{"source": "x"}, {"source": "y"}]
    assert of_x["series"] == found["series"][:1]
    first, second = of_x["series"][0]["points"]
    assert first == {"at": start, "min": 1.0, "max": 3.0, "mean": 2.0, "last": 3.0, "count": 2}
    assert (second["at"], second["last"], second["count"]) == (iso(T0_US + 60 * SECOND), 10.0, 1)
    assert wrong.status_code == 400
    assert none["series"] == []


def test_effects_tell_what_was_around_an_incident(tmp_path: Path) -> None:
    """Modules in the order of the work, each with its spans, fidelity, alerts and incidents."""
    archive = archive_in(tmp_path)
    chain = []
    for n, (module, severity) in enumerate(
        (("ALPHA", "INFO"), ("BETA", "ERROR"), ("GAMMA", "INFO"))
    ):
        ids = {"span_id": f"{n + 1:016x}", "parent_span_id": f"{n:016x}" if n else ""}
        about = {"module": module, "severity": severity, "trace_id": "a" * 32, "links": []}
        at = {"timestamp": T0_US + n, "event_id": f"event-{n}"}
        chain.append(event("span", **ids, **about, **at))
    archive.take(message(topics.TRACES, 0, trace("a" * 32, spans=chain)))
    about = {"module": "BETA", "opened_at": T0_US, "resolved_at": 0, "timestamp": T0_US}
    archive.take(message(topics.INCIDENTS, 0, incident("c" * 32, alerts=[], **about)))
    edge = {"kind": "module", "module": "GAMMA", "window_start": T0_US}
    archive.take(message(topics.STATS, 0, window(expected=4, observed=3, **edge)))
    with ask_of(archive) as post:
        found = post(f"/api/v1/incidents/{'c' * 32}/effects", None).json()
        unknown = post("/api/v1/incidents/none/effects", None)
    assert [(m["module"], m["relation"], m["hops"]) for m in found["modules"]] == [
        ("ALPHA", "upstream", 1), ("BETA", "origin", 0), ("GAMMA", "downstream", 1),
    ]  # fmt: skip
    alpha, beta, gamma = found["modules"]
    assert (alpha["spans"], alpha["errors"]) == (1, 0)
    assert (beta["spans"], beta["errors"], len(beta["incidents"])) == (1, 1, 1)
    assert gamma["fidelity_ratio"] == 0.75
    assert unknown.status_code == 404
