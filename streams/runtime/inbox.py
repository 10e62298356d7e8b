"""A task's inbox: chunks that were fetched and are not joined yet.

Invariant: what `take` returns continues the positions it was given; a chunk that does not, because
records were dropped on their way, is told to `missing` and left out.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from streams.runtime.chunk import Chunk


class Inbox:
    """Chunks by topic, in the order they came.

    Args:
        topics: the task's topics.
        rows_max, bytes_max: with as much that may be taken the inbox is full. What was fetched
            already is taken in all the same: it is in memory anyway.
        missing: called with a chunk that lies beyond the position where it should begin.

    Attributes:
        news: set when chunks came, or are left.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        rows_max: int,
        bytes_max: int,
        missing: Callable[[Chunk, int], None],
    ) -> None:
        self.news = asyncio.Event()
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._missing = missing
        self._chunks: dict[str, deque[tuple[Chunk, int]]] = {topic: deque() for topic in topics}
        self._rows = dict.fromkeys(topics, 0)
        self._bytes = dict.fromkeys(topics, 0)
        self._held: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether no chunk waits, of no topic."""
        return not any(self._chunks.values())

    @property
    def amount(self) -> tuple[int, int]:
        """Records and bytes that wait, those of held topics included."""
        return sum(self._rows.values()), sum(self._bytes.values())

    @property
    def takeable_rows(self) -> int:
        """Records that wait of the topics that are not held."""
        return self._takeable(self._rows)

    def has(self, topic: str) -> bool:
        """Whether a chunk of a topic waits."""
        return bool(self._chunks[topic])

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be fetched; what is held does not count.

        If a held topic filled the inbox, the one that it waits for could never come in.
        """
        return (
            self._takeable(self._rows) >= self._rows_max
            or self._takeable(self._bytes) >= self._bytes_max
        )

    def put(self, chunk: Chunk) -> None:
        """Take a chunk in."""
        size_bytes = chunk.size_bytes
        self._chunks[chunk.topic].append((chunk, size_bytes))
        self._rows[chunk.topic] += chunk.rows
        self._bytes[chunk.topic] += size_bytes
        self.news.set()

    def take(
        self, positions: Mapping[str, int], held: frozenset[str], rows_max: int
    ) -> list[Chunk]:
        """Return chunks that continue the positions, up to one step's size.

        Args:
            positions: next offset by topic.
            held: topics that are left alone.
            rows_max: no further chunk is taken once those taken have so many records.
        """
        chunks: list[Chunk] = []
        rows = 0
        at = dict(positions)
        for topic, waiting in self._chunks.items():
            while waiting and topic not in held and rows < rows_max:
                chunk, size_bytes = waiting.popleft()
                self._rows[topic] -= chunk.rows
                self._bytes[topic] -= size_bytes
                fitting = self._fit(chunk, at.get(topic, 0))
                if fitting is not None:
                    chunks.append(fitting)
                    rows += fitting.rows
                    at[topic] = fitting.end
        if not self.is_empty:
            self.news.set()
        return chunks

    def hold(self, topics: frozenset[str]) -> None:
        """Hold topics, and no others: they wait for another one."""
        self._held = topics

    def clear(self) -> None:
        """Throw everything away."""
        for topic, waiting in self._chunks.items():
            waiting.clear()
            self._rows[topic] = self._bytes[topic] = 0

    def _fit(self, chunk: Chunk, position: int) -> Chunk | None:
        """Return the part of a chunk that is new, None when there is none or a gap before it."""
        if chunk.end <= position:
            return None
        if chunk.start > position:
            self._missing(chunk, position)
            return None
        return chunk.after(position) if chunk.start < position else chunk

    def _takeable(self, amounts: Mapping[str, int]) -> int:
        return sum(n for topic, n in amounts.items() if topic not in self._held)
