"""What is kept of an open trace and of each of its events: the columns, and how wide they are.

With a million open traces of four events a byte of a row is 4 MB, and 5 with the rows that are dead
and not dropped yet; a byte of a slot is 1 MB. So nothing is kept that closing does not ask for.
"""

from typing import Any, Final

import numpy as np

from streams.core.traces.progress import NEVER

ROW_COLUMNS: Final[dict[str, Any]] = {
    "slot": np.int32,
    "key": np.uint64,
    "parent_span_id": np.uint64,
    "timestamp_us": np.int64,
    "duration_us": np.int64,
    "operation": np.int32,
    "event_type": np.uint8,
    "status": np.uint8,
    "trace_flags": np.uint8,
    "topic": np.uint8,
    "is_late": np.bool_,
    "is_recalled": np.bool_,
    "kafka_us": np.int64,
    "cut": np.int32,
    "buffer": np.int32,
    "start": np.int64,
    "size": np.int32,
}
"""Of an event; `key` is its folded identity, which is a span's own id."""
SLOT_COLUMNS: Final[dict[str, Any]] = {
    "hi": np.uint64,
    "lo": np.uint64,
    "is_live": np.bool_,
    "first_us": np.int64,
    "last_us": np.int64,
    "entry_flow": np.int32,
    "entry_us": np.int64,
    "entry_id": np.uint64,
    "rows": np.int32,
    "bytes": np.int32,
    "evicted": np.int32,
    "head": np.int32,
    "revision": np.int32,
    "cut_ms": np.int64,
    "recall": np.uint8,
    "due_us": np.int64,
    "born_cut": np.int32,
    "meta_cut": np.int32,
}
SLOT_FILL: Final[dict[str, Any]] = {"entry_flow": -1, "head": -1, "due_us": -NEVER}
OWN_COLUMNS: Final = frozenset(
    {"slot", "key", "is_late", "is_recalled", "cut", "buffer", "start", "size"}
)
"""Columns of a row that are not those of its event, or not under the same name."""
