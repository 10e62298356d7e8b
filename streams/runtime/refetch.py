"""Fetching again what a task missed, until it has come or is known to be gone.

Owns, by topic, what asks again after a gap. Invariant: a position moves past records that did not
come only where the broker has them no more, and then they are counted and logged as lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from streams.errors import said_of
from streams.runtime.chunk import Chunk
from streams.runtime.runner import Runner
from streams.runtime.source import Source
from streams.runtime.task import TaskId

log = structlog.get_logger()
STILL_SECONDS = 30.0
"""What left the fetcher is on its way for no longer, on a machine that is busy ten times over."""
AGAIN_SECONDS = 5.0
"""A topic with a gap is not fetched again before what was asked for can have come."""


class Refetch:
    """Asks for what one task missed.

    Args:
        task: whose.
        source: of its partition.
        runner: gives the one that holds the positions; a restart makes another.
        may_ask: whether a topic may be asked for now.

    Attributes:
        lost_records: offsets passed over, as the broker has them no more.
    """

    def __init__(
        self,
        task: TaskId,
        source: Source,
        runner: Callable[[], Runner],
        may_ask: Callable[[str], bool],
    ) -> None:
        self.lost_records = 0
        self._task = task
        self._source = source
        self._runner = runner
        self._may_ask = may_ask
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._awaited: dict[str, tuple[tuple[int, int], float]] = {}
        """By topic where it stands, what left the fetcher, and since when both are the same."""

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """What asks now."""
        return list(self._asking.values())

    def missed(self, chunk: Chunk, position: int) -> None:
        """Fetch a topic again from a position: a rebalance may drop records on their way."""
        self._ask(chunk.topic, position, chunk.start)

    def look(self, topics: Sequence[str]) -> None:
        """Fetch again what left the fetcher and does not come: behind a topic's last is no gap.

        A rebalance may drop them all. Nobody would miss them, until the topic had another record.
        Where more leaves the fetcher meanwhile, what is missing is seen as a gap, or only slow.
        """
        now = asyncio.get_running_loop().time()
        for topic in topics:
            position = self._position(topic)
            out = self._source.handed_out(topic, self._task.partition)
            if out <= position or not self._may_ask(topic):
                self._awaited.pop(topic, None)
                continue
            was, since = self._awaited.get(topic, ((position, out), now))
            is_still = was == (position, out)
            self._awaited[topic] = ((position, out), since if is_still else now)
            if is_still and now - since >= STILL_SECONDS:
                self._ask(topic, position, out)

    def _ask(self, topic: str, position: int, got: int) -> None:
        if topic in self._asking:
            return
        log.warning("chunk_gap_seen", task=str(self._task), topic=topic, at=position, got=got)
        asking = asyncio.get_running_loop().create_task(self._until_there(topic, position))
        self._asking[topic] = asking
        asking.add_done_callback(lambda _: self._asking.pop(topic, None))

    async def _until_there(self, topic: str, missing_from: int) -> None:
        """Ask again until it has come: what answers may be lost too, and be the topic's last."""
        while (position := self._position(topic)) <= missing_from:
            if self._may_ask(topic):
                try:
                    first = await self._source.beginning(topic, self._task.partition)
                    if position < first and self._position(topic) == position:
                        self._pass_over(topic, position, first)
                    await self._source.again(topic, self._task.partition, self._position(topic))
                except Exception as error:  # the client does not answer: it is asked again
                    log.warning("fetch_again_failed", task=str(self._task), error=said_of(error))
            await asyncio.sleep(AGAIN_SECONDS)

    def _position(self, topic: str) -> int:
        return self._runner().positions.get(topic, 0)

    def _pass_over(self, topic: str, position: int, first: int) -> None:
        """Go on behind what expired before it was read: the client would begin there for ever."""
        lost = first - position
        log.error("telemetry_lost_to_retention", task=str(self._task), topic=topic, records=lost)
        self.lost_records += lost
        runner = self._runner()
        runner.positions[topic] = first
        runner.is_dirty = True
