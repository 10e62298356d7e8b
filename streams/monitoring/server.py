"""A small HTTP server for the pages of a worker: GET and HEAD, a few at a time, in threads.

It is for probes and scrapers of one's own. Invariant: whoever keeps a connection open without a
word holds one of `ASKERS_MAX` places for `WORDLESS_SECONDS`, and never the worker.
"""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from streams.errors import said_of
from streams.monitoring.sockets import Port, refusal
from streams.monitoring.view import Answer

ASKERS_MAX: Final = 8
WORDLESS_SECONDS: Final = 5.0


class Page(NamedTuple):
    """What a path answers."""

    status: int
    content_type: str
    body: bytes


def json_page(answer: Answer) -> Page:
    """Return an answer as a page."""
    status, body = answer
    return Page(status, "application/json", json.dumps(body, indent=1).encode() + b"\n")


Pages = Mapping[str, Callable[[str], Page]]
"""By path: gives the page to someone who accepts certain content types."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        self.pages = pages
        self._places = threading.BoundedSemaphore(ASKERS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: an asker that went away is no news; what a page raises is answered."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "spanloom"
    sys_version = ""
    timeout = WORDLESS_SECONDS
    server: _Server

    def do_GET(self) -> None:  # the name that the base class calls
        self._answer()

    def do_HEAD(self) -> None:  # the name that the base class calls
        self._answer()

    def _answer(self) -> None:
        page = self._page()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def _page(self) -> Page:
        make = self.server.pages.get(urlsplit(self.path).path)
        if make is None:
            there = " ".join(self.server.pages)
            return Page(404, "text/plain; charset=utf-8", f"there is: {there}\n".encode())
        try:
            return make(self.headers.get("Accept", ""))
        except Exception as error:
            # A probe must hear of it, and the worker must not: the page is at fault, not the join.
            said = f"{said_of(error)}\n".encode()
            return Page(500, "text/plain; charset=utf-8", said)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a probe every few seconds would be all of the log."""


def serve(pages: Pages, port: Port) -> Callable[[], None]:
    """Serve pages over HTTP until the function that is returned is called.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    try:
        server = _Server((port.address, port.number), pages)
    except OSError as error:
        raise refusal(port, error) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    return stop
