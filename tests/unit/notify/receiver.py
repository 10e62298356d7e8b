"""A receiver on the loopback for tests: answers as it is told, and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Got:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """What was sent, and how the next requests are answered.

    Attributes:
        port: on 127.0.0.1.
        got: requests in their order.
        answer: makes the answer to a request.
    """

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answer: Callable[[Got], web.StreamResponse] = lambda _got: web.Response(status=200)
    delay_seconds: float = 0.0

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}/hook"


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Yield a receiver that listens on a free port."""
    receiver = Receiver()

    async def take(request: web.Request) -> web.StreamResponse:
        got = Got(request.path_qs, dict(request.headers), await request.read())
        if receiver.delay_seconds:
            await asyncio.sleep(receiver.delay_seconds)
        receiver.got.append(got)
        return receiver.answer(got)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert isinstance(server, asyncio.Server)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
