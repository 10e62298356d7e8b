"""Reads tables (CSV, exports of a warehouse) as events, by a mapping file.

Owns the way from a row to an event, and what counts mean. A counter's value is its total since the
start (docs/contract.md), and sources count in two styles: a row for each thing that happened, or a
row a night with how many there were. Both become the same here: a counter that rises by one at each
thing's time, or by the night's count at the end of its period, over all tables in order of time.
Invariant: every row is an event, was left out by `only`, or is refused with its line.
"""

import csv
import gzip
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from streams.codec.checks import DURATION_MAX_US
from streams.codec.ids import UUID
from streams.codec.linefile import UNREADABLE
from streams.codec.recorded import fields
from streams.codec.recorded.account import Account, Event, RowError, bound_events
from streams.codec.recorded.mapping import SYMBOLS, Mapping, Source, Table
from streams.codec.recorded.summary import COUNT_STYLE, SERIES
from streams.codec.recorded.times import moment_us, period_end_us
from streams.errors import ConfigError, reason_of

CELL_CHARACTERS_MAX: Final = 131_072
_UNIT_US: Final = {"us": Decimal(1), "ms": Decimal(1_000), "s": Decimal(1_000_000)}


class _Read(NamedTuple):
    """One row's event; `step` is what its counter rises by, NaN for what is no count."""

    event: Event
    step: float
    place: str


def table_events(
    paths: Sequence[Path], mapping: Mapping, account: Account
) -> list[tuple[str, Event]]:
    """Return the events of some tables, each with FILE:LINE, in order of time; counts as totals.

    Raises:
        ConfigError: a file cannot be read, is no table, lacks a column that the mapping names, or
            all together hold more rows than are read at once.
    """
    rows: list[_Read] = []
    for path in paths:
        for row in _rows(path, mapping.table_of(path), account):
            rows.append(row)
            bound_events(len(rows))
    rows.sort(key=lambda row: int(row.event["timestamp"]))
    events: list[tuple[str, Event]] = []
    total: dict[tuple[Any, ...], float] = {}
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        event = row.event
        if not math.isnan(row.step):
            dimensions = event["dimensions"]
            of_series = {k: v for k, v in dimensions.items() if k != COUNT_STYLE}
            series = *(event[name] for name in SERIES), *sorted(of_series.items())
            if dimensions[COUNT_STYLE] == "period":
                at = (event["timestamp"], *series)
                if at in seen:
                    account.refuse(row.place, RowError("repeated_period", f"{event['name']!r}"))
                    continue
                seen.add(at)
            total[series] = total.get(series, 0.0) + row.step
            event["value"] = total[series]
        events.append((row.place, event))
    return events


def _rows(path: Path, table: Table, account: Account) -> Iterator[_Read]:
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    try:
        with _open(path) as file:
            reader = csv.reader(file, delimiter=table.delimiter, strict=True)
            header = next(reader, None)
            if header is None:
                raise ConfigError(f"{path}: empty; the first line must name the columns")
            _check_header(path, header, table)
            last = reader.line_num
            for cells in reader:
                place = f"{path}:{last + 1}"
                last = reader.line_num
                if not cells:
                    continue
                account.rows += 1
                try:
                    row = _row(header, cells, table, place, path.name)
                    if row is None:
                        account.left_out += 1
                    else:
                        yield row
                except RowError as error:
                    account.refuse(place, error)
    except UNREADABLE as error:
        raise ConfigError(f"{path}: cannot be read ({reason_of(error)})") from error
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: not a table ({error})") from error


def _open(path: Path) -> IO[str]:
    """Open a table as text; bytes that are no UTF-8 become marks that `checked` refuses."""
    how: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    if path.name.endswith(".gz"):
        return cast("IO[str]", gzip.open(path, "rt", **how))
    return cast("IO[str]", path.open("r", **how))


def _check_header(path: Path, header: Sequence[str], table: Table) -> None:
    missing = sorted(table.columns() - set(header))
    if missing:
        there = ", ".join(header[:50])
        raise ConfigError(f"{path}:1: column {missing[0]!r} is missing; there are: {there}")
    twice = sorted({name for name in table.columns() if header.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}:1: column {twice[0]!r} is there twice")


def _row(
    header: Sequence[str], cells: Sequence[str], table: Table, place: str, file: str
) -> _Read | None:
    if len(cells) != len(header):
        raise RowError("wrong_cell_count", f"{len(cells)} cells, {len(header)} columns")
    row = dict(zip(header, cells, strict=True))
    if table.only is not None and row[table.only.column] not in table.only.values:
        return None
    event = fields.blank_event()
    texts = {name: _text(source, row) for name, source in table.fields.given().items()}
    for name, text in texts.items():
        if name in SYMBOLS:
            event[name] = _symbol(name, text) if text else event[name]
        elif name in ("component", "module", "name", "unit") or name in fields.MOVED:
            event[name] = text or event[name]
    event["dimensions"] = {
        name: text for name, source in table.dimensions.items() if (text := _text(source, row))
    }
    event["timestamp"] = moment_us(row[table.timestamp.column].strip(), table.timestamp)
    for name in ("module", "name"):
        if not event[name]:
            raise RowError(f"missing_{name}", "the cell is empty")
    if texts.get("duration"):
        event["duration_us"] = _length_us(texts["duration"], table.fields.duration)
    if texts.get("value"):
        event["value"] = _number(texts["value"])
    _identify(event, texts, table, f"{file}:{place.rpartition(':')[2]}")
    step = _count(event, table)
    return _Read(fields.checked(event), step, place)


def _text(source: Source, row: dict[str, str]) -> str:
    text = source.constant if source.column is None else row[source.column].strip()
    assert text is not None  # the model holds one of the two
    return source.values.get(text, text) or source.default


def _symbol(name: str, text: str) -> str:
    symbol = text.upper()
    if symbol not in SYMBOLS[name]:
        raise RowError(f"invalid_{name}", f"{text!r} is none of {', '.join(SYMBOLS[name])}")
    return symbol


def _number(text: str) -> float:
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RowError("invalid_value", f"{text!r} is no number")
    return number


def _length_us(text: str, source: Source | None) -> int:
    assert source is not None  # it has a text
    try:
        length = Decimal(text) * _UNIT_US[source.unit]
    except InvalidOperation:
        length = Decimal("NaN")
    if not length.is_finite() or not 0 <= length <= DURATION_MAX_US:
        raise RowError("invalid_duration", f"{text!r} is no length in {source.unit}")
    return int(length)


def _identify(event: Event, texts: dict[str, str], table: Table, at: str) -> None:
    """Set the ids; without one of its own an event's id follows from file and line."""
    given = table.fields.given()
    account = Account()  # what was hashed because the mapping says so is no news
    for name, read in (
        ("trace_id", fields.trace_id),
        ("span_id", fields.span_id),
        ("parent_span_id", fields.span_id),
    ):
        text = texts.get(name, "")
        if text:
            hashed_before = account.hashed_ids
            event[name] = read(text.replace("-", "") if UUID.fullmatch(text) else text, account)
            if account.hashed_ids > hashed_before and not given[name].hash:
                raise RowError("invalid_id", f"{name} {text!r}; `hash: true` takes any text")
    if event["event_type"] == "TRACE" and not (event["trace_id"] and event["span_id"]):
        raise RowError("invalid_id", "a span needs a trace id and a span id")
    if event["span_id"] and event["parent_span_id"] == event["span_id"]:
        raise RowError("own_parent", f"span {event['span_id']} is its own parent")
    own = texts.get("event_id", "")
    event["event_id"] = own.lower() if UUID.fullmatch(own) else fields.derived_uuid(own or at)


def _count(event: Event, table: Table) -> float:
    """Return what a row's counter rises by; a period's row is stamped at its end."""
    if not table.count:
        return math.nan
    step = 1.0 if math.isnan(event["value"]) else float(event["value"])
    if step < 0:
        raise RowError("negative_count", f"{step:g}")
    if table.count == "period":
        if table.fields.value is not None and math.isnan(event["value"]):
            raise RowError("invalid_value", "the cell is empty")
        start_us = event["timestamp"]
        event["timestamp"] = period_end_us(start_us, table.period, table.timestamp.zone)
    event["dimensions"][COUNT_STYLE] = table.count
    return step
