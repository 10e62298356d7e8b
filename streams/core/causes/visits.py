"""Spans of closed traces, as columns, become visits and a `TracePartial`.

Owns the cut of a trace into visits and the times of a visit. Refuses to guess: a span whose parent
is unseen starts a visit of its own, and its trace counts as broken.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl

from streams.core.causes.trace_partials import LogTimes, OperationCounts, TracePartial
from streams.units import I64

SPAN_COLUMNS: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "module",
    "name",
    "timestamp_us",
    "duration_us",
    "is_error",
)
LOG_COLUMNS: Final = ("trace_id", "span_id", "template", "severity")
ERROR_SEVERITIES: Final = frozenset({"ERROR", "CRITICAL"})
LOG_OPERATION: Final = "log"
_NONE: Final = -1


def trace_partial(spans: pl.DataFrame, logs: pl.DataFrame | None = None) -> TracePartial:
    """Return the partial of whole traces.

    Args:
        spans: `SPAN_COLUMNS`; ids and names text, "" for no parent; times in Unix microseconds;
            `is_error` bool. Each (trace_id, span_id) once, all spans of a trace together; any
            order.
        logs: `LOG_COLUMNS` of the same traces, text; entries of unknown spans are left out.

    Returns:
        Counts and times of all visits; empty for no spans.
    """
    if spans.is_empty():
        return TracePartial()
    spans = spans.with_row_index("row")
    parent = _parent_rows(spans)
    entry = _entry_rows(spans, parent)
    table = spans.with_columns(
        parent=pl.Series(parent), entry=pl.Series(entry), own_us=pl.Series(_self_us(spans, parent))
    )
    visits = _visits(table, parent)
    features = _features(table, visits, _noted(table, logs))
    partial = TracePartial()
    _count_visits(partial, visits, _failing(table, features))
    _count_features(partial, visits, features)
    _count_calls(partial, table, parent, entry)
    for counts in partial.operations.values():
        counts.bound()
    return partial


def log_partial(logs: pl.DataFrame) -> TracePartial:
    """Return the partial of log entries that belong to no trace: each line counts as a visit.

    Args:
        logs: module, template, severity, text; one row a line.

    Returns:
        Of each module one operation, `LOG_OPERATION`, whose features are the templates.
    """
    rows = logs.group_by("module", "severity", "template").agg(pl.len())
    return counted_logs(rows.sort("module", "severity", "template").iter_rows())


def counted_logs(rows: Iterable[tuple[str, str, str, int]]) -> TracePartial:
    """Return the same of lines that were counted: module, severity, template, how many."""
    partial = TracePartial()
    for module, severity, template, n in rows:
        counts = partial.operations.setdefault((module, LOG_OPERATION), OperationCounts())
        feature = f"L:{severity}:{template}"
        counts.visits += n
        counts.features[feature] = counts.features.get(feature, 0.0) + n
    for counts in partial.operations.values():
        counts.bound()
    return partial


def _parent_rows(spans: pl.DataFrame) -> I64:
    """Return the row of each span's parent; -1 for none or an unseen one."""
    keys = spans.select("trace_id", parent_span_id="span_id", parent=pl.col("row").cast(pl.Int64))
    found = spans.select("row", "trace_id", "parent_span_id").join(
        keys, on=["trace_id", "parent_span_id"], how="left", maintain_order="left"
    )
    parent: I64 = found["parent"].fill_null(_NONE).to_numpy().astype(np.int64)
    rows = np.arange(len(parent), dtype=np.int64)
    return np.where(parent == rows, _NONE, parent)


def _entry_rows(spans: pl.DataFrame, parent: I64) -> I64:
    """Return the row of the span by which each span's visit was entered."""
    module = spans["module"].rank("dense").to_numpy()
    rows = np.arange(len(parent), dtype=np.int64)
    inside = (parent >= 0) & (module[np.maximum(parent, 0)] == module)
    entry = np.where(inside, parent, rows)
    # Each round doubles the distance climbed; a circle of parents would climb for ever.
    for _ in range(len(parent).bit_length() + 1):
        further = entry[entry]
        if (further == entry).all():
            break
        entry = further
    return entry


def _self_us(spans: pl.DataFrame, parent: I64) -> I64:
    """Return the time of each span that none of its children covers."""
    rows = len(parent)
    start = spans["timestamp_us"].to_numpy()
    end = start + spans["duration_us"].to_numpy()
    has = parent >= 0
    children = pl.DataFrame(
        {
            "parent": parent[has],
            "start": np.maximum(start[has], start[parent[has]]),
            "end": np.minimum(end[has], end[parent[has]]),
        }
    ).filter(pl.col("end") > pl.col("start"))
    covered = np.zeros(rows, np.int64)
    if children.height:
        reached = pl.col("end").cum_max().shift(1).over("parent")
        union = children.sort("parent", "start").select(
            "parent",
            fresh=(pl.col("end") - pl.max_horizontal("start", reached)).clip(lower_bound=0),
        )
        np.add.at(covered, union["parent"].to_numpy(), union["fresh"].to_numpy())
    own: I64 = np.maximum(0, end - start - covered)
    return own


def _visits(table: pl.DataFrame, parent: I64) -> pl.DataFrame:
    """Return one row a visit: its entry and trace, its times, and the visit it came from."""
    visits = table.group_by("entry").agg(
        pl.col("own_us").sum(), is_error=pl.col("is_error").any(), spans=pl.len()
    )
    head = table.select(
        entry="row",
        trace_id="trace_id",
        module="module",
        operation="name",
        duration_us="duration_us",
    ).with_columns(pl.col("entry").cast(pl.Int64))
    above = parent[visits["entry"].to_numpy()]
    caller = np.where(above >= 0, table["entry"].to_numpy()[np.maximum(above, 0)], _NONE)
    named = table["parent_span_id"].to_numpy()[visits["entry"].to_numpy()] != ""
    visits = visits.with_columns(
        caller=pl.Series(caller), is_orphan=pl.Series(named & (above < 0))
    ).join(head, on="entry", how="left")
    return visits.with_columns(is_broken=pl.col("is_orphan").any().over("trace_id"))


def _noted(table: pl.DataFrame, logs: pl.DataFrame | None) -> pl.DataFrame:
    """Return (entry, template, severity) of the log entries of known spans."""
    if logs is None or logs.is_empty():
        return pl.DataFrame(
            schema={"entry": pl.Int64, "template": pl.String, "severity": pl.String}
        )
    spans = table.select("trace_id", "span_id", "entry")
    return logs.join(spans, on=["trace_id", "span_id"], how="inner").select(
        "entry", "template", "severity"
    )


def _features(table: pl.DataFrame, visits: pl.DataFrame, noted: pl.DataFrame) -> pl.DataFrame:
    """Return (entry, feature), each pair once."""
    inner = table.filter(pl.col("row") != pl.col("entry")).select(
        "entry", feature=pl.lit("S:") + pl.col("name")
    )
    called = visits.filter(pl.col("caller") >= 0)
    calls = called.select(
        entry="caller",
        feature=pl.format("C:{}:{}", pl.col("module"), pl.col("operation")),
    )
    lines = noted.select("entry", feature=pl.format("L:{}:{}", "severity", "template"))
    failed = visits.filter("is_error").select("entry")
    passing = called.filter("is_error").select(entry="caller").unique()
    own = failed.join(passing, on="entry", how="anti").with_columns(feature=pl.lit("E:own"))
    passed = failed.join(passing, on="entry", how="semi").with_columns(feature=pl.lit("E:passed"))
    return pl.concat([inner, calls, lines, own, passed]).unique()


def _failing(table: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """Return the traces with an error span or an error in their logs."""
    wrong = pl.col("feature").str.starts_with("E:")
    for severity in sorted(ERROR_SEVERITIES):
        wrong |= pl.col("feature").str.starts_with(f"L:{severity}:")
    entries = features.filter(wrong).select(row=pl.col("entry").cast(pl.UInt32)).unique()
    return table.join(entries, on="row", how="semi").select("trace_id").unique()


def _count_visits(partial: TracePartial, visits: pl.DataFrame, failing: pl.DataFrame) -> None:
    partial.traces = float(visits["trace_id"].n_unique())
    partial.failing = float(failing.height)
    marked = visits.join(failing.with_columns(fails=True), on="trace_id", how="left")
    own = pl.col("own_us").clip(lower_bound=1).log(2)
    whole = pl.col("duration_us").clip(lower_bound=1).log(2)
    rows = marked.group_by("module", "operation").agg(
        pl.len().alias("visits"),
        pl.col("is_broken").sum(),
        pl.col("fails").sum(),
        whole.sum().alias("d1"),
        (whole**2).sum().alias("d2"),
        pl.col("duration_us").sum().alias("dus"),
        own.sum().alias("s1"),
        (own**2).sum().alias("s2"),
        pl.col("own_us").sum().alias("sus"),
    )
    for module, operation, n, broken, fails, d1, d2, dus, s1, s2, sus in rows.iter_rows():
        partial.operations[module, operation] = OperationCounts(
            float(n),
            float(broken),
            float(fails),
            duration=LogTimes(float(n), d1, d2, float(dus)),
            self_time=LogTimes(float(n), s1, s2, float(sus)),
        )


def _count_features(partial: TracePartial, visits: pl.DataFrame, features: pl.DataFrame) -> None:
    head = visits.select("entry", "module", "operation", "trace_id")
    failing = features.filter(pl.col("feature").str.contains("^(E:|L:ERROR:|L:CRITICAL:)"))
    traces = failing.join(head, on="entry").select("trace_id").unique().with_columns(fails=True)
    rows = (
        features.join(head, on="entry")
        .join(traces, on="trace_id", how="left")
        .group_by("module", "operation", "feature")
        .agg(
            pl.len().alias("n"),
            pl.col("fails").sum(),
            pl.col("trace_id").unique().sort().head(3).alias("samples"),
        )
    )
    for module, operation, feature, n, fails, samples in rows.iter_rows():
        counts = partial.operations[module, operation]
        counts.features[feature] = float(n)
        if fails:
            counts.failing_features[feature] = float(fails)
        counts.samples[feature] = tuple(samples)


def _count_calls(partial: TracePartial, table: pl.DataFrame, parent: I64, entry: I64) -> None:
    """Count calls between modules, and the time on the way.

    Only a span inside a visit, with a single child, is the client side of that call: its time
    beyond the child's was spent between the two. The entry of a visit does the module's own work.
    """
    rows = np.arange(len(parent), dtype=np.int64)
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    crossing = (entry == rows) & (parent >= 0)
    near = parent[crossing]
    module = table["module"].to_numpy()
    duration = table["duration_us"].to_numpy()
    between = np.log2(np.maximum(1, duration[near] - duration[crossing]))
    frame = pl.DataFrame(
        {
            "caller": module[near],
            "callee": module[crossing],
            "log2": np.where((children[near] == 1) & (entry[near] != near), between, np.nan),
            "micros": np.maximum(0, duration[near] - duration[crossing]),
        },
        schema={"caller": pl.String, "callee": pl.String, "log2": pl.Float64, "micros": pl.Int64},
    )
    counted = frame.group_by("caller", "callee").agg(pl.len())
    for caller, callee, n in counted.iter_rows():
        partial.calls[caller, callee] = float(n)
    timed = (
        frame.filter(pl.col("log2").is_not_nan())
        .group_by("caller", "callee")
        .agg(
            pl.len().alias("n"),
            pl.col("log2").sum().alias("t1"),
            (pl.col("log2") ** 2).sum().alias("t2"),
            pl.col("micros").sum(),
        )
    )
    for caller, callee, n, t1, t2, micros in timed.iter_rows():
        partial.network[caller, callee] = LogTimes(float(n), t1, t2, float(micros))
