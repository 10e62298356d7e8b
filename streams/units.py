"""Identifiers and units shared by all modules."""

from typing import Final

import numpy as np
import numpy.typing as npt

TimesUs = npt.NDArray[np.int64]
"""Unix microseconds, UTC."""
Mask = npt.NDArray[np.bool_]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US


def trace_id_text(trace_id: bytes) -> str:
    """Write a 16-byte trace id as 32 lower-case hex digits."""
    return trace_id.hex()


def span_id_text(span_id: int) -> str:
    """Write a span id as 16 lower-case hex digits; 0, which stands for none, as ""."""
    return f"{span_id:016x}" if span_id else ""
