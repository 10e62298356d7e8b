"""What the end of a trace hangs on, as the interface answers it.

Owns nothing of the rule, which is `streams.core.traces.critical_path`.
"""

from typing import Any

import numpy as np

from streams.codec.records import Record
from streams.core.traces.critical_path import trace_path
from streams.core.traces.shape import shape_of, spans_once


def critical_path_of(trace: Record) -> list[dict[str, Any]]:
    """Return the spans on a trace's critical path, the first to begin first.

    Each with `own_us`, its own time on the path, and `waited_us`, how long before it nothing of
    the path ran: the record lay between two modules. Together they are the path's length.
    """
    spans = spans_once(trace["spans"])
    start_us = np.array([span["timestamp"] for span in spans], np.int64)
    length_us = np.array([span["duration_us"] for span in spans], np.int64)
    ids = [span["span_id"] for span in spans]
    shape = shape_of(ids, [span["parent_span_id"] for span in spans], start_us)
    path = trace_path(shape.parent, start_us, length_us)
    rows = np.flatnonzero(path.is_on)
    rows = rows[np.lexsort((rows, -path.end_us[rows], path.start_us[rows]))]
    return [
        {
            "span_id": ids[row],
            "own_us": int(path.own_us[row]),
            "waited_us": int(path.waited_us[row]),
        }
        for row in rows.tolist()
    ]
