"""The events of an assembled trace as the bytes they came in, for building its next revision.

Invariant: what is returned, written again by `TraceEncoder`, is the same array of spans.
"""

from streams.codec import wire
from streams.codec.schemas import Schema, SchemaSet, default_schemas
from streams.codec.strict import Walk
from streams.errors import RecordError


class TraceReader:
    """Reads revision and span bytes of AssembledTrace values.

    Args:
        schemas: gives the schema of assembled traces.
        span_schema: schema of the spans where it is not TelemetryEvent's.
    """

    def __init__(self, schemas: SchemaSet | None = None, span_schema: Schema | None = None) -> None:
        schema = (schemas or default_schemas()).current("assembled_trace")
        self._fields = {field["name"]: field["type"] for field in schema["fields"]}
        self._item = span_schema or self._fields["spans"]["items"]

    def read(self, value: bytes) -> tuple[int, list[bytes]]:
        """Return (revision, encoded events in their order).

        Raises:
            RecordError: the value is no assembled trace.
        """
        _, body = wire.split(value)
        walk = Walk(body)
        at = 0
        revision = 0
        for name, kind in self._fields.items():
            if name == "spans":
                break
            begin = at
            at = walk.value(kind, at, name)
            if name == "revision":
                revision = walk.long(begin, name)[0]
        bodies: list[bytes] = []
        while True:
            count, at = walk.long(at, "spans")
            if count == 0:
                break
            if count < 0:  # a block that says its size, which is not needed here
                count, (_, at) = -count, walk.long(at, "spans")
            for _ in range(count):
                begin = at
                at = walk.value(self._item, at, "spans")
                bodies.append(body[begin:at])
        if at != len(body):
            raise RecordError("invalid_avro", f"{len(body) - at} bytes after the end of the trace")
        return revision, bodies
