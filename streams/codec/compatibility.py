"""Whether every version of a record's schema reads what every other version wrote.

Owns the matrix. A worker of today meets records of yesterday, and during an upgrade one of
yesterday meets records of today: both ways must hold. The rules are Avro's, judged by its
reference library.

Source: Apache Avro 1.12 specification, "Schema Resolution".
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import avro.schema
import yaml
from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityType,
)

from streams.codec.schemas import Schema, load_schema, schema_folder, versions, wire_form
from streams.errors import ConfigError

PUBLISHED: Final = "published.yaml"
_GONE: Final = "is no longer there; what was written with it cannot be read"
_CHANGED: Final = "was changed; make a new version of it"
_BROKEN: Final = (KeyError, TypeError, AttributeError, ValueError, RecursionError)
"""What the library raises, too, on JSON that is no schema."""


class Pair(NamedTuple):
    """One cell of the matrix: a reader's and a writer's version, and why it does not hold."""

    record: str
    reader: int
    writer: int
    reasons: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the reader reads what the writer wrote."""
        return not self.reasons


class Deprecation(NamedTuple):
    """Something that is still read and should no longer be written."""

    record: str
    what: str
    since_version: int
    use: str


def incompatibilities(reader: Schema, writer: Schema) -> tuple[str, ...]:
    """Return why a reader's schema cannot read what a writer's wrote; empty when it can.

    Raises:
        ConfigError: one of them is no Avro schema.
    """
    try:
        parsed = [avro.schema.parse(json.dumps(schema)) for schema in (reader, writer)]
    except (avro.errors.AvroException, *_BROKEN) as error:
        raise ConfigError(f"not an Avro schema: {error}") from error
    checker: Any = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(*parsed)  # its annotations say text, it takes schemas
    if result.compatibility == SchemaCompatibilityType.compatible:
        return ()
    places = sorted(result.locations)
    said = sorted(str(message) for message in result.messages) or ["incompatible"]
    return tuple(f"{text} (at {', '.join(places)})" if places else text for text in said)


def matrix() -> Iterator[Pair]:
    """Yield every pair of versions of every record, reader by reader."""
    for record, (current, earlier) in versions().items():
        known = sorted([*earlier, current])
        for reader in known:
            for writer in known:
                reasons = incompatibilities(
                    load_schema(record, reader), load_schema(record, writer)
                )
                yield Pair(record, reader, writer, reasons)


def deprecations() -> Iterator[Deprecation]:
    """Yield versions that are read and no longer written, and fields that are marked so.

    A field is marked by an attribute `deprecated` in the schema, a text that says what to use.
    """
    for record, (current, earlier) in versions().items():
        for version in sorted(earlier):
            yield Deprecation(record, f"version {version}", current, f"version {current}")
        for path, use in _marked(load_schema(record, current), ""):
            yield Deprecation(record, path, current, use)


def changed_since(folder: Path) -> Iterator[str]:
    """Yield schemas that another folder has too, and that mean something else there.

    What was once published under a version is never changed: its id stands before stored bytes.

    Raises:
        ConfigError: there are no schemas in the folder.
    """
    there = sorted(folder.glob("*.v*.avsc"))
    if not there:
        raise ConfigError(f"{folder}: no schemas (<record>.v<N>.avsc) in it")
    for path in there:
        record, _, version = path.name.removesuffix(".avsc").rpartition(".v")
        published = json.loads(path.read_text("utf-8"))
        try:
            ours = _as_file(record, int(version))
        except ConfigError:
            yield f"{path.name}: {_GONE}"
            continue
        if wire_form(ours) != wire_form(published):
            yield f"{path.name}: {_CHANGED}"


def fingerprint(schema: Schema) -> str:
    """Return the SHA-256 of what decides a schema's bytes and their meaning; docs may change."""
    text = json.dumps(wire_form(schema), sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def unlike_published(folder: Path | None = None) -> Iterator[str]:
    """Yield our schemas that are not as `published.yaml` beside them has them.

    Each schema is written down there with its fingerprint when it is made, so that a change of one
    that is in use is seen without a copy of the last release.

    Args:
        folder: of the schemas; ours without it.
    """
    where = folder or schema_folder()
    published: dict[str, str] = yaml.safe_load((where / PUBLISHED).read_text("utf-8"))
    there = {path.name: path for path in where.glob("*.v*.avsc")}
    for name in sorted(published.keys() - there.keys()):
        yield f"{name}: {_GONE}"
    for name, path in sorted(there.items()):
        found = fingerprint(json.loads(path.read_text("utf-8")))
        if name not in published:
            yield f"{name}: is not in {PUBLISHED} yet; add the line `{name}: {found}`"
        elif published[name] != found:
            yield f"{name}: {_CHANGED}"


def _as_file(record: str, version: int) -> Schema:
    path = schema_folder() / f"{record}.v{version}.avsc"
    if not path.is_file():
        raise ConfigError(f"no schema {path.name}")
    schema: Schema = json.loads(path.read_text("utf-8"))
    return schema


def _marked(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, what to use instead) of every field that is marked."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _marked(branch, path)
    if not isinstance(schema, Mapping):
        return
    for field in schema.get("fields", ()):
        at = f"{path}.{field['name']}" if path else str(field["name"])
        if "deprecated" in field:
            yield at, str(field["deprecated"])
        yield from _marked(field["type"], at)
    for inner in ("items", "values", "type"):
        if isinstance(schema.get(inner), Mapping | list):
            yield from _marked(schema[inner], path)
