"""The Avro schemas and their ids: a registry in files, so that nothing else has to run.

Owns finding and parsing `schemas/*.avsc` and the id table of `schemas/topics.yaml`. Further
writer schemas (older versions, other producers) are registered by id. Invariant: one id means one
schema for the life of a `SchemaSet`; what is returned is parsed and shared, never to be changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import fastavro
import yaml

from streams.errors import ConfigError

Schema = dict[str, Any]
"""A schema as JSON holds it, or as fastavro parsed it."""

_PACKAGED: Final = Path(__file__).resolve().parent.parent / "_schemas"
_HOLDING_EVENTS: Final = {
    "assembled_trace": "spans",
    "telemetry_batch": "events",
    "rekeyed_batch": "events",
}
"""Records that hold events, and the field that does."""
_IN_REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent / "schemas"


def schema_folder() -> Path:
    """Return the folder of the schema files: inside the wheel, else the repository's.

    Raises:
        ConfigError: neither folder is there.
    """
    for folder in (_PACKAGED, _IN_REPOSITORY):
        if (folder / "topics.yaml").is_file():
            return folder
    raise ConfigError(
        f"no schemas in {_PACKAGED} or {_IN_REPOSITORY}: install the spanloom wheel again, "
        "or run from a full checkout"
    )


def load_schema(name: str, version: int | None = None) -> Schema:
    """Return one schema as JSON, whole in itself: a schema it names from another file is inlined.

    Args:
        name: the record, as in the file name: `telemetry_event`, `assembled_trace`, ...
        version: the version, as in the file name; without it the current one.

    Raises:
        ConfigError: there is no such schema.
    """
    if version is None:
        version = _id_table()[name].version if name in _id_table() else 1
    path = schema_folder() / f"{name}.v{version}.avsc"
    if not path.is_file():
        raise ConfigError(f"no schema {path.name} in {path.parent}")
    schema: Schema = json.loads(path.read_text("utf-8"))
    if name in _HOLDING_EVENTS:
        return with_span_schema(schema, load_schema("telemetry_event"))
    return schema


def versions() -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return, by record, the current version of its schema and the earlier ones."""
    return {name: (row.version, tuple(row.earlier)) for name, row in _id_table().items()}


def with_span_schema(schema: Schema, span_schema: Schema) -> Schema:
    """Return a schema with `span_schema` written out as the items of its array of events."""
    fields = [
        {**f, "type": {"type": "array", "items": span_schema}}
        if f["name"] in _HOLDING_EVENTS.values()
        else f
        for f in schema["fields"]
    ]
    return {**schema, "fields": fields}


def without_logical_types(schema: Any) -> Any:
    """Return the schema with each logical type reduced to the type that is on the wire.

    Times then come and go as integers of microseconds, as everywhere else in the engine.
    """
    if isinstance(schema, list):
        return [without_logical_types(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if "logicalType" in schema:
        rest = {k: v for k, v in schema.items() if k not in ("logicalType", "scale", "precision")}
        return rest["type"] if set(rest) == {"type"} else rest
    return {
        key: without_logical_types(value) if key in ("type", "items", "values", "fields") else value
        for key, value in schema.items()
    }


def parsed_schema(schema: Schema) -> Schema:
    """Return a schema as fastavro parses it, without logical types.

    Raises:
        ConfigError: it is none that fastavro reads.
    """
    try:
        plain = without_logical_types(schema)
        return cast(Schema, fastavro.parse_schema(plain, named_schemas={}))
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise ConfigError(str(error)) from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{type(error).__name__}: {error}") from error


def wire_form(schema: Any) -> Any:
    """Return what decides a schema's bytes and their meaning: without docs, defaults, aliases."""
    if isinstance(schema, list):
        return [wire_form(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = ("type", "name", "fields", "items", "values", "symbols", "size")
    return {key: wire_form(schema[key]) for key in kept if key in schema}


class SchemaSet:
    """Schemas by id and by name.

    `EventDecoder` and the record codec share one; a writer schema registered in it is known to
    both. Ids are those in front of each message (`streams.codec.wire`).
    """

    def __init__(self) -> None:
        """Load the current version of every record, and those that came before it."""
        table = _id_table()
        self._id = {name: row.id for name, row in table.items()}
        self._name: dict[int, str] = {}
        self._writer: dict[int, Schema] = {}
        for name, schema_id in self._id.items():
            self.register(schema_id, load_schema(name, table[name].version), name)
        self._version = {one: table[name].version for name, one in self._id.items()}
        self._resolve: Callable[[int], tuple[str, Schema] | None] | None = None
        for name, row in table.items():
            for version, earlier_id in row.earlier.items():
                self.register(earlier_id, load_schema(name, version), name)
                self._version[earlier_id] = version

    def __iter__(self) -> Iterator[str]:
        return iter(self._id)

    def __contains__(self, schema_id: object) -> bool:
        if schema_id in self._writer:
            return True
        if self._resolve is None or not isinstance(schema_id, int):
            return False
        found = self._resolve(schema_id)
        if found is None:
            return False
        self.register(schema_id, found[1], found[0])
        return True

    def adopt(
        self,
        ids: Mapping[tuple[str, int], int],
        resolve: Callable[[int], tuple[str, Schema] | None],
    ) -> None:
        """Take the ids of a registry in place of those of `topics.yaml`, all of them.

        One number means one schema: ids of the files would mean something else to the registry.

        Args:
            ids: by record and version, the id that a registry gave it; the current versions all.
            resolve: returns record and schema of an id that is not among them, None when there is
                no such record; asked whenever such an id is met.

        Raises:
            ConfigError: a schema cannot be parsed, or two versions that differ have one id.
        """
        table = _id_table()
        self._id = {name: ids[name, row.version] for name, row in table.items()}
        self._name, self._writer, self._version = {}, {}, {}
        for (name, version), schema_id in sorted(ids.items(), key=lambda one: one[0][1]):
            self.register(schema_id, load_schema(name, version), name)
            self._version[schema_id] = version
        self._resolve = resolve

    def register(self, schema_id: int, schema: Schema, name: str = "telemetry_event") -> None:
        """Make a writer schema known: messages with `schema_id` were written with it.

        Args:
            schema_id: 0 to 2**32 - 1.
            schema: the writer's schema, whole in itself; resolved to the current one on reading.
            name: the record that it is a version of.

        Raises:
            ConfigError: the id already means another schema, or the schema cannot be parsed. One
                that does not resolve to the current version shows as `invalid_avro` on each record.
        """
        if not 0 <= schema_id < 2**32:
            raise ConfigError(f"schema id {schema_id} does not fit the 4 bytes of the wire")
        if name not in self._id:
            raise ConfigError(f"schema id {schema_id}: no record {name!r}; known: {list(self._id)}")
        try:
            parsed = parsed_schema(schema)
        except ConfigError as error:
            raise ConfigError(
                f"schema id {schema_id} ({name}) cannot be parsed: {error}"
            ) from error
        if self._writer.get(schema_id, parsed) != parsed or self._name.get(schema_id, name) != name:
            raise ConfigError(
                f"schema id {schema_id} is {self._name[schema_id]} already: give the new schema "
                "an id of its own"
            )
        self._name[schema_id] = name
        self._writer[schema_id] = parsed

    def id_of(self, name: str) -> int:
        """Return the id that messages of record `name` are written with."""
        return self._id[name]

    def name_of(self, schema_id: int) -> str | None:
        """Return the record that a schema id stands for, None when the id is unknown."""
        return self._name.get(schema_id)

    def version_of(self, schema_id: int) -> int:
        """Return the version of a record's schema that an id stands for, 0 when it has none.

        Versions are those of the files; a schema of another producer, known by its id alone, has
        none.
        """
        return self._version.get(schema_id, 0)

    def writer(self, schema_id: int) -> Schema:
        """Return the parsed schema with a known id, without logical types."""
        return self._writer[schema_id]

    def current(self, name: str) -> Schema:
        """Return the parsed current schema of a record, without logical types."""
        return self._writer[self._id[name]]


@cache
def default_schemas() -> SchemaSet:
    """Return the process's one schema set, with the ids of `topics.yaml`."""
    return SchemaSet()


class _Row(NamedTuple):
    """One record's line in `topics.yaml`: id and version of today, and ids by earlier version."""

    id: int
    version: int
    earlier: Mapping[int, int]


@cache
def _id_table() -> dict[str, _Row]:
    path = schema_folder() / "topics.yaml"
    rows = yaml.safe_load(path.read_text("utf-8"))["schemas"]
    return {
        name: _Row(int(row["id"]), int(row["version"]), row.get("earlier", {}))
        for name, row in rows.items()
    }
