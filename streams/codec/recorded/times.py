"""Times as tables write them become Unix microseconds; a time in another unit is known by its year.

Owns the reading of a cell. Invariant: a time is exact or refused: one without an offset is read in
the zone that the mapping names, and an hour that a clock skips or shows twice is never guessed.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from streams.codec.checks import TIMESTAMP_MAX_US
from streams.codec.recorded.account import RowError
from streams.codec.recorded.mapping import Time
from streams.units import HOUR_US, MINUTE_US

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_UNIT: Final = {"epoch_s": Decimal(1_000_000), "epoch_ms": Decimal(1_000)}
_PER_UNIT_SMALL: Final = {"epoch_us": Decimal(1), "epoch_ns": Decimal("0.001")}
_UNITS: Final = {
    "epoch_s": "seconds",
    "epoch_ms": "milliseconds",
    "epoch_us": "microseconds",
    "epoch_ns": "nanoseconds",
}
_LIKELY_US: Final = range(946_684_800_000_000, 4_102_444_800_000_000)
"""2000 to 2100: when what is recorded today happened."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


def moment_us(text: str, how: Time) -> int:
    """Return the time of a cell, Unix microseconds, rounded down.

    Raises:
        RowError: it is not written as the mapping says, names no moment of its zone or two, or
            lies outside 1970 to 2200.
    """
    at_us = _plain_us(text, how)
    refuse_other_unit(at_us, how.format, text)
    return _within(at_us, text)


def refuse_other_unit(at_us: int, unit: str, given: object) -> None:
    """Refuse a time that lies in this century if its unit is another one, and not as it is.

    The unit is fixed, so that nothing is converted: times from 0 on, as made-up recordings have
    them, are as good as those of today. A factor of a thousand between two units leaves no time
    that fits both.

    Args:
        at_us: the time, read in the unit that it should have, in microseconds.
        unit: this unit: `epoch_us` and so on; others have none.
        given: what the recording says.

    Raises:
        RowError: `time_in_seconds`, `time_in_milliseconds`, `time_in_microseconds` or
            `time_in_nanoseconds`: what it seems to be.
    """
    units = list(_UNITS)
    if unit not in _UNITS or at_us in _LIKELY_US:
        return
    for place, other in enumerate(units):
        steps = units.index(unit) - place
        seems_us = at_us * 1_000**steps if steps > 0 else at_us // 1_000**-steps
        if seems_us in _LIKELY_US:
            said = f"{given!r} as {_UNITS[unit]} is no time of today, as {_UNITS[other]} it is"
            raise RowError(f"time_in_{_UNITS[other]}", said)


def period_end_us(start_us: int, period: str, zone: str) -> int:
    """Return when a period ends that begins at a moment; days are calendar days of the zone."""
    count = int(period[:-1])
    if period[-1] == "d":
        local = (_EPOCH + timedelta(microseconds=start_us)).astimezone(_zone(zone))
        # Wall clock and zone apart, so that a day of 23 or 25 hours ends at midnight too.
        wall = local.replace(tzinfo=None) + timedelta(days=count)
        return _since_epoch(wall.replace(tzinfo=_zone(zone)))
    return start_us + count * (HOUR_US if period[-1] == "h" else MINUTE_US)


def _plain_us(text: str, how: Time) -> int:
    per_unit = (_PER_UNIT | _PER_UNIT_SMALL).get(how.format)
    if per_unit is not None:
        if not _NUMBER.fullmatch(text):
            raise RowError("invalid_time", f"{text!r} is no number")
        try:
            return int((Decimal(text) * per_unit).to_integral_value("ROUND_FLOOR"))
        except InvalidOperation as error:
            raise RowError("invalid_time", f"{text!r} is no number") from error
    try:
        found = (
            datetime.fromisoformat(text)
            if how.format == "iso"
            else datetime.strptime(text, how.format)  # noqa: DTZ007  (the zone comes below)
        )
    except ValueError as error:
        raise RowError("invalid_time", f"{text!r} is not {how.format}") from error
    if found.tzinfo is not None:
        return _since_epoch(found)
    if not how.zone:
        raise RowError("invalid_time", f"{text!r} says no zone; give `zone` in the mapping")
    return _local_us(found, how, text)


def _local_us(wall: datetime, how: Time, text: str) -> int:
    """Return the moment at which the zone's clocks show a time."""
    first = _since_epoch(wall.replace(tzinfo=_zone(how.zone)))
    second = _since_epoch(wall.replace(tzinfo=_zone(how.zone), fold=1))
    if first == second:
        return first
    if first > second:  # a gap: each offset gives a moment at which clocks show something else
        raise RowError("invalid_time", f"{text!r} was skipped by the clocks of {how.zone}")
    if how.ambiguous == "refuse":
        raise RowError("ambiguous_time", f"{text!r} was shown twice in {how.zone}")
    return first if how.ambiguous == "earlier" else second


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _since_epoch(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _within(at_us: int, text: str) -> int:
    if not 0 < at_us <= TIMESTAMP_MAX_US:
        raise RowError("invalid_time", f"{text!r} is not within 1970 to 2200")
    return at_us
