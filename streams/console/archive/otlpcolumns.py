"""OTLP messages as rows of `events`: the data points and log records that the worker makes of them.

Owns which of them are rows: those that a worker takes, decoded and judged by its own code. What it
rejects is a row of `rejected`, and spans come with their traces. Invariant: the rows of a message
are a function of its bytes, in the order of the events in it, and all of them have its offset.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from streams.codec import wire
from streams.codec.columnar import Block
from streams.codec.eventrows import EventRows
from streams.codec.otlp.reader import OtlpReader
from streams.codec.otlp.requests import SPANS
from streams.codec.otlp.services import Services
from streams.codec.profile import TELEMETRY_PROFILE
from streams.codec.recordbatch import Record
from streams.codec.schemas import default_schemas
from streams.codec.step import Message as StepMessage
from streams.codec.treating import EventTreating
from streams.console.archive.decoded import Rows
from streams.console.archive.eventcolumns import event_reader, many_reader, rows_of
from streams.console.archive.kinds import Kind
from streams.core.bodies import Bodies
from streams.core.columns import Operations
from streams.core.privacy.records import Privacy
from streams.runtime.reading import Message
from streams.units import I64

_MAGIC: Final = bytes([wire.MAGIC])


class OtlpSource(NamedTuple):
    """The topics that an OpenTelemetry Collector's exporter writes, and how they are read.

    Attributes:
        kinds: what each of them holds, LOGS or METRICS, by its name.
        services: finds modules.
        event_bytes_max: a larger event is rejected, its wire header counted.
    """

    kinds: Mapping[str, str]
    services: Services = Services()
    event_bytes_max: int = wire.MAX_EVENT_BYTES


NOWHERE: Final = OtlpSource({})


class OtlpEvents:
    """Reads OTLP messages as rows.

    Args:
        source: where they come from.
        privacy: what becomes of personal fields; None for nothing.
    """

    def __init__(self, source: OtlpSource, privacy: Privacy | None) -> None:
        assert SPANS not in source.kinds.values(), "spans are archived with their traces"
        schemas = default_schemas()
        self._source = source
        self._reader = OtlpReader(schemas, source.services, many_reader())
        # Only its verdicts are asked for: no operation is ever interned.
        self._judge = EventRows(event_reader().fields, Operations(1), TELEMETRY_PROFILE, ())
        self._treating = None if privacy is None else EventTreating(privacy)
        self._header = wire.header(schemas.id_of("telemetry_event"))

    def is_request(self, message: Message) -> bool:
        """Whether a message is read as OTLP; one that was driven again is an event of ours."""
        is_theirs = message.topic in self._source.kinds
        return is_theirs and not (message.value or b"").startswith(_MAGIC)

    def rows(
        self, kind: Kind, messages: Sequence[tuple[int, Message]]
    ) -> tuple[list[Rows], list[int]]:
        """Return the rows that messages are, and which of these are no OTLP.

        Args:
            kind: `events`.
            messages: requests, each with its index; the rows have that.
        """
        given = [
            (self._source.kinds[m.topic], StepMessage(Record(i, 0, None, m.value)))
            for i, m in messages
        ]
        parts = []
        for block, some in self._reader.read(given):
            assert isinstance(block, Block), "only spans are read in another form"
            of = np.repeat([m.record.offset for m in some], [m.count for m in some])
            parts.append(self._rows(kind, block, of))
        unreadable = [m.record.offset for _, m in given if m.error is not None]
        return parts, unreadable

    def _rows(self, kind: Kind, block: Block, of: I64) -> Rows:
        """Return the good events of a block, treated."""
        size = block.starts[-1] - block.starts[0] + wire.HEADER_BYTES
        is_good = block.is_sound & (size <= self._source.event_bytes_max)
        is_good &= self._judge.are_good(block)
        if not is_good.all():
            at = np.flatnonzero(is_good)
            block, of = block.take(at), of[at]
        if self._treating is None or not len(block):
            body = Bodies(block.data, block.starts[0], block.starts[-1] - block.starts[0])
        else:
            block, body = self._treating.block(block)
        own = pa.array([self._header + one for one in body], pa.binary())
        return rows_of(kind, block.frame, own, of)
