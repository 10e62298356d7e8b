"""Turns tables of recorded spans into the columns that judges and learners take.

Owns the order and the distinctness that `SpanBatch` promises: recordings repeat rows and split
traces over files. Nothing here judges.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from streams.core.columns import STATUSES, Operation, Operations, SpanBatch
from streams.errors import ConfigError

_EVENT_SCHEMA = {
    "trace_id": pl.String,
    "span_id": pl.String,
    "parent_span_id": pl.String,
    "module": pl.String,
    "component": pl.String,
    "name": pl.String,
    "timestamp_us": pl.Int64,
    "duration_us": pl.Int64,
    "status": pl.String,
}


def span_frame(events: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return the spans among TelemetryEvent records as a table like `nezha.read_nezha`'s."""
    rows = [
        (
            event["trace_id"],
            event["span_id"],
            event["parent_span_id"],
            event["module"],
            event["component"],
            event["name"],
            event["timestamp"],
            event["duration_us"],
            event["status"],
        )
        for event in events
        if event["event_type"] == "TRACE" and event["trace_id"] and event["span_id"]
    ]
    return pl.DataFrame(rows, schema=_EVENT_SCHEMA, orient="row")


def span_batch(frame: pl.DataFrame, operations: Operations) -> tuple[SpanBatch, list[str]]:
    """Make the batch of a table of spans.

    Of rows with one trace and span id the first stays. Traces are numbered by their first start.

    Args:
        frame: trace_id, span_id, parent_span_id, module, component, name (text), timestamp_us,
            duration_us (int64); status (text) when there is one.
        operations: Gets the operations of the table.

    Returns:
        The batch, sorted as `SpanBatch` says, and the trace id of each ordinal.

    Raises:
        ConfigError: A span id is not 1 to 16 hex digits.
    """
    spans = frame.unique(["trace_id", "span_id"], keep="first", maintain_order=True)
    # Before any join: a join may change the order of rows.
    spans = spans.with_columns(
        own=_span_number(spans, "span_id"), above=_span_number(spans, "parent_span_id")
    )
    first = spans.group_by("trace_id").agg(first=pl.col("timestamp_us").min())
    order = first.sort("first", "trace_id").with_row_index("trace").select("trace_id", "trace")
    spans = spans.join(order, on="trace_id")
    # Sorted, so that the codes do not depend on the order in which a join gives rows back.
    names = spans.select("module", "component", "name").unique().sort("module", "component", "name")
    codes = [operations.code(Operation(*row)) for row in names.iter_rows()]
    named = names.with_columns(operation=pl.Series(codes, dtype=pl.Int32))
    spans = spans.join(named, on=["module", "component", "name"])
    spans = spans.sort("trace", "timestamp_us", "own")
    count = len(spans)
    status = np.zeros(count, np.uint8)
    if "status" in spans.columns:
        position = {name: code for code, name in enumerate(STATUSES)}
        status = spans["status"].replace_strict(position, return_dtype=pl.UInt8).to_numpy()
    batch = SpanBatch(
        trace=spans["trace"].cast(pl.Int32).to_numpy(),
        traces=len(order),
        span_id=spans["own"].to_numpy(),
        parent_span_id=spans["above"].to_numpy(),
        timestamp_us=spans["timestamp_us"].to_numpy(),
        duration_us=spans["duration_us"].to_numpy(),
        operation=spans["operation"].to_numpy(),
        status=status,
        trace_flags=np.ones(count, np.uint8),
        topic=np.zeros(count, np.uint8),
        is_late=np.zeros(count, np.bool_),
        stage_bits=np.zeros((count, 1), np.uint64),
    )
    return batch, order["trace_id"].to_list()


def _span_number(spans: pl.DataFrame, column: str) -> pl.Series:
    """Return span ids as numbers, 0 for ""."""
    try:
        # Not polars' base-16 parser: it reads into int64, and half of all ids are above.
        values = [int(text, 16) if text else 0 for text in spans[column].to_list()]
        return pl.Series(values, dtype=pl.UInt64)
    except (ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"{column}: not 1 to 16 hex digits ({error})") from error
