"""What worker and monitor may ask of the Kafka client, which is not there before it has started."""

from collections.abc import Callable, Sequence
from typing import Any

from faust.types.tuples import TP

from streams.runtime.transport import ChunkApp, ChunkConsumer


class ConsumerLink:
    """Answers for the consumer of an app.

    Args:
        app: gives the app, None before there is one.
    """

    def __init__(self, app: Callable[[], ChunkApp | None]) -> None:
        self._app = app

    def _consumer(self) -> ChunkConsumer | None:
        app = self._app()
        consumer = None if app is None else app._consumer  # the public name would make one
        assert consumer is None or isinstance(consumer, ChunkConsumer)
        return consumer

    def connections(self) -> Sequence[Any]:
        """Return the connections to brokers as they are now."""
        consumer = self._consumer()
        return consumer.connections() if consumer is not None else ()

    def lag(self, topic: str, partition: int, position: int) -> int | None:
        """Return how many offsets lie between a position and the end; None when unknown."""
        consumer = self._consumer()
        return consumer.lag(TP(topic, partition), position) if consumer is not None else None

    def fetched_at_ms(self, topic: str, partition: int) -> int | None:
        """Return when a fetch of a partition was last answered, None for never since assigned."""
        consumer = self._consumer()
        return consumer.fetched_at_ms(TP(topic, partition)) if consumer is not None else None

    def is_flowing(self) -> bool:
        """Whether what is fetched reaches the tasks."""
        consumer = self._consumer()
        return consumer is not None and consumer.flow_active

    async def leave_group(self) -> None:
        """Leave the group now; without a client there is none to leave."""
        consumer = self._consumer()
        if consumer is not None:
            await consumer.leave_group()
