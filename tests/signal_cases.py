"""Metric points, log lines and signal partials for the tests of signals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.core.columns import EventColumns, Operations
from streams.core.signals.cell import Cell
from streams.core.signals.counts import row_of
from streams.core.signals.rule import Condition, Match, SignalRule
from streams.core.signals.series import Series, SeriesBook
from tests.unit.codec.codec_cases import event

SECOND = 1_000_000
T0 = 1_760_000_000 * SECOND
METRIC = "pipeline.alpha.parser.gauge.depth"


def metric(value: float, at_us: int = T0, **changes: Any) -> dict[str, Any]:
    """Return a metric point outside any trace."""
    given = {
        "event_type": "METRIC", "trace_id": "", "span_id": "", "parent_span_id": "",
        "module": "ALPHA", "component": "parser", "name": METRIC, "value": value, "unit": "1",
        "dimensions": {}, "timestamp": at_us,
    }  # fmt: skip
    return event(**{**given, **changes})


def log(text: str, at_us: int = T0, severity: str = "ERROR", **changes: Any) -> dict[str, Any]:
    """Return a log line outside any trace, with its text as the message."""
    given = {
        "event_type": "LOG", "trace_id": "", "span_id": "", "parent_span_id": "",
        "module": "ALPHA", "component": "parser", "name": "line", "severity": severity,
        "value": float("nan"), "unit": "", "dimensions": {"message": text}, "timestamp": at_us,
    }  # fmt: skip
    return event(**{**given, **changes})


def columns(
    events: Sequence[dict[str, Any]], book: SeriesBook, dimensions: Sequence[str] = ("queue",)
) -> EventColumns:
    """Return events as the codec does, with the codes of their series."""
    decoder = EventDecoder(
        default_schemas(), Operations(), series=book, signal_dimensions=dimensions
    )
    values = [encode("telemetry_event", one) for one in events]
    kafka_us = np.full(len(values), T0, np.int64)
    decoded, rejected = decoder.decode(0, [None] * len(values), values, kafka_us)
    assert not len(rejected), rejected
    return decoded


def series(name: str = METRIC, **changes: Any) -> Series:
    """Return a metric's series."""
    given: dict[str, Any] = {"kind": "METRIC", "module": "ALPHA", "component": "parser"}
    return Series(**{**given, "name": name, "unit": "1", **changes})


def cell(*values: float, at_us: int = T0) -> Cell:
    """Return the cell of points, a microsecond apart."""
    last_us = at_us + len(values) - 1
    return Cell(len(values), sum(values), min(values), max(values), values[-1], last_us)


def partial(
    start_us: int,
    watermark_us: int,
    cells: dict[Series, Cell],
    *,
    partition: int = 0,
    partitions: int = 1,
    window_us: int = 10 * SECOND,
    sequence: int = 1,
) -> dict[str, Any]:
    """Return a record of SignalPartial."""
    return {
        "window_start": start_us,
        "window_us": window_us,
        "partition": partition,
        "partitions_total": partitions,
        "sequence": sequence,
        "watermark": watermark_us,
        "series": [row_of(one, of_one) for one, of_one in cells.items()],
    }


def rule(**changes: Any) -> SignalRule:
    """Return a rule: the metric's last value above 100."""
    given: dict[str, Any] = {
        "id": "deep", "version": "1", "kind": "threshold", "match": Match(),
        "condition": Condition(">", 100.0), "over_us": 10 * SECOND,
    }  # fmt: skip
    return SignalRule(**{**given, **changes})
