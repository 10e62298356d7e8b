"""Which field of a span schema fills which column: our own event, or a foreign record.

A foreign profile has a schema of its own, perhaps without any wire header; each value is a span.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import fastavro
import yaml

from streams.codec.columnar import Field, schema_fields
from streams.codec.schemas import Schema, without_logical_types
from streams.errors import ConfigError

REQUIRED: Final = ("trace_id", "span_id", "timestamp_us", "module", "name")
OPTIONAL: Final = (
    "parent_span_id",
    "event_id",
    "component",
    "duration_us",
    "event_type",
    "severity",
    "status",
    "trace_flags",
    "record_id",
    "batch_id",
    "dimensions",
    "value",
    "unit",
)
_NUMBERS: Final = ("timestamp_us", "duration_us", "trace_flags", "value")
_CODES: Final = ("event_type", "severity", "status")  # their symbols are the reader's to judge


@dataclass(frozen=True)
class Profile:
    """How the values of the telemetry topics are read.

    Attributes:
        name: for messages.
        columns: field of the schema by column. A column without a field is constant: "" for text,
            0 for `duration_us`, NaN for `value`, TRACE, INFO, UNSET, and 1 (sampled) for
            `trace_flags`.
        schema: parsed schema of the values; None for TelemetryEvent in its registered versions.
        has_header: values start with the wire header; false only with a `schema`.
        schema_id: the one id that a foreign schema's header carries.
    """

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    schema: Schema | None = None
    has_header: bool = True
    schema_id: int = 0


TELEMETRY_PROFILE: Final = Profile(
    name="telemetry_event",
    columns={
        **{column: column for column in (*REQUIRED, *OPTIONAL)},
        "timestamp_us": "timestamp",
    },
)


def load_profile(path: Path | str) -> Profile:
    """Return the profile that a YAML or JSON file describes.

    The file has `schema` (an .avsc file, relative to it), `columns` ({column: field}), and
    optionally `name`, `has_header` (true without it) and `schema_id`.

    Raises:
        ConfigError: the file or its schema cannot be read, or names what does not exist.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        schema_path = path.parent / content["schema"]
        schema = json.loads(schema_path.read_text("utf-8"))
        return make_profile(
            schema,
            columns=content["columns"],
            **{k: v for k, v in content.items() if k not in ("schema", "columns")},
        )
    except KeyError as error:
        raise ConfigError(f"{path}: {error.args[0]!r} is missing") from error
    except OSError as error:
        file = error.filename or path
        what = "the profile (--profile, SPANLOOM_PROFILE)"
        if str(file) != str(path):
            what = f"the schema that {path} names, from that file's folder on,"
        raise ConfigError(
            f"{file} cannot be read ({error.strerror}): give {what} the path of a file that this "
            "user may read"
        ) from error
    except (ValueError, TypeError, yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def make_profile(
    schema: Schema,
    columns: Mapping[str, str],
    name: str = "spans",
    has_header: bool = True,
    schema_id: int = 0,
) -> Profile:
    """Return a profile for a foreign span schema.

    Raises:
        ConfigError: a column is unknown or missing, or names a field that the schema lacks or that
            holds what the column cannot.
    """
    unknown = sorted(set(columns) - {*REQUIRED, *OPTIONAL})
    missing = sorted(set(REQUIRED) - set(columns))
    if unknown or missing:
        raise ConfigError(f"profile {name}: columns unknown {unknown}, missing {missing}")
    try:
        parsed: Any = fastavro.parse_schema(without_logical_types(schema), named_schemas={})
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise ConfigError(f"profile {name}: the schema cannot be parsed: {error}") from error
    fields = {f["name"] for f in parsed.get("fields", ())}
    absent = sorted(set(columns.values()) - fields)
    if absent:
        raise ConfigError(f"profile {name}: the schema has no fields {absent}")
    by_name = {field.name: field for field in schema_fields(parsed)}
    for column, field_name in columns.items():
        if wanted := _lacks(column, by_name[field_name]):
            raise ConfigError(
                f"profile {name}: {column} needs {wanted}; field {field_name} is none"
            )
    return Profile(name, dict(columns), cast(Schema, parsed), has_header, schema_id)


def _lacks(column: str, field: Field) -> str:
    """Return what a column needs that the field is not; "" where it is that."""
    if column in _CODES:
        return ""
    if column == "dimensions":
        return "" if field.is_text_map else "a map of strings"
    if column in _NUMBERS:
        is_number = field.kind in ("long", "double", "float") and not field.symbols
        return "" if is_number else "a number (int, long, float or double)"
    return "" if field.kind == "string" or field.symbols else "a string or an enum"
