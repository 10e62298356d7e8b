"""Names of the archive's files, and what follows from them.

A file holds what one partition of a topic had between two offsets, and its name says so. Which
files there are is the archive's position: there is no other book of it that could say something
else after a crash. Each kind has its own. Invariant: a kind's files of a partition do not overlap.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from streams.errors import StateError
from streams.units import SECOND_US

HOUR_US: Final = 3_600 * SECOND_US

_NAME: Final = re.compile(
    r"(?P<kind>[a-z]+)/hour=(?P<hour>\d{4}-\d\d-\d\dT\d\d)/"
    r"(?P<topic>[A-Za-z0-9._-]+)\.(?P<partition>\d+)\.(?P<first>\d{20})-(?P<last>\d{20})\.parquet"
)
_LAST_S: Final = 253_402_300_799
"""9999-12-31T23:59:59Z."""
At = tuple[str, str, int]
"""Kind, topic and partition."""


class Segment(NamedTuple):
    """What a file holds: offsets [first, last] of a partition, appended up to one hour (UTC)."""

    kind: str
    hour: str
    topic: str
    partition: int
    first: int
    last: int

    @property
    def at(self) -> At:
        """What it is a part of."""
        return self.kind, self.topic, self.partition

    @property
    def path(self) -> str:
        """Its path within the archive."""
        offsets = f"{self.first:020d}-{self.last:020d}"
        return f"{self.kind}/hour={self.hour}/{self.topic}.{self.partition}.{offsets}.parquet"


def hour_of(time_us: int) -> str:
    """Return the hour (UTC) of a time in microseconds, such as 2026-11-26T08.

    Of a time that no record has, before 1970 or after 9999, the nearest hour that one could have.
    """
    seconds = min(max(time_us // SECOND_US, 0), _LAST_S)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H")


def hour_end_us(time_us: int) -> float:
    """Return when the hour of `hour_of` ends; never for the last one that there is."""
    hour = max(time_us // HOUR_US, 0)
    return math.inf if hour >= _LAST_S * SECOND_US // HOUR_US else (hour + 1) * HOUR_US


def segment_of(path: str) -> Segment | None:
    """Return what a file within the archive holds; None for a file that is not one of its own."""
    found = _NAME.fullmatch(path)
    if found is None:
        return None
    part = found.groupdict()
    place = part["kind"], part["hour"], part["topic"]
    return Segment(*place, int(part["partition"]), int(part["first"]), int(part["last"]))


def positions(segments: Iterable[Segment]) -> dict[At, int]:
    """Return the offset after the last archived one, by kind and partition.

    Raises:
        StateError: two files overlap.
    """
    found: dict[At, int] = {}
    for one in sorted(segments, key=lambda s: (s.at, s.first)):
        if one.first < found.get(one.at, 0):
            raise StateError(
                f"{one.path} overlaps the file before it. Operator action: two consoles write this "
                "archive, or files were copied into it; stop one, and take the doubled files out."
            )
        found[one.at] = one.last + 1
    return found
