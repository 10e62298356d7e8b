"""Events and their ids."""

from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from streams.codec.records import decode, encode
from streams.simulate.events import (
    new_event,
    partition_key,
    span_id_from,
    trace_id_from,
    uuid4_text,
)


@given(st.integers())
def test_event_ids_are_version_4_uuids(seed: int) -> None:
    """Every id parses as a UUID of version 4, and of the variant that goes with it."""
    text = uuid4_text(Random(seed))
    parsed = UUID(text)
    assert (parsed.version, parsed.variant) == (4, "specified in RFC 4122")
    assert str(parsed) == text


@given(st.integers())
def test_trace_and_span_ids_are_valid(seed: int) -> None:
    """Ids have the W3C lengths, lower-case hex, and are never all zero."""
    rng = Random(seed)
    for text, length in ((trace_id_from(rng), 32), (span_id_from(rng), 16)):
        assert len(text) == length
        assert text == text.lower()
        assert int(text, 16) != 0


def test_an_event_has_the_fields_of_the_schema() -> None:
    """A fresh event goes through the codec and comes back field by field, absent value included."""
    event = new_event(Random(1), "LOG", "ALPHA", "parser", "n", 1_700_000_000_000_000, {"k": "v"})
    back = decode(encode("telemetry_event", event))
    assert list(back) == list(event)
    assert back.pop("value") != back.pop("links")  # NaN differs from all, itself included
    assert back == {key: event[key] for key in back}


def test_the_key_is_the_trace_or_else_the_place() -> None:
    """Events of a trace share its partition; the rest go by module and component."""
    event = new_event(Random(1), "LOG", "ALPHA", "parser", "n", 1, {})
    assert partition_key(event) == "ALPHA.parser"
    assert partition_key(event | {"trace_id": "ab" * 16}) == "ab" * 16
