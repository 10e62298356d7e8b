"""The exact check of one body: each rule of the binary encoding, by hand."""

from typing import Any

import pytest

from streams.codec.strict import check
from streams.errors import RecordError

INNER = {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "int"}]}
ENUM = {"type": "enum", "name": "E", "symbols": ["X", "Y"]}


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("long", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
        ("int", b"\xff\xff\xff\xff\x0f"),
        ("string", b"\x04\xc3\xa9"),
        ("bytes", b"\x02\xff"),
        ("double", b"\x00" * 8),
        ("boolean", b"\x01"),
        ("null", b""),
        (ENUM, b"\x02"),
        (["null", "string"], b"\x02\x00"),
        ({"type": "fixed", "name": "F", "size": 3}, b"abc"),
        ({"type": "array", "items": "int"}, b"\x02\x02\x01\x02\x04\x00"),
        ({"type": "map", "values": "int"}, b"\x01\x06\x02a\x02\x00"),
        (INNER, b"\x02"),
    ],
)
def test_a_valid_value_passes(schema: Any, body: bytes) -> None:
    """Every type in one valid form, the shortest or not."""
    check(schema, body)


@pytest.mark.parametrize(
    ("schema", "body", "says"),
    [
        ("long", b"\x80", "ends within a number"),
        ("long", b"\xff" * 9 + b"\x02", "beyond 64 bits"),
        ("long", b"\xff" * 10 + b"\x00", "beyond 64 bits"),
        ("int", b"\x80\x80\x80\x80\x10", "no 32-bit int"),
        ("string", b"\x02\xff", "not UTF-8"),
        ("string", b"\x04a", "2 bytes wanted, 1 left"),
        ("string", b"\x01a", "-1 bytes wanted"),
        ("double", b"\x00" * 7, "8 bytes wanted"),
        ("boolean", b"\x02", "no boolean"),
        (ENUM, b"\x04", "no enum symbol 2"),
        (ENUM, b"\x01", "no enum symbol -1"),
        (["null", "string"], b"\x04\x00", "no union branch 2"),
        ({"type": "array", "items": "int"}, b"\x02\x02", "ends within a number"),
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\x0f", "a block of"),
        ({"type": "map", "values": "int"}, b"\x01\x08\x02a\x02\x00", "block of 3 bytes says 4"),
        (INNER, b"\x02\x00", "1 bytes after the end"),
        (INNER, b"", "a: the body ends"),
    ],
)
def test_an_invalid_value_is_refused_with_the_place(schema: Any, body: bytes, says: str) -> None:
    """Each fault has words that name it."""
    with pytest.raises(RecordError, match="invalid_avro") as caught:
        check(schema, body)
    assert says in caught.value.detail
