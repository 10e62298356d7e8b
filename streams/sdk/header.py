"""`MessageHeader`: the header of a message between modules, which carries the context over the hop.

Source: schemas/message_header.v1.avsc. Invariant: a header that was read gives the context that was
written into it, flags aside, which the record has no field for: the baggage carries them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

from streams.codec import wire
from streams.codec.varints import varint
from streams.codec.w3c import Item, parse_traceparent
from streams.sdk.encode import HEADER_ID, text, uuid_text
from streams.sdk.propagation import baggage_of, context_of
from streams.sdk.span import Context

PROTOCOL_VERSION: Final = "1.0.0"
TYPES: Final = ("BATCH_TRANSFER", "ACKNOWLEDGMENT", "BACKPRESSURE")
_FLAGS: Final = "spanloom.trace_flags"


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
    def of(cls, source: str, target: str, message_type: str, context: Context | None) -> Self:
        """Return a new header that carries a context.

        Raises:
            ValueError: no such message type.
        """
        if message_type not in TYPES:
            raise ValueError(f"message_type {message_type!r}: one of {', '.join(TYPES)}")
        at = context or Context()
        parent_id = getattr(at, "parent_id", 0)
        baggage = {name: item.value for name, item in baggage_of(at).items()}
        if at.trace_id:
            baggage[_FLAGS] = f"{at.flags:02x}"
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
        timestamp, baggage = known.get("timestamp"), known.get("baggage")
        pairs = baggage.items() if isinstance(baggage, Mapping) else ()
        return cls(
            **texts,
            timestamp=timestamp if type(timestamp) is int else 0,
            baggage={k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)},
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
        """How long ago it was made, by both clocks: the transfer's latency at the receiver."""
        return max(0, time.time_ns() // 1_000 - self.timestamp)

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields, for whoever has a codec of his own."""
        return asdict(self)

    def encode(self) -> bytes:
        """Return the wire value: schema id and Avro body."""
        baggage = b"\0"
        if self.baggage:
            items = (text(one) for pair in self.baggage.items() for one in pair)
            baggage = b"".join((varint(len(self.baggage)), *items, b"\0"))
        return b"".join(
            (
                wire.header(HEADER_ID),
                text(self.message_id), text(self.correlation_id),
                text(self.source_module), text(self.target_module),
                varint(TYPES.index(self.message_type)), varint(self.timestamp),
                text(self.protocol_version),
                text(self.trace_id), text(self.span_id), text(self.parent_span_id),
                baggage,
            )
        )  # fmt: skip
