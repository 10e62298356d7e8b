"""The recordings of Nezha: TrainTicket and OnlineBoutique, faults injected one at a time.

A folder holds `trace`, `log` and `metric` (each a folder or a .tar.xz; any of them may be absent),
`faultfree` and `metric_threshold` where the authors recorded them, and `*fault_list.json`. The
label file is read by `faults` alone, for the score; the recording never sees it. The fault-free
minute is part of the stream, at its own time and without a mark. `metric_threshold` is what the
authors measured in normal running before: the series' past when the recording begins.

Source: https://github.com/IntelligentDDS/Nezha (FSE 2023).
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.incidents.archives import members
from benchmarks.incidents.moments import second_us
from benchmarks.incidents.replay import Recording, replay
from benchmarks.incidents.scoring import Fault, result
from streams.codec.nezha import has_nezha_traces, read_nezha
from streams.core.causes.metric_evidence import CLIENT, SERVER, Sample, Series
from streams.core.causes.visits import SPAN_COLUMNS
from streams.core.causes.watch import CauseWatch
from streams.errors import ConfigError

_LINE = re.compile(r"^\S+\s+(?P<severity>[A-Z]+)\s+(?P<location>\S+)\s+(?P<text>.*)$", re.DOTALL)
_VARIABLE = re.compile(r"\S*\d\S*")
_LOG_SOURCE = ("TraceID", "SpanID", "TimeUnixNano", "Log")
_TIMES = ("Time", "time", "TimeStamp", "timestamp")
"""Columns with the time of a row, the first one that there is."""
_NOT_A_SERIES = {*_TIMES, "PodName", "ServiceName"}
_SPAN_SCHEMA = dict.fromkeys(SPAN_COLUMNS, pl.String) | {
    "timestamp_us": pl.Int64(),
    "duration_us": pl.Int64(),
    "is_error": pl.Boolean(),
}
_SIDES = {"source": CLIENT, "destination": SERVER}


def run(path: Path) -> dict[str, Any]:
    """Replay one day and score it.

    Raises:
        ConfigError: There is no such folder, or a file of it is missing or not as it should be.
    """
    labelled = faults(path)  # before the day is read, which takes a minute; the replay sees none
    recording = read(path)
    labelled = [_named_in(fault, recording.modules) for fault in labelled]
    incidents = replay(recording, CauseWatch())
    scored = result(labelled, incidents, recording)
    return {**scored, "published": _published(path)}


def _published(path: Path) -> dict[str, Any]:
    """Return what the authors' own run gave, told the minute and offline, where the file is."""
    file = path / "nezha_published_ranks.csv"
    if not file.is_file():
        return {}
    ranks = pl.read_csv(file)["nezha_rank"].to_list()
    top = {f"top{k}": sum(0 < r <= k for r in ranks) for k in (1, 3, 5)}
    return {"Nezha (told the minute, offline)": {"cases": len(ranks), **top}}


def service(pod: str) -> str:
    """Return a pod's service: its name less the last two parts, the name itself without those."""
    return "-".join(pod.split("-")[:-2]) or pod


def faults(path: Path) -> list[Fault]:
    """Return the labelled faults in the label file's order; times from `inject_time`, UTC.

    Raises:
        ConfigError: There is no label file, or it is not as the authors write them.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; give the folder of a Nezha day")
    found = sorted(path.glob("*fault_list.json"))
    if not found:
        raise ConfigError(f"{path}: no *fault_list.json; give the folder of a Nezha day")
    try:
        hours = json.loads(found[0].read_text("utf-8-sig"))
        groups = hours.values() if isinstance(hours, dict) else [hours]
        labels = [label for of_hour in groups for label in of_hour]
        return [_fault(label) for label in labels]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{found[0]}: not a list of faults by hour, each with inject_time (YYYY-MM-DD "
            f"HH:MM:SS), inject_pod and inject_type ({type(error).__name__}: {error})"
        ) from error


def _fault(label: dict[str, str]) -> Fault:
    time, pod = label["inject_time"], label["inject_pod"]
    return Fault(f"{time} {pod}", label["inject_type"], service(pod), second_us(time))


def _named_in(fault: Fault, modules: Collection[str]) -> Fault:
    """Return a fault with its service as the recording calls it: a label may name no pod of it."""
    pod = fault.fault_id.rpartition(" ")[2]
    return replace(fault, truth=pod) if fault.truth not in modules and pod in modules else fault


def read(path: Path) -> Recording:
    """Return all telemetry of a day; no label.

    Raises:
        ConfigError: There is neither a trace nor a metric, or a file is not as it should be.
    """
    spans = _spans(path)
    logs = _logs(path)
    samples = list(_samples(path))
    if spans.is_empty() and not samples:
        raise ConfigError(f"{path}: neither `trace` nor `metric`; give the folder of a Nezha day")
    modules = {*spans["module"].unique().to_list(), *(s.series.module for s in samples)}
    return Recording(spans, logs, samples, list(_normal(path)), frozenset(modules))


def _spans(path: Path) -> pl.DataFrame:
    if not has_nezha_traces(path):
        return pl.DataFrame(schema=_SPAN_SCHEMA)
    frames = list(read_nezha(path, include_faultfree=True, skip_bad_rows=True))
    return (
        pl.concat(frames)
        .unique(["trace_id", "span_id"], keep="first", maintain_order=True)
        .with_columns(is_error=pl.lit(False))
        .select(SPAN_COLUMNS)
    )


def _logs(path: Path) -> pl.DataFrame:
    read_files = [
        (name, _table(f"{path / stem}: {name}", content))
        for stem in ("log", "faultfree")
        for name, content in members(path, stem)
        if name.endswith("_log.csv")
    ]
    frames = []
    for name, table in read_files:
        absent = [column for column in _LOG_SOURCE if column not in table.columns]
        if table.columns and absent:
            raise ConfigError(f"{path}: {name}: column {absent[0]} is missing")
        if table.columns:
            frames.append(table.select(_LOG_SOURCE))
    schema = dict.fromkeys(("trace_id", "span_id", "template", "severity"), pl.String)
    if not frames:
        return pl.DataFrame(schema=schema)
    rows = pl.concat(frames).unique(["TimeUnixNano", "SpanID", "Log"], maintain_order=True)
    read_ = [_template(text) for text in rows["Log"].to_list()]
    return rows.select(
        trace_id=pl.col("TraceID").str.to_lowercase(), span_id=pl.col("SpanID").str.to_lowercase()
    ).with_columns(
        template=pl.Series([t for t, _ in read_], dtype=pl.String),
        severity=pl.Series([s for _, s in read_], dtype=pl.String),
    )


def _table(place: str, content: bytes) -> pl.DataFrame:
    """Return a CSV table as text; an empty file has no columns.

    Raises:
        ConfigError: It is no table; `place` names it.
    """
    if not content.strip():
        return pl.DataFrame()
    try:
        return pl.read_csv(content, infer_schema=False, truncate_ragged_lines=True)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"{place}: not a CSV table ({error})") from error


def _template(log: str) -> tuple[str, str]:
    """Return a log entry's template and severity: where it was written, else its constant words."""
    try:
        text = json.loads(log)["log"].strip()
    except (ValueError, KeyError, TypeError):
        text = log or ""
    match = _LINE.match(text)
    if match and "#" in match["location"]:
        return match["location"], match["severity"]
    if match:
        return _VARIABLE.sub("*", match["text"])[:80], match["severity"]
    return _VARIABLE.sub("*", text)[:80], "INFO"


def _samples(path: Path) -> Iterator[Sample]:
    tables = []
    for name, content in members(path, "metric"):
        table = _table(f"{path / 'metric'}: {name}", content) if name.endswith(".csv") else None
        if table is not None and table.height:
            tables.append((name, table))
    services = {_owner(name, table) for name, table in tables} - {""}
    for name, table in tables:
        times = next((column for column in _TIMES if column in table.columns), None)
        if times is None:
            continue  # the call graph, and nothing with a time
        try:
            at_us = [second_us(text) if text else None for text in table[times].to_list()]
        except ValueError as error:
            raise ConfigError(f"{path / 'metric'}: {name}: column {times}: {error}") from error
        for column in table.columns:
            series = _series(name, table, column, services)
            if series is None:
                continue
            values = table[column].cast(pl.Float64, strict=False).fill_null(math.nan)
            rows = zip(at_us, values.to_list(), strict=True)
            yield from (Sample(series, t, v) for t, v in rows if t is not None)


def _owner(name: str, table: pl.DataFrame) -> str:
    """Return the service that a table is about, "" where it is about calls."""
    stem = Path(name).name.removesuffix(".csv")
    if "PodName" in table.columns:
        pod = table["PodName"].drop_nulls()
        return service(str(pod[0]) if len(pod) else stem.removesuffix("_metric"))
    if "ServiceName" in table.columns:
        named = table["ServiceName"].drop_nulls()
        return (str(named[0]) if len(named) else stem).lower()
    return ""


def _series(name: str, table: pl.DataFrame, column: str, services: Set[str]) -> Series | None:
    if column in _NOT_A_SERIES:
        return None
    if owner := _owner(name, table):
        return Series(owner, column)
    view, _, quantile = Path(name).name.removesuffix(".csv").partition("_")
    ends = _ends(column, services) if view in _SIDES else None
    if ends is None:
        return None
    near, far = ends if view == "source" else ends[::-1]
    return Series(near, f"latency p{quantile}", peer=far, side=_SIDES[view])


def _ends(column: str, services: Set[str]) -> Sequence[str] | None:
    """Return caller and callee of a column `caller_callee`; a name may have a `_` of its own."""
    parts = column.split("_")
    splits = [("_".join(parts[:n]), "_".join(parts[n:])) for n in range(1, len(parts))]
    both = [pair for pair in splits if services >= set(pair)]
    if len(splits) == 1:
        return splits[0]
    return both[0] if both else None


def _normal(path: Path) -> Iterator[tuple[Series, float, float]]:
    for name, content in members(path, "metric_threshold"):
        table = _table(f"{path / 'metric_threshold'}: {name}", content)
        if table.height < 2:
            continue
        for column in table.columns:
            mean, deviation = table[column].cast(pl.Float64, strict=False).to_list()[:2]
            if (
                None not in (mean, deviation) and math.isfinite(mean) and deviation > 0
            ):  # without any spread nothing was measured
                yield Series(Path(name).name.removesuffix(".csv"), column), mean, deviation
