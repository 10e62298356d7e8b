"""Records without what is personal in them, as the archive takes them in.

Owns that no plain value passes: bytes are treated before anything is read out of them, so that a
row and the bytes in it say the same. What cannot be read is not passed on. Events are cut and put
together again where they lie; a record of another shape is decoded and encoded.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, cast

import fastavro
import numpy as np

from streams.codec import wire
from streams.codec.columnar import Block
from streams.codec.eventbatch import NAME as BATCH
from streams.codec.records import Record, decode, decode_as, encode
from streams.codec.schemas import default_schemas
from streams.codec.varints import text as text_bytes
from streams.codec.varints import varint
from streams.console.archive.decoded import Values
from streams.console.archive.eventcolumns import event_reader, is_span_of_trace, many, many_reader
from streams.console.archive.kinds import Kind
from streams.console.archive.tracecolumns import event_blocks, layout_of
from streams.core.bodies import Bodies
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import VALUE
from streams.errors import RecordError
from streams.units import I64

_EVENT: Final = "telemetry_event"
_TRACE: Final = "assembled_trace"
_TRACE_ID: Final = frozenset(b"0123456789abcdef")
_TRACE_ID_BYTES: Final = 32
_IDS: Final = ("event_id", "trace_id", "span_id", "parent_span_id")
_LIKE_AN_ID: Final = re.compile(r"[0-9A-Fa-f-]{0,64}")
_FIELDS_HELD_MAX: Final = 65_536
"""Fields of events whose treated bytes are remembered, a few hundred bytes each."""
_MAP: Final[Any] = {"type": "map", "values": "string"}
_NAN: Final = np.array([np.nan], "<f8").tobytes()


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
        names = [field.name for field in event_reader().fields]
        fields = [*privacy.rules.fields, *["dimensions"] * bool(privacy.rules.dimensions)]
        held = lru_cache(_FIELDS_HELD_MAX)(self._field)
        self._cuts = [(i, held, name) for i, name in enumerate(names) if name in fields]

    def values(self, kinds: Sequence[Kind], values: Values) -> list[bytes | None]:
        """Return the values of records of a topic, treated; None for one that cannot be read.

        Args:
            kinds: what their topic feeds.
            values: as they came.
        """
        name = kinds[0].name
        found: list[bytes | None] = list(values)
        if name not in self._one:
            return found
        quick, one = self._quick.get(name), self._one[name]
        done = set(quick(found)) if quick is not None else set()
        for i, value in enumerate(values):
            if i not in done:
                try:
                    found[i] = one(value)
                except RecordError:
                    found[i] = None
        return found

    # --- one record -------------------------------------------------------------------------------

    def _event(self, value: bytes | None) -> bytes:
        return _changed(value, self.privacy.event)

    def _trace(self, value: bytes | None) -> bytes:
        found = decode_as(_TRACE, value)
        return encode(_TRACE, found | {"spans": [self.privacy.event(e) for e in found["spans"]]})

    def _told(self, name: str, value: bytes | None) -> bytes:
        return encode(name, self.privacy.told(decode_as(name, value)))

    def _rejected(self, value: bytes | None) -> bytes:
        """Keep what can be read as events, treated, and the key if it is a trace's id.

        Nobody knows what is in an id that is none: such ids go, and with them the detail, which
        repeats the one that was wrong.
        """
        found = decode_as("rejected_event", value)
        key, payload = found["key"], found["value"]
        strange: list[str] = []

        def kept(event: Mapping[str, Any]) -> Record:
            bad = [name for name in _IDS if not _LIKE_AN_ID.fullmatch(event[name])]
            strange.extend(bad)
            return self.privacy.event(event) | dict.fromkeys(bad, "")

        treated = b""
        if len(payload) == found["value_bytes"]:
            with contextlib.suppress(RecordError):  # then its reason, place and size are kept
                treated = _changed(payload, kept)
        about = found["reason"].partition("_")[2]
        is_plain = bool(treated) and not strange and about not in self.privacy.rules.fields
        detail = self._detail(found["detail"], payload) if is_plain else ""
        is_id = len(key) == _TRACE_ID_BYTES and _TRACE_ID.issuperset(key)
        found |= {"key": key if is_id else b"", "value": treated, "detail": detail}
        return encode("rejected_event", found)

    def _detail(self, detail: str, payload: bytes) -> str:
        """Return a detail without the personal values of the events that it is about."""
        found = decode(payload)
        for event in found.get("events", [found]):
            labels = {name: event[name] for name in self.privacy.rules.fields if name != VALUE}
            told = self.privacy.told({"labels": event["dimensions"] | labels, "detail": detail})
            detail = told["detail"]
        return detail

    # --- many at once -----------------------------------------------------------------------------

    def _events(self, found: list[bytes | None]) -> Iterator[int]:
        """Treat events where they lie; yield the indexes of those that are done.

        A span that names a trace is let be: no row is made of it.
        """
        schemas = default_schemas()
        header = wire.header(schemas.id_of(_EVENT))
        alone = [i for i, v in enumerate(found) if v is not None and v.startswith(header)]
        if alone:
            yield from self._alone(found, alone, header)
        batch_header = wire.header(schemas.id_of(BATCH))
        together = [i for i, v in enumerate(found) if v is not None and v.startswith(batch_header)]
        messages = many([found[i] or b"" for i in together])
        for block, some in many_reader().read(messages):
            bodies, at = self._bodies(block), 0
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
                for row, body in zip(at[rows].tolist(), self._bodies(block), strict=True):
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
            bodies = self._bodies(block)
            first = np.flatnonzero(np.diff(of, prepend=-1)).tolist()
            for begin, end in zip(first, [*first[1:], len(bodies)], strict=True):
                row = int(of[begin])
                head = laid.heads.data[
                    int(laid.heads.start[row]) - wire.HEADER_BYTES : int(laid.events.start[row])
                ]
                found[index[row]] = head + b"".join(bodies[begin:end]) + b"\0"
                yield index[row]

    def _bodies(self, block: Block) -> list[bytes]:
        """Return the events of a block, the personal fields of each in their treated form."""
        data, at = block.data, block.starts[0]
        columns: list[list[bytes]] = []
        for i, treated, name in self._cuts:
            begin, end = block.starts[i], block.starts[i + 1]
            columns.append(_slices(data, at, begin))
            columns.append([treated(name, raw) for raw in _slices(data, begin, end)])
            at = end
        columns.append(_slices(data, at, block.starts[-1]))
        return [b"".join(parts) for parts in zip(*columns, strict=True)]

    def _field(self, name: str, raw: bytes) -> bytes:
        """Return the bytes of a field, given those that came."""
        if name == VALUE:
            return _NAN
        if name != "dimensions":
            found = fastavro.schemaless_reader(BytesIO(raw), "string", None)
            return text_bytes(self.privacy.text(name, str(found)))
        given = cast(Record, fastavro.schemaless_reader(BytesIO(raw), _MAP, None))
        out = BytesIO()
        fastavro.schemaless_writer(out, _MAP, self.privacy.dimensions(given))
        return out.getvalue()


def _changed(value: bytes | None, change: Callable[[Mapping[str, Any]], Record]) -> bytes:
    """Return the message of one event or of many with each of them changed.

    Raises:
        RecordError: it is none.
    """
    schemas = default_schemas()
    schema_id, _ = wire.split(value, schemas)
    name, found = schemas.name_of(schema_id), decode(value)
    if name == BATCH:
        return encode(BATCH, found | {"events": [change(event) for event in found["events"]]})
    if name == _EVENT:
        return encode(_EVENT, change(found))
    raise RecordError("unknown_schema_id", f"{schema_id} is {name}, not {_EVENT}")


def _slices(data: bytes, begin: I64, end: I64) -> list[bytes]:
    return [data[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
