"""Messages that hold OTLP requests, read as the events in them: columns, like batch messages.

Invariant: a message is read whole or refused whole; its events are then judged one by one.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from streams.codec import wire
from streams.codec.columnar import Block
from streams.codec.eventbatch import EventBatchReader
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.services import Services
from streams.codec.schemas import SchemaSet
from streams.codec.step import Message
from streams.core.bodies import Bodies
from streams.errors import RecordError


class OtlpReader:
    """Reads the OTLP messages of a step.

    Args:
        schemas: the ids that values may carry.
        services: finds modules.
        many: reads the events of messages.
    """

    def __init__(self, schemas: SchemaSet, services: Services, many: EventBatchReader) -> None:
        self._encoder = OtlpEncoder(schemas.current("telemetry_event"), services)
        self._header = wire.header(schemas.id_of("telemetry_event"))
        self._many = many

    def read(
        self, messages: Sequence[tuple[str, Message]]
    ) -> Iterator[tuple[Block, Sequence[Message]]]:
        """Read messages, each with what it holds; yield those that were read as columns.

        Each message then knows its events, or why it has none. The key of each event is its
        message's, for that is what placed it.
        """
        for kind, message in messages:
            if message.error is None:
                self._expand(kind, message)
        full = [m for _, m in messages if m.bodies is not None and m.count]
        yield from self._many.read_bodies(full)

    def _expand(self, kind: str, message: Message) -> None:
        message.header, message.keeps_key = self._header, True
        try:
            bodies = self._encoder.bodies(kind, message.record.value or b"")
        except RecordError as error:
            message.error = error
            return
        data = b"".join(bodies)
        message.count = len(bodies)
        message.bodies = Bodies(data, np.array([0]), np.array([len(data)]))
