"""`Retry-After` of an HTTP answer: its text to microseconds of patience.

Pure, and of the standard library alone. What cannot be read asks for nothing, and is no error.

Source: RFC 9110, 10.2.3 and 5.6.7.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from streams.units import SECOND_US

_DIGITS_MAX: Final = 9
"""Thirty years: whatever is longer says no more."""


def patience_us(header: str | None, date: str | None, now_us: int) -> int | None:
    """Return the patience that an answer asks for, microseconds, >= 0; None for none or nonsense.

    Args:
        header: its `Retry-After`, seconds or a date of HTTP.
        date: its `Date`: against its own clock a date is read, however wrong that clock is.
        now_us: Unix time here, for answers without a date.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return int(text[:_DIGITS_MAX]) * SECOND_US
    until_us, their_us = _date_us(text), _date_us((date or "").strip())
    if until_us is None:
        return None
    return max(0, until_us - (now_us if their_us is None else their_us))


def _date_us(text: str) -> int | None:
    """Return a date of HTTP in Unix microseconds, None for what is none."""
    try:
        found = parsedate_to_datetime(text)
        if found.tzinfo is None:  # the form of asctime, which is of UTC by definition
            found = found.replace(tzinfo=UTC)
        return round(found.timestamp()) * SECOND_US
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
