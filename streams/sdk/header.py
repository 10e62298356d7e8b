"""`MessageHeader`: the header of a message between modules, which carries the context over the hop.

Source: schemas/message_header.v1.avsc. Invariant: a header that was read gives the context that was
written into it, flags aside, which the record has no field for: the baggage carries them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from streams.codec import wire
from streams.codec.varints import varint
from streams.codec.w3c import (
    BAGGAGE_BYTES_MAX,
    BAGGAGE_MEMBERS_MAX,
    Baggage,
    Item,
    parse_traceparent,
)
from streams.sdk.encode import HEADER_ID, uuid_text
from streams.sdk.propagation import Counting, baggage_of, context_of
from streams.sdk.span import Context

PROTOCOL_VERSION: Final = "1.0.0"
TYPES: Final = ("BATCH_TRANSFER", "ACKNOWLEDGMENT", "BACKPRESSURE")
_FLAGS: Final = "spanloom.trace_flags"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONG_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """Fields as in the schema; `timestamp` in Unix microseconds."""

    message_id: str
    correlation_id: str
    source_module: str
    target_module: str
    message_type: str
    timestamp: int
    protocol_version: str = PROTOCOL_VERSION
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    baggage: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: str,
        target: str,
        message_type: str,
        context: Context | None,
        counting: Counting | None = None,
    ) -> Self:
        """Return a new header that carries a context, and of its baggage what goes over a hop.

        Raises:
            ValueError: no such message type.
        """
        if message_type not in TYPES:
            raise ValueError(f"message_type {message_type!r}: one of {', '.join(TYPES)}")
        at = context or Context()
        parent_id = getattr(at, "parent_id", 0)
        own = {_FLAGS: Item(f"{at.flags:02x}")} if at.trace_id else {}
        baggage = _bounded(own | baggage_of(at), counting)  # what is first is never cut
        return cls(
            message_id=uuid_text(),
            correlation_id=at.correlation_id,
            source_module=source,
            target_module=target,
            message_type=message_type,
            timestamp=time.time_ns() // 1_000,
            trace_id=at.parent.trace_id if at.trace_id else "",
            span_id=at.parent.span_id if at.trace_id else "",
            parent_span_id=f"{parent_id:016x}" if parent_id else "",
            baggage=baggage,
        )

    @classmethod
    def read(cls, header: Any) -> Self:
        """Return a header that came as a mapping with the schema's fields; never raises.

        It came from outside: fields of a newer schema are left out, and one that is missing, or not
        of its type, is empty.
        """
        known = header if isinstance(header, Mapping) else {}
        texts = {
            one.name: found if isinstance(found := known.get(one.name), str) else ""
            for one in fields(cls)
            if one.name not in ("timestamp", "baggage")
        }
        baggage = known.get("baggage")
        pairs = baggage.items() if isinstance(baggage, Mapping) else ()
        given = {k: Item(v) for k, v in pairs if isinstance(k, str) and isinstance(v, str)}
        return cls(
            **texts,
            timestamp=_timestamp_us(known.get("timestamp")),
            baggage=_bounded(given),
        )

    @property
    def context(self) -> Context:
        """The context that the header carries; without a trace where its ids are none."""
        baggage = {name: Item(value) for name, value in self.baggage.items()}
        flags = baggage.pop(_FLAGS, Item("01")).value
        parent = parse_traceparent(f"00-{self.trace_id}-{self.span_id}-{flags}")
        found = context_of(parent, (), baggage)
        found.correlation_id = found.correlation_id or self.correlation_id
        return found

    @property
    def age_us(self) -> int:
        """How long ago it was made, by both clocks: the transfer's latency at the receiver.

        0 where it does not say when.
        """
        if not self.timestamp:
            return 0
        return max(0, time.time_ns() // 1_000 - self.timestamp)

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields, for whoever has a codec of his own."""
        return asdict(self)

    def encode(self) -> bytes:
        """Return the wire value: schema id and Avro body; of no type it is a BATCH_TRANSFER."""
        baggage = b"\0"
        if self.baggage:
            items = (_text(one) for pair in self.baggage.items() for one in pair)
            baggage = b"".join((varint(len(self.baggage)), *items, b"\0"))
        return b"".join(
            (
                wire.header(HEADER_ID),
                _text(self.message_id), _text(self.correlation_id),
                _text(self.source_module), _text(self.target_module),
                varint(TYPES.index(self.message_type) if self.message_type in TYPES else 0),
                varint(self.timestamp),
                _text(self.protocol_version),
                _text(self.trace_id), _text(self.span_id), _text(self.parent_span_id),
                baggage,
            )
        )  # fmt: skip


def _text(value: str) -> bytes:
    """Return the Avro bytes of a string, whole: what goes over a hop is bounded already."""
    raw = value.encode("utf-8", "replace")
    return varint(len(raw)) + raw


def _bounded(baggage: Baggage, counting: Counting | None = None) -> dict[str, str]:
    """Return what of a baggage goes over a hop: as much as over one by HTTP."""
    kept: dict[str, str] = {}
    size = 0
    for name, item in baggage.items():
        size += len(_text(name)) + len(_text(item.value))
        if size > BAGGAGE_BYTES_MAX or len(kept) >= BAGGAGE_MEMBERS_MAX:
            break
        kept[name] = item.value
    if counting is not None and len(kept) < len(baggage):
        counting.baggage_left_out(len(baggage) - len(kept))
    return kept


def _timestamp_us(given: object) -> int:
    """Return Unix microseconds: of an int, or of what readers of Avro make of one; else 0."""
    if isinstance(given, datetime):
        given = (given if given.tzinfo else given.replace(tzinfo=UTC)) - _EPOCH
        return given // timedelta(microseconds=1)
    return given if type(given) is int and 0 <= given <= _LONG_MAX else 0
