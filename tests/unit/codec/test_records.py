"""Single records: encode and decode are inverse, and only valid Avro is read."""

import json
import math
from typing import Any

import pytest

from streams.codec import wire
from streams.codec.records import decode, decode_body, encode, encode_body
from streams.codec.schemas import SchemaSet
from streams.errors import RecordError
from tests.unit.codec.codec_cases import event, value


def test_a_record_comes_back_as_it_was() -> None:
    """decode(encode(x)) == x, times as integers of microseconds."""
    assert decode(encode("telemetry_event", event())) == event()
    assert isinstance(decode(value())["timestamp"], int)
    assert math.isnan(decode(value(value=float("nan")))["value"])


def test_a_record_that_does_not_fit_its_schema_is_not_written() -> None:
    """A missing, a further or a wrongly typed field is a bug of the caller."""
    missing = {k: v for k, v in event().items() if k != "actor"}
    for wrong in (missing, event(extra=1), event(status="FINE"), event(timestamp="now")):
        with pytest.raises((ValueError, TypeError)):
            encode("telemetry_event", wrong)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        value()[5:-1],
        value()[5:] + b"\x00",
        b"\xff" * 60,
        value()[5:].replace(b"BETA", b"\xff\xfe\xfd\xfc"),
        value()[5:].replace(b"\x14enrichment\x04", b"\x14enrichment\x01"),
        value()[5:].replace(b"\x14enrichment\x04", b"\x14enrichment\x08"),
    ],
)
def test_bytes_that_are_not_one_record_are_refused(body: bytes) -> None:
    """Torn, overlong, not UTF-8, or an enum index that is none: invalid_avro."""
    with pytest.raises(RecordError) as caught:
        decode(wire.header(1) + body)
    assert caught.value.reason == "invalid_avro"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (value()[5:-1], "the body ends amid a number"),
        (value()[5:20], r"the body ends amid a text: \d+ bytes should come, \d+ do"),
        (b"\x01", "a length is -1"),
        (b"\x02\xff", "a text is not UTF-8: its byte 0 is 0xff"),
        (value()[5:].replace(b"\x14enrichment\x04", b"\x14enrichment\x08"), "an enum or a union"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_record(body: bytes, said: str) -> None:
    """Whoever reads a rejected record wrote it, and knows neither Python nor its library."""
    with pytest.raises(RecordError, match=f"invalid_avro: {said}") as caught:
        decode(wire.header(1) + body)
    assert "Error" not in caught.value.detail


def _renamed(schemas: SchemaSet, add_default: bool) -> dict[str, Any]:
    older = json.loads(json.dumps(schemas.current("trace_fragment")))
    older["fields"] = [f for f in older["fields"] if f["name"] != "contract_version"]
    if add_default:
        fields = schemas.current("trace_fragment")["fields"]
        (last,) = (f for f in fields if f["name"] == "contract_version")
        last["default"] = "unknown"
    return {k: v for k, v in older.items() if not k.startswith("__")}


FRAGMENT = {
    "trace_id": "t", "revision": 1, "flow": "f", "record_id": "r", "batch_id": "b",
    "has_first": True, "has_last": False, "first_stage": "a", "last_stage": "b", "start": 1,
    "end": 2, "first_span_id": "s", "last_span_id": "e", "stages": ["a", "b"],
    "partition": 3,
}  # fmt: skip


def test_an_older_record_gets_the_defaults_of_the_current_version() -> None:
    """The writer's schema, known by its id, is resolved to the reader's."""
    schemas = SchemaSet()
    schemas.register(90, _renamed(schemas, add_default=True), "trace_fragment")
    old = wire.header(90) + encode_body(schemas.writer(90), FRAGMENT)
    assert decode(old, schemas) == {**FRAGMENT, "contract_version": "unknown"}


def test_an_older_record_that_cannot_be_resolved_is_refused() -> None:
    """Without a default the missing field makes the record unreadable: a reason, not a crash."""
    schemas = SchemaSet()
    schemas.register(90, _renamed(schemas, add_default=False), "trace_fragment")
    old = wire.header(90) + encode_body(schemas.writer(90), FRAGMENT)
    with pytest.raises(RecordError, match="invalid_avro"):
        decode(old, schemas)


def test_a_boolean_is_0_or_1() -> None:
    """Byte 2 is no boolean, whatever fast readers make of it."""
    schemas = SchemaSet()
    schema = schemas.current("trace_fragment")
    body = encode_body(schema, {**FRAGMENT, "contract_version": ""})
    at = body.index(b"\x02r\x02b") + 4
    assert decode_body(schema, body)["has_first"] is True
    with pytest.raises(RecordError, match="no boolean"):
        decode_body(schema, body[:at] + b"\x02" + body[at + 1 :])
