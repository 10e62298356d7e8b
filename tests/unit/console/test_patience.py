"""Slow clients of a real server: they are cut and counted, and the others are answered."""

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from streams.console.api import Interface, application
from streams.console.paths import path as described
from streams.console.questions.queries import Queries
from streams.serving import patience
from streams.serving.meters import RequestMeters
from streams.serving.patience import allow_files, server
from tests.unit.console.at_hand import archive_in
from tests.unit.console.open_to_all import open_to_all

SLOW = 150
LARGE = 3_000_000
UNREAD = 12
CONNECTIONS_MAX = 400


class Running:
    """A server in a thread of its own."""

    def __init__(self, app: Any, meters: RequestMeters, **config: Any) -> None:
        self.server = server(app, meters, host="127.0.0.1", port=0, **config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.server.started)
        (listener,) = self.server.servers[0].sockets
        self.port = listener.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join()

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=120)

    def connect(self, said: bytes = b"", buffer_bytes: int = 0) -> socket.socket:
        made = socket.socket()
        if buffer_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        made.connect(("127.0.0.1", self.port))
        if said:
            made.sendall(said)
        return made


class Served(Running):
    """A console's server."""

    def __init__(self, interface: Interface, *asks: described.Ask) -> None:
        self.interface, self.meters = interface, interface.meters
        paths = [described.Path(f"/{n}", "A question.", (), ask) for n, ask in enumerate(asks)]
        app = application(interface, {}, paths)
        super().__init__(app, self.meters, limit_concurrency=CONNECTIONS_MAX)


async def say_whence(scope: Any, receive: Any, send: Any) -> None:
    """Answer each request with the address that it came from."""
    del receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


def until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_cut(one: socket.socket) -> bool:
    one.settimeout(0.01)
    try:
        while one.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Yield a server of little patience."""
    monkeypatch.setattr(patience, "HEAD_SECONDS", 2.0)
    monkeypatch.setattr(patience, "TAKE_SECONDS", 2.0)
    with ThreadPoolExecutor(2) as workers:
        queries = Queries(archive_in(tmp_path), 256 << 20, 1)
        interface = open_to_all(queries, workers, answers_bytes_max=SLOW * LARGE * 2)
        with Served(interface, lambda *_: "x" * LARGE, lambda *_: {"well": True}) as one:
            yield one


@pytest.mark.parametrize("said", [b"", b"GET /1 HT", request("/1")[:-2]], ids=["none", "a", "b"])
def test_who_says_nothing_is_cut(served: Served, said: bytes) -> None:
    """Nothing, half a line, a head without an end: cut, counted, and others are answered."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(served.connect(said)) for _ in range(SLOW)]
        until(lambda: served.meters.connections() >= SLOW)
        assert served.get("/1").json() == {"well": True}
        until(lambda: served.meters.cut["no_request"] == SLOW)
        until(lambda: all(map(is_cut, slow)))
        until(lambda: served.meters.connections() == 0)


def test_who_drips_its_head_is_cut(served: Served) -> None:
    """A byte now and then does not buy more time."""
    with served.connect() as one:
        with contextlib.suppress(OSError):
            for byte in request("/1")[:40]:
                one.sendall(bytes([byte]))
                time.sleep(0.1)
        until(lambda: is_cut(one))
        assert served.meters.cut["no_request"] == 1


def test_who_takes_nothing_is_cut(served: Served) -> None:
    """What was made for them is let go, and others are answered meanwhile and after."""
    with contextlib.ExitStack() as stack:
        for _ in range(UNREAD):
            stack.enter_context(served.connect(request("/0"), 4_096))
        until(lambda: served.interface.held.taken > 0)
        assert served.get("/1").json() == {"well": True}
        until(lambda: served.meters.cut["not_taken"] == UNREAD)
        until(lambda: served.interface.held.taken == 0)
        assert len(served.get("/0").json()) == LARGE


def test_a_connection_is_kept_for_the_next_request(served: Served) -> None:
    """Who is not slow is not cut: many requests over one connection, longer than any patience."""
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}") as client:
        for _ in range(10):
            assert client.get("/1").status_code == 200
            time.sleep(0.3)
        assert served.meters.connections() == 1
    assert served.meters.cut == {}


def test_there_are_no_more_connections_than_may_be(served: Served) -> None:
    """Beyond the limit a request is told so; far beyond it the connection is cut at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(served.connect())
        until(lambda: served.meters.connections() >= CONNECTIONS_MAX)
        assert served.get("/1").status_code == 503
        for _ in range(patience.SPARE + 50):
            stack.enter_context(served.connect())
        until(lambda: served.meters.cut["connections"] >= 40)
        # who is cut is among them until the loop has heard of the end
        until(lambda: served.meters.connections() <= CONNECTIONS_MAX + patience.SPARE + 10)
        until(lambda: served.meters.connections() == 0)
        assert served.get("/1").status_code == 200


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    """And where it may not be, there are fewer connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
        assert allow_files(1_000) == 1_000
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1_000
        assert allow_files(10_000_000) < 10_000_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_request_is_believed_where_it_comes_from_when_that_is_asked_for() -> None:
    """A header alone makes nobody somebody else: senders are told apart by their address."""
    said = {"X-Forwarded-For": "203.0.113.7"}
    with Running(say_whence, RequestMeters()) as alone:
        assert alone.get("/", said).text == "127.0.0.1"
    trusting = {"proxy_headers": True, "forwarded_allow_ips": ["127.0.0.1"]}
    with Running(say_whence, RequestMeters(), **trusting) as behind_a_proxy:
        assert behind_a_proxy.get("/", said).text == "203.0.113.7"
