"""`spanloom query` against a console on a socket of its own; each page of docs/queries."""

import asyncio
import csv
import hashlib
import json
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from streams.cli import asking, query
from streams.console.api import application
from streams.console.archive.archive import Archive
from streams.console.paths.pipeline import pipeline_paths
from streams.console.questions.queries import Queries
from streams.runtime import topics
from tests.unit.cli.shell import Shell
from tests.unit.console.at_hand import (
    T0_US,
    TELEMETRY,
    archive_in,
    event,
    incident,
    message,
    trace,
    window,
)
from tests.unit.console.open_to_all import open_to_all

QUERIES = sorted((Path(__file__).parents[3] / "docs" / "queries").glob("[a-z]*.md"))
TRACE, INCIDENT = "ab" * 16, "cd" * 16
START, END = "2025-10-09T00:00Z", "2025-10-10T00:00Z"
RANGE = ("--start", START, "--end", END)
VALUES = {
    "START": START, "END": END, "TRACE": TRACE, "INCIDENT": INCIDENT, "RECORD": "rec-1",
    "MODULE": "BETA", "ACTOR": "svc-beta", "OWNER": "team-beta",
}  # fmt: skip
ODD_ID = "a/b c?d"
AUDITED = 250
"""Audit entries; more than two pages of a hundred."""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a console that has one of everything, and a few pages of audit."""
    archive = archive_in(tmp_path_factory.mktemp("archive"))
    broken = trace(TRACE, start=T0_US, status="BROKEN", duration_us=6_000_000)
    archive.take(message(topics.TRACES, 0, broken))
    opened = incident(INCIDENT, opened_at=T0_US, owner="team-beta", record_ids=["rec-1"])
    archive.take(message(topics.INCIDENTS, 0, opened))
    told = query._EXAMPLES["incident"].split()[0]
    archive.take(message(topics.INCIDENTS, 1, incident(told, opened_at=T0_US)))
    archive.take(message(topics.STATS, 0, window(window_start=T0_US, kind="edge")))
    about = {"module": "BETA", "severity": "ERROR", "actor": "svc-beta", "record_id": "rec-1"}
    for n in range(AUDITED):
        one = event("audit", event_id=f"event-{n:03}", timestamp=T0_US + n, **about)
        archive.take(message(TELEMETRY, n, one))
    metric = event(
        name="pipeline.beta.enrichment.gauge.error_rate",
        timestamp=T0_US,
        dimensions={"enrichment_source": "geo_lookup"},
    )
    archive.take(message(TELEMETRY, AUDITED, metric))
    odd = event("audit", event_id="odd", timestamp=T0_US, record_id=ODD_ID, module="ALPHA")
    archive.take(message(TELEMETRY, AUDITED + 1, odd))
    with served(archive) as address:
        yield address


@contextmanager
def served(archive: Archive, **settings: Any) -> Iterator[str]:
    """Yield the address of a console of an archive."""
    with ThreadPoolExecutor(2) as workers:
        interface = open_to_all(Queries(archive, 256 << 20, 1), workers, **settings)
        app = application(interface, {}, pipeline_paths())
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def ask(console: str, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """Return a shell that asks this console, in a folder of its own."""
    monkeypatch.setenv("SPANLOOM_CONSOLE_URL", console)
    monkeypatch.chdir(tmp_path)
    return shell


@pytest.mark.parametrize("page", QUERIES, ids=lambda page: page.stem)
def test_each_question_of_the_pages_is_answered(
    page: Path, ask: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command ends with 0 and finds what the question is about."""
    monkeypatch.setenv("COLUMNS", "200")
    (block,) = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    for line in block.splitlines():
        words = shlex.split(re.sub(r"\$([A-Z]+)", lambda m: VALUES[m[1]], line))
        if words[0] == "sha256sum":
            assert subprocess.run(words, check=False).returncode == 0
            continue
        assert words[:2] == ["spanloom", "query"]
        answer = ask(*words[1:])
        assert answer.code == 0, answer.err
        assert answer.out.strip()
        if "missing-stage" not in line:
            assert "nothing found" not in answer.out, line


def test_series_are_told_apart_and_have_figures(ask: Shell) -> None:
    """Of a volume the status of each series, and how much its newest point counts."""
    shown = ask("query", "volume", *RANGE, "--by", "flow").out.splitlines()
    at = next(n for n, line in enumerate(shown) if line.startswith("series"))
    assert "figures of the newest" in shown[at]
    head = shown[at + 1].split()
    assert {"status", "points", "count"} <= set(head)
    rows = [line.split()[:2] for line in shown[at + 2 :] if "of them" in line]
    assert len(rows) == len({tuple(row) for row in rows}) > 0


def test_all_pages_are_joined(ask: Shell) -> None:
    """--all asks until there are no more."""
    one = json.loads(ask("query", "audit", *RANGE, "--actor", "svc-beta", "--json").out)
    every = json.loads(ask("query", "audit", *RANGE, "--actor", "svc-beta", "--all", "--json").out)
    assert len(one["entries"]) == 100
    assert one["continuation_token"]
    assert len(every["entries"]) == AUDITED == one["total_count"]
    assert every["continuation_token"] == ""
    assert len({entry["event_id"] for entry in every["entries"]}) == AUDITED


def test_a_file_has_all_of_it_and_a_digest(ask: Shell) -> None:
    """CSV and JSON; a value that a spreadsheet would run is told to be text."""
    said = ask("query", "audit", *RANGE, "--module", "BETA", "--event-type", "AUDIT",
               "--out", "a.csv")  # fmt: skip
    assert f"{AUDITED} entries" in said.out
    with Path("a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == AUDITED
    assert rows[0]["event_id"] == "event-000"
    assert rows[0]["actor"] == "svc-beta"
    about, line = Path("a.csv.sha256").read_text("utf-8").splitlines()
    digest = hashlib.sha256(Path("a.csv").read_bytes()).hexdigest()
    assert line == f"{digest}  a.csv"
    assert about.startswith(f"# {AUDITED} entries as of 20")
    checked = subprocess.run(["sha256sum", "--check", "--strict", "a.csv.sha256"], check=False)
    assert checked.returncode == 0
    assert ask("query", "audit", *RANGE, "--out", "a.json").code == 0
    assert json.loads(Path("a.json").read_text("utf-8"))["total_count"] == AUDITED + 3
    assert ask("query", "audit", *RANGE, "--limit", "1", "--out", "a.json", "--force").code == 0
    assert json.loads(Path("a.json").read_text("utf-8"))["total_count"] == AUDITED + 3
    wrong = ask("query", "audit", *RANGE, "--out", "a.txt")
    assert wrong.code == 2
    assert ".csv or .json" in wrong.err


def test_what_is_not_there_is_told(ask: Shell) -> None:
    """1 for an id that is unknown, 2 for a wrong question, which names the parameter."""
    unknown = ask("query", "trace", "ef" * 16)
    assert (unknown.code, unknown.err) == (1, "there is none of that id\n")
    wrong = ask("query", "traces", "--start", "yesterday", "--end", END)
    assert wrong.code == 2
    assert "start: 'yesterday' is no time" in wrong.err
    assert ask("query", "audit", *RANGE, "--severity-minimum", "BAD").code == 2


def test_a_console_that_is_away_is_told(shell: Shell) -> None:
    """3, and what to do."""
    said = shell("query", "incidents", "--console", "http://127.0.0.1:9")
    assert said.code == 3
    assert "start one with `spanloom console`" in said.err
    assert shell("query", "incidents", "--console", "here").code == 2


def test_an_id_cannot_leave_its_path(ask: Shell) -> None:
    """Slashes and dots of an id are part of it."""
    for name in ("../health", "a/b", "..%2f..", "?x=1"):
        assert ask("query", "record", name).code == 1


@pytest.mark.parametrize("command", query._EXAMPLES)
def test_each_example_of_the_help_can_be_asked(command: str, ask: Shell) -> None:
    """It lacks no flag and has none that is not there; 1: nothing of that id is here."""
    answer = ask("query", command, *shlex.split(query._EXAMPLES[command]))
    assert answer.code in (0, 1), answer.err


def test_since_stands_for_a_range_until_now(ask: Shell) -> None:
    """Who is called at night knows how long ago, and counts no hours of UTC."""
    days = int((time.time() - T0_US / 1e6) / 86_400) + 1
    found = json.loads(ask("query", "traces", "--since", f"{days}d", "--json").out)
    assert [one["trace_id"] for one in found["traces"]] == [TRACE]
    assert json.loads(ask("query", "traces", "--since", "90s", "--json").out)["traces"] == []
    audited = json.loads(ask("query", "audit", "--since", f"{days}d", "--json").out)
    assert len(audited["entries"]) == 100


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("traces",), "say the time: --since 1h, or --start and --end"),
        (("audit", "--start", START), "say the time"),
        (("traces", "--since", "yesterday"), "--since yesterday: write 90s, 15m, 2h, 30d or 4w"),
        (("traces", "--since", "1h", "--end", END), "--since 1h: not with --end"),
    ],
)
def test_a_range_that_is_not_said_or_said_twice_is_refused(
    words: tuple[str, ...], why: str, ask: Shell
) -> None:
    """With what to write instead."""
    answer = ask("query", *words)
    assert (answer.code, answer.out) == (2, "")
    assert why in answer.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("audit", *RANGE, "--actor", ""), "--actor: it is empty"),
        (("audit", *RANGE, "--severity-minimum", ""), "--severity-minimum: it is empty"),
        (("audit", *RANGE, "--module", "BETA", "--module", ""), "--module: it is empty"),
        (("audit", "--since", ""), "--since: it is empty"),
        (("traces", *RANGE, "--status", ""), "--status: it is empty"),
        (("incidents", "--owner", ""), "--owner: it is empty"),
        (("record", ""), "record_id: it is empty"),
    ],
)
def test_an_empty_value_is_refused(words: tuple[str, ...], why: str, ask: Shell) -> None:
    """It comes of a shell variable that is not set, and would ask for everything."""
    answer = ask("query", *words)
    assert (answer.code, answer.out) == (2, "")
    assert why in answer.err


@pytest.mark.parametrize("command", ["record", "lineage"])
def test_a_record_is_found_whatever_its_id(command: str, ask: Shell) -> None:
    """Slashes, spaces and question marks are part of it."""
    answer = ask("query", command, ODD_ID, "--json")
    assert answer.code == 0, answer.err
    assert ODD_ID in answer.out
    assert ask("query", command, "a/b c").code == 1


def test_all_pages_are_asked_for_in_the_longest_ones(
    ask: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request here; pages that somebody asks for are as long as they say."""
    answered: list[int] = []
    answer = asking.answer

    def counted(status: int, text: str) -> dict[str, object]:
        answered.append(status)
        return answer(status, text)

    monkeypatch.setattr(asking, "answer", counted)
    audit = ("query", "audit", *RANGE, "--actor", "svc-beta")
    for words, requests in (
        (("--all",), 1),
        (("--out", "a.json"), 1),
        (("--all", "--limit", "100"), 3),
        ((), 1),
    ):
        answered.clear()
        assert ask(*audit, *words).code == 0
        assert answered == [200] * requests, words
    assert len(json.loads(ask(*audit, "--json").out)["entries"]) == 100


def test_rows_too_long_for_a_long_page_are_asked_for_in_shorter_ones(
    shell: Shell, tmp_path: Path
) -> None:
    """The console bounds the bytes of an answer; who says how many rows is told so."""
    archive = archive_in(tmp_path)
    for n in range(AUDITED):
        one = event("audit", event_id=f"{n}", timestamp=T0_US + n, dimensions={"x": "y" * 20_000})
        archive.take(message(TELEMETRY, n, one))
    with served(archive, result_bytes_max=4 << 20) as console:
        audit = ("query", "audit", *RANGE, "--console", console, "--all", "--json")
        every = json.loads(shell(*audit).out)["entries"]
        refused = shell(*audit, "--limit", "1000")
    assert [one["event_id"] for one in every] == [str(n) for n in range(AUDITED)]
    assert refused.code == 2
    assert "limit: the answer would be made of more than" in refused.err


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("a.parquet", "name a file that ends in .csv or .json"),
        ("", "name a file that ends in .csv or .json"),
        ("nowhere/a.csv", "there is no folder nowhere"),
        ("folder.csv", "folder.csv: is no file"),
        ("b.csv", "b.csv.sha256: is no file"),
        ("c.csv", "c.csv: is there already; choose another --out, or say --force"),
        ("d.csv", "d.csv.sha256: is there already"),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_anything_is_asked(
    out: str, why: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No console is there: it would end with 3 had it asked."""
    monkeypatch.chdir(tmp_path)
    for name in ("folder.csv", "b.csv.sha256"):
        Path(name).mkdir()
    for name in ("c.csv", "d.csv.sha256"):
        Path(name).write_text("evidence", "utf-8")
    answer = shell("query", "audit", *RANGE, "--console", "http://127.0.0.1:9", "--out", out)
    assert answer.code == 2
    assert why in answer.err


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_cell_is_a_formula(sign: str) -> None:
    """What a spreadsheet may begin one with, by the list of OWASP; numbers stay numbers."""
    assert query._cell(f"{sign}=1+1") == f"'{sign}=1+1"
    assert query._cell(f"{sign}1+1") == f"'{sign}1+1"
    assert [query._cell(one) for one in (-1.5, "+2", "", "a=1")] == ["-1.5", "+2", "", "a=1"]


def test_an_empty_file_has_a_header(ask: Shell) -> None:
    """Who reads it finds the columns, and no rows."""
    said = ask("query", "audit", *RANGE, "--actor", "nobody", "--out", "none.csv")
    assert "0 entries" in said.out
    with Path("none.csv").open(encoding="utf-8", newline="") as file:
        (header,) = csv.reader(file)
    assert {"timestamp", "module", "actor", "record_id"} <= set(header)


def test_the_incident_of_the_help_is_one(ask: Shell) -> None:
    """A whole id: the beginning of one is not looked for."""
    words = shlex.split(query._EXAMPLES["incident"])
    assert ask("query", "incident", *words).code == 0
    assert ask("query", "incident", words[0][:4]).code == 1
