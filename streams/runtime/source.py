"""What a task host asks of the consumer: the seam between the tasks and Faust's transport."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """What a host asks of the consumer."""

    def read_to_end_at_us(self, topic: str, partition: int, position: int) -> int:
        """Return when the partition was last known to be read to its end; 0 while it is behind."""

    async def again(self, topic: str, partition: int, position: int) -> None:
        """Fetch again from a position."""

    async def beginning(self, topic: str, partition: int) -> int:
        """Return the first offset that the broker still has."""

    def handed_out(self, topic: str, partition: int) -> int:
        """Return the position after the last records that left the fetcher; 0 for none."""

    def hold(self, topic: str, partition: int) -> None:
        """Stop fetching a partition for now."""

    def release(self, topic: str, partition: int) -> None:
        """Fetch a held partition again."""

    def group_metadata(self) -> bytes | None:
        """Return the consumer group metadata as of now."""

    async def is_member(self) -> bool | None:
        """Ask the broker whether our membership in the group is the current one.

        Returns:
            True when it is, and no other worker can have the task before we join again; False when
            it is not, and an assignment is about to come; None when the broker did not say.
        """


class Held:
    """The topics of a task that its source does not fetch for now.

    Args:
        source: of the partition.
        partition: the task's.
    """

    def __init__(self, source: Source, partition: int) -> None:
        self._source, self._partition = source, partition
        self._topics: frozenset[str] = frozenset()

    def be(self, topics: frozenset[str]) -> bool:
        """Have these topics fetched no further, and all others; return whether any is again."""
        for topic in topics - self._topics:
            self._source.hold(topic, self._partition)
        released = self._topics - topics
        for topic in released:
            self._source.release(topic, self._partition)
        self._topics = topics
        return bool(released)
