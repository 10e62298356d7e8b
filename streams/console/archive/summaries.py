"""What is kept of records that retention removes: sums by minute, later by hour.

Owns the columns of summaries and the rule that makes them. A summary is a function of rows alone,
and summaries add up: that of all rows is that of the summaries of any parts of them, whatever the
steps in between. DuckDB does the sums; nothing is read or written here.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from streams.console.archive.kinds import KIND, SCOPE, UNSAMPLED, Kind
from streams.units import SECOND_US

STEPS_US: Final = {"minute": 60 * SECOND_US, "hour": 3_600 * SECOND_US}
"""Length of the steps of each tier, the first tier first."""
MEMORY_BYTES: Final = 1 << 30
"""For one file's rows; 800,000 events, which are about as many as a file holds, take half of it."""
PER_OCTAVE: Final = 8
"""Buckets of durations between a time and twice it: a quantile is off by 5 % at most."""
_LAST: Final = "last_at"
SORTED: Final = "map_from_entries(list_sort(map_entries(dimensions))) AS dimensions"
"""Dimensions in one order, so that those that are alike are one."""
_BUCKET: Final = f"CASE WHEN duration_us > 0 THEN 1 + floor(log2(duration_us) * {PER_OCTAVE})::INT "


class Summary(NamedTuple):
    """How rows of a kind are summed up.

    Attributes:
        keys: columns that rows of a summary differ by, besides `at`, the begin of their step in us.
        sums: columns that add up.
        least, most: columns of which the least and the greatest are kept.
        last: whether `last` is kept, the value at `last_at`.
        columns: of the kind that are read.
        of: columns that say which row is a version of which.
        newest: whether the last version counts, or the first.
        sql: the columns of each row of `one`, the versions that count, with its time as `at`.
    """

    keys: dict[str, Any]
    sums: dict[str, Any]
    least: dict[str, Any]
    most: dict[str, Any]
    last: bool
    columns: tuple[str, ...]
    of: tuple[str, ...]
    newest: bool
    sql: str


_TEXT, _LONG, _DOUBLE = pa.string(), pa.int64(), pa.float64()
_MAP: Final = pa.map_(_TEXT, _TEXT)


def _texts(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, _TEXT)


def _longs(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, _LONG)


_PLACES: Final = ("module", "component", "event_type", "severity")
_TRACE: Final = (
    *("trace_id", "revision", "flow", "status", "start", "duration_us", "span_count"),
    *("error_count", "modules"),
)
SUMMARIES: Final = {
    "traces": Summary(
        {**_texts("what", "flow", "status", "module", "from_stage", "to_stage"), "bucket": _LONG},
        _longs("count", "spans", "errors", "duration_us"),
        {},
        {},
        False,
        _TRACE,
        ("trace_id",),
        True,
        f"""
        SELECT start AS "at", 'trace' AS what, flow, status, '' AS module, '' AS from_stage,
          '' AS to_stage, {_BUCKET} ELSE 0 END AS bucket, 1 AS count, span_count AS spans,
          error_count AS errors, duration_us FROM one
        UNION ALL SELECT start, 'module', flow, status, unnest(modules), '', '', 0, 1, 0, 0, 0
          FROM one
        UNION ALL SELECT start, 'missing', flow, status, missing.module, from_stage, to_stage, 0,
          1, 0, 0, 0 FROM one JOIN missing USING (trace_id, revision)
        """,
    ),
    "spans": Summary(
        _texts(*_PLACES),
        _longs("count", "errors", "duration_us"),
        {},
        {},
        False,
        ("event_id", "trace_id", "revision", "timestamp", "duration_us", *_PLACES),
        ("event_id",),
        True,
        f"""
        SELECT timestamp AS "at", {", ".join(_PLACES)}, 1 AS count,
          (severity IN ('ERROR', 'CRITICAL'))::INT AS errors, duration_us FROM one
        """,
    ),
    "events": Summary(
        {**_texts("what", *_PLACES, "name"), "dimensions": _MAP},
        {**_longs("count", "errors"), "sum": _DOUBLE},
        {"min": _DOUBLE},
        {"max": _DOUBLE},
        True,
        ("event_id", "timestamp", "name", "dimensions", "value_number", *_PLACES),
        ("event_id",),
        False,
        f"""
        SELECT timestamp AS "at", 'event' AS what, {", ".join(_PLACES)}, '' AS name,
          MAP {{}}::MAP(VARCHAR, VARCHAR) AS dimensions, 1 AS count,
          (severity IN ('ERROR', 'CRITICAL'))::INT AS errors, 0.0::DOUBLE AS sum,
          NULL::DOUBLE AS min, NULL::DOUBLE AS max, NULL::DOUBLE AS last, NULL::BIGINT AS last_at
          FROM one
        UNION ALL SELECT timestamp, 'metric', module, component, event_type, '', name,
          {SORTED}, 1, 0, value_number, value_number,
          value_number, value_number, timestamp FROM one WHERE event_type = 'METRIC'
        """,
    ),
    "fidelity": Summary(
        {**_texts(*SCOPE), "window_us": _LONG},
        _longs("windows", "expected", "observed", *UNSAMPLED),
        {},
        {"slo_ratio": _DOUBLE},
        False,
        (
            *(*SCOPE, "window_start", "window_us", "revision", "expected", "observed"),
            *("slo_ratio", *UNSAMPLED),
        ),
        (*SCOPE, "window_start", "window_us"),
        True,
        f"""
        SELECT window_start AS "at", {", ".join(SCOPE)}, window_us, 1 AS windows, expected,
          observed, slo_ratio, {", ".join(UNSAMPLED)} FROM one
        """,
    ),
}
"""By kind. Of a trace its last revision counts, of spans those of it, of a window likewise."""
MISSING: Final = pa.schema(
    [("trace_id", _TEXT), ("revision", _LONG), *_texts("module", "from_stage", "to_stage").items()]
)
"""The spans that traces lack."""


def _schema(summary: Summary) -> pa.Schema:
    last = {"last": _DOUBLE, _LAST: _LONG} if summary.last else {}
    columns = {"at": _LONG, **summary.keys, **summary.sums, **summary.least, **summary.most, **last}
    return pa.schema(list(columns.items()))


def name_of(kind: str, tier: str) -> str:
    """Return the kind of the files that hold a kind's summaries."""
    return f"{kind}by{tier}"


SUMMED: Final = {
    name_of(kind, tier): Kind(name_of(kind, tier), "", _schema(summary), (), "at", lambda _: [])
    for kind, summary in SUMMARIES.items()
    for tier in STEPS_US
}
"""Kinds of files that hold summaries, by name."""
SUMMED_FROM: Final = {
    name_of(kind, tier): (kind, step_us) for kind in SUMMARIES for tier, step_us in STEPS_US.items()
}
"""By kind of summaries, the kind that they sum up and the length of their steps."""
ALL_KINDS: Final = {**KIND, **SUMMED}
"""Of records, and of what sums them up."""


def summarised(
    kind: str, rows: pa.Table, step_us: int, missing: pa.Table | None = None
) -> pa.Table:
    """Return the summary of some rows.

    Args:
        kind: of the rows.
        rows: the columns that its `Summary` names; versions of one thing count once.
        step_us: length of a step.
        missing: of traces, the spans that they lack, as `MISSING`.
    """
    summary = SUMMARIES[kind]
    by, order = ", ".join(summary.of), "revision DESC" if summary.newest else "timestamp"
    one = f"SELECT * FROM rows QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {order}) = 1"
    given = {"rows": rows, "missing": MISSING.empty_table() if missing is None else missing}
    return _grouped(summary, f"WITH one AS ({one}), parts AS ({summary.sql})", given, step_us)


def added(kind: str, parts: Sequence[pa.Table], step_us: int) -> pa.Table:
    """Return summaries of a kind as one, of steps as long or longer."""
    given = {"given": pa.concat_tables(parts)}
    return _grouped(SUMMARIES[kind], "WITH parts AS (SELECT * FROM given)", given, step_us)


def _grouped(summary: Summary, parts: str, given: dict[str, pa.Table], step_us: int) -> pa.Table:
    schema = _schema(summary)
    measures = [f'sum("{name}") AS "{name}"' for name in summary.sums]
    measures += [f'min("{name}") AS "{name}"' for name in summary.least]
    measures += [f'max("{name}") AS "{name}"' for name in summary.most]
    if summary.last:
        newest = "max({'at': last_at, 'value': last}) FILTER (last_at IS NOT NULL)"
        measures += [f"({newest}).value AS last", f'({newest})."at" AS last_at']
    keys = ", ".join(f'"{name}"' for name in summary.keys)
    begin = f'"at" - (("at" % {step_us}) + {step_us}) % {step_us}'
    with _db().cursor() as db:
        for name, table in given.items():
            db.register(name, table)
        found: pa.Table = db.sql(
            f'{parts} SELECT {begin} AS "at", {keys}, {", ".join(measures)} FROM parts '
            "GROUP BY ALL ORDER BY ALL"
        ).to_arrow_table()
    return found.select(schema.names).cast(schema)


@cache
def _db() -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(":memory:", config={"threads": 1, "temp_directory": ""})
    db.execute(f"SET memory_limit = '{MEMORY_BYTES >> 20}MB'")
    db.execute("SET enable_external_access = false")
    return db


def bound_us(bucket: int) -> float:
    """Return the middle of a bucket of durations, in us."""
    return 0.0 if bucket <= 0 else math.exp2((bucket - 0.5) / PER_OCTAVE)


def quantile_us(counts: dict[int, int], share: float) -> float | None:
    """Return about the duration, in us, that a share of traces does not exceed.

    Args:
        counts: traces by bucket.
        share: from 0 to 1.
    """
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return bound_us(bucket)
    return None
