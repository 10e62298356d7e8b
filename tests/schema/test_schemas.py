"""Every schema parses in every library, its examples are records of it, its topics know it."""

import json
import re
from pathlib import Path
from typing import Any

import avro.schema
import fastavro
import pytest
import yaml

from streams.codec import wire
from streams.codec.columnar import ColumnarReader, schema_fields
from streams.codec.records import decode, encode, encode_body
from streams.codec.schemas import default_schemas, load_schema, schema_folder
from streams.core import columns
from tests.unit.codec.codec_cases import check_against_oracle

NAMES = sorted(default_schemas())
EXAMPLES = sorted((schema_folder() / "examples").glob("*/*/*.json"))


def restored(schema: Any, value: Any) -> Any:
    """Return an example's value as Avro has it: "NaN" is a double, bytes are written as Latin-1."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        fields = {f["name"]: f["type"] for f in schema["fields"]}
        return {name: restored(fields[name], part) for name, part in value.items()}
    if kind == "array":
        return [restored(schema["items"], part) for part in value]
    if kind == "double":
        return float(value)
    return value.encode("latin-1") if kind == "bytes" else value


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_library_accepts_the_schema(name: str) -> None:
    """The strict parser of the avro package takes the whole schema, names and defaults checked."""
    parsed = avro.schema.parse(json.dumps(load_schema(name)))
    assert parsed.fullname == "spanloom." + "".join(part.title() for part in name.split("_"))


def test_every_file_is_registered() -> None:
    """A schema file without an id in topics.yaml could never be written."""
    files = {path.name.split(".")[0] for path in schema_folder().glob("*.avsc")}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_has_two_examples(name: str) -> None:
    """Readers of a topic learn from examples; one shows the usual, one the other case."""
    assert sum(path.parts[-3] == name for path in EXAMPLES) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "-".join(path.parts[-3:]))
def test_examples_are_records_of_their_schema(path: Path) -> None:
    """Each example encodes and decodes to itself, every field given and none too many."""
    name, schemas = path.parts[-3], default_schemas()
    schema_id = id_of(name, int(path.parts[-2]))
    schema = schemas.writer(schema_id)
    record = restored(schema, json.loads(path.read_text("utf-8")))
    assert set(record) == {field["name"] for field in schema["fields"]}
    value = wire.header(schema_id) + encode_body(schema, record)
    expected = with_defaults(schemas.current(name), record)
    assert repr(decode(value)) == repr(expected)  # repr: NaN is not equal to itself
    if schema_id == schemas.id_of(name):
        assert encode(name, record) == value


def with_defaults(schema: Any, value: Any) -> Any:
    """Return a value with the fields that came later, at any depth, at their defaults."""
    kind = schema.get("type") if isinstance(schema, dict) else schema
    if kind == "record":
        return {
            f["name"]: with_defaults(f["type"], value[f["name"]])
            if f["name"] in value
            else f["default"]
            for f in schema["fields"]
        }
    if kind == "array":
        return [with_defaults(schema["items"], part) for part in value]
    return value


def id_of(name: str, version: int) -> int:
    """Return the id of one version of a record, as topics.yaml has it."""
    content = yaml.safe_load((schema_folder() / "topics.yaml").read_text("utf-8"))
    row = content["schemas"][name]
    return int(row["id"] if version == row["version"] else row["earlier"][version])


def test_example_events_pass_the_columnar_decode() -> None:
    """The examples of telemetry are good events, all in one chunk."""
    schema = default_schemas().current("telemetry_event")
    chunk = [
        encode("telemetry_event", restored(schema, json.loads(path.read_text("utf-8"))))
        for path in EXAMPLES
        if path.parts[-3] == "telemetry_event"
    ]
    assert len(chunk) == 5
    check_against_oracle(chunk)


def test_telemetry_decodes_as_columns() -> None:
    """Version 1 has no type that would send its events down the slow road, and no union."""
    reader = ColumnarReader(schema_fields(default_schemas().current("telemetry_event")))
    assert all(field.null_branch == -1 for field in reader.fields)


def test_codes_of_the_engine_are_those_of_the_wire() -> None:
    """Enum symbols stand in the order of the constants in streams.core.columns."""
    symbols = {
        f["name"]: tuple(f["type"]["symbols"])
        for f in load_schema("telemetry_event")["fields"]
        if isinstance(f["type"], dict) and f["type"]["type"] == "enum"
    }
    assert symbols == {
        "event_type": columns.EVENT_TYPES,
        "severity": columns.SEVERITIES,
        "status": columns.STATUSES,
        "span_kind": columns.SPAN_KINDS,
    }


def test_no_time_has_more_than_one_unit() -> None:
    """Every logical type is timestamp-micros: no schema smuggles in another unit."""
    for path in schema_folder().glob("*.avsc"):
        found = set(re.findall(r'"logicalType": "([^"]+)"', path.read_text("utf-8")))
        assert found <= {"timestamp-micros"}, path.name
        assert fastavro.parse_schema(load_schema(path.name.split(".")[0]))


def test_topics_are_whole() -> None:
    """Every topic has a schema that exists, an owner, a key and its limits."""
    content = yaml.safe_load((schema_folder() / "topics.yaml").read_text("utf-8"))
    rows = content["schemas"].values()
    ids = [i for row in rows for i in (row["id"], *row.get("earlier", {}).values())]
    assert len(set(ids)) == len(ids)
    fields = {
        "schema", "key", "owner", "partitions", "retention", "cleanup_policy", "max_message_bytes"
    }  # fmt: skip
    for topic, row in content["topics"].items():
        assert set(row) == fields, topic
        assert row["schema"] in (*NAMES, ""), topic
        assert row["partitions"] in ("N", 1), topic
        assert re.fullmatch(r"\d+d|forever", row["retention"]), topic
        assert row["cleanup_policy"] in ("delete", "compact"), topic
        assert re.fullmatch(r"[a-z]+\.([a-z]+|<module>)\.v\d+", topic), topic
    assert content["topics"]["traces.assembled.v1"]["max_message_bytes"] == 8 * 1024 * 1024
