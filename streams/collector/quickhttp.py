"""Exports over HTTP whose heads are of the common form: read in place, answered with one write.

Owns what exporters send again and again: a POST to one of our paths with the length of its body,
which nothing in its head makes us refuse. It needs no state machine, no task and no queue of
events, which take most of the loop's time. Invariant: whatever is not of that form reaches h11 as
it came, so that there is one judge of what is odd; and while one request of a connection is open
no other one of it is begun.
"""

import asyncio
import re
import time
from typing import ClassVar, Final, NamedTuple

import h11
import structlog
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES

from streams.codec.inflate import Coding
from streams.collector import replies
from streams.collector.edge import Edge
from streams.collector.http import GONE, Head, HttpEdge, headers_of, slow_body
from streams.collector.replies import Reply
from streams.collector.request import PATHS, Form, Kind, Outcome, Refusal
from streams.serving.bounds import BusyError
from streams.serving.patience import HEAD_BYTES_MAX, PatientProtocol

_HEAD: Final = re.compile(
    rb"POST (/v1/[a-z]+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*\r\n)+)\r\n"
)
"""Stricter than RFC 9112: visible ASCII alone, no folded lines, no space before a colon."""
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_NOT_COMMON: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"})

log = structlog.get_logger()


class Common(NamedTuple):
    """The head of a request of the common form.

    Attributes:
        path: one of our paths.
        headers: names in small letters, and values, as they came.
        length: of the body.
        begin: of the body, behind the head.
    """

    path: str
    headers: list[tuple[bytes, bytes]]
    length: int
    begin: int


def common_head(data: bytes) -> Common | None:
    """Return the head that some bytes begin with, None where it is not whole or not common."""
    found = _HEAD.match(data)
    if found is None or found.end() > HEAD_BYTES_MAX:
        return None
    path = found[1].decode("ascii")
    if path not in PATHS:
        return None
    headers: list[tuple[bytes, bytes]] = []
    lengths: list[bytes] = []
    hosts = 0
    for line in found[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b"\t ")
        if name == b"content-length":
            lengths.append(value)
        elif name == b"host":
            hosts += 1
        elif name in _NOT_COMMON or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        headers.append((name, value))
    if hosts != 1 or len(lengths) != 1 or _LENGTH.fullmatch(lengths[0]) is None:
        return None
    return Common(path, headers, int(lengths[0]), found.end())


class _Asked:
    """A request that is read or waits for its answer.

    Attributes:
        parts: of the body, so far.
        left: bytes of it that are still to come.
        held: bytes that were taken of the room of all requests.
        refusal: why it is read without being kept.
        timer: ends the patience with its body.
    """

    __slots__ = (
        *("began", "coding", "form", "held", "is_sent", "kind", "left", "parts", "path"),
        *("refusal", "source", "timer"),
    )

    def __init__(self, head: Common, kind: Kind, form: Form, source: str, coding: Coding) -> None:
        self.began = time.monotonic()
        self.path, self.left = head.path, head.length
        self.kind: Kind = kind
        self.form: Form = form
        self.coding: Coding = coding
        self.source = source
        self.parts: list[bytes] = []
        self.held = 0
        self.refusal: Refusal | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_sent = False

    def keep(self, part: bytes, edge: Edge) -> None:
        """Take in a part of the body; once there is no room it is read to its end for nothing."""
        self.left -= len(part)
        if self.refusal is not None or not part:
            return
        self.refusal = edge.hold(len(part))
        if self.refusal is None:
            self.parts.append(part)
            self.held += len(part)


class QuickProtocol(PatientProtocol):
    """One connection.

    Attributes:
        http: the application that judges heads, and that gets what is not common.
    """

    http: ClassVar[HttpEdge]
    _asked: _Asked | None = None
    _behind: bytes = b""
    """What came behind the request that is open: a client need not wait for our answer."""
    _is_last = False
    _has_ended = False
    """Whether the client says no more, and still waits for an answer."""

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        if self._asked is not None:
            self._go_on(self._asked, data)
        elif self._behind:  # its turn comes, and these bytes follow it
            self._behind += data
        elif not self._begin(data):
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the way back open for who ends its own once it has asked, as TCP lets it.

        Its events are taken whether it hears of it or not; without an answer it sends them again.
        """
        self._has_ended = self._is_owed() and self.transport.get_extra_info("sslcontext") is None
        return self._has_ended

    def _is_owed(self) -> bool:
        """Whether a request came whole and is not answered."""
        if self._asked is not None:
            return self._asked.is_sent
        return self._is_asked() and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)

    def on_response_complete(self) -> None:
        """Go on with the connection, if anything can still come."""
        super().on_response_complete()
        if self._has_ended and not self._is_owed():
            self.transport.close()

    def _begin(self, data: bytes) -> bool:
        """Begin a request of the common form; say whether it is one."""
        if not self._is_free() or (head := common_head(data)) is None:
            return False
        kind = PATHS[head.path]
        asking = Head("POST", head.path, self.client, head.headers)
        form = asking.form
        found = self.http.judge(asking, kind, form)
        if isinstance(found, Refusal) or form is None:
            return False
        try:
            self.http.room.take()
        except BusyError:
            return False
        self._unset_keepalive_if_required()
        self._cancel_head()
        self.http.edge.meters.open_requests["http"] += 1
        asked = self._asked = _Asked(head, kind, form, *found)
        self._go_on(asked, data[head.begin :])
        return True

    def _is_free(self) -> bool:
        """Whether h11 holds nothing of this connection, and nobody has too much of us."""
        limit = self.limit_concurrency
        if (limit is not None and len(self.connections) >= limit) or self.flow.write_paused:
            return False
        conn = self.conn
        return (
            conn.our_state is h11.IDLE
            and conn.their_state is h11.IDLE
            and not conn.trailing_data[0]
            and not self._is_asked()
        )

    def _go_on(self, asked: _Asked, data: bytes) -> None:
        if len(data) > asked.left:
            self._behind += data[asked.left :]
            self.flow.pause_reading()
        if asked.is_sent:
            return
        edge = self.http.edge
        asked.keep(data[: asked.left], edge)
        if asked.left:
            if asked.timer is None:
                asked.timer = self.loop.call_later(edge.settings.body_seconds, self._lose_patience)
            return
        asked.is_sent = True
        if asked.timer is not None:
            asked.timer.cancel()
        if asked.refusal is not None:
            self._told(asked.refusal)
            return
        body = asked.parts[0] if len(asked.parts) == 1 else b"".join(asked.parts)
        asked.parts = []
        edge.submit(asked.kind, asked.form, asked.coding, body, asked.source, self._told)

    def _lose_patience(self) -> None:
        self._told(slow_body(self.http.edge.settings.body_seconds))

    def _told(self, found: Outcome | Refusal) -> None:
        """Answer the request that is open, and go on with what came behind it."""
        asked = self._asked
        if asked is None:  # the connection was lost, and with it the request
            return
        try:
            reply = self._reply(asked, found)
        except Exception:
            log.exception("request_failed", path=asked.path)
            fault = Refusal(500, "internal", "the collector failed on this request")
            reply = replies.refused(None, None, fault)
        self._leave(asked, reply.status)
        if self.transport.is_closing():
            return
        self.transport.write(self._written(reply))
        self.server_state.total_requests += 1
        if self._is_last or asked.left:  # the rest of a body is not read
            self.transport.close()
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if self._behind:
            # Not from here: of requests that are refused at once each would be within the other.
            self.loop.call_soon(self._take_behind)
        elif self._has_ended:
            self.transport.close()
        else:
            self.flow.resume_reading()

    def _take_behind(self) -> None:
        data, self._behind = self._behind, b""
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(data)

    def _reply(self, asked: _Asked, found: Outcome | Refusal) -> Reply:
        if isinstance(found, Outcome):
            return replies.taken(asked.kind, asked.form, found)
        return self.http.refused(asked.kind, asked.form, found)

    def _written(self, reply: Reply) -> bytes:
        """Return an answer as it goes over the wire."""
        headers = [*self.server_state.default_headers, *headers_of(reply)]
        if self._is_last and reply.status != 408:
            headers.append((b"connection", b"close"))
        lines = [b"HTTP/1.1 %d %s" % (reply.status, STATUS_PHRASES[reply.status])]
        lines += [b"%s: %s" % one for one in headers]
        return b"%s\r\n\r\n%s" % (b"\r\n".join(lines), reply.body)

    def _leave(self, asked: _Asked, status: int) -> None:
        """Give back what the open request has, and count it."""
        self._asked = None
        if asked.timer is not None:
            asked.timer.cancel()
        edge = self.http.edge
        edge.let_go(asked.held)
        self.http.room.leave()
        edge.meters.open_requests["http"] -= 1
        edge.meters.answered(asked.path, status, time.monotonic() - asked.began)

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection; a request that is not whole goes with it."""
        asked = self._asked
        if asked is not None and not asked.is_sent:
            self._leave(asked, GONE)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End after the request that is open; at once when there is none."""
        if self._asked is None:
            super().shutdown()
        else:
            self._is_last = True


def quick(http: HttpEdge) -> type[QuickProtocol]:
    """Return the protocol of an application's connections."""

    class Quick(QuickProtocol):
        pass

    Quick.http = http
    return Quick
