"""Every version of every schema reads every other one, by two libraries; deprecations."""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.codec.compatibility import (
    PUBLISHED,
    changed_since,
    deprecations,
    fingerprint,
    incompatibilities,
    matrix,
    unlike_published,
)
from streams.codec.records import decode_body, encode_body
from streams.codec.schemas import Schema, default_schemas, schema_folder, versions
from streams.errors import ConfigError
from tests.schema.test_schemas import EXAMPLES, id_of, restored

PAIRS = list(matrix())
NEWEST = {name: current for name, (current, _) in versions().items()}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.record}-{p.reader}-reads-{p.writer}")
def test_the_matrix_holds_both_ways(pair: Any) -> None:
    """A worker reads what was written before it, and what a newer one writes beside it."""
    assert pair.reasons == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "-".join(path.parts[-3:]))
def test_examples_are_read_by_every_version(path: Path) -> None:
    """Not only by the letter: each example of each version, by the library that we read with."""
    schemas, record = default_schemas(), path.parts[-3]
    writer = schemas.writer(id_of(record, int(path.parts[-2])))
    example = restored(writer, json.loads(path.read_text("utf-8")))
    body = encode_body(writer, example)
    current, earlier = versions()[record]
    for version in (current, *earlier):
        reader = schemas.writer(id_of(record, version))
        read = decode_body(writer, body, reader)
        assert set(read) == {field["name"] for field in reader["fields"]}


def record(*fields: dict[str, Any]) -> Schema:
    return {"type": "record", "name": "R", "fields": list(fields)}


A = {"name": "a", "type": "string"}
B = {"name": "b", "type": "long"}


def test_what_does_not_fit_is_said_with_its_place() -> None:
    """A field more without a default, a type that changed, a symbol that is not known."""
    (reason,) = incompatibilities(record(A, B), record(A))
    assert "b" in reason
    assert incompatibilities(record(A, {**B, "default": 0}), record(A)) == ()
    assert incompatibilities(record(A), record(A, B)) == ()
    assert incompatibilities(record({**A, "type": "long"}), record(A)) != ()
    small = {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X"]}}
    large = {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}}
    assert incompatibilities(record(large), record(small)) == ()
    assert incompatibilities(record(small), record(large)) != ()
    with pytest.raises(ConfigError, match="not an Avro schema"):
        incompatibilities({"type": "nothing"}, record(A))


def test_earlier_versions_are_deprecated() -> None:
    """Each with the version that is written today."""
    found = {(one.record, one.what): one.use for one in deprecations()}
    assert found["alert", "version 1"] == f"version {NEWEST['alert']}"
    assert ("telemetry_event", "version 1") not in found


def test_a_published_schema_never_changes(tmp_path: Path) -> None:
    """Docs may; types, names and a version that is gone are found."""
    for path in schema_folder().glob("*.avsc"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"))
    event = tmp_path / "telemetry_event.v1.avsc"
    schema = json.loads(event.read_text())
    event.write_text(json.dumps(schema | {"doc": "Other words."}))
    assert list(changed_since(tmp_path)) == []
    schema["fields"][0]["name"] = "id"
    event.write_text(json.dumps(schema))
    (tmp_path / "gone.v1.avsc").write_text('{"type": "record", "name": "G", "fields": []}')
    found = list(changed_since(tmp_path))
    assert [line.split(":")[0] for line in found] == ["gone.v1.avsc", "telemetry_event.v1.avsc"]
    with pytest.raises(ConfigError, match="no schemas"):
        list(changed_since(tmp_path / "nowhere"))


def test_every_schema_is_as_it_was_published() -> None:
    """A schema that is changed in place, or new and not written down, fails this test."""
    assert list(unlike_published()) == []


def test_what_is_unlike_what_was_published_is_named(tmp_path: Path) -> None:
    """Changed, gone, and new: each with what is to be done; words in docs may change."""
    one, two = record(A), record(B)
    (tmp_path / "one.v1.avsc").write_text(json.dumps(one | {"doc": "Other words."}))
    (tmp_path / "two.v1.avsc").write_text(json.dumps(two))
    (tmp_path / "two.v2.avsc").write_text(json.dumps(record(A, B)))
    published = {
        "one.v1.avsc": fingerprint(one),
        "two.v1.avsc": fingerprint(one),
        "gone.v1.avsc": "",
    }
    (tmp_path / PUBLISHED).write_text(json.dumps(published))
    gone, changed, new = unlike_published(tmp_path)
    assert gone.startswith("gone.v1.avsc: is no longer there")
    assert changed == "two.v1.avsc: was changed; make a new version of it"
    assert new.endswith(f"add the line `two.v2.avsc: {fingerprint(record(A, B))}`")
