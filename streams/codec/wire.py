"""The wire header of every value: magic 0, the schema's id as 4 big-endian bytes, the body.

Source: Confluent Schema Registry, "Wire format".
"""

from collections.abc import Container
from typing import Final

from streams.errors import RecordError

MAGIC: Final = 0
HEADER_BYTES: Final = 5
MAX_EVENT_BYTES: Final = 1_000_000
"""Default bound of one telemetry event, header included."""


def header(schema_id: int) -> bytes:
    """Return the 5 bytes in front of a body that was written with `schema_id`."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def split(
    value: bytes | None,
    known_ids: Container[int] | None = None,
    max_bytes: int | None = None,
) -> tuple[int, bytes]:
    """Return (schema id, body) of one value.

    Args:
        value: a Kafka value; None is a tombstone.
        known_ids: the ids that can be read (a `SchemaSet`); without it any id passes.
        max_bytes: largest value that is accepted, header included; without it any size passes.

    Raises:
        RecordError: reason `empty_value` (none, or shorter than the header), `bad_magic`,
            `event_too_large` or `unknown_schema_id`.
    """
    if value is None:
        raise RecordError("empty_value", "tombstone")
    if max_bytes is not None and len(value) > max_bytes:
        raise RecordError("event_too_large", f"{len(value)} bytes, {max_bytes} are accepted")
    if len(value) < HEADER_BYTES:
        raise RecordError("empty_value", f"{len(value)} bytes, the header alone has {HEADER_BYTES}")
    if value[0] != MAGIC:
        raise RecordError("bad_magic", f"first byte is {value[0]}, not {MAGIC}")
    schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
    if known_ids is not None and schema_id not in known_ids:
        raise RecordError("unknown_schema_id", str(schema_id))
    return schema_id, value[HEADER_BYTES:]
