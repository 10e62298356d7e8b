"""What the tasks of a worker may ask of its Kafka client."""

from collections.abc import Callable

from faust.types.tuples import TP

from streams.runtime.commit import group_metadata
from streams.runtime.transport import ChunkConsumer


class ConsumerSource:
    """Answers the tasks for the consumer of an app, as `Source`.

    Args:
        group: of the consumer.
        consumer: gives it; there is one when there are tasks.
    """

    def __init__(self, group: str, consumer: Callable[[], ChunkConsumer]) -> None:
        self._group = group
        self._consumer = consumer

    def read_to_end_at_us(self, topic: str, partition: int, position: int) -> int:
        """Return when the partition was last known to be read to its end; 0 while it is behind."""
        return self._consumer().read_to_end_at_us(TP(topic, partition), position)

    async def again(self, topic: str, partition: int, position: int) -> None:
        """Fetch again from a position; for what is not ours the next assignment does it."""
        await self._consumer().again(TP(topic, partition), position)

    async def beginning(self, topic: str, partition: int) -> int:
        """Return the first offset that the broker still has."""
        tp = TP(topic, partition)
        return int((await self._consumer().earliest_offsets(tp))[tp])

    def handed_out(self, topic: str, partition: int) -> int:
        """Return the position after the last records that left the fetcher; 0 for none."""
        return self._consumer().handed_out(TP(topic, partition))

    def hold(self, topic: str, partition: int) -> None:
        """Stop fetching a partition for now."""
        self._consumer().hold(TP(topic, partition))

    def release(self, topic: str, partition: int) -> None:
        """Fetch a held partition again."""
        self._consumer().release(TP(topic, partition))

    def group_metadata(self) -> bytes | None:
        """Return the consumer group metadata as of now; None outside of a group."""
        membership = self._consumer().membership()
        return None if membership is None else group_metadata(self._group, *membership)

    async def is_member(self) -> bool | None:
        """Ask the broker whether our membership in the group is the current one."""
        return await self._consumer().is_member()
