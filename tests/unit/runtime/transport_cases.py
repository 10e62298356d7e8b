"""A client of the transport in which only the fetches are a test's."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.codec.recordbatch import Record, RecordBatch
from streams.runtime.chunk import Chunk
from streams.runtime.fetching import Polled, handed_out
from streams.runtime.transport import ChunkConsumer, ChunkConsumerThread
from tests.record_batches import batch

AT = TP("telemetry.alpha.v1", 1)
IDLE = TP("telemetry.other.v1", 1)


class Client:
    """A consumer whose polls bring what a test says, over what aiokafka knows of a partition."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = SimpleNamespace(
            position=0, highwater=100, lso=100, known_ms=7, timestamp=7, has_valid_position=True
        )
        self.sought: list[tuple[TP, int]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.while_seeking: Callable[[], Awaitable[None]] | None = None
        self.is_in_thread = False
        self._brings: list[RecordBatch] = []
        self.consumer = made = ChunkConsumer.__new__(ChunkConsumer)
        made.taken = {}
        made._held = set()
        made._end_seen_us = {}
        self._tps = {AT: self.state}
        assignment = SimpleNamespace(tps=self._tps, state_value=self._tps.__getitem__)
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self.kafka = SimpleNamespace(
            _subscription=subscription,
            _coordinator=None,
            assignment=lambda: set(self._tps),
            seek=self._seek,
        )
        made._thread = ChunkConsumerThread.__new__(ChunkConsumerThread)
        made._thread._consumer = self.kafka
        made._wanted = asyncio.Event()
        self.restoring: set[TP] = set()
        seats = SimpleNamespace(is_restoring_partition=lambda tp: tp in self.restoring)
        app = SimpleNamespace(consumer_generation_id=1, seats=seats)
        made.app = app  # type: ignore[assignment]
        monkeypatch.setattr(driver.Consumer, "_getmany", self._getmany)
        monkeypatch.setattr(ChunkConsumer, "assignment", lambda _self: set(self._tps))
        monkeypatch.setattr(ChunkConsumerThread, "call_thread", self._call_thread)

    async def _getmany(self, *_: object) -> dict[TP, list[Any]]:
        found = handed_out(self.state, self._brings, len(self._brings))
        if self.meanwhile is not None:
            await self.meanwhile()
        return {AT: found, IDLE: Polled([], 0)}

    async def _call_thread(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self.is_in_thread = True
        found = await call(*args)
        self.is_in_thread = False
        if self.while_seeking is not None:
            await self.while_seeking()
        return found

    def _seek(self, tp: TP, offset: int) -> None:
        assert self.is_in_thread, "the fetcher goes over what a seek takes away"
        self.sought.append((tp, offset))

    def brought(self, *offsets: int) -> list[RecordBatch]:
        """Return what a fetch brings."""
        return [batch([Record(o, 1, None, b"v")]) for o in offsets]

    def poll(self, *offsets: int, **known: Any) -> Chunk | None:
        """Poll once: the fetch brings these offsets, and this is known of the partition then."""
        self._brings = self.brought(*offsets)
        self.state.__dict__.update(known)
        polled = asyncio.run(self.consumer._getmany({AT}, 1.0))
        assert polled.keys() <= {AT}, "a partition that brought nothing is left out"
        if AT not in polled:
            return None
        (message,) = polled[AT]
        chunk = self.consumer._to_message(AT, message).value
        assert isinstance(chunk, Chunk)
        assert [r.offset for r in chunk.records] == list(offsets)
        return chunk

    def again(self, position: int) -> None:
        """Let the worker ask for a partition again from a position."""
        asyncio.run(self.consumer.again(AT, position))

    def forget(self) -> None:
        """Take the partition away."""
        self._tps.clear()

    def ended(self, position: int) -> int:
        """Say when the partition was read to its end, for a task that has come to a position."""
        return self.consumer.read_to_end_at_us(AT, position)
