"""AssembledTrace, written by hand: the spans are copied in as the bytes that they came as.

An Avro array item has the same bytes as the record alone, so a trace of any length costs one
join. Invariant: equal, byte for byte, to what fastavro writes for the same record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.codec import wire
from streams.codec.schemas import Schema, SchemaSet, default_schemas
from streams.codec.varints import text, varint

MissingRow = tuple[str, str, str, str, str, str, str]
"""Span id, module, component, name, near and far stage, cause."""
END: Final = b"\x00"
"""Ends an Avro array."""


@dataclass(slots=True)
class TraceRecord:
    """The fields of one AssembledTrace, but for its spans; times in Unix microseconds.

    Attributes:
        status: COMPLETE | INCOMPLETE | BROKEN | TRUNCATED.
        closed_by: contract | watermark | clock | bound.
        missing: rows of (span_id, module, component, name, from_stage, to_stage, cause).
        stages: rows of (stage, start, duration_us, count).
    """

    trace_id: str
    revision: int
    flow: str
    contract_version: str
    status: str
    closed_by: str
    start: int
    end: int
    duration_us: int
    span_count: int
    annotation_count: int
    error_count: int
    root_count: int
    orphan_count: int
    evicted_count: int
    root_span_id: str
    missing: Sequence[MissingRow] = ()
    stages: Sequence[tuple[str, int, int, int]] = ()


class TraceEncoder:
    """Writes AssembledTrace values; remembers the bytes of texts that repeat (flows, stages)."""

    def __init__(self, schemas: SchemaSet | None = None, repeats: int = 10_000) -> None:
        """Take the symbol order of the enums from the schema.

        Args:
            schemas: gives the schema's id and symbols.
            repeats: how many texts of flows, stages and modules are remembered at most.
        """
        known = schemas or default_schemas()
        schema = known.current("assembled_trace")
        fields = {f["name"]: f["type"] for f in schema["fields"]}
        missing = {f["name"]: f["type"] for f in fields["missing"]["items"]["fields"]}
        self.header = wire.header(known.id_of("assembled_trace"))
        self._status = _indexes(fields["status"])
        self._closed_by = _indexes(fields["closed_by"])
        self._cause = _indexes(missing["cause"])
        self._known = _Texts(repeats)

    def value(self, record: TraceRecord, bodies: Sequence[bytes]) -> bytes:
        """Return the wire value: header, the record, and `bodies` as its spans.

        Args:
            record: the trace; counts >= 0.
            bodies: encoded events without their wire header, in the order wanted.

        Raises:
            KeyError: a status, closed_by or cause that is no symbol of the schema.
        """
        return self.header + self.body(record, bodies)

    def body(self, record: TraceRecord, bodies: Sequence[bytes]) -> bytes:
        """Return the Avro bytes of the record alone, without the wire header."""
        known = self._known
        pieces = [
            text(record.trace_id),
            varint(record.revision),
            known[record.flow],
            known[record.contract_version],
            self._status[record.status],
            self._closed_by[record.closed_by],
            varint(record.start),
            varint(record.end),
            varint(record.duration_us),
            varint(record.span_count),
            varint(record.annotation_count),
            varint(record.error_count),
            varint(record.root_count),
            varint(record.orphan_count),
            varint(record.evicted_count),
            text(record.root_span_id),
        ]
        pieces.append(self.missing(record.missing))
        if record.stages:
            pieces.append(varint(len(record.stages)))
            for stage, start, duration_us, count in record.stages:
                pieces += (known[stage], varint(start), varint(duration_us), varint(count))
        pieces.append(END)
        if bodies:
            pieces.append(varint(len(bodies)))
            pieces += bodies
        pieces.append(END)
        return b"".join(pieces)

    def missing(self, rows: Sequence[MissingRow]) -> bytes:
        """Return the Avro array of a trace's missing spans.

        Raises:
            KeyError: a cause that is no symbol of the schema.
        """
        if not rows:
            return END
        known = self._known
        pieces = [varint(len(rows))]
        for span_id, module, component, name, near, far, cause in rows:
            pieces += (text(span_id), known[module], known[component], known[name])
            pieces += (known[near], known[far], self._cause[cause])
        return b"".join((*pieces, END))


class _Texts(dict[str, bytes]):
    """The Avro bytes of texts that are likely to come again, at most `bound` of them."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self._bound = bound

    def __missing__(self, value: str) -> bytes:
        encoded = text(value)
        if len(self) < self._bound:
            self[value] = encoded
        return encoded


def _indexes(enum: Schema) -> dict[str, bytes]:
    return {symbol: varint(i) for i, symbol in enumerate(enum["symbols"])}
