"""Times as recordings write them: a clock text, with or without a zone, or a number since 1970."""

import math
import re
from datetime import datetime, timedelta
from typing import Final

from streams.units import SECOND_US

_TEXT: Final = re.compile(
    r"^\s*(?P<date>\d{4}-\d\d-\d\d)[ T](?P<clock>\d\d:\d\d(?::\d\d)?)(?:[.,]\d+)?"
    r"\s*(?:(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)|Z|UTC|\b|$)"
)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a zone is taken off before the difference
_UNITS_US: Final = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (0.0, 1e6))
"""From which number on a time since 1970 has which unit, in microseconds: from 1973 to 5138."""


def second_us(text: str) -> int:
    """Return a time as Unix microseconds, whole seconds; without a zone it is UTC.

    Raises:
        ValueError: It is neither a clock text nor a number.
    """
    match = _TEXT.match(text)
    if match is None:
        return number_us(float(text)) // SECOND_US * SECOND_US
    clock = match["clock"] if match["clock"].count(":") == 2 else f"{match['clock']}:00"
    moment = datetime.strptime(f"{match['date']} {clock}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
    if match["sign"]:
        away = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
        moment += away if match["sign"] == "-" else -away
    return (moment - _EPOCH) // timedelta(seconds=1) * SECOND_US


def number_us(value: float) -> int:
    """Return a time since 1970 in seconds, or in thousandths of them and so on, as microseconds.

    Raises:
        ValueError: It is no time.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{value} is no time since 1970")
    return round(value * next(unit for least, unit in _UNITS_US if value >= least))
