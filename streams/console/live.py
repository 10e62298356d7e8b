"""News for whoever looks on: one poller for all viewers, server-sent events to each.

Owns who looks on. What there is to tell is read once and written once, whatever the number of
viewers; while there is none, nothing is read. Invariants: a viewer first gets the newest event of
each name, then each one that follows, in order; one that does not take them in time is let go and
counted, and its browser comes back by itself to begin anew.
"""

import asyncio
import json
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import structlog
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from streams.codec.panics import FAILURES
from streams.errors import said_of

POLL_SECONDS: Final = 0.25
"""An event shall be seen within 2 s of its cause, and the worker takes some of that."""
QUEUE_EVENTS: Final = 32
"""What waits for one viewer: about a minute's worth."""
VIEWERS_MAX: Final = 2_000
AGAIN_MS: Final = 2_000
"""How long a browser waits before it comes back."""
ERROR_CHARS: Final = 300

log = structlog.get_logger()


class Source(NamedTuple):
    """Something to tell.

    Attributes:
        name: of its events.
        version: asked at each poll, must be cheap; another answer than before means news.
        read: returns what is told, fit for JSON; may block, and is called by one thread at a time.
    """

    name: str
    version: Callable[[], Hashable]
    read: Callable[[], Any]


class _Viewer:
    """One who looks on: what waits for them, and whether they were let go."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_EVENTS)
        self.gone = asyncio.Event()


class Live:
    """The poller and its viewers; everything but `Source.read` runs on one loop.

    Args:
        sources: what there is to tell.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)
        self._viewers: set[_Viewer] = set()
        self._versions: dict[str, Hashable] = {}
        self._newest: dict[str, bytes] = {}
        self._number = 0
        self._failing: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self.dropped = 0
        """Viewers that were let go because they did not keep up."""

    @property
    def viewers(self) -> int:
        """How many look on."""
        return len(self._viewers)

    async def run(self) -> None:
        """Poll until `stop`; a source that takes long holds up no other."""
        with ThreadPoolExecutor(len(self._sources), "spanloom-live") as threads:
            await asyncio.gather(*(self._poll(source, threads) for source in self._sources))

    async def _poll(self, source: Source, threads: ThreadPoolExecutor) -> None:
        while not self._over.is_set():
            if not self._viewers:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._look(source, threads)
            await asyncio.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Let everybody go, and end."""
        self._over.set()
        self._wake.set()
        for viewer in self._viewers:
            viewer.gone.set()

    async def _look(self, source: Source, threads: ThreadPoolExecutor) -> None:
        version = source.version()
        is_known = source.name in self._versions and self._versions[source.name] == version
        if is_known:
            return
        try:
            found = await asyncio.get_running_loop().run_in_executor(threads, source.read)
        except FAILURES as error:  # one kind of news that fails ends neither the others nor us
            text = said_of(error)[:ERROR_CHARS]
            if self._failing.get(source.name) != text:
                log.error("live_failed", source=source.name, error=text)
                self._tell("trouble", {"source": source.name}, is_kept=False)
            self._failing[source.name] = text
            return
        self._failing.pop(source.name, None)
        self._versions[source.name] = version
        self._tell(source.name, found)

    def _tell(self, name: str, found: Any, *, is_kept: bool = True) -> None:
        self._number += 1
        text = json.dumps(found, separators=(",", ":"))
        event = f"id: {self._number}\nevent: {name}\ndata: {text}\n\n".encode()
        if is_kept:
            self._newest[name] = event
        for viewer in list(self._viewers):
            try:
                viewer.queue.put_nowait(event)
            except asyncio.QueueFull:
                self.dropped += 1
                self._viewers.discard(viewer)
                viewer.gone.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until they leave, fall behind or the console ends."""
        if self._over.is_set() or len(self._viewers) >= VIEWERS_MAX:
            words = f"at most {VIEWERS_MAX} viewers, or the console ends; come back later"
            await JSONResponse({"error": words}, 503)(scope, receive, send)
            return
        if scope.get("method") == "HEAD":  # who asks for no body would wait for the end of one
            await Response(headers=_HEADERS)(scope, receive, send)
            return
        viewer = _Viewer()
        viewer.queue.put_nowait(f"retry: {AGAIN_MS}\n\n".encode())
        for event in self._newest.values():
            viewer.queue.put_nowait(event)
        self._viewers.add(viewer)
        self._wake.set()
        tasks = [
            asyncio.ensure_future(_pump(viewer, send)),
            asyncio.ensure_future(_leaving(receive)),
            asyncio.ensure_future(viewer.gone.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers.discard(viewer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._over.is_set():  # who was let go does not take even the end
            await send({"type": "http.response.body", "body": b""})


_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # else a proxy keeps what it should pass on
}


async def _pump(viewer: _Viewer, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        event = await viewer.queue.get()
        await send({"type": "http.response.body", "body": event, "more_body": True})


async def _leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
