"""The columnar decode: every row is an event or a rejection with its reason, and never both."""

import json
from typing import Any

import numpy as np
import pytest

from streams.codec import wire
from streams.codec.hashes import value_hash
from streams.codec.records import decode_body, encode, encode_body
from streams.codec.schemas import SchemaSet, load_schema
from streams.core.columns import AUDIT, LOG, Operation, Operations
from tests.unit.codec.codec_cases import (
    EVENT_ID,
    T0_US,
    TRACE_ID,
    check_against_oracle,
    decoder,
    event,
    reasons,
    run,
    value,
    values,
)


def test_a_span_becomes_a_row_of_numbers() -> None:
    """Each field of the event lands in its column, as a number."""
    operations = Operations()
    one = value(parent_span_id="b7ad6b7169203331", status="ERROR", severity="CRITICAL")
    events, rejected = run([one], decoder(operations=operations, dimensions=("tier", "format")))
    assert len(rejected) == 0
    assert events.row.tolist() == [0]
    assert events.topic.tolist() == [3]
    assert events.trace_id.tolist() == [[0x4BF92F3577B34DA6, 0xA3CE929D0E0E4736]]
    assert events.event_key.tolist() == [[0, 0x00F067AA0BA902B7]]
    assert events.span_id.tolist() == [0x00F067AA0BA902B7]
    assert events.parent_span_id.tolist() == [0xB7AD6B7169203331]
    assert events.timestamp_us.tolist() == [T0_US]
    assert events.duration_us.tolist() == [1_500]
    assert events.kafka_us.tolist() == [T0_US]
    assert operations[int(events.operation[0])] == Operation("BETA", "enrichment", "enrich")
    assert (int(events.event_type[0]), int(events.severity[0]), int(events.status[0])) == (2, 4, 2)
    assert events.trace_flags.tolist() == [1]
    assert events.dimension["tier"].tolist() == [value_hash("gold")]
    assert events.dimension["format"].tolist() == [0]
    assert list(events.body) == [one[5:]]


def test_columns_have_the_types_of_the_engine() -> None:
    """Dtypes are those that EventColumns names, for a full chunk as for an empty one."""
    for chunk in (values(3), []):
        events, _ = run(chunk, decoder(dimensions=("tier",)))
        assert events.row.dtype == events.timestamp_us.dtype == events.duration_us.dtype == np.int64
        assert events.trace_id.dtype == events.span_id.dtype == np.uint64
        assert events.trace_id.shape == events.event_key.shape == (len(chunk), 2)
        assert events.topic.dtype == events.event_type.dtype == events.trace_flags.dtype == np.uint8
        assert events.operation.dtype == np.int32
        assert events.dimension["tier"].dtype == np.uint64


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("invalid_trace_id", {"trace_id": TRACE_ID[:-1]}),
        ("invalid_trace_id", {"trace_id": TRACE_ID.upper()}),
        ("invalid_trace_id", {"trace_id": "g" * 32}),
        ("invalid_trace_id", {"trace_id": "0" * 32}),
        ("invalid_trace_id", {"trace_id": "é" * 16}),
        ("invalid_trace_id", {"trace_id": "short", "event_type": "LOG"}),
        ("missing_trace_id", {"trace_id": ""}),
        ("invalid_span_id", {"span_id": ""}),
        ("invalid_span_id", {"span_id": "0" * 16}),
        ("invalid_span_id", {"span_id": "00f067aa0ba902bx"}),
        ("invalid_parent_span_id", {"parent_span_id": "12"}),
        ("invalid_event_id", {"event_type": "LOG", "event_id": "x"}),
        ("invalid_event_id", {"event_type": "AUDIT", "event_id": EVENT_ID.replace("-", "0")}),
        ("invalid_event_id", {"event_type": "METRIC", "event_id": EVENT_ID[:-1] + "g"}),
        (
            "invalid_event_id",
            {"event_type": "LOG", "event_id": "00000000-0000-0000-0000-000000000000"},
        ),
        ("invalid_timestamp", {"timestamp": 0}),
        ("invalid_timestamp", {"timestamp": -5}),
        ("invalid_timestamp", {"timestamp": T0_US * 1_000}),
        ("invalid_duration", {"duration_us": -1}),
        ("invalid_duration", {"duration_us": 11 * 365 * 86_400_000_000}),
        ("invalid_trace_flags", {"trace_flags": 256}),
        ("invalid_trace_flags", {"trace_flags": -1}),
        ("missing_module", {"module": ""}),
        ("missing_name", {"name": ""}),
    ],
)
def test_a_wrong_field_costs_its_row_with_the_reason(reason: str, changes: dict[str, Any]) -> None:
    """An event with one wrong field is rejected for it; the rows around it are kept."""
    chunk = values(3)
    chunk[1] = value(**changes)
    events, rejected = run(chunk)
    assert reasons(rejected) == {1: reason}
    assert events.row.tolist() == [0, 2]
    assert len(rejected.detail[0]) <= 80
    check_against_oracle(chunk)


def test_a_rejection_shows_what_was_found() -> None:
    """The detail names the field and its value."""
    _, rejected = run([value(trace_id="nope"), value(timestamp=-5)])
    assert rejected.detail == ["trace_id 'nope'", "timestamp -5"]


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("empty_value", None),
        ("empty_value", b""),
        ("empty_value", b"\x00\x00\x00\x00"),
        ("bad_magic", b"\x01" + value()[1:]),
        ("bad_magic", json.dumps(event()).encode()),
        ("unknown_schema_id", b"\x00\x00\x00\x03\xe7" + value()[5:]),
        (
            "unknown_schema_id",
            encode(
                "message_header",
                {
                    "message_id": "",
                    "correlation_id": "",
                    "source_module": "",
                    "target_module": "",
                    "message_type": "ACKNOWLEDGMENT",
                    "timestamp": 1,
                    "protocol_version": "",
                    "trace_id": "",
                    "span_id": "",
                    "parent_span_id": "",
                    "baggage": {},
                },
            ),
        ),
        ("event_too_large", value(actor="a" * 5_000_000)),
        ("invalid_avro", value()[:5]),
        ("invalid_avro", value()[:-1]),
        ("invalid_avro", value() + b"\x00"),
        ("invalid_avro", value()[:5] + b"\xff" * 40),
        ("invalid_avro", value()[:5] + b"not Avro at all, but long enough to be taken for it"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_bytes_that_are_no_event_cost_their_row(reason: str, bad: bytes | None) -> None:
    """A value that is not one event is rejected with its reason; its neighbours are untouched."""
    chunk: list[bytes | None] = [*values(200)]
    chunk[70] = bad
    events, rejected = run(chunk)
    assert reasons(rejected) == {70: reason}
    assert events.row.tolist() == [i for i in range(200) if i != 70]
    assert events.span_id.tolist() == [i + 1 for i in range(200) if i != 70]
    assert all(events.body[i] == (chunk[row] or b"")[5:] for i, row in enumerate(events.row))


def test_a_body_cannot_forge_its_neighbour() -> None:
    """Two events in one value, with a guessed guard between them, are not two events."""
    good = values(4)
    forged = good[1] + (2).to_bytes(8, "little") + good[2][5:]
    events, rejected = run([good[0], forged, good[3]])
    assert reasons(rejected) == {1: "invalid_avro"}
    assert events.span_id.tolist() == [1, 4]


def test_annotations_are_known_by_their_uuid() -> None:
    """A log line inside a trace has its event id as key; outside every trace it has none."""
    inside = value(event_type="LOG", span_id="", event_id=EVENT_ID.upper())
    outside = value(event_type="AUDIT", trace_id="", span_id="junk", event_id="")
    events, rejected = run([inside, outside])
    assert len(rejected) == 0
    assert events.event_type.tolist() == [LOG, AUDIT]
    assert events.event_key.tolist() == [[0x6F1C2F0E52B74F0C, 0x9D3A0B6F9F1F7A01], [0, 0]]
    assert events.trace_id[1].tolist() == [0, 0]
    assert events.span_id.tolist() == [0, 0]


def test_a_parent_of_zeros_is_no_parent() -> None:
    """Some exporters write a root's missing parent as zeros; it is a root all the same."""
    events, rejected = run([value(parent_span_id="0" * 16)])
    assert len(rejected) == 0
    assert events.parent_span_id.tolist() == [0]


def test_absent_text_hashes_to_zero_and_other_text_never() -> None:
    """No value is 0; equal values hash alike in different rows and columns."""
    chunk = [value(dimensions=d) for d in ({}, {"tier": "a"}, {"format": "a"}, {"tier": ""})]
    events, _ = run(chunk, decoder(dimensions=("tier", "format")))
    tier, layout = events.dimension["tier"], events.dimension["format"]
    assert tier[0] == tier[3] == 0 == value_hash("")
    assert tier[1] == layout[2] == value_hash("a") != 0


def test_the_last_of_two_equal_dimension_keys_counts() -> None:
    """A map may repeat a key on the wire; as in every map reader the last one wins."""
    body = value(dimensions={"tier": "gold", "tieR": "iron"})[5:].replace(b"tieR", b"tier")
    events, rejected = run([wire.header(1) + body], decoder(dimensions=("tier",)))
    assert len(rejected) == 0
    assert events.dimension["tier"].tolist() == [value_hash("iron")]


def test_rejected_events_get_no_operation_code() -> None:
    """A flood of bad events cannot use up the bound on operations."""
    operations = Operations()
    run([value(name=f"n{i}", timestamp=0) for i in range(50)], decoder(operations=operations))
    assert len(operations) == 0


def test_operations_beyond_the_bound_share_one_code() -> None:
    """What the bound refuses is the overflow operation, in every chunk, and counted."""
    operations = Operations(limit=2)
    one = decoder(operations=operations)
    first, _ = run([value(name="a"), value(name="b")], one)
    second, _ = run([value(name="c"), value(name="a"), value(name="d")], one)
    assert [operations[c].name for c in first.operation] == ["a", "b"]
    assert [operations[c].name for c in second.operation] == ["overflow", "a", "overflow"]


def test_a_map_in_several_blocks_is_read_and_kept_as_it_came() -> None:
    """Avro lets a writer cut a map into blocks with sizes: valid, if not the shortest form."""
    plain = value(dimensions={"tier": "gold", "format": "json"})
    entries = b"\x08tier\x08gold", b"\x0cformat\x08json"
    blocks = b"".join(b"\x01" + bytes([2 * len(e)]) + e for e in entries) + b"\x00"
    body = plain.replace(b"\x04" + b"".join(entries) + b"\x00", blocks)
    assert body != plain
    events, rejected = run([value(), body, value()], decoder(dimensions=("tier", "format")))
    assert len(rejected) == 0
    assert events.dimension["format"].tolist() == [0, value_hash("json"), 0]
    assert events.body[1] == body[5:]


def test_numbers_longer_than_needed_are_read_numbers_beyond_64_bits_are_not() -> None:
    """0 may be written in two bytes; an eleven-byte number is no long."""
    links_end = value()[:-1]
    long_zero, too_long = links_end + b"\x80\x00", links_end + b"\x80" * 10 + b"\x00"
    events, rejected = run([long_zero, too_long, value()])
    assert reasons(rejected) == {1: "invalid_avro"}
    assert events.row.tolist() == [0, 2]


def test_an_enum_index_that_wraps_is_refused() -> None:
    """Index 2**33 is not symbol 0, and index -1 is not the last symbol."""
    body = value()
    at = body.index(b"\x14enrichment") + len(b"\x14enrichment")  # event_type follows component
    for index in (b"\x80\x80\x80\x80\x40", b"\x01", b"\x08"):
        events, rejected = run([value(), body[:at] + index + body[at + 1 :], value()])
        assert reasons(rejected) == {1: "invalid_avro"}
        assert len(events) == 2


def _older_schema() -> dict[str, Any]:
    """A writer that knows no links, has an int for trace_flags and nullable text for the actor."""
    schema = json.loads(json.dumps(load_schema("telemetry_event")))
    fields = [f for f in schema["fields"] if f["name"] != "links"]
    for field in fields:
        if field["name"] == "trace_flags":
            field["type"] = "int"
    return {**schema, "fields": fields}


def _schemas_with_links_defaulting() -> SchemaSet:
    schemas = SchemaSet()
    links = next(f for f in schemas.current("telemetry_event")["fields"] if f["name"] == "links")
    links["default"] = []
    return schemas


def test_several_writer_schemas_in_one_chunk_keep_the_order() -> None:
    """Rows of an older schema stand where they came, their bodies written as the current one."""
    schemas = _schemas_with_links_defaulting()
    schemas.register(70, _older_schema())
    older = {k: v for k, v in event(span_id="00000000000000aa").items() if k != "links"}
    old = wire.header(70) + encode_body(schemas.writer(70), older)
    new = values(3)
    events, rejected = run([new[0], old, new[1], old[:-1], new[2]], decoder(schemas))
    assert reasons(rejected) == {3: "invalid_avro"}
    assert events.row.tolist() == [0, 1, 2, 4]
    assert events.span_id.tolist() == [1, 0xAA, 2, 3]
    current = schemas.current("telemetry_event")
    assert decode_body(current, events.body[1]) == event(span_id="00000000000000aa")


def test_the_same_schema_under_another_id_is_read_as_columns() -> None:
    """A registry may give TelemetryEvent any id, and docs may differ: the bytes are the same."""
    schemas = SchemaSet()
    schemas.register(4_711, {**load_schema("telemetry_event"), "doc": "from the registry"})
    chunk = [wire.header(4_711) + values(2)[0][5:], values(2)[1]]
    events, rejected = run(chunk, decoder(schemas))
    assert len(rejected) == 0
    assert list(events.body) == [v[5:] for v in values(2)]


def test_a_chunk_of_poison_costs_only_itself() -> None:
    """When most bodies are torn, the few good ones are found all the same."""
    good = values(400)
    chunk = [v if i % 40 == 7 else v[: -(i % 30) - 1] for i, v in enumerate(good)]
    events, rejected = run(chunk)
    assert events.row.tolist() == list(range(7, 400, 40))
    assert set(rejected.reason) == {"invalid_avro"}
    assert len(rejected) == 390


def test_names_in_any_script_are_kept() -> None:
    """Text beyond ASCII travels unharmed."""
    operations = Operations()
    events, _ = run([value(module="Größe", name="名前")], decoder(operations=operations))
    assert operations[int(events.operation[0])] == Operation("Größe", "enrichment", "名前")
