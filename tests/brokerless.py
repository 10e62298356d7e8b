"""A broker that for a while names no broker in its metadata, as one does that has just started.

It stands between a client and the embedded broker, passes bytes on, and writes the list of brokers
in answers to Metadata anew: itself, or nobody.
"""

import asyncio
import struct
import threading
from typing import Self

METADATA = 3
FLEXIBLE = 9
"""From this version on of Metadata lengths are varints."""


class Brokerless:
    """A server before the broker on `upstream`.

    Attributes:
        names_nobody: whether metadata says that there is no broker.
        said_nobody: how often it said so.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = host, int(port)
        self.names_nobody = False
        self.said_nobody = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Listen on a free port of the loopback."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of everybody."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def restart(self, *, names_nobody: bool) -> None:
        """Cut all connections, as a broker that goes and comes back does."""
        self.names_nobody = names_nobody
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _close(self) -> None:
        self._server.close()
        self._cut()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        theirs, ours = await asyncio.open_connection(*self._upstream)
        pair = {writer, ours}
        self._writers |= pair
        versions: dict[int, int] = {}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, ours, versions))
                group.create_task(self._answer(theirs, writer, versions))
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass  # one side has gone, and so does the other
        finally:
            self._writers -= pair
            self._serving.discard(task)
            for one in pair:
                one.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, versions: dict[int, int]
    ) -> None:
        while True:
            body = await _frame(reader)
            key, version, correlation = struct.unpack_from(">hhi", body)
            if key == METADATA:
                versions[correlation] = version
            writer.write(struct.pack(">i", len(body)) + body)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, versions: dict[int, int]
    ) -> None:
        while True:
            body = await _frame(reader)
            version = versions.pop(struct.unpack_from(">i", body)[0], None)
            if version is not None:
                assert version >= FLEXIBLE
                body = self._rewritten(body)
            writer.write(struct.pack(">i", len(body)) + body)

    def _rewritten(self, body: bytes) -> bytes:
        begin = 4 + 1 + 4  # correlation id, tags, throttle time
        count, at = _varint(body, begin)
        for _ in range(count - 1):
            at += 4  # id
            size, at = _varint(body, at)
            at += size - 1 + 4  # host, port
            size, at = _varint(body, at)
            at += max(size - 1, 0) + 1  # rack, no tags
        if self.names_nobody:
            self.said_nobody += 1
            return body[:begin] + b"\1" + body[at:]
        us = struct.pack(">ib9sibb", 1, 1 + 9, b"127.0.0.1", self.port, 0, 0)
        return body[:begin] + b"\2" + us + body[at:]


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
