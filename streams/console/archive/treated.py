"""Records without what is personal in them, as the archive takes them in.

Owns that no plain value passes: bytes are treated before anything is read out of them, so that a
row and the bytes in it say the same. What cannot be read is not passed on. Events are cut and put
together again where they lie; a record of another shape is decoded and encoded.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from streams.codec import wire
from streams.codec.columnar import Block
from streams.codec.records import decode_as, encode
from streams.codec.schemas import default_schemas
from streams.codec.treating import BATCH, EVENT, EventTreating, RejectedTreating, changed
from streams.codec.varints import varint
from streams.console.archive.decoded import Values
from streams.console.archive.eventcolumns import event_reader, is_span_of_trace, many, many_reader
from streams.console.archive.kinds import Kind
from streams.console.archive.tracecolumns import event_blocks, layout_of
from streams.core.bodies import Bodies
from streams.core.privacy.records import Privacy
from streams.errors import RecordError

_TRACE: Final = "assembled_trace"


class Treating:
    """Treats records of all kinds.

    Args:
        privacy: the rules, and the keys.
    """

    def __init__(self, privacy: Privacy) -> None:
        self.privacy = privacy
        self._quick = {"traces": self._traces, "events": self._events}
        self._one: dict[str, Callable[[bytes | None], bytes]] = {
            "traces": self._trace,
            "events": self._event,
            "alerts": lambda value: self._told("alert", value),
            "incidents": lambda value: self._told("incident_event", value),
            "rejected": self._rejected,
        }
        self._events_of, self._rejections = EventTreating(privacy), RejectedTreating(privacy)

    def values(self, kinds: Sequence[Kind], values: Values) -> list[bytes | None]:
        """Return the values of records of a topic, treated; None for one that cannot be read.

        Args:
            kinds: what their topic feeds.
            values: as they came.
        """
        name = kinds[0].name
        found: list[bytes | None] = list(values)
        quick = self._quick.get(name)
        done = set(quick(found)) if quick is not None else set()
        for i, value in enumerate(values):
            if i not in done:
                found[i] = self.alone(kinds, value)
        return found

    def alone(self, kinds: Sequence[Kind], value: bytes | None) -> bytes | None:
        """Return the value of one record, as it is defined: decoded, treated and encoded.

        Args:
            kinds: what its topic feeds.
            value: as it came.
        """
        one = self._one.get(kinds[0].name)
        if one is None:
            return value
        try:
            return one(value)
        except RecordError:
            return None

    # --- one record -------------------------------------------------------------------------------

    def _event(self, value: bytes | None) -> bytes:
        return changed(value, self.privacy.event)

    def _trace(self, value: bytes | None) -> bytes:
        found = decode_as(_TRACE, value)
        return encode(_TRACE, found | {"spans": [self.privacy.event(e) for e in found["spans"]]})

    def _told(self, name: str, value: bytes | None) -> bytes:
        return encode(name, self.privacy.told(decode_as(name, value)))

    def _rejected(self, value: bytes | None) -> bytes:
        found = decode_as("rejected_event", value)
        return encode("rejected_event", self._rejections.kept(found))

    # --- many at once -----------------------------------------------------------------------------

    def _events(self, found: list[bytes | None]) -> Iterator[int]:
        """Treat events where they lie; yield the indexes of those that are done.

        A span that names a trace is let be: no row is made of it.
        """
        schemas = default_schemas()
        header = wire.header(schemas.id_of(EVENT))
        alone = [i for i, v in enumerate(found) if v is not None and v.startswith(header)]
        if alone:
            yield from self._alone(found, alone, header)
        batch_header = wire.header(schemas.id_of(BATCH))
        together = [i for i, v in enumerate(found) if v is not None and v.startswith(batch_header)]
        messages = many([found[i] or b"" for i in together])
        for block, some in many_reader().read(messages):
            assert isinstance(block, Block), "no reader of frames"
            bodies, at = self._events_of.bodies(block), 0
            for message in some:
                items = bodies[at : at + message.count]
                at += message.count
                i = together[message.record.offset]
                found[i] = batch_header + varint(message.count) + b"".join(items) + b"\0"
                yield i

    def _alone(
        self, found: list[bytes | None], index: Sequence[int], header: bytes
    ) -> Iterator[int]:
        whole = Bodies.of([found[i] or b"" for i in index])
        head = wire.HEADER_BYTES
        bodies = Bodies(whole.data, whole.start + head, whole.size - head)
        is_span = is_span_of_trace(bodies)
        yield from np.array(index)[is_span].tolist()
        at = np.flatnonzero(~is_span)
        if len(at):
            for block, rows in event_reader().read(bodies.take(at)).blocks:
                for row, body in zip(at[rows].tolist(), self._events_of.bodies(block), strict=True):
                    found[index[row]] = header + body
                    yield index[row]

    def _traces(self, found: list[bytes | None]) -> Iterator[int]:
        """Treat the events of traces where they lie; yield the indexes of those that are done."""
        header = wire.header(default_schemas().id_of(_TRACE))
        index = [i for i, v in enumerate(found) if v is not None and v.startswith(header)]
        if not index:
            return
        laid = layout_of([found[i] or b"" for i in index])
        for block, of in event_blocks(laid):
            bodies = self._events_of.bodies(block)
            first = np.flatnonzero(np.diff(of, prepend=-1)).tolist()
            for begin, end in zip(first, [*first[1:], len(bodies)], strict=True):
                row = int(of[begin])
                head = laid.heads.data[
                    int(laid.heads.start[row]) - wire.HEADER_BYTES : int(laid.events.start[row])
                ]
                found[index[row]] = head + b"".join(bodies[begin:end]) + b"\0"
                yield index[row]
