"""Moments and lengths that people write after a flag.

A moment has a time zone, for else nobody knows whose it is.
"""

from datetime import datetime

from streams.errors import ConfigError
from streams.units import SECOND_US, length_us


def flag_length_us(text: str, flag: str) -> int:
    """Return how long the text after a flag is, microseconds; see `units.length_us`.

    Raises:
        ConfigError: it is no length.
    """
    try:
        return length_us(text)
    except ValueError as error:
        raise ConfigError(f"{flag} {text}: {error}") from error


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
