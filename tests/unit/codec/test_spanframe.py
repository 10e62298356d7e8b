"""Tables of spans become batches: distinct, sorted, numbered by first start."""

import polars as pl
import pytest

from streams.codec.spanframe import span_batch, span_frame
from streams.core.columns import STATUS_ERROR, Operations
from streams.errors import ConfigError


def frame(*rows: tuple[str, str, str, str, int]) -> pl.DataFrame:
    """Return a table of (trace, span, parent, name, start)."""
    names = ["trace_id", "span_id", "parent_span_id", "name", "timestamp_us"]
    table = pl.DataFrame(rows, schema=names, orient="row")
    return table.with_columns(
        module=pl.lit("m"), component=pl.lit("c"), duration_us=pl.lit(5, pl.Int64)
    )


def test_spans_are_distinct_and_in_the_order_of_trace_and_time() -> None:
    """The trace that began first is 0; a repeated row counts once; ids are whole 64 bits."""
    operations = Operations()
    batch, trace_id = span_batch(
        frame(
            ("late", "02", "01", "x", 9),
            ("late", "01", "", "y", 8),
            ("early", "ffffffffffffffff", "", "x", 3),
            ("late", "02", "01", "z", 1),
        ),
        operations,
    )
    assert trace_id == ["early", "late"]
    assert batch.trace.tolist() == [0, 1, 1]
    assert batch.span_id.tolist() == [2**64 - 1, 1, 2]
    assert batch.parent_span_id.tolist() == [0, 0, 1]
    assert [operations[c].name for c in batch.operation.tolist()] == ["x", "y", "x"]


def test_only_spans_with_ids_are_taken_from_events() -> None:
    """A log line is no span; a status is kept."""
    event = {
        "trace_id": "t",
        "span_id": "01",
        "parent_span_id": "",
        "module": "m",
        "component": "c",
        "name": "n",
        "timestamp": 1,
        "duration_us": 2,
        "status": "ERROR",
        "event_type": "TRACE",
    }
    table = span_frame([event, {**event, "event_type": "LOG"}, {**event, "trace_id": ""}])
    batch, _ = span_batch(table, Operations())
    assert batch.status.tolist() == [STATUS_ERROR]


def test_a_span_id_that_is_no_number_is_refused() -> None:
    """The error names the column."""
    with pytest.raises(ConfigError, match="span_id"):
        span_batch(frame(("t", "xyz", "", "n", 1)), Operations())
