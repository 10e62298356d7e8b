"""Splicing equals resolving: the quick way between versions gives the slow way's bytes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import wire
from streams.codec.columnar import SMALLEST_SPLIT
from streams.codec.evolve import splicer_for
from streams.codec.records import canonical_body, decode_body, encode_body
from streams.codec.schemas import Schema, SchemaSet, load_schema
from tests.property.test_codec import events as drawn_events
from tests.unit.codec.codec_cases import decoder, event, reasons, run

TELEMETRY = load_schema("telemetry_event")
REGION = {"name": "region", "type": "string"}
DEFAULTS = {"links": [], "unit": "1", "trace_flags": 1, "dimensions": {"a": "b"}}


def pair(dropped: list[str], added_at: int | None) -> tuple[Schema, Schema]:
    """Return (writer, reader): the writer lacks some fields and has one that the reader lacks."""
    schemas = SchemaSet()
    reader = schemas.current("telemetry_event")
    for field in reader["fields"]:
        if field["name"] in DEFAULTS:
            field["default"] = DEFAULTS[field["name"]]
    fields = [f for f in load_schema("telemetry_event")["fields"] if f["name"] not in dropped]
    if added_at is not None:
        fields.insert(added_at, REGION)
    schemas.register(50, {**load_schema("telemetry_event"), "fields": fields})
    return schemas.writer(50), reader


@given(
    records=st.lists(drawn_events(), min_size=1, max_size=5),
    dropped=st.lists(st.sampled_from(sorted(DEFAULTS)), unique=True),
    added_at=st.none() | st.integers(0, 18),
)
@settings(max_examples=30)
def test_spliced_bodies_are_the_resolved_ones(
    records: list[dict[str, Any]], dropped: list[str], added_at: int | None
) -> None:
    """For whole fields added or missing anywhere, both ways give the same bytes."""
    writer, reader = pair(dropped, added_at)
    splicer = splicer_for(writer, reader)
    assert splicer is not None
    kept = [{k: v for k, v in r.items() if k not in dropped} for r in records]
    extra = {} if added_at is None else {"region": "eu"}
    bodies = [encode_body(writer, {**record, **extra}) for record in kept]
    assert splicer.splice(bodies) == [canonical_body(writer, one, reader) for one in bodies]


def test_a_torn_body_is_left_to_the_slow_way() -> None:
    """It gives None, and so do those few read with it; all others are spliced."""
    writer, reader = pair([], 3)
    splicer = splicer_for(writer, reader)
    assert splicer is not None
    good = encode_body(writer, event(region="eu"))
    spliced = splicer.splice([good[:-1], *[good] * 255])
    assert spliced[0] is None
    assert spliced[SMALLEST_SPLIT:] == [canonical_body(writer, good, reader)] * 192
    assert splicer.splice([b"x"]) == [None]


def _retyped(name: str, kind: Any) -> Schema:
    schema: Schema = json.loads(json.dumps(load_schema("telemetry_event")))
    next(f for f in schema["fields"] if f["name"] == name)["type"] = kind
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        _retyped("trace_flags", "int"),
        _retyped("actor", ["null", "string"]),
        {
            **load_schema("telemetry_event"),
            "fields": load_schema("telemetry_event")["fields"][::-1],
        },
        {**load_schema("telemetry_event"), "fields": load_schema("telemetry_event")["fields"][1:]},
    ],
    ids=["promoted", "nullable", "reordered", "without default"],
)
def test_what_is_more_than_whole_fields_has_no_splicer(schema: Schema) -> None:
    """A promotion, a union, another order or a missing default needs the record."""
    schemas = SchemaSet()
    schemas.register(50, schema)
    assert splicer_for(schemas.writer(50), schemas.current("telemetry_event")) is None


def test_a_newer_producer_is_read_in_its_place() -> None:
    """Rows of a newer version, good and torn, between rows of the current one."""
    schemas = SchemaSet()
    schema = load_schema("telemetry_event")
    schemas.register(50, {**schema, "fields": [REGION, *schema["fields"]]})
    newer = wire.header(50) + encode_body(schemas.writer(50), event(region="eu", actor="x"))
    mine = wire.header(1) + encode_body(schemas.current("telemetry_event"), event())
    events, rejected = run([newer, mine, newer[:-2], newer], decoder(schemas))
    assert events.row.tolist() == [0, 1, 3]
    assert reasons(rejected) == {2: "invalid_avro"}
    current = schemas.current("telemetry_event")
    assert decode_body(current, events.body[0]) == event(actor="x")
    assert decode_body(current, events.body[1]) == event()
