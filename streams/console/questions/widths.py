"""Which windows of fidelity count where there are several of one time.

Owns the rule. Workers publish each window, and besides it the rollup of the minute that it lies in;
retention sums up either. Of one scope a window counts where no narrower one tells its time.
"""

from typing import Final

from streams.console.archive.kinds import SCOPE
from streams.console.archive.summaries import STEPS_US
from streams.units import MINUTE_US

MARGIN_US: Final = 2 * MINUTE_US
"""No rollup is longer (`runtime.global_stage`): what replaces one begins within it."""
KEYS: Final = ("window_start", "window_us", *SCOPE)
"""Of which window a row is a revision."""
_SCOPE: Final = ", ".join(SCOPE)
_STEPS: Final = tuple(STEPS_US.values())


def once(rows: str) -> str:
    """Return a statement for those of some rows that count, each time once for each scope.

    Args:
        rows: a statement for windows, each at its last revision, and summaries of such: with the
            columns of a scope, `window_start`, `window_us` and `tier`, 0 for windows. It must give
            what begins up to `MARGIN_US` after the times of interest too: of a minute at their
            end, a narrower window may lie beyond it.
    """
    # A summary covers its step; where widths do not divide it, its last window reaches beyond it.
    beyond = "CASE tier WHEN 0 THEN window_us " + " ".join(
        f"WHEN {rank} THEN {us} + CASE WHEN {us} % window_us = 0 THEN 0 ELSE window_us END"
        for rank, us in enumerate(_STEPS, start=1)
    )
    within = (
        f"min(window_us) OVER (PARTITION BY {_SCOPE} ORDER BY window_start "
        f"RANGE BETWEEN CURRENT ROW AND {beyond} END - 1 FOLLOWING)"
    )
    # A narrower window that is summed up already has the begin of its step, before the wider one's.
    summed = [
        f"min(window_us) FILTER (tier >= {rank}) OVER (PARTITION BY {_SCOPE}, window_start // {us})"
        for rank, us in enumerate(_STEPS, start=1)
    ]
    return f"SELECT * FROM ({rows}) QUALIFY window_us <= least({within}, {', '.join(summed)})"
