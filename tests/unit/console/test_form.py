"""How requests may be written: their target, method and body; and what is said of others."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streams.console.api import Interface, application
from streams.console.openapi import openapi
from streams.console.paths.every import PATHS
from streams.console.questions.queries import Queries
from streams.serving.meters import RequestMeters
from tests.unit.console.asking import asked
from tests.unit.console.at_hand import archive_in
from tests.unit.console.open_to_all import open_to_all
from tests.unit.console.test_patience import Running

AUDIT = "/api/v1/audit/query"
DAY = '"time_range": {"start": "2026-11-26", "end": "2026-11-27"}'


async def say_target(scope: Any, receive: Any, send: Any) -> None:
    """Answer each request with the host, the path and the query that it asks for."""
    del receive
    host = dict(scope["headers"])[b"host"].decode()
    said = " ".join(
        [host, scope["path"], scope["raw_path"].decode(), scope["query_string"].decode()]
    )
    length = [(b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": said.encode()})


def nobody_asks(folder: Path) -> Interface:
    """Return the interface of an empty archive, for what needs no thread to be asked in."""
    return open_to_all(Queries(archive_in(folder), 256 << 20, 1), ThreadPoolExecutor(1))


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/a%20b?q=1", "asked:1 /a b /a%20b q=1"),
        ("http://other:2/a%20b?q=1", "other:2 /a b /a%20b q=1"),
        ("HTTPS://other", "other / / "),
        ("/a?to=http://other/b", "asked:1 /a /a to=http://other/b"),
    ],
)
def test_a_target_may_be_a_whole_address(target: str, wanted: str) -> None:
    """As proxies write it: its host counts, not the header's."""
    with Running(say_target, RequestMeters()) as console:
        head = f"GET {target} HTTP/1.1\r\nHost: asked:1\r\nConnection: close\r\n\r\n"
        with console.connect(head.encode()) as one:
            one.settimeout(60)
            answer = b"".join(iter(lambda: one.recv(65_536), b""))
    assert answer.decode().partition("\r\n\r\n")[2] == wanted


def test_a_name_in_the_target_is_judged(tmp_path: Path) -> None:
    """A name of others is refused there too, whatever the header says."""
    interface = nobody_asks(tmp_path)
    with Running(application(interface, {}), interface.meters) as console:
        for host, status in (("evil.example", b"400"), ("127.0.0.1", b"200")):
            target = f"http://{host}/api/v1/openapi.json"
            head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            with console.connect(head.encode()) as one:
                one.settimeout(60)
                assert one.recv(12) == b"HTTP/1.1 " + status


def test_all_methods_of_a_path_are_named(tmp_path: Path) -> None:
    """The login is two routes: Allow has what either takes."""
    with asked(tmp_path) as console:
        answer = console.ask("/login", "DELETE", "viewer")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_an_address_without_a_view_is_a_page_that_leads_back(tmp_path: Path) -> None:
    """404 with the page for a browser, in a word for a program."""
    with asked(tmp_path) as console:
        page = console.ask("/bogus", key="viewer", headers={"Accept": "text/html,*/*"})
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert '<nav id="nav"' in page.text
        tag = {"Accept": "text/html", "If-None-Match": page.headers["etag"]}
        assert console.ask("/bogus", key="viewer", headers=tag).status_code == 404
        assert console.ask("/bogus", key="viewer").text == "Not Found"
        wrong = console.ask("/api/bogus", key="viewer", headers={"Accept": "text/html"})
        assert wrong.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f'{{{DAY}, "modules": ["A"], "modules": ["B"]}}', "modules: given 2 times; give it once"),
        (
            '{"time_range": {"start": "2026-11-26", "start": "2026-11-25", "end": "2026-11-27"}}',
            "start: given 2 times; give it once",
        ),
        *((f'{{{DAY}, "limit": {one}}}', "limit: ") for one in ("true", '"5"', "5.0", "0", "null")),
        ("[" * 100_000, "the request: Invalid JSON"),
        ('{"a": 1', "the request: Invalid JSON"),
    ],
)
def test_a_body_says_each_thing_once_and_as_it_is(tmp_path: Path, body: str, words: str) -> None:
    """400: of two values one would be dropped without a word, and true is no number."""
    with asked(tmp_path) as console:
        answer = console.ask(AUDIT, "POST", "auditor", content=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"].startswith(words)
        assert console.ask(AUDIT, "POST", "auditor", content=f'{{{DAY}, "limit": 5}}').is_success


def test_the_description_has_what_is_there(tmp_path: Path) -> None:
    """Health and news are no questions; they are described where they are served."""
    health, live = "/api/v1/health", "/api/v1/live"
    assert not {health, live} & set(openapi(PATHS)["paths"])
    interface = nobody_asks(tmp_path)
    news = Route(live, lambda _: PlainTextResponse(""), methods=["GET"])
    app = application(interface, {health: lambda _: PlainTextResponse("")}, (), [news])
    with Running(app, interface.meters) as console:
        paths = console.get("/api/v1/openapi.json").json()["paths"]
    assert set(paths[health]["get"]["responses"]) >= {"200", "503"}
    assert list(paths[live]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]
