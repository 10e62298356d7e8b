"""A server whose patience with slow clients has an end.

Owns how long a connection may say nothing, and how long it may take nothing. uvicorn itself waits
for ever for the first request of a connection and for a client that does not read. Invariants: a
connection that brings no whole head within `HEAD_SECONDS`, or takes nothing for `TAKE_SECONDS`, is
cut and counted; there are never more than `connections_max` and `SPARE` of them.
"""

import asyncio
import contextlib
import logging
import math
import resource
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from streams.serving.meters import RequestMeters

HEAD_SECONDS: Final = 10.0
TAKE_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 15
"""A connection is kept so long after an answer; browsers ask again within it."""
END_SECONDS: Final = 5.0
SPARE: Final = 64
"""Connections beyond the limit that are told so; those beyond them are cut without a word."""
HEAD_BYTES_MAX: Final = 16 << 10
OTHER_FILES: Final = 512


class Server(uvicorn.Server):
    """A server that leaves signals to the process, which has more to do before its end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class PatientProtocol(H11Protocol):
    """One connection, with the timers that uvicorn does not set."""

    meters: RequestMeters
    _head: asyncio.TimerHandle | None = None
    _take: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        limit = self.limit_concurrency
        if limit is not None and len(self.connections) > limit + SPARE:
            self._cut("connections")
            return
        self._head = self.loop.call_later(HEAD_SECONDS, self._cut, "no_request")

    def data_received(self, data: bytes) -> None:
        """Take in what came; wait for the rest of a head that is not whole."""
        super().data_received(data)
        if self._is_asked():
            self._cancel_head()
        elif self._head is None and not self.transport.is_closing():
            self._head = self.loop.call_later(HEAD_SECONDS, self._cut, "no_request")

    def _is_asked(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def pause_writing(self) -> None:
        """Begin to wait for a client that takes nothing."""
        super().pause_writing()
        if self._take is None:
            self._take = self.loop.call_later(TAKE_SECONDS, self._cut, "not_taken")

    def resume_writing(self) -> None:
        """It has taken something."""
        super().resume_writing()
        self._cancel_take()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self._cancel_head()
        self._cancel_take()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Let an idle connection go, also one whose last answer was not taken."""
        super().timeout_keep_alive_handler()
        if self._take is None and self.transport.get_write_buffer_size():
            self._take = self.loop.call_later(TAKE_SECONDS, self._cut, "not_taken")

    def _cut(self, reason: str) -> None:
        self.meters.cut[reason] += 1
        self.transport.abort()  # to close it would wait for what it does not take

    def _cancel_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _cancel_take(self) -> None:
        if self._take is not None:
            self._take.cancel()
            self._take = None


def in_origin_form(app: Any) -> Any:
    """Return an application that is asked for paths, whatever form a request names its target in.

    A proxy may name the whole address; its host is then the one that is asked (RFC 9112, 3.2.2).
    """

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        raw: bytes = scope.get("raw_path", b"")
        if scope["type"] == "http" and not raw.startswith(b"/") and b"://" in raw:
            _, _, rest = raw.partition(b"://")
            host, _, path = rest.partition(b"/")
            raw = b"/" + path
            others = [one for one in scope["headers"] if one[0].lower() != b"host"]
            path_ = unquote(raw.decode("latin-1"))
            scope = {**scope, "raw_path": raw, "path": path_, "headers": [(b"host", host), *others]}
        await app(scope, receive, send)

    return asked


def server(
    app: Any,
    meters: RequestMeters,
    end_seconds: float = END_SECONDS,
    protocol: type[PatientProtocol] = PatientProtocol,
    **config: Any,
) -> Server:
    """Return a server of an application.

    Args:
        app: of ASGI.
        meters: what it counts.
        end_seconds: how long requests that were begun may take when it ends; then they fail.
        protocol: of its connections.
        config: uvicorn's.
    """
    # Its warnings are of single requests: whoever may send could fill the log with them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    class Counting(protocol):  # type: ignore[misc, valid-type]
        pass

    Counting.meters = meters
    made = Server(
        uvicorn.Config(
            in_origin_form(app),
            http=Counting,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            # What a request says of where it comes from is believed by whoever asks for it alone.
            **{"proxy_headers": False, **config},
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=math.ceil(end_seconds),
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
    )
    meters.watch(lambda: len(made.server_state.connections))
    return made


def allow_files(connections: int) -> int:
    """Let this process open so many connections, as far as the machine lets it; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return connections
    return min(connections, soft - SPARE - OTHER_FILES)
