"""Which files become summaries, and which summaries become coarser or go. Rules only.

The name of a summary covers the offsets of the files that it is made of: what it covers counts in
it and nowhere else, so that the set of names says what was summed up, whatever ended the console.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from streams.console.archive.files import HOUR_US, Segment, hour_of
from streams.console.archive.retention import DAY_US, Hold
from streams.console.archive.summaries import STEPS_US, SUMMARIES, SUMMED_FROM, name_of

TIERS: Final = tuple(STEPS_US)
_DAY_CHARS: Final = len("2026-11-26")
_ORDER: Final = {
    name: (kind, rank)
    for kind in SUMMARIES
    for rank, name in enumerate((kind, *(name_of(kind, tier) for tier in TIERS)))
}


class Keep(NamedTuple):
    """How long each tier is kept, in days of age, by kind; a kind that is not named for ever."""

    raw_days: Mapping[str, float]
    minute_days: Mapping[str, float]
    hour_days: Mapping[str, float]


def summed_up(files: Iterable[Segment]) -> list[Segment]:
    """Return the files that a summary covers: the console ended before they were removed."""
    found = []
    by_place: dict[tuple[str, str, int], list[Segment]] = {}
    for one in files:
        if one.kind in _ORDER:
            by_place.setdefault((_ORDER[one.kind][0], one.topic, one.partition), []).append(one)
    for some in by_place.values():
        reach: dict[int, int] = {}  # by rank, how far the summaries of it reach
        for one in sorted(some, key=lambda s: (s.first, -_ORDER[s.kind][1])):
            rank = _ORDER[one.kind][1]
            if any(r > rank and end >= one.last for r, end in reach.items()):
                found.append(one)
            elif rank:
                reach[rank] = max(one.last, reach.get(rank, -1))
    return found


def runs(files: Iterable[Segment], old: Collection[Segment]) -> list[tuple[Segment, ...]]:
    """Return old files that follow one another in one hour of a partition, the oldest first."""
    if not old:
        return []
    found: list[list[Segment]] = []
    before: Segment | None = None
    for one in sorted(files, key=lambda s: (s.at, s.first)):
        if one in old:
            if found and found[-1][-1] == before and _alike(before, one):
                found[-1].append(one)
            else:
                found.append([one])
        before = one
    return sorted((tuple(run) for run in found), key=lambda run: (run[0].hour, run[0].at))


def _alike(before: Segment | None, one: Segment) -> bool:
    return before is not None and (before.at, before.hour) == (one.at, one.hour)


def coarser(
    files: Iterable[Segment], minute_days: Mapping[str, float], holds: Sequence[Hold], now_us: int
) -> list[tuple[Segment, ...]]:
    """Return the summaries by minute, of a partition and a whole day each, that become hours.

    Args:
        files: all there are.
        minute_days: by kind, how long they stay minutes.
        holds: what stays; a day that holds some of it stays whole.
        now_us: the time of day.
    """
    minutes = {name_of(kind, "minute"): kind for kind in SUMMARIES}
    some = sorted((f for f in files if f.kind in minutes), key=lambda s: (s.at, s.first))
    found: list[list[Segment]] = []
    for one in some:
        if found and found[-1][0].at == one.at and _day(found[-1][0]) == _day(one):
            found[-1].append(one)
        else:
            found.append([one])
    return [
        tuple(run)
        for run in found
        if _is_old(run[0], minutes[run[0].kind], minute_days, now_us)
        and not any(is_held(one, hold) for one in run for hold in holds)
    ]


def outlived(
    files: Iterable[Segment], hour_days: Mapping[str, float], holds: Sequence[Hold], now_us: int
) -> list[Segment]:
    """Return the summaries by hour that may go; arguments as `coarser`."""
    hours = {name_of(kind, "hour"): kind for kind in SUMMARIES}
    return [
        one
        for one in files
        if one.kind in hours
        and _is_old(one, hours[one.kind], hour_days, now_us)
        and not any(is_held(one, hold) for hold in holds)
    ]


def summary_of(files: Sequence[Segment], kind: str, tier: str) -> Segment:
    """Return the name of the summary of files that follow one another."""
    return files[0]._replace(kind=name_of(kind, tier), last=files[-1].last)


def _day(one: Segment) -> str:
    return one.hour[:_DAY_CHARS]


def _is_old(one: Segment, kind: str, days: Mapping[str, float], now_us: int) -> bool:
    if kind not in days:
        return False
    return _day(one) < hour_of(now_us - int(days[kind] * DAY_US) - HOUR_US)[:_DAY_CHARS]


def is_held(one: Segment, hold: Hold) -> bool:
    """Whether a hold keeps something of a file; a summary by hour is of its whole day."""
    kind, step_us = SUMMED_FROM.get(one.kind, (one.kind, 0))
    if step_us == STEPS_US[TIERS[-1]]:
        return kind in hold.kinds and hold.first[:_DAY_CHARS] <= _day(one) <= hold.last
    return kind in hold.kinds and hold.first <= one.hour <= hold.last
