"""What a mapping file says: which column of a table is which field of an event.

Owns its shape: strict, frozen, unknown keys refused. Invariant: a `Mapping` that exists names, for
each table, where time, module and name of an event come from, and zones that are known.
"""

from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from streams.codec.recorded.mapping_words import UniqueKeys, lines_of
from streams.core.columns import EVENT_TYPES, SEVERITIES, SPAN_KINDS, STATUSES
from streams.errors import ConfigError

FILE_BYTES_MAX: Final = 1 << 20
_EPOCHS: Final = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns")


SYMBOLS: Final = {
    "event_type": EVENT_TYPES,
    "severity": SEVERITIES,
    "status": STATUSES,
    "span_kind": SPAN_KINDS,
}
"""Fields of an event that have no other values."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Part):
    """Where a field's text comes from; a bare text or number in the file is a constant.

    Attributes:
        column: of the table.
        constant: the same for every row.
        values: what a cell's text is in an event, by the text; others stay as they are.
        default: what an empty cell is.
        hash: an id that is no hex number becomes its hash, the same for the same text.
        unit: of a length: us, ms or s.
    """

    column: str | None = None
    constant: str | None = None
    values: dict[str, str] = Field(default_factory=dict)
    default: str = ""
    hash: bool = False
    unit: Literal["us", "ms", "s"] = "us"

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give `column`, or a constant")
        return self


def _source(value: Any) -> Any:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return {"constant": str(value)}
    return value


AnySource = Annotated[Source, BeforeValidator(_source)]


class Time(_Part):
    """How a time is written.

    Attributes:
        column: of the table.
        format: `iso` (ISO 8601), `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`, or a format of
            `strptime`, such as `%d.%m.%Y %H:%M:%S`.
        zone: of times without an offset: an IANA name such as Europe/Berlin, or UTC.
        ambiguous: which of the two moments an hour means that a clock shows twice.
    """

    column: str
    format: str = "iso"
    zone: str = ""
    ambiguous: Literal["refuse", "earlier", "later"] = "refuse"

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.format not in ("iso", *_EPOCHS) and "%" not in self.format:
            raise ValueError(f"format {self.format!r}: give iso, {', '.join(_EPOCHS)} or %-codes")
        needs_zone = "%" in self.format and "%z" not in self.format
        if needs_zone and not self.zone:
            raise ValueError("such a format says no zone: give `zone`, such as UTC")
        if "%" in self.format:
            _check_codes(self.format)
        if self.zone:
            try:
                ZoneInfo(self.zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(
                    f"zone {self.zone!r} is not known here: give an IANA name (Europe/Berlin), "
                    "and install the system's tzdata"
                ) from error
        return self


def _check_codes(text: str) -> None:
    """Pass a format of `strptime`; it says only when it reads that it knows a code not."""
    try:
        datetime.strptime("", text)  # noqa: DTZ007  (no time is read)
    except ValueError as error:
        if "directive" in str(error) or "stray" in str(error):
            raise ValueError(f"format {text!r} has a code that strptime does not know") from error


class Only(_Part):
    """Which rows of a table are read; the others are counted as left out."""

    column: str
    values: Annotated[tuple[str, ...], Field(alias="in", strict=False, min_length=1)]


class Fields(_Part):
    """Fields of an event; see schemas/telemetry_event.v1.avsc. Those not given are absent."""

    module: AnySource
    name: AnySource
    event_type: AnySource = Source(constant="METRIC")
    component: AnySource | None = None
    event_id: AnySource | None = None
    trace_id: AnySource | None = None
    span_id: AnySource | None = None
    parent_span_id: AnySource | None = None
    severity: AnySource | None = None
    status: AnySource | None = None
    span_kind: AnySource | None = None
    value: AnySource | None = None
    unit: AnySource | None = None
    duration: AnySource | None = None
    record_id: AnySource | None = None
    batch_id: AnySource | None = None
    correlation_id: AnySource | None = None
    operation: AnySource | None = None
    actor: AnySource | None = None

    @model_validator(mode="after")
    def _constants_are_known(self) -> Self:
        for name, symbols in SYMBOLS.items():
            source = getattr(self, name)
            given = (source.constant if source is not None else None) or ""
            given = source.values.get(given, given) if source is not None else given
            if given and given.upper() not in symbols:
                raise ValueError(f"{name} is {given!r}: give one of {', '.join(symbols)}")
        return self

    def given(self) -> dict[str, Source]:
        """Return the sources by field, of the fields that have one."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: source for name, source in found.items() if source is not None}


class Table(_Part):
    """One kind of table.

    Attributes:
        files: names of its files; `*` stands for any letters. The first table that fits is taken.
        delimiter: between cells.
        timestamp: when it happened; with `count: period`, when the period began.
        fields: the other fields.
        dimensions: by name.
        only: which rows are read.
        count: what a row counts. `row`: itself (or its value), once, at its time. `period`: all
            that happened in the period that begins at its time. `""`: it is no count.
        period: length of the period, such as 1d, 1h, 15m; days are calendar days of the zone.
    """

    files: str = "*"
    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n]$')] = ","
    timestamp: Time
    fields: Fields
    dimensions: dict[str, AnySource] = Field(default_factory=dict)
    only: Only | None = None
    count: Literal["", "row", "period"] = ""
    period: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,3}[dhm])?$")] = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.count == "period") != bool(self.period):
            raise ValueError("`period` (such as 1d) belongs to `count: period`")
        if self.count == "period" and self.fields.value is None:
            raise ValueError("`count: period` needs `fields.value`: how many there were")
        if self.period.endswith("d") and not self.timestamp.zone:
            raise ValueError("a period of days needs `timestamp.zone`: a day is one of a place")
        return self

    def columns(self) -> set[str]:
        """Return the columns that it needs."""
        sources = [*self.fields.given().values(), *self.dimensions.values()]
        named = {source.column for source in sources if source.column is not None}
        return named | {self.timestamp.column} | ({self.only.column} if self.only else set())


class Mapping(_Part):
    """A mapping file: its version, and one entry for each kind of table."""

    version: Literal[1]
    tables: Annotated[tuple[Table, ...], Field(strict=False, min_length=1)]

    def table_of(self, path: Path) -> Table:
        """Return the table that a file is.

        Raises:
            ConfigError: none fits.
        """
        for table in self.tables:
            if fnmatch(path.name, table.files):
                return table
        known = ", ".join(table.files for table in self.tables)
        raise ConfigError(f"{path}: no table of the mapping has such files (there are: {known})")


def load_mapping(path: Path) -> Mapping:
    """Return what a mapping file says.

    Raises:
        ConfigError: it cannot be read, or is wrong; names the file, the key and the fix.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        # Without aliases, which unfold to more than any memory.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(data)):
            raise ConfigError(f"{path}: aliases (*name) are not read; write the values out")
        return Mapping.model_validate(yaml.load(data, UniqueKeys))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({error})") from error
    except ValidationError as error:
        lines = [f"{path}: {line}" for line in lines_of(error, _keys_at)]
        raise ConfigError("\n".join(lines)) from error


def _keys_at(loc: tuple[object, ...]) -> str:
    """Return the keys that there may be beside the last one of a place."""
    part: type[BaseModel] = Mapping
    if len(loc) > 1:
        part = Table
    if len(loc) > 3:  # tables, number, key, key
        parts: dict[object, type[BaseModel]] = {"timestamp": Time, "only": Only, "fields": Fields}
        part = Source if len(loc) > 4 else parts.get(loc[2], Source)
    return ", ".join(field.alias or name for name, field in part.model_fields.items())
