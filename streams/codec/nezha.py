"""Reads the trace tables of Nezha recordings (one CSV file a minute) as columns and as events.

Owns the layout of those tables: column names, `root` for no parent, the pod name that holds the
service. Every row is kept, repeated ones included: counting them is the engine's work. An archive
is never unpacked to disk, and its members' names and sizes are checked before a byte is parsed.

Source: https://github.com/IntelligentDDS/Nezha (FSE 2023), folder `rca_data`.
"""

import math
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl

from streams.codec.eventid import event_id
from streams.errors import ConfigError

COMPONENT: Final = "service"
MEMBER_BYTES_MAX: Final = 256 * 1024 * 1024
ARCHIVE_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
MEMBER_COUNT_MAX: Final = 2_000

_ARCHIVES: Final = (".tar.xz", ".tar.gz", ".tar")
_TRACE_FILE: Final = re.compile(r"^(?:\./)?(?:[\w-]+/)*((\d\d)_(\d\d)_trace\.csv)$")
_SOURCE_COLUMNS: Final = (
    "TraceID",
    "SpanID",
    "ParentID",
    "PodName",
    "OperationName",
    "StartTimeUnixNano",
    "Duration",
)


def read_nezha(
    path: str | Path, include_faultfree: bool = False, skip_bad_rows: bool = False
) -> Iterator[pl.DataFrame]:
    """Read a recording, one frame for each minute's file, in the order of the minutes.

    Each frame has the columns trace_id, span_id, parent_span_id ("" for a root), module (the
    service), component, name, pod (text), timestamp_us and duration_us (int64), sorted by
    timestamp_us; rows that start together keep the file's order.

    Args:
        path: A folder of `HH_MM_trace.csv` files, a folder that holds them in `trace/` or
            `trace.tar.xz`, or such an archive itself. Files win over the archive when a folder has
            both.
        include_faultfree: Read `faultfree/` or `faultfree.tar.xz` of the folder too.
        skip_bad_rows: Leave rows out that lack a cell or have none that is a number, as the last
            one of a file that was cut short, rather than refuse the recording.

    Raises:
        ConfigError: There is no such table, a column is missing, a cell is not a number, or the
            archive has a member that is too large or not a plain file.
    """
    source = Path(path)
    found: list[tuple[str, pl.DataFrame]] = []
    for part in _parts(source, include_faultfree):
        found.extend(_read_part(part, skip_bad_rows))
    if not found:
        raise ConfigError(f"{source}: no HH_MM_trace.csv in it; give the folder of a Nezha day")
    found.sort(key=lambda named: named[0])
    for _, frame in found:
        yield frame


def has_nezha_traces(path: str | Path) -> bool:
    """Return whether a recording has any traces: some days have logs and metrics alone.

    Raises:
        ConfigError: There is no such file or folder.
    """
    return any(True for _ in _parts(Path(path), True))


def nezha_events(path: str | Path, include_faultfree: bool = False) -> Iterator[dict[str, Any]]:
    """Read a recording as TelemetryEvent records, ready to encode, in the order of `read_nezha`.

    The event id is a function of trace and span id, so a repeated row repeats its event.

    Raises:
        ConfigError: See `read_nezha`.
    """
    for frame in read_nezha(path, include_faultfree):
        for row in frame.iter_rows():
            yield _event(*row)


def _event(
    trace_id: str,
    span_id: str,
    parent_span_id: str,
    module: str,
    component: str,
    name: str,
    pod: str,
    timestamp_us: int,
    duration_us: int,
) -> dict[str, Any]:
    """Return the TelemetryEvent of one row of `read_nezha`."""
    return {
        "event_id": event_id(f"{trace_id}/{span_id}".encode()),
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_span_id": parent_span_id,
        "timestamp": timestamp_us,
        "module": module,
        "component": component,
        "event_type": "TRACE",
        "severity": "INFO",
        "name": name,
        "value": math.nan,
        "unit": "",
        "dimensions": {"pod": pod},
        "record_id": "",
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "",
        "duration_us": duration_us,
        "status": "UNSET",
        "span_kind": "INTERNAL",
        "trace_flags": 1,
        "links": [],
    }


def _parts(source: Path, include_faultfree: bool) -> Iterator[Path]:
    """Name the files to read: CSV tables, or archives."""
    if source.is_file():
        yield source
        return
    if not source.is_dir():
        raise ConfigError(f"{source}: no such file or folder")
    yield from _tables(source) or _unpacked_or_not(source, "trace")
    if include_faultfree:
        yield from _unpacked_or_not(source, "faultfree")


def _unpacked_or_not(source: Path, stem: str) -> list[Path]:
    """Name the tables of `stem/`, else the archive of that name; nothing where neither is."""
    folder = source / stem
    archives = [source / f"{stem}{suffix}" for suffix in _ARCHIVES]
    return (_tables(folder) if folder.is_dir() else []) or [p for p in archives if p.is_file()][:1]


def _tables(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if _TRACE_FILE.match(p.name) and p.is_file()]


def _read_part(part: Path, skip_bad_rows: bool) -> Iterator[tuple[str, pl.DataFrame]]:
    """Read one table, or all tables of one archive, each with its HH_MM name."""
    if not part.name.endswith(_ARCHIVES):
        yield part.name, _parse(part.read_bytes(), str(part), skip_bad_rows)
        return
    try:
        # A stream: the archive is unpacked once, front to back, whatever its members' order.
        with tarfile.open(part, "r|*") as archive:
            yield from _read_members(archive, part, skip_bad_rows)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ConfigError(f"{part}: not a readable tar archive ({error})") from error


def _read_members(
    archive: tarfile.TarFile, part: Path, skip_bad_rows: bool
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Parse the trace tables of an archive; refuse what an honest recording never holds."""
    total_bytes = 0
    for count, member in enumerate(archive, 1):
        if count > MEMBER_COUNT_MAX:
            raise ConfigError(f"{part}: more than {MEMBER_COUNT_MAX} members")
        if member.isdir():
            continue
        place = f"{part}:{member.name}"
        if not member.isreg() or member.name.startswith("/") or ".." in Path(member.name).parts:
            raise ConfigError(f"{place}: not a plain file inside the archive")
        total_bytes += member.size
        if member.size > MEMBER_BYTES_MAX or total_bytes > ARCHIVE_BYTES_MAX:
            raise ConfigError(f"{place}: unpacks to more than this reader accepts")
        match = _TRACE_FILE.match(member.name)
        if match is None:
            continue
        table = archive.extractfile(member)
        assert table is not None, place  # a regular file always opens
        yield match[1], _parse(table.read(), place, skip_bad_rows)


def _parse(table: bytes, place: str, skip_bad_rows: bool) -> pl.DataFrame:
    """Parse one CSV table; `place` names it in errors. A minute without a trace may be empty."""
    try:
        content = table if table.strip() else ",".join(_SOURCE_COLUMNS).encode()
        raw = pl.read_csv(content, infer_schema=False, truncate_ragged_lines=skip_bad_rows)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"{place}: not a CSV table ({error})") from error
    absent = [name for name in _SOURCE_COLUMNS if name not in raw.columns]
    if absent:
        raise ConfigError(f"{place}: column {absent[0]} is missing")
    parent = pl.col("ParentID").fill_null("")
    is_strict = not skip_bad_rows
    try:
        frame = raw.select(
            trace_id=pl.col("TraceID").str.to_lowercase(),
            span_id=pl.col("SpanID").str.to_lowercase(),
            parent_span_id=pl.when(parent == "root")
            .then(pl.lit(""))
            .otherwise(parent.str.to_lowercase()),
            module=pl.col("PodName").str.replace(r"-[^-]+-[^-]+$", ""),
            component=pl.lit(COMPONENT),
            name=pl.col("OperationName"),
            pod=pl.col("PodName"),
            timestamp_us=pl.col("StartTimeUnixNano").cast(pl.Int64, strict=is_strict) // 1_000,
            duration_us=pl.col("Duration").cast(pl.Int64, strict=is_strict),
        )
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"{place}: {error}") from error
    if skip_bad_rows:
        frame = frame.drop_nulls()
    _refuse_gaps(frame, place)
    return frame.sort("timestamp_us", maintain_order=True)


def _refuse_gaps(frame: pl.DataFrame, place: str) -> None:
    """Raise ConfigError when a cell that every span needs is empty."""
    for name in frame.columns:
        if frame[name].null_count():
            row = int(frame[name].is_null().arg_true()[0])
            raise ConfigError(f"{place}: row {row + 2} has no {name}")
