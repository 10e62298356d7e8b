"""Answers over long ranges: rows where there are some, summaries where retention left these.

Owns how both are joined. No record is in both (`archive.rollup`), so that what they say of a step
adds up; a summary counts in the step in which its minute or hour begins.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from streams.console.archive.summaries import STEPS_US, name_of
from streams.console.questions.queries import Scope

TIERS: Final = ("raw", *STEPS_US)
"""The finest first; the index is the rank of a tier."""


def scopes(kind: str, start_us: int, end_us: int) -> dict[str, Scope]:
    """Return what is read of a kind and of its summaries."""
    tiers = (kind, *(name_of(kind, tier) for tier in STEPS_US))
    return dict.fromkeys(tiers, Scope((start_us, end_us)))


def summaries(kind: str) -> str:
    """Return a statement for the rows of all summaries of a kind, with their `tier`."""
    return " UNION ALL ".join(
        f"SELECT *, {rank} AS tier FROM {name_of(kind, tier)}"
        for rank, tier in enumerate(STEPS_US, start=1)
    )


def told(tiers: Iterable[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Return which tier answered of what time.

    Args:
        tiers: the rank of the tier, and the begin and the length of a step that it answered of, us.
    """
    spans: dict[int, tuple[int, int]] = {}
    for rank, at, step_us in tiers:
        begin, end = spans.get(rank, (at, at))
        spans[rank] = min(begin, at), max(end, at + step_us)
    return [
        {"tier": TIERS[rank], "start": begin, "end": end}
        for rank, (begin, end) in sorted(spans.items())
    ]


def series(rows: Sequence[dict[str, Any]], about: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows, sorted by what they are about, as series of points."""
    found: list[dict[str, Any]] = []
    for row in rows:
        key = {name: row[name] for name in about}
        if not found or any(found[-1][name] != key[name] for name in about):
            found.append(key | {"points": []})
        found[-1]["points"].append({n: value for n, value in row.items() if n not in about})
    return found
