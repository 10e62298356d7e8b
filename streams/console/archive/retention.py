"""Which files are old enough to go, and how the archive grows. Rules only: nothing is removed here.

A kind is kept for so many days, in whole hours of Kafka's time. A hold, such as a court's, keeps
what lies within it whatever its age. The last file of each partition stays in any case: its name is
the position that reading goes on from.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml

from streams.console.archive.files import HOUR_US, At, Segment, hour_of
from streams.console.archive.kinds import KIND
from streams.console.times import time_us
from streams.errors import ConfigError

DAY_US: Final = 24 * HOUR_US
FULL_RATIO: Final = 0.8
"""A disk that is so full wants somebody to act."""
_KNOWN: Final = frozenset(("start", "end", "kinds", "reason"))


class Hold(NamedTuple):
    """What must be kept: hours [first, last] of some kinds, and why."""

    first: str
    last: str
    kinds: Collection[str]
    reason: str = ""


class Growth(NamedTuple):
    """How the archive grows.

    Attributes:
        size_bytes: of all files.
        bytes_per_day: of the hours of the last day in which anything came.
        days_until_full: until the disk is `FULL_RATIO` full; None without growth or without a disk.
        disk_used_ratio: of the disk, what is in use; None without a disk.
    """

    size_bytes: int
    bytes_per_day: float
    days_until_full: float | None
    disk_used_ratio: float | None


def read_holds(text: str) -> list[Hold]:
    """Return the holds that a YAML list names: `start`, `end` (times), `kinds` (all without it).

    Raises:
        ConfigError: it cannot be read; names the entry.
    """
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the list of holds is no YAML: {error}") from error
    if given is None:
        return []
    if not isinstance(given, list):
        raise ConfigError("the list of holds is no list")
    return [_hold(one, f"hold {n}") for n, one in enumerate(given, start=1)]


def _hold(given: Any, name: str) -> Hold:
    if not isinstance(given, dict) or not {"start", "end"} <= set(given) <= _KNOWN:
        raise ConfigError(f"{name}: `start` and `end` have to be there, `kinds` and `reason` may")
    start, end = (time_us(str(given[key]), f"{name}: {key}") for key in ("start", "end"))
    kinds = given.get("kinds", list(KIND))
    if not isinstance(kinds, list) or not kinds or not set(kinds) <= set(KIND):
        raise ConfigError(f"{name}: kinds: a list of {', '.join(KIND)}")
    if end < start:
        raise ConfigError(f"{name}: end: before start")
    return Hold(hour_of(start), hour_of(end), frozenset(kinds), str(given.get("reason") or ""))


def expired(
    files: Iterable[Segment], keep_days: Mapping[str, float], holds: Sequence[Hold], now_us: int
) -> list[Segment]:
    """Return the files that may go, the oldest first.

    Args:
        files: all there are.
        keep_days: by kind; a kind that is not in it is kept for ever.
        holds: what stays.
        now_us: the time of day.
    """
    ordered = sorted(files, key=lambda one: (one.hour, one.at, one.first))
    last: dict[At, Segment] = {}
    for one in ordered:
        if one.at not in last or one.last > last[one.at].last:
            last[one.at] = one
    begins = {
        kind: hour_of(now_us - int(days * DAY_US) - HOUR_US) for kind, days in keep_days.items()
    }
    return [
        one
        for one in ordered
        if one.kind in begins
        and one.hour < begins[one.kind]
        and last[one.at] != one
        and not any(one.kind in h.kinds and h.first <= one.hour <= h.last for h in holds)
    ]


def growth(sizes: Mapping[Segment, int], disk: tuple[int, int] | None, now_us: int) -> Growth:
    """Return how the archive grows.

    Args:
        sizes: bytes of each file.
        disk: bytes in use and bytes there are; None for a bucket.
        now_us: the time of day.
    """
    # The hour that goes on is left out: it is not whole.
    first, now = hour_of(now_us - DAY_US), hour_of(now_us)
    lately = {one: size for one, size in sizes.items() if first <= one.hour < now}
    hours = len({one.hour for one in lately})
    per_day = sum(lately.values()) / max(1, hours) * 24
    until = None
    if disk is not None and per_day > 0:
        used, total = disk
        until = max(0.0, (FULL_RATIO * total - used) / per_day)
    used_ratio = None if disk is None else disk[0] / max(1, disk[1])
    return Growth(sum(sizes.values()), per_day, until, used_ratio)
