"""Times as people write them: ISO 8601 in UTC outside, microseconds within."""

import math
from datetime import UTC, datetime
from typing import Any

from streams.errors import ConfigError


def time_us(text: str, name: str) -> int:
    """Return a time in microseconds; one without an offset is UTC.

    Raises:
        ConfigError: it is no time; names the parameter.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{name}: {text[:40]!r} is no time; write it as 2026-11-26T08:00:00Z"
        ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    delta = found - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def iso(us: int) -> str | None:
    """Return a time as text; None for 0, which stands for never."""
    if not us:
        return None
    seconds, rest = divmod(us, 1_000_000)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # no year that has four digits
    # strftime writes the year 1 as "1"; isoformat has four digits of each.
    return f"{whole.replace(tzinfo=None).isoformat()}.{rest:06d}Z"


def with_times(record: Any, names: frozenset[str]) -> Any:
    """Return a record with the times of some names as text, however deep they lie.

    JSON has no NaN and no infinity: they become None.
    """
    if isinstance(record, float):
        return record if math.isfinite(record) else None
    if isinstance(record, dict):
        return {
            key: iso(value) if key in names and isinstance(value, int) else with_times(value, names)
            for key, value in record.items()
        }
    if isinstance(record, list):
        return [with_times(one, names) for one in record]
    return record
