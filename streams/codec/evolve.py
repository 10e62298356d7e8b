"""Bodies of an older or newer schema become bodies of the current one, without reading a record.

When versions differ by whole fields only, a body of one is a body of the other with some bytes cut
out and the defaults of missing fields put in. Where the fields begin is known from the columns.
Invariant: equal, byte for byte, to resolving each record and writing it again.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from streams.codec.columnar import ColumnarReader, schema_fields
from streams.codec.records import encode_body
from streams.codec.schemas import Schema, wire_form
from streams.core.bodies import Bodies
from streams.errors import ConfigError

_Piece = bytes | tuple[int, int]
"""The bytes of defaults, or the writer's fields [first, last) as they are."""


class Splicer:
    """Rewrites bodies of one writer schema."""

    def __init__(self, writer: Schema, pieces: Sequence[_Piece]) -> None:
        """Make the plan for reading the writer's bodies; see `splicer_for`.

        Raises:
            ConfigError: the writer's schema cannot be read as columns.
        """
        self._reader = ColumnarReader(schema_fields(writer))
        self._pieces = pieces

    def splice(self, bodies: Sequence[bytes]) -> list[bytes | None]:
        """Return each body in the current schema; None where it, or one read with it, is doubtful.

        Args:
            bodies: n >= 1 bodies of the writer's schema.
        """
        out: list[bytes | None] = [None] * len(bodies)
        for block, rows in self._reader.read(Bodies.of(bodies)).blocks:
            edges = [at.tolist() for at in block.starts]
            parts: list[Iterable[bytes]] = []
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    parts.append(repeat(piece, len(rows)))
                else:
                    places = zip(edges[piece[0]], edges[piece[1]], strict=True)
                    parts.append([block.data[begin:end] for begin, end in places])
            spliced = zip(rows.tolist(), block.is_sound.tolist(), *parts, strict=True)
            for row, is_sound, *part in spliced:
                out[row] = b"".join(part) if is_sound else None
        return out


def splicer_for(writer: Schema, reader: Schema) -> Splicer | None:
    """Return the splicer from one parsed record schema to another.

    None when there is none: a field that both have differs in its type or place, one that is
    missing has no default, or the writer's fields are no columns.
    """
    written = {f["name"]: (i, f) for i, f in enumerate(writer["fields"])}
    pieces: list[_Piece] = []
    last = -1
    for field in reader["fields"]:
        place, source = written.get(field["name"], (-1, None))
        if source is None:
            default = _default(field)
            if default is None:
                return None
            pieces.append(default)
            continue
        if place <= last or wire_form(source["type"]) != wire_form(field["type"]):
            return None
        before = pieces[-1] if pieces else b""
        if isinstance(before, tuple) and before[1] == place:
            pieces[-1] = (before[0], place + 1)
        else:
            pieces.append((place, place + 1))
        last = place
    try:
        return Splicer(writer, pieces)
    except ConfigError:
        return None


def _default(field: dict[str, Any]) -> bytes | None:
    """Return the bytes of a field's default, None when it has none that is easily written."""
    if "default" not in field:
        return None
    schema = {"type": "record", "name": "Default", "fields": [field]}
    try:
        return encode_body(schema, {field["name"]: field["default"]})
    except (ValueError, TypeError, KeyError):  # a type named elsewhere, bytes: the slow way does it
        return None
