"""Events without what is personal in them: bytes are treated before anything is read out of them.

Owns the way of personal values out of events and of rejected records. Events are cut where their
fields begin and put together again, and what is read as columns is read from the treated bytes, so
that columns and bytes say the same. Invariant: no plain value of a personal field passes, and what
cannot be read is not passed on.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import chain, pairwise
from typing import Any, Final, cast

import fastavro
import numpy as np

from streams.codec import wire
from streams.codec.columnar import (
    Block,
    ColumnarReader,
    length_name,
    presence_name,
    schema_fields,
)
from streams.codec.records import Record, decode, encode
from streams.codec.schemas import default_schemas
from streams.codec.varints import text as text_bytes
from streams.core.bodies import Bodies
from streams.core.privacy.records import UNREAD, Privacy
from streams.core.privacy.treatments import OWN_PREFIX, POINT_VALUES, VALUE
from streams.errors import RecordError
from streams.units import I64

EVENT: Final = "telemetry_event"
BATCH: Final = "telemetry_batch"
WITHHELD: Final = "withheld (personal)"
"""In place of a detail that may quote what is personal."""
IDS: Final = ("event_id", "trace_id", "span_id", "parent_span_id")
QUOTES_NOTHING: Final = frozenset(
    {
        "bad_magic", "empty_value", "event_too_large", "inflated_too_large", "otlp_too_large",
        "too_many_events", "unknown_schema_id", "unknown_module",
    }
)  # fmt: skip
"""Reasons whose details say counts, ids of schemas and names of modules, and no value."""
_TRACE_ID: Final = re.compile(rb"[0-9a-f]{32}")
_LIKE_AN_ID: Final = re.compile(r"[0-9A-Fa-f-]{0,64}")
_FIELDS_HELD_MAX: Final = 65_536
"""Fields of events whose treated bytes are remembered, a few hundred bytes each."""
_MAP: Final[Any] = {"type": "map", "values": "string"}
_NAN: Final = np.array([np.nan], "<f8").tobytes()
_AFTER: Final = bytes(16)
"""Follows the rows of a block, as `Block` says."""


class EventTreating:
    """Treats events that were read as columns.

    Args:
        privacy: the rules, and the keys.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        rules = privacy.rules
        fields = schema_fields(default_schemas().current(EVENT))
        personal = {*rules.fields, "dimensions"}  # those of span events may repeat fields
        self._first, self._count = fields[0].name, len(fields)
        self._cuts = [(i, f.name) for i, f in enumerate(fields) if f.name in personal]
        self._reader = ColumnarReader([fields[i] for i, _ in self._cuts])
        self._columns = [
            *(f.name for f in fields),
            *(presence_name(f.name) for f in fields if f.null_branch >= 0),
            *(length_name(f.name) for f in fields if f.kind in ("string", "bytes", "list")),
        ]
        self._keys = [key.encode() for key in rules.dimensions]
        self._keys += [f".{OWN_PREFIX}{name}".encode() for name in rules.fields]
        if VALUE in rules.fields:
            self._keys += [key.encode() for key in POINT_VALUES]
        self._held = lru_cache(_FIELDS_HELD_MAX)(self._field)

    def bodies(self, block: Block) -> list[bytes]:
        """Return the events of a block, the personal fields of each in their treated form."""
        starts = self._starts(block)
        return self._joined(block, starts, self._kept(self._came(block, starts)))

    def block(self, block: Block) -> tuple[Block, Bodies]:
        """Return the events of a block, treated, as columns and as bytes.

        Args:
            block: whose rows are events; other fields may stand around those of the events, and
                are not in what is returned.
        """
        starts = self._starts(block)
        came = self._came(block, starts)
        columns = self._kept(came)
        if columns == came:  # an edge has treated them all
            return block, Bodies(block.data, starts[0], starts[-1] - starts[0])
        whole = Bodies.of(self._joined(block, starts, columns))
        fields = b"".join(chain.from_iterable(zip(*columns, strict=True)))
        read = self._reader.read_block([fields], len(block))
        assert read is not None, "what is written here is canonical"
        frame = block.frame.select(self._columns).with_columns(read.frame.get_columns())
        sizes = [end - begin for begin, end in pairwise(starts)]
        for n, (i, _) in enumerate(self._cuts):
            sizes[i] = read.starts[n + 1] - read.starts[n]
        at = [whole.start]
        for size in sizes:
            at.append(at[-1] + size)
        assert np.array_equal(at[-1], whole.start + whole.size), "each field has its own bytes"
        data = whole.data + _AFTER
        treated = Block(frame, data, at, block.is_sound)
        return treated, Bodies(data, whole.start, whole.size)

    def _starts(self, block: Block) -> list[I64]:
        first = block.frame.columns.index(self._first)
        return block.starts[first : first + self._count + 1]

    def _came(self, block: Block, starts: Sequence[I64]) -> list[list[bytes]]:
        """Return the bytes of each personal field, by row, as they came."""
        return [_slices(block.data, starts[i], starts[i + 1]) for i, _ in self._cuts]

    def _kept(self, came: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
        """Return the same in their treated form."""
        held = self._held
        return [
            [held(name, raw) for raw in column]
            for (_, name), column in zip(self._cuts, came, strict=True)
        ]

    def _joined(
        self, block: Block, starts: Sequence[I64], columns: Sequence[list[bytes]]
    ) -> list[bytes]:
        data, at = block.data, starts[0]
        parts: list[list[bytes]] = []
        for (i, _), column in zip(self._cuts, columns, strict=True):
            parts += [_slices(data, at, starts[i]), column]
            at = starts[i + 1]
        parts.append(_slices(data, at, starts[-1]))
        return [b"".join(pieces) for pieces in zip(*parts, strict=True)]

    def _field(self, name: str, raw: bytes) -> bytes:
        """Return the bytes of a field, given those that came."""
        if name == VALUE:
            return _NAN
        if name != "dimensions":
            found = fastavro.schemaless_reader(BytesIO(raw), "string", None)
            return text_bytes(self._privacy.text(name, str(found)))
        if not any(key in raw for key in self._keys):
            return raw
        given = cast(Record, fastavro.schemaless_reader(BytesIO(raw), _MAP, None))
        out = BytesIO()
        fastavro.schemaless_writer(out, _MAP, self._privacy.dimensions(given))
        return out.getvalue()


class RejectedTreating:
    """Treats records that were rejected: what they hold may be anything.

    Args:
        privacy: the rules, and the keys.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy

    def at_edge(self, record: Mapping[str, Any]) -> Record:
        """Return a rejected record as a topic may keep it, before any has it.

        Kept are the events in it, treated, if all of its value came and can be decoded, so that it
        can be driven again; anything else is as `Privacy.unread` says.

        Args:
            record: of the schema `rejected_event`, with the whole value.
        """
        found = self.kept(record)
        if found["value"]:
            return found | {"value_bytes": len(found["value"])}
        unread = self._privacy.unread(record)
        if record["reason"] in QUOTES_NOTHING:
            unread["detail"] = f"{record['detail']}; {unread['detail']}"
        return unread

    def kept(self, record: Mapping[str, Any]) -> Record:
        """Return a rejected record without what is personal: with its events, treated, or none.

        The key stays if it is the id of a trace.

        Nobody knows what is in an id that is none: such ids go, and with them the detail, which
        repeats the one that was wrong.
        """
        found = dict(record)
        key, payload, detail = found["key"], found["value"], found["detail"]
        strange: list[str] = []

        def kept(event: Mapping[str, Any]) -> Record:
            bad = [name for name in IDS if not _LIKE_AN_ID.fullmatch(event[name])]
            strange.extend(bad)
            return self._privacy.event(event) | dict.fromkeys(bad, "")

        treated = b""
        if len(payload) == found["value_bytes"]:
            with contextlib.suppress(RecordError):  # then its reason, place and size are kept
                treated = changed(payload, kept)
        about = found["reason"].partition("_")[2]
        is_plain = bool(treated) and not strange and about not in self._privacy.rules.fields
        if is_plain:
            detail = self._detail(detail, payload)
        elif detail and not UNREAD.fullmatch(detail):
            detail = WITHHELD
        is_id = _TRACE_ID.fullmatch(key) is not None
        return found | {"key": key if is_id else b"", "value": treated, "detail": detail}

    def _detail(self, detail: str, payload: bytes) -> str:
        """Return a detail without the personal values of the events that it is about."""
        found = decode(payload)
        rules = self._privacy.rules
        for event in found.get("events", [found]):
            labels = {name: event[name] for name in rules.fields if name != VALUE}
            told = self._privacy.told({"labels": event["dimensions"] | labels, "detail": detail})
            detail = told["detail"]
        return detail


def changed(value: bytes | None, change: Callable[[Mapping[str, Any]], Record]) -> bytes:
    """Return the message of one event or of many with each of them changed.

    Raises:
        RecordError: it is none.
    """
    schemas = default_schemas()
    schema_id, _ = wire.split(value, schemas)
    name, found = schemas.name_of(schema_id), decode(value)
    if name == BATCH:
        return encode(BATCH, found | {"events": [change(event) for event in found["events"]]})
    if name == EVENT:
        return encode(EVENT, change(found))
    raise RecordError("unknown_schema_id", f"{schema_id} is {name}, not {EVENT}")


def _slices(data: bytes, begin: I64, end: I64) -> list[bytes]:
    return [data[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
