"""Fidelity of the last minute, by edge, module and in total."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from streams.codec.records import Record
from streams.console.archive.kinds import SCOPE, UNSAMPLED
from streams.console.questions.queries import Queries
from streams.units import SECOND_US

BACK_US: Final = 24 * 3_600 * SECOND_US
"""A pipeline that has said nothing for so long shows nothing."""
SPAN_US: Final = 60 * SECOND_US
"""One window of ten seconds holds too few records of a rare flow to colour an edge by it."""
_SUMS: Final = ("expected", "observed", "late", "duplicate", "sampled_out", "in_flight")
_LAST: Final = ("window_start", "window_us", "slo_ratio", "burn_rate_short", "burn_rate_long")


def recent_fidelity(queries: Queries, now_us: int) -> dict[str, Any]:
    """Return what the newest minute of windows adds up to; see `summed`."""
    return summed(queries.recent_windows(now_us, BACK_US, SPAN_US))


def summed(windows: Iterable[Record]) -> dict[str, Any]:
    """Return what windows add up to, by scope.

    Args:
        windows: each at its last revision.

    Returns:
        `scopes`, each with its names, sums (`missing` by cause), the newest window's times, rates
        and counts (`last`), and `span_us`, the time that the sums cover; `window_start` and
        `window_us` of the newest window of all, 0 when there is none.
    """
    by_scope: dict[tuple[Any, ...], list[Record]] = {}
    for one in sorted(windows, key=lambda w: w["window_start"]):
        by_scope.setdefault(tuple(one[name] for name in SCOPE), []).append(one)
    newest = max((ones[-1] for ones in by_scope.values()), key=_start, default=None)
    oldest = min((_start(ones[0]) for ones in by_scope.values()), default=0)
    whole_us = 0 if newest is None else _start(newest) + newest["window_us"] - oldest
    return {
        "window_start": 0 if newest is None else _start(newest),
        "window_us": 0 if newest is None else newest["window_us"],
        "span_us": whole_us,
        "scopes": [
            dict(zip(SCOPE, key, strict=True)) | _sum(ones) for key, ones in by_scope.items()
        ],
    }


def _start(window: Record) -> int:
    start: int = window["window_start"]
    return start


def _sum(windows: list[Record]) -> dict[str, Any]:
    missing: Counter[str] = Counter()
    for one in windows:
        missing.update(one["missing"])
    last = windows[-1]
    sums: dict[str, Any] = {name: sum(one[name] for one in windows) for name in _SUMS}
    sums |= {name: sum(one["counters"].get(name, 0) for one in windows) for name in UNSAMPLED}
    expected = sums["expected"]
    return {
        **sums,
        "ratio": sums["observed"] / expected if expected else None,
        "missing": dict(missing),
        **{name: last[name] for name in _LAST},
        "last": {"expected": last["expected"], "observed": last["observed"]},
    }
