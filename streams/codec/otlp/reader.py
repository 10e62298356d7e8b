"""Messages that hold OTLP requests, read as the events in them: columns, like batch messages.

Invariant: a message is read whole or refused whole; its events are then judged one by one.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from streams.codec import wire
from streams.codec.eventbatch import EventBatchReader
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.quick import QuickSpans, SpanRun
from streams.codec.otlp.quicklines import QuickHashed, QuickLines
from streams.codec.otlp.quickpoints import QuickPoints
from streams.codec.otlp.requests import LOGS, METRICS, SPANS
from streams.codec.otlp.services import Services
from streams.codec.rows import Rows
from streams.codec.schemas import SchemaSet
from streams.codec.step import Message
from streams.core.bodies import NOTHING, Bodies
from streams.errors import RecordError

BLOCK_BYTES: Final = 5 << 18
"""Of requests of spans that are read together: their columns, and the bodies that are made of them,
stay in the cache of a core meanwhile. Larger blocks wait for memory, smaller ones for calls."""


class OtlpReader:
    """Reads the OTLP messages of a step.

    Args:
        schemas: the ids that values may carry.
        services: finds modules.
        many: reads the events of messages.
        dimensions: keys of the dimensions that become columns.
        has_columns: whether spans become columns before their bodies are looked at.
    """

    def __init__(
        self,
        schemas: SchemaSet,
        services: Services,
        many: EventBatchReader,
        dimensions: Sequence[str] = (),
        *,
        has_columns: bool = True,
    ) -> None:
        self._encoder = OtlpEncoder(schemas.current("telemetry_event"), services)
        self._quick = QuickSpans(self._encoder, dimensions, has_columns=has_columns)
        self._hashed: dict[str, QuickHashed] = {
            LOGS: QuickLines(self._encoder),
            METRICS: QuickPoints(self._encoder),
        }
        self._header = wire.header(schemas.id_of("telemetry_event"))
        self._many = many

    def read(
        self, messages: Sequence[tuple[str, Message]]
    ) -> Iterator[tuple[Rows | SpanRun, Sequence[Message]]]:
        """Read messages, each with what it holds; yield those that were read as columns.

        Each message then knows its events, or why it has none. The key of each event is its
        message's, for that is what placed it. A native event, as it comes back when a rejected one
        is driven again, is left as it is: no request begins with its first byte.
        """
        magic = bytes([wire.MAGIC])
        whole = [
            (kind, message)
            for kind, message in messages
            if message.error is None and not (message.record.value or b"").startswith(magic)
        ]
        for _, message in whole:
            message.header, message.keeps_key = self._header, True
        quick = [m for kind, m in whole if kind == SPANS]
        if quick:
            yield from self._spans(quick)
        for one, hashed in self._hashed.items():
            own = [m for kind, m in whole if kind == one]
            if own:
                self._take_hashed(hashed, own)
        others = [(kind, m) for kind, m in whole if not m.is_column]
        for kind, message in others:
            if message.bodies is None:
                self._expand(kind, message)
        full = [m for _, m in others if m.bodies is not None and m.count]
        for some, block in self._many.read_bodies(full):
            assert block is not None, "what the encoder writes is canonical"
            yield block, some

    def _spans(self, messages: Sequence[Message]) -> Iterator[tuple[SpanRun, Sequence[Message]]]:
        """Read requests of spans block by block; those that must be read one by one are left."""
        for block in _blocks(messages):
            yield from self._block(block)

    def _block(self, messages: Sequence[Message]) -> Iterator[tuple[SpanRun, Sequence[Message]]]:
        """Read requests of spans together."""
        run = self._quick.run([m.record.value or b"" for m in messages])
        if run is None:
            return
        done: list[Message] = []
        row = 0
        for message, count in zip(messages, run.counts.tolist(), strict=True):
            if count:
                message.count, message.is_column = count, True
                message.bodies = run.body.take(slice(row, row + count))
                done.append(message)
                row += count
        if done:
            yield run, done

    def _take_hashed(self, quick: QuickHashed, messages: Sequence[Message]) -> None:
        """Read requests of log records or metrics together; others are left."""
        run = quick.run([m.record.value or b"" for m in messages])
        if run is None:
            return
        row = 0
        for message, count in zip(messages, run.counts.tolist(), strict=True):
            if count:
                message.count = count
                message.bodies = _as_one(run.body.take(slice(row, row + count)))
                row += count

    def _expand(self, kind: str, message: Message) -> None:
        """Read one message as it must be read."""
        try:
            bodies = self._encoder.bodies(kind, message.record.value or b"")
        except RecordError as error:
            message.count, message.error = 1, error
            return
        message.count = len(bodies)
        message.bodies = _as_one(Bodies.of(bodies)) if bodies else NOTHING


def _blocks(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Return messages in their order, in blocks of `BLOCK_BYTES` or one message more."""
    begin = held_bytes = 0
    for end, message in enumerate(messages, start=1):
        held_bytes += len(message.record.value or b"")
        if held_bytes >= BLOCK_BYTES or end == len(messages):
            yield messages[begin:end]
            begin, held_bytes = end, 0


def _as_one(bodies: Bodies) -> Bodies:
    """Return bodies that lie one after the other, one or more, as a single one."""
    begin, size = bodies.start[:1], bodies.size.sum(keepdims=True)
    return Bodies(bodies.data, begin, size)
