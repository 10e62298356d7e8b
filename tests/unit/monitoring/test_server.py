"""The pages' server: it answers those who ask, and neither asker nor page can hurt it."""

import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from streams.errors import ConfigError
from streams.monitoring.server import ASKERS_MAX, Page, serve
from streams.monitoring.sockets import Port


def at(port: int) -> Port:
    return Port("health_port", "--health-port", "127.0.0.1", port)


def broken(_accept: str) -> Page:
    raise KeyError("what")


@pytest.fixture
def port(unused_port: int) -> Iterator[int]:
    """Yield the port of a server with a page that echoes Accept, and one that raises."""
    pages = {
        "/echo": lambda accept: Page(503, "text/x-echo", accept.encode()),
        "/broken": broken,
    }
    stop = serve(pages, at(unused_port))
    yield unused_port
    stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
    """Return status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, headers={"Accept": "text/one"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        connection.close()


def test_a_page_is_answered_with_its_status(port: int) -> None:
    """What is asked for behind a question mark is the same page."""
    assert ask(port, "/echo") == (503, "text/x-echo", b"text/one")
    assert ask(port, "/echo?verbose=1") == (503, "text/x-echo", b"text/one")


def test_head_has_no_body(port: int) -> None:
    """A probe that wants the status only gets no more."""
    assert ask(port, "/echo", "HEAD") == (503, "text/x-echo", b"")


def test_an_unknown_path_names_those_that_are_there(port: int) -> None:
    """A person who mistypes sees what there is."""
    status, _, body = ask(port, "/ekko")
    assert (status, body) == (404, b"there is: /echo /broken\n")


def test_a_page_that_breaks_is_told_and_the_next_one_works(port: int) -> None:
    """A fault in a page is an answer, not the end of the server."""
    status, _, body = ask(port, "/broken")
    assert status == 500
    assert body.startswith(b"KeyError at streams/monitoring/server.py:"), body
    assert ask(port, "/echo")[0] == 503


def test_nothing_but_questions_is_answered(port: int) -> None:
    """There is nothing to write to."""
    assert ask(port, "/echo", "POST")[0] == 501


def test_those_who_never_ask_do_not_keep_others_out(port: int) -> None:
    """Open connections without a word cost a place each, and places come back."""
    wordless = [socket.create_connection(("127.0.0.1", port)) for _ in range(ASKERS_MAX - 1)]
    try:
        assert ask(port, "/echo")[0] == 503
        wordless += [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        for _ in range(60):
            try:
                assert ask(port, "/echo")[0] == 503
                break
            except (http.client.RemoteDisconnected, ConnectionResetError):
                time.sleep(0.5)  # all places are taken, for WORDLESS_SECONDS at most
        else:
            pytest.fail("places never came back")
    finally:
        for one in wordless:
            one.close()


def test_a_port_that_is_taken_is_named_with_its_setting(port: int) -> None:
    """Two workers with one port are a mistake of configuration."""
    with pytest.raises(ConfigError, match=rf"SPANLOOM_HEALTH_PORT.*:{port}: is taken"):
        serve({}, at(port))


def test_a_server_that_stopped_frees_its_port(unused_port: int) -> None:
    """The next worker can have it at once."""
    for _ in range(2):
        serve({}, at(unused_port))()
    with pytest.raises(ConnectionRefusedError):
        ask(unused_port, "/echo")
