"""One record at a time: a dict to bytes and back, for every topic but the telemetry flood.

A value carries its schema's id. Reading resolves an older writer schema to the current one. Times
are integers of microseconds on both sides.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final, cast

import fastavro

from streams.codec import strict, wire
from streams.codec.schemas import Schema, SchemaSet, default_schemas
from streams.errors import RecordError

Record = dict[str, Any]

_ADDRESS: Final = re.compile(r"<_io\.BytesIO[^>]*>")
_EXPECTED: Final = re.compile(r"Expected (-?\d+) bytes, read (\d+)")
# What fastavro is known to raise on bytes that are no value of the schema.
_DECODE_ERRORS: Final = (
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    StopIteration,
)


def encode(name: str, record: Mapping[str, Any], schemas: SchemaSet | None = None) -> bytes:
    """Return the wire value (header and body) of a record in the current schema of `name`.

    Raises:
        ValueError, TypeError: the record misses a field, has one too many or of the wrong type.
    """
    known = schemas or default_schemas()
    return wire.header(known.id_of(name)) + encode_body(known.current(name), record)


def decode(value: bytes | None, schemas: SchemaSet | None = None) -> Record:
    """Return the record that a wire value holds, as the current version of its schema.

    Raises:
        RecordError: reason `empty_value`, `bad_magic`, `unknown_schema_id` or `invalid_avro`.
    """
    known = schemas or default_schemas()
    schema_id, body = wire.split(value, known)
    name = known.name_of(schema_id)
    assert name is not None, schema_id  # split refuses unknown ids
    return decode_body(known.writer(schema_id), body, known.current(name))


def decode_as(name: str | tuple[str, ...], value: bytes | None) -> Record:
    """Return the record of one schema, or one of some, that a wire value holds, as it is now.

    Raises:
        RecordError: as `decode`; `unknown_schema_id` too when it is a record of another one.
    """
    schemas = default_schemas()
    schema_id, _ = wire.split(value, schemas)
    found = schemas.name_of(schema_id)
    names = (name,) if isinstance(name, str) else name
    if found not in names:
        raise RecordError("unknown_schema_id", f"{schema_id} is {found}, not {' or '.join(names)}")
    return decode(value)


def decode_events(value: bytes | None) -> list[Record]:
    """Return the events of a value of a telemetry topic: one, or those of a batch message.

    Raises:
        RecordError: as `decode_as`.
    """
    record = decode_as(("telemetry_event", "telemetry_batch"), value)
    return cast("list[Record]", record["events"]) if "events" in record else [record]


def encode_body(schema: Schema, record: Mapping[str, Any]) -> bytes:
    """Return the Avro bytes of a record without the wire header."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, record, strict_allow_default=True)
    return out.getvalue()


def decode_body(writer: Schema, body: bytes, reader: Schema | None = None) -> Record:
    """Return the record that `body` holds, resolved from schema `writer` to `reader`.

    Bytes that are not canonical (an over-long number, a map in several blocks) are read only when
    the specification allows them.

    Args:
        writer: parsed schema that the body was written with.
        body: one Avro value without the wire header.
        reader: parsed schema of the result; `writer` when absent.

    Raises:
        RecordError: `invalid_avro`: not exactly one value of `writer`, or not resolvable.
    """
    record, _ = _checked(writer, body)
    return record if reader is None or reader is writer else _resolved(writer, body, reader)


def canonical_body(writer: Schema, body: bytes, reader: Schema) -> bytes:
    """Return the canonical bytes, in schema `reader`, of what `body` holds in schema `writer`.

    Raises:
        RecordError: as `decode_body`.
    """
    _, canonical = _checked(writer, body)
    if reader is writer:
        return canonical
    try:
        return encode_body(reader, _resolved(writer, body, reader))
    except (ValueError, TypeError) as error:
        raise RecordError("invalid_avro", f"cannot be resolved: {error}"[:200]) from error


def _checked(schema: Schema, body: bytes) -> tuple[Record, bytes]:
    """Return the record in a body and its canonical bytes, the body itself for most."""
    source, out = BytesIO(body), BytesIO()
    try:
        record = cast(Record, fastavro.schemaless_reader(source, schema, None))
        fastavro.schemaless_writer(out, schema, record)
    except _DECODE_ERRORS as error:
        raise RecordError("invalid_avro", _said(error)[:200]) from error
    canonical = out.getvalue()
    if canonical != body:
        strict.check(schema, body)
    return record, canonical


def _said(error: BaseException) -> str:
    """Return what is wrong with a body, for whoever wrote it: fastavro says what broke it."""
    match error:
        case EOFError():
            wanted = _EXPECTED.fullmatch(str(error))
            if wanted is None:
                return "the body ends amid a number"
            if int(wanted[1]) < 0:
                return f"a length is {wanted[1]}"
            return f"the body ends amid a text: {wanted[1]} bytes should come, {wanted[2]} do"
        case UnicodeDecodeError():
            byte = error.object[error.start]
            return f"a text is not UTF-8: its byte {error.start} is 0x{byte:02x}"
        case IndexError():
            return "an enum or a union has no value of that number"
        case OverflowError() | MemoryError():
            return "a length is larger than any memory"
    # Where the body lay in memory is nobody's business, and differs from run to run.
    return f"no value of its schema: {_ADDRESS.sub('the body', str(error))}"


def _resolved(writer: Schema, body: bytes, reader: Schema) -> Record:
    try:
        return cast(Record, fastavro.schemaless_reader(BytesIO(body), writer, reader))
    except (*_DECODE_ERRORS, fastavro.read.SchemaResolutionError) as error:
        raise RecordError("invalid_avro", f"cannot be resolved: {error}"[:200]) from error
