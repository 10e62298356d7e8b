"""A slow, exact check of one Avro body: for the rows that the fast readers leave in doubt.

fastavro takes a negative enum index for the last symbol and varints of any length; polars wraps
what does not fit. Here the specification alone decides. Never called for a canonical body.
Source: Apache Avro 1.11 specification, "Binary encoding".
"""

from typing import Any, Final

from streams.errors import RecordError

_FIXED_BYTES: Final = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_MAX_VARINT_BYTES: Final = 10


def check(schema: Any, body: bytes) -> None:
    """Pass when `body` is exactly one valid value of the parsed `schema`.

    Raises:
        RecordError: `invalid_avro`, with the place of the first fault.
    """
    end = Walk(body).value(schema, 0, "")
    if end != len(body):
        raise RecordError("invalid_avro", f"{len(body) - end} bytes after the end of the record")


class Walk:
    """Steps over one body; named types are kept as they are met, as the schema names them."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._named: dict[str, Any] = {}

    def value(self, schema: Any, at: int, path: str) -> int:
        """Return the position after the value of `schema` that starts at `at`."""
        if isinstance(schema, list):
            index, at = self.long(at, path)
            if not 0 <= index < len(schema):
                raise RecordError("invalid_avro", f"{path}: no union branch {index}")
            return self.value(schema[index], at, path)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, (dict, list)):
            return self.value(kind, at, path)
        if isinstance(schema, dict) and "name" in schema:
            self._named[schema["name"]] = schema
        if kind in self._named and not isinstance(schema, dict):
            return self.value(self._named[kind], at, path)
        return self._plain(kind, schema, at, path)

    def _plain(self, kind: str, schema: Any, at: int, path: str) -> int:
        if kind == "record":
            for field in schema["fields"]:
                at = self.value(
                    field["type"], at, f"{path}.{field['name']}" if path else field["name"]
                )
            return at
        if kind in ("long", "int"):
            number, at = self.long(at, path)
            if kind == "int" and not -(2**31) <= number < 2**31:
                raise RecordError("invalid_avro", f"{path}: {number} is no 32-bit int")
            return at
        if kind in ("string", "bytes"):
            return self._text(kind, at, path)
        if kind == "enum":
            index, at = self.long(at, path)
            if not 0 <= index < len(schema["symbols"]):
                raise RecordError("invalid_avro", f"{path}: no enum symbol {index}")
            return at
        if kind in ("array", "map"):
            return self._blocks(kind, schema, at, path)
        size = schema["size"] if kind == "fixed" else _FIXED_BYTES[kind]
        end = self._end(at, size, path)
        if kind == "boolean" and self._body[at] > 1:
            raise RecordError("invalid_avro", f"{path}: {self._body[at]} is no boolean")
        return end

    def _blocks(self, kind: str, schema: Any, at: int, path: str) -> int:
        while True:
            count, at = self.long(at, path)
            if count == 0:
                return at
            start, size = at, None
            if count < 0:
                size, start = self.long(at, path)
                at, count = start, -count
            if count > len(self._body):  # every item of ours has at least one byte
                raise RecordError("invalid_avro", f"{path}: a block of {count} items")
            for _ in range(count):
                if kind == "map":
                    at = self._text("string", at, path)
                at = self.value(schema["values" if kind == "map" else "items"], at, path)
            if size is not None and at - start != size:
                raise RecordError(
                    "invalid_avro", f"{path}: block of {at - start} bytes says {size}"
                )

    def _text(self, kind: str, at: int, path: str) -> int:
        size, at = self.long(at, path)
        end = self._end(at, size, path)
        if kind == "string":
            try:
                self._body[at:end].decode("utf-8")
            except UnicodeDecodeError as error:
                raise RecordError("invalid_avro", f"{path}: not UTF-8") from error
        return end

    def _end(self, at: int, size: int, path: str) -> int:
        if size < 0 or at + size > len(self._body):
            raise RecordError(
                "invalid_avro", f"{path}: {size} bytes wanted, {len(self._body) - at} left"
            )
        return at + size

    def long(self, at: int, path: str) -> tuple[int, int]:
        """Return a long or int and the position after it."""
        zigzag = 0
        for i in range(_MAX_VARINT_BYTES):
            if at + i >= len(self._body):
                raise RecordError("invalid_avro", f"{path}: the body ends within a number")
            byte = self._body[at + i]
            zigzag |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if zigzag >= 2**64:
                    break
                return (zigzag >> 1) ^ -(zigzag & 1), at + i + 1
        raise RecordError("invalid_avro", f"{path}: a number beyond 64 bits")
