"""Pages that cannot be had now: waited for within a bound, and never left out."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from streams.cli import asking
from tests.ports import free_port
from tests.unit.cli.shell import Shell

AUDIT = ("query", "audit", "--since", "1h", "--all", "--json")
PAGES = [
    {"entries": [{"event_id": "a"}], "continuation_token": "second"},
    {"entries": [{"event_id": "b"}], "continuation_token": ""},
]
BEHIND = (503, {"Retry-After": "0"}, {"error": "the console is behind what it had"})
SILENT = (0, {}, {})
"""The connection ends without an answer, as that of a console that is killed."""
Answer = tuple[int, dict[str, str], dict[str, Any]]


@contextmanager
def console(*answers: Answer) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of what gives these answers, the last one for ever, and the tokens."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            tokens.append(body.get("continuation_token", ""))
            status, headers, found = answers[min(len(tokens), len(answers)) - 1]
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ok(page: int) -> Answer:
    return 200, {}, PAGES[page]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no pause last: what is tested is what follows it."""
    monkeypatch.setattr(asking, "PAUSE_SECONDS_MAX", 0.001)


def test_a_console_that_is_behind_is_waited_for(shell: Shell) -> None:
    """The token stays good: the page is asked for again, and that it waits is said once."""
    with console(ok(0), BEHIND, BEHIND, BEHIND, ok(1)) as (address, tokens):
        answer = shell(*AUDIT, "--console", address)
    assert answer.code == 0, answer.err
    assert [one["event_id"] for one in json.loads(answer.out)["entries"]] == ["a", "b"]
    assert tokens == ["", *["second"] * 4]
    assert answer.err.count("the console is behind what it had; it is asked again") == 1


@pytest.mark.parametrize("away", [SILENT, (502, {}, []), (504, {}, [])])
def test_a_console_that_starts_anew_is_waited_for(shell: Shell, away: Any) -> None:
    """Amid the pages it may be killed, and a proxy may answer in its place."""
    with console(ok(0), away, BEHIND, ok(1)) as (address, tokens):
        answer = shell(*AUDIT, "--console", address)
    assert answer.code == 0, answer.err
    assert len(json.loads(answer.out)["entries"]) == len(PAGES)
    assert tokens == ["", *["second"] * 3]


def test_one_that_is_busy_is_asked_again_for_the_first_page_too(shell: Shell) -> None:
    """Too many questions at once, and the console says when to come again."""
    busy = (429, {"Retry-After": "1"}, {"error": "too many requests"})
    with console(busy, ok(1)) as (address, _):
        assert shell(*AUDIT, "--console", address).code == 0


@pytest.mark.parametrize(
    "until",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_a_proxy_may_say_when_by_a_date(shell: Shell, until: str) -> None:
    """All three forms of HTTP: seconds are what the console itself says, not what stands before."""
    busy = (503, {"Retry-After": until}, {"error": "it starts"})
    with console(busy, ok(1)) as (address, tokens):
        answer = shell(*AUDIT, "--console", address)
    assert answer.code == 0, answer.err
    assert "it starts; it is asked again" in answer.err
    assert len(tokens) == 2


def test_at_once_is_no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may come again at once makes a pause all the same, and nobody waits for an hour."""
    monkeypatch.setattr(asking, "PAUSE_SECONDS_MAX", 15.0)
    assert asking.pause_seconds(0) == asking.PAUSE_SECONDS_MIN > 0
    assert asking.pause_seconds(7) == 7
    assert asking.pause_seconds(3_600) == 15


def test_there_is_an_end_to_patience(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is an error that names the reason, and no file of half the pages is there."""
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.05)
    with console(ok(0), BEHIND) as (address, tokens):
        answer = shell(*AUDIT, "--console", address)
    assert answer.code == 3
    assert "the console is behind what it had" in answer.err
    assert "Operator action: see the log" in answer.err
    assert answer.out == ""
    assert len(tokens) > len(PAGES)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (SILENT, 3),
        ((503, {}, {"error": "it needs more memory"}), 3),
        ((400, {}, {"error": "x"}), 2),
    ],
)
def test_what_will_not_mend_itself_is_told_at_once(shell: Shell, first: Any, code: int) -> None:
    """No console, a question that is too much for it, a wrong one: one request."""
    with console(first) as (address, tokens):
        answer = shell(*AUDIT, "--console", address)
    assert answer.code == code
    assert len(tokens) <= 2  # aiohttp itself repeats what a kept connection lost
