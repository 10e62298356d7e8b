"""Identifiers and units shared by all modules."""

import re
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

LENGTH_FORM: Final = "90s, 15m, 2h, 30d or 4w"
"""What may be written for a length of time, for messages and help."""
_UNIT_US: Final = {
    "s": SECOND_US,
    "m": MINUTE_US,
    "h": HOUR_US,
    "d": 24 * HOUR_US,
    "w": 7 * 24 * HOUR_US,
}
LENGTH_DAYS_MAX: Final = 36_525
"""A century: a longer one is a slip, and a time so far from now could have no date."""


def length_us(text: str) -> int:
    """Return how long `90s`, `15m`, `2h`, `1.5d` or `4w` is, microseconds: at least one.

    Raises:
        ValueError: it is another text, no time at all, or more than `LENGTH_DAYS_MAX`; the message
            is fit to follow the text and what names it.
    """
    found = re.fullmatch(r"([0-9]{1,10}(?:\.[0-9]{1,6})?)([smhdw])", text)
    if found is None:
        raise ValueError(f"write {LENGTH_FORM}")
    long_us = round(float(found[1]) * _UNIT_US[found[2]])
    if not 0 < long_us <= LENGTH_DAYS_MAX * _UNIT_US["d"]:
        raise ValueError(f"write more than 0s and at most {LENGTH_DAYS_MAX}d")
    return long_us


def counted(number: int, one: str, many: str = "") -> str:
    """Write how many there are of something: "1 alert", "2 alerts", "1,907 alert states".

    Args:
        number: how many.
        one: the name of one.
        many: the name of several, where it is not that of one and an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def is_unicode(text: str) -> bool:
    """Say whether a text can be written as UTF-8: JSON can spell half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def trace_id_text(trace_id: bytes) -> str:
    """Write a 16-byte trace id as 32 lower-case hex digits."""
    return trace_id.hex()


def span_id_text(span_id: int) -> str:
    """Write a span id as 16 lower-case hex digits; 0, which stands for none, as ""."""
    return f"{span_id:016x}" if span_id else ""
