"""The collector's HTTP: OTLP/HTTP and events of our own, within bounds.

Owns the order of the checks: path, method, who it is, what is announced, how much at once; only
then is a body read, in pieces, against a cap and a clock. Invariant: nothing of a body is inflated
or decoded here, and no byte is read of a request that is refused by its head.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from streams.codec.inflate import Coding
from streams.collector import replies
from streams.collector.edge import Edge
from streams.collector.replies import Reply
from streams.collector.request import (
    CODINGS,
    FORMS,
    PATHS,
    Form,
    Kind,
    Outcome,
    Refusal,
    forms_of,
)
from streams.serving.bounds import BusyError, Room

Message = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
Page = Callable[[str], Reply]
"""Gives a page to someone who accepts certain content types."""

GONE: Final = 499
"""As nginx has it: the client went away first."""
TWO_LENGTHS: Final = Refusal(400, "two_lengths", "Content-Length or Transfer-Encoding, not both")

log = structlog.get_logger()


class GoneError(Exception):
    """The client went away while its body was read."""


class Head:
    """What the head of a request says, each header by all of its values.

    Args:
        method, path: of its first line.
        client: address and port of who sent it, None where that is not known.
        headers: names and values.
    """

    def __init__(
        self,
        method: str,
        path: str,
        client: Sequence[Any] | None,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self.method, self.path = method, path
        self.client: str = client[0] if client else "unknown"
        self._found: dict[bytes, list[str]] = {}
        for name, value in headers:
            self._found.setdefault(name.lower(), []).append(value.decode("latin-1").strip())

    def all(self, name: bytes) -> list[str]:
        """Return the values of all headers of a name."""
        return self._found.get(name, [])

    def one(self, name: bytes) -> str | None:
        """Return the value of a header, "" where there is none, None where there are several."""
        values = self.all(name)
        return None if len(values) > 1 else values[0] if values else ""

    @property
    def has_two_lengths(self) -> bool:
        """Whether it says in two ways where its body ends, as who smuggles a request does."""
        return b"transfer-encoding" in self._found and b"content-length" in self._found

    @property
    def form(self) -> Form | None:
        """How its body is written, None where that is not said or not known."""
        return FORMS.get((self.one(b"content-type") or "").partition(";")[0].strip().lower())


class HttpEdge:
    """The application.

    Args:
        edge: what both servers share.
        room: of requests at once.
        pages: of probes and scrapers, by path.

    Attributes:
        edge, room: the same.
    """

    def __init__(self, edge: Edge, room: Room, pages: Mapping[str, Page]) -> None:
        self.edge, self.room, self._pages = edge, room, pages

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        began = time.monotonic()
        head = Head(scope["method"], scope["path"], scope.get("client"), scope["headers"])
        kind = PATHS.get(head.path)
        label = head.path if kind or head.path in self._pages else "other"
        open_requests = self.edge.meters.open_requests
        open_requests["http"] += 1
        status = GONE
        try:
            if head.has_two_lengths:
                reply = self.refused(kind, head.form, TWO_LENGTHS)
            elif kind is None:
                reply = self._page(head)
            else:
                reply = await self._export(head, kind, receive)
            status = reply.status
            await _answer(reply, send, _instead(head, kind, status))
        except GoneError:
            pass  # there is nobody to answer
        except Exception:
            log.exception("request_failed", path=label)
            status = 500
            fault = Refusal(500, "internal", "the collector failed on this request")
            await _answer(replies.refused(None, None, fault), send)
        finally:
            open_requests["http"] -= 1
            self.edge.meters.answered(label, status, time.monotonic() - began)

    def _page(self, head: Head) -> Reply:
        page = self._pages.get(head.path)
        if page is None:
            there = " ".join((*PATHS, *self._pages))
            return self.refused(None, None, Refusal(404, "no_such_path", f"there is: {there}"))
        if head.method not in ("GET", "HEAD"):
            return self.refused(None, None, Refusal(405, "no_such_method", "GET alone"))
        return page(",".join(head.all(b"accept")))

    def refused(self, kind: Kind | None, form: Form | None, refusal: Refusal) -> Reply:
        """Count a refusal, and return its answer."""
        self.edge.meters.refused[refusal.reason] += 1
        return replies.refused(kind, form, refusal)

    async def _export(self, head: Head, kind: Kind, receive: Receive) -> Reply:
        """Take a request, or say why not."""
        form = head.form
        found = self.judge(head, kind, form)
        if isinstance(found, Refusal):
            return self.refused(kind, form, found)
        assert form is not None, "judged"
        source, coding = found
        try:
            self.room.take()
        except BusyError as error:
            busy = self.edge.busy(error.reason, str(error), 429)
            return self.refused(kind, form, busy)
        body = _Body(self.edge)
        try:
            refusal = await body.read(receive)
            if refusal is not None:
                return self.refused(kind, form, refusal)
            outcome = await self.edge.take(kind, form, coding, body.whole(), source)
        finally:
            body.forget()
            self.room.leave()
        if isinstance(outcome, Outcome):
            return replies.taken(kind, form, outcome)
        return self.refused(kind, form, outcome)

    def judge(self, head: Head, kind: Kind, form: Form | None) -> tuple[str, Coding] | Refusal:
        """Return who sends and how it is compressed, or what is wrong with the head."""
        if head.method != "POST":
            return Refusal(405, "no_such_method", "POST alone")
        source = self.edge.access.source(head.all(b"authorization"), head.client)
        if isinstance(source, Refusal):
            return source
        if self.edge.is_stopping:
            return self.edge.busy("stopping", "the collector stops: send it again")
        if form not in forms_of(kind):
            names = [media for media, one in FORMS.items() if one in forms_of(kind)]
            words = f"Content-Type must be one of {', '.join(names)}, once"
            return Refusal(415, "no_such_type", words)
        given = head.one(b"content-encoding")
        coding = None if given is None else CODINGS.get(given.lower())
        if coding is None:
            words = "Content-Encoding: identity, gzip, deflate or zstd, once"
            return Refusal(415, "no_such_coding", words)
        length = head.one(b"content-length")
        if length and int(length) > self.edge.settings.body_bytes_max:
            return _too_large(self.edge.settings.body_bytes_max)
        return source, coding


class _Body:
    """A body as it is read: its bytes are held of what all requests may hold together."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._parts: list[bytes] = []
        self._size = 0

    async def read(self, receive: Receive) -> Refusal | None:
        """Read to the end; return why that is given up.

        Raises:
            GoneError: the client went away.
        """
        settings = self._edge.settings
        try:
            async with asyncio.timeout(settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise GoneError
                    part = message.get("body", b"")
                    refusal = self._edge.hold(len(part))
                    if refusal is not None:
                        return refusal
                    self._parts.append(part)
                    self._size += len(part)
                    if self._size > settings.body_bytes_max:
                        return _too_large(settings.body_bytes_max)
                    if not message.get("more_body"):
                        return None
        except TimeoutError:
            return slow_body(settings.body_seconds)

    def whole(self) -> bytes:
        """Return all of it."""
        return b"".join(self._parts) if len(self._parts) != 1 else self._parts[0]

    def forget(self) -> None:
        """Give its bytes back."""
        self._edge.let_go(self._size)
        self._parts = []


def slow_body(seconds: float) -> Refusal:
    """Return why a body is not waited for any longer."""
    return Refusal(408, "slow_body", f"the body did not come within {seconds:g} s")


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, "body_too_large", f"more than {bytes_max} bytes: send less at once")


def _instead(head: Head, kind: Kind | None, status: int) -> list[tuple[bytes, bytes]]:
    """Return the headers that say what would have been taken (RFC 9110, 15.5.6 and 15.5.16)."""
    if head.has_two_lengths:  # what follows may be another's request, or none (RFC 9112, 6.1)
        return [(b"connection", b"close")]
    if status == 405:
        return [(b"allow", b"GET, HEAD" if kind is None else b"POST")]
    if status != 415 or kind is None:
        return []
    forms = [media for media, one in FORMS.items() if one in forms_of(kind)]
    return [
        (b"accept-post", ", ".join(forms).encode()),
        (b"accept-encoding", ", ".join(one for one in CODINGS if one).encode()),
    ]


def headers_of(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer."""
    headers = [
        (b"content-type", reply.content_type.encode()),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-content-type-options", b"nosniff"),
    ]
    if reply.wait_seconds:
        headers.append((b"retry-after", b"%d" % max(1, round(reply.wait_seconds))))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if reply.status in (408, 413):  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    return headers


async def _answer(reply: Reply, send: Send, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [*headers_of(reply), *more]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
