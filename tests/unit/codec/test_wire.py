"""The wire header: five bytes that say which schema wrote the rest."""

import pytest

from streams.codec.wire import header, split
from streams.errors import RecordError


def test_header_and_split_are_inverse() -> None:
    """The id and the body come back as they were."""
    assert header(258) == b"\x00\x00\x00\x01\x02"
    assert split(header(2**32 - 1) + b"body") == (2**32 - 1, b"body")
    assert split(header(7)) == (7, b"")


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("empty_value", None),
        ("empty_value", b""),
        ("empty_value", b"\x00\x00\x00\x01"),
        ("bad_magic", b'{"a":1}'),
        ("unknown_schema_id", b"\x00\x00\x00\x00\x63body"),
        ("event_too_large", b"\x00\x00\x00\x00\x01" + b"a" * 96),
    ],
)
def test_what_is_no_value_is_refused_with_its_reason(reason: str, value: bytes | None) -> None:
    """Each fault of the header has a name of its own."""
    with pytest.raises(RecordError) as caught:
        split(value, known_ids={1}, max_bytes=100)
    assert caught.value.reason == reason


def test_the_bound_itself_is_accepted() -> None:
    """A value of exactly max_bytes passes."""
    assert split(header(1) + b"a" * 95, {1}, max_bytes=100)[0] == 1
