"""Foreign span schemas: raw Avro without a header, nullable fields, enums for names."""

import json
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from streams.codec.profile import Profile, load_profile, make_profile
from streams.codec.recordbatch import Record
from streams.codec.records import encode_body
from streams.core.columns import TRACE, EventColumns, Operation, Operations
from streams.errors import ConfigError
from tests.record_batches import batch
from tests.unit.codec.codec_cases import SPAN_ID, T0_US, TRACE_ID, decoder, reasons, run

SPAN = {
    "type": "record",
    "name": "Span",
    "fields": [
        {"name": "trace", "type": "string"},
        {"name": "span", "type": "string"},
        {"name": "parent", "type": ["null", "string"]},
        {"name": "ts_us", "type": "long"},
        {"name": "dur_us", "type": "long"},
        {"name": "module", "type": {"type": "enum", "name": "M", "symbols": ["ALPHA", "BETA"]}},
        {"name": "stage", "type": "int"},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["LOG", "TRACE"]}},
        {"name": "name", "type": "string"},
        {"name": "value", "type": ["null", "double"]},
        {"name": "record", "type": ["string", "null"]},
        {"name": "is_hot", "type": "boolean"},
    ],
}
COLUMNS = {
    "trace_id": "trace",
    "span_id": "span",
    "parent_span_id": "parent",
    "timestamp_us": "ts_us",
    "duration_us": "dur_us",
    "module": "module",
    "name": "name",
    "record_id": "record",
}
PARSED = fastavro.parse_schema(json.loads(json.dumps(SPAN)))


def a_profile(**changes: Any) -> Profile:
    """Return the profile of raw spans with some arguments changed."""
    return make_profile(SPAN, **{"columns": COLUMNS, "has_header": False, **changes})


def body(**changes: Any) -> bytes:
    """Return a raw span with some fields changed."""
    span = {
        "trace": TRACE_ID, "span": SPAN_ID, "parent": None, "ts_us": T0_US, "dur_us": 7,
        "module": "BETA", "stage": -3, "kind": "LOG", "name": "enrich", "value": None,
        "record": "r1", "is_hot": True, **changes,
    }  # fmt: skip
    return encode_body(PARSED, span)


def test_every_foreign_value_is_a_span() -> None:
    """Without a field for the event type all rows are TRACE; constants fill the rest."""
    operations = Operations()
    chunk = [body(), body(parent="b7ad6b7169203331", value=2.5, record=None, module="ALPHA")]
    events, rejected = run(chunk, decoder(operations=operations, profile=a_profile()))
    assert len(rejected) == 0
    assert events.event_type.tolist() == [TRACE, TRACE]
    assert events.parent_span_id.tolist() == [0, 0xB7AD6B7169203331]
    assert events.trace_flags.tolist() == [1, 1]
    assert [operations[c] for c in events.operation] == [
        Operation("BETA", "", "enrich"),
        Operation("ALPHA", "", "enrich"),
    ]
    assert list(events.body) == chunk


def test_batches_of_a_foreign_schema_hold_the_events_of_their_values() -> None:
    """Read together or one by one: the same events, rejections, and codes in order of arrival."""
    chunk = [body(), body(name="walk", parent="b7ad6b7169203331"), body(record=None, value=0.5)]
    for bad in ([], [b"\x00"], [body(trace="no"), body(trace=TRACE_ID.replace("4", "\u00e9"))]):
        values = [*chunk, *bad, body(module="ALPHA", ts_us=T0_US + 1)]
        one, another = Operations(), Operations()
        plain, refused = run(values, decoder(operations=one, profile=a_profile()))
        records = [Record(i, T0_US // 1000, None, v) for i, v in enumerate(values)]
        events, rejected, _ = decoder(operations=another, profile=a_profile()).decode_batches(
            [batch(records[:2]), batch(records[2:])], [3, 3], [0, 0]
        )
        assert (rejected.row, rejected.reason) == (refused.row, refused.reason)
        for name in EventColumns.__slots__:
            if name in ("body", "dimension", "kafka_us"):
                continue
            np.testing.assert_array_equal(getattr(events, name), getattr(plain, name), name)
        assert list(events.body) == list(plain.body)
        assert [one[c] for c in plain.operation] == [another[c] for c in events.operation]


def test_a_foreign_enum_may_name_the_event_type() -> None:
    """Symbols are matched by name, not by place."""
    using = decoder(profile=a_profile(columns={**COLUMNS, "event_type": "kind"}))
    events, rejected = run([body(kind="TRACE"), body(kind="LOG")], using)
    assert events.event_type.tolist() == [TRACE]
    assert reasons(rejected) == {1: "invalid_event_id"}


def test_bytes_of_the_right_length_but_wrong_are_refused() -> None:
    """A union index that is none and a boolean of 2 have the right length and are invalid."""
    good = body()
    parent = good.index(SPAN_ID.encode()) + 16
    assert good[parent] == 0
    fake_parent = good[:parent] + b"\x04" + good[parent + 1 :]
    value = body(value=2.5)
    at = value.index(b"\x0cenrich") + 7
    assert value[at] == 2
    fake_value = value[:at] + b"\x04" + value[at + 1 :]
    fake_boolean = good[:-1] + b"\x02"
    chunk = [good, fake_parent, good, fake_value, fake_boolean, good, b"", None]
    events, rejected = run(chunk, decoder(profile=a_profile()))
    assert events.row.tolist() == [0, 2, 5]
    assert reasons(rejected) == {
        1: "invalid_avro", 3: "invalid_avro", 4: "invalid_avro", 6: "empty_value", 7: "empty_value",
    }  # fmt: skip


def test_an_int_beyond_32_bits_is_refused() -> None:
    """Fast readers would wrap it."""
    wide = {**PARSED, "fields": [
        {**f, "type": "long"} if f["name"] == "stage" else f for f in PARSED["fields"]
    ]}  # fmt: skip
    span = {
        "trace": TRACE_ID, "span": SPAN_ID, "parent": None, "ts_us": T0_US, "dur_us": 7,
        "module": "BETA", "stage": 2**31, "kind": "LOG", "name": "enrich", "value": None,
        "record": None, "is_hot": True,
    }  # fmt: skip
    _, rejected = run([body(), encode_body(wide, span)], decoder(profile=a_profile()))
    assert reasons(rejected) == {1: "invalid_avro"}


def test_a_foreign_schema_may_have_a_header() -> None:
    """Then its one id is the only one accepted."""
    using = decoder(profile=a_profile(has_header=True, schema_id=77))
    header = b"\x00\x00\x00\x00\x4d"
    events, rejected = run([header + body(), b"\x00\x00\x00\x00\x01" + body()], using)
    assert events.row.tolist() == [0]
    assert reasons(rejected) == {1: "unknown_schema_id"}


def test_a_profile_is_read_from_a_file(tmp_path: Path) -> None:
    """YAML names the schema's file, relative to itself, and the columns."""
    (tmp_path / "span.avsc").write_text(json.dumps(SPAN))
    lines = "\n".join(f"  {column}: {field}" for column, field in COLUMNS.items())
    path = tmp_path / "profile.yaml"
    path.write_text(f"name: lab\nschema: span.avsc\nhas_header: false\ncolumns:\n{lines}\n")
    profile = load_profile(path)
    assert (profile.name, profile.has_header, profile.columns) == ("lab", False, COLUMNS)
    assert len(run([body()], decoder(profile=profile))[0]) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "schema: none.avsc\ncolumns: {}",
            r"none.avsc cannot be read \(No such file or directory\): give the schema that .* the",
        ),
        ("columns: {}", "'schema' is missing"),
        ("schema: span.avsc\ncolumns: {}", "missing .*'trace_id'"),
        ("schema: span.avsc\ncolumns: {trace_idd: trace}", "unknown .*'trace_idd'"),
        ("schema: span.avsc\ncolumns: {}\nhas_heder: false", "has_heder"),
        ("schema: [", "profile.yaml"),
    ],
)
def test_a_wrong_profile_file_is_named_with_its_fault(
    tmp_path: Path, content: str, says: str
) -> None:
    """The message has the file and what is wrong in it."""
    (tmp_path / "span.avsc").write_text(json.dumps(SPAN))
    path = tmp_path / "profile.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        load_profile(path)
    assert "profile.yaml" in str(caught.value)


def test_a_profile_that_is_not_there_is_asked_for_by_its_flag(tmp_path: Path) -> None:
    """Whoever mistyped its path reads what to give, and no number of an error."""
    path = tmp_path / "nofile"
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert str(caught.value) == (
        f"{path} cannot be read (No such file or directory): give the profile (--profile, "
        "SPANLOOM_PROFILE) the path of a file that this user may read"
    )


def test_a_column_must_have_a_field() -> None:
    """A field that the schema lacks is named."""
    with pytest.raises(ConfigError, match="batch"):
        a_profile(columns={**COLUMNS, "batch_id": "batch"})


@pytest.mark.parametrize(
    ("field_type", "says"),
    [
        (["null", "string", "long"], "union"),
        (["null", {"type": "array", "items": "string"}], "array"),
        ({"type": "record", "name": "Inner", "fields": []}, "record"),
        ({"type": "map", "values": {"type": "map", "values": "string"}}, "list"),
    ],
)
def test_a_schema_that_is_no_columns_is_refused_at_the_start(field_type: Any, says: str) -> None:
    """The message names the field that cannot be a column."""
    schema = {**SPAN, "fields": [*SPAN["fields"], {"name": "odd", "type": field_type}]}
    with pytest.raises(ConfigError, match="field odd") as caught:
        make_profile(schema, COLUMNS, has_header=False)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("column", "field_name", "needs"),
    [
        ("timestamp_us", "trace", "a number"),
        ("duration_us", "module", "a number"),
        ("value", "is_hot", "a number"),
        ("trace_id", "ts_us", "a string or an enum"),
        ("module", "tags", "a string or an enum"),
        ("record_id", "dur_us", "a string or an enum"),
        ("dimensions", "name", "a map of strings"),
        ("dimensions", "sizes", "a map of strings"),
        ("dimensions", "tags", "a map of strings"),
    ],
)
def test_a_field_of_another_kind_is_refused_at_the_start(
    column: str, field_name: str, needs: str
) -> None:
    """It would end the worker at its first step, or give names that nobody wrote."""
    more = [
        {"name": "sizes", "type": {"type": "map", "values": "long"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ]
    schema = {**SPAN, "fields": [*SPAN["fields"], *more]}
    with pytest.raises(ConfigError, match=f"{column} needs {needs}.*; field {field_name} is none"):
        make_profile(schema, {**COLUMNS, column: field_name}, has_header=False)


def test_an_enum_that_means_something_else_is_refused_at_the_start() -> None:
    """A symbol that the engine does not know cannot fill a code column."""
    with pytest.raises(ConfigError, match=r"severity.*module.*ALPHA"):
        decoder(profile=a_profile(columns={**COLUMNS, "severity": "module"}))


def test_a_foreign_chunk_with_text_that_is_none_keeps_the_others() -> None:
    """A name that is not UTF-8 costs its row; its neighbours do not see it."""
    chunk = [body(), body().replace(b"enrich", b"enric\xff"), body(record=None)]
    events, rejected = run(chunk, decoder(profile=a_profile()))
    assert events.row.tolist() == [0, 2]
    assert reasons(rejected) == {1: "invalid_avro"}
