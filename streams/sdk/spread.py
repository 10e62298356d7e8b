"""Which events go into one message: those whose keys lie in one partition of a topic.

The hash is the one by which all producers place keys. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from streams.core.traces.murmur2 import (
    HASHES,
    TRACE_ID_BYTES,
    murmur2_partition,
    murmur2_together,
)

Key = int | bytes
"""A trace id, or what an event without a trace has in its place."""
_KEYS_MAX: Final = 4_096
_TOGETHER_MIN: Final = 8
"""Fewer keys are hashed faster one by one."""


class Hashes(dict[Key, int]):
    """Hashes of keys; those of open traces are remembered."""

    def learn(self, trace_ids: Iterable[int]) -> None:
        """Hash those that are not known, together."""
        if len(self) >= _KEYS_MAX:
            self.clear()
        new = [one for one in set(trace_ids).difference(self) if one]
        if len(new) >= _TOGETHER_MIN:
            self.update(zip(new, murmur2_together(list(map(_written, new))), strict=True))

    def __missing__(self, key: Key) -> int:
        written = key if isinstance(key, bytes) else _written(key)
        found = self[key] = murmur2_partition(written, HASHES)
        return found


class Spread(dict[tuple[str, Key], list[str]]):
    """Bodies of events by the topic they are meant for and their key.

    Attributes:
        batches: the same lists, by the topic and partition they go to.
        nowhere: those for which there is no topic.

    Args:
        partitions: tells of a topic where its events go, and how many partitions that has; None
            where they go nowhere.
        hashes: of keys.
    """

    def __init__(self, partitions: Callable[[str], tuple[str, int] | None], hashes: Hashes) -> None:
        super().__init__()
        self._partitions = partitions
        self._hashes = hashes
        self.batches: dict[tuple[str, int], list[str]] = {}
        self.nowhere: list[str] = []

    def place(self, topic: str, key: Key) -> tuple[str, int] | None:
        """Return topic and partition for a key, None where there is no topic for it."""
        found = self._partitions(topic)
        return None if found is None else (found[0], self._hashes[key] % found[1])

    def __missing__(self, at: tuple[str, Key]) -> list[str]:
        to = self.place(*at)
        bodies = self[at] = self.nowhere if to is None else self.batches.setdefault(to, [])
        return bodies


def _written(trace_id: int) -> bytes:
    return b"%0*x" % (TRACE_ID_BYTES, trace_id)
