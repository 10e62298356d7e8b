"""Moments and lengths that people write after a flag.

A moment has a time zone, for else nobody knows whose it is.
"""

import re
from datetime import datetime
from typing import Final

from streams.errors import ConfigError
from streams.units import SECOND_US

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def length_us(text: str) -> int | None:
    """Return how long `90s`, `15m`, `2h` or `1.5d` is, microseconds; None for another text."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    return round(float(found[1]) * _UNIT_SECONDS[found[2]] * SECOND_US) if found else None


def moment_us(text: str, flag: str, form: str) -> int:
    """Return Unix microseconds.

    Args:
        text: ISO 8601 with an offset.
        flag: that it was given with.
        form: what may be written there, for the message.

    Raises:
        ConfigError: it is no time, or names no zone.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("it names no time zone (Z for UTC)")
    except ValueError as error:
        raise ConfigError(f"{flag} {text}: {error}; write {form}") from error
    return round(at.timestamp() * SECOND_US)
