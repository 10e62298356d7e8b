"""Series of fidelity: windows, and where retention removed them, their sums by minute or hour."""

from collections.abc import Sequence
from typing import Any, Final

from streams.console.archive.kinds import SCOPE, UNSAMPLED
from streams.console.archive.summaries import STEPS_US
from streams.console.questions.measures import begin_of
from streams.console.questions.queries import Queries, Scope, Where, both, last_of, values_of
from streams.console.questions.tiers import scopes, summaries, told
from streams.console.questions.widths import KEYS, MARGIN_US, once

_SCOPE: Final = ", ".join(SCOPE)
_UNSAMPLED: Final = ", ".join(UNSAMPLED)
_COLUMNS: Final = f"window_start, {_SCOPE}, window_us"
_SUMS: Final = ", ".join(f"sum({name})::BIGINT" for name in UNSAMPLED)
_RATIO: Final = (
    "CASE WHEN sum(expected) > 0 THEN sum(observed) / sum(expected) ELSE 'nan'::DOUBLE END"
)
_STEPS: Final = tuple(STEPS_US.values())


def fidelity(
    queries: Queries,
    start_us: int,
    end_us: int,
    conditions: Sequence[Where],
    limit: int,
    step_us: int | None = None,
) -> dict[str, Any]:
    """Return the windows that begin within [start, end), by what they are of, in order.

    Each record counts once: of a window and the rollup that it is part of, the window is told. A
    sum of windows is told as a window that is as long as its step, of revision 0. Of steps that are
    asked for, burn rates are the highest of their windows; summaries have none, for these cannot be
    added up. `UNSAMPLED` are null where only older files have a window. `is_cut` says that there
    are more than `limit` windows.
    """
    are = both(conditions)
    near = (start_us - MARGIN_US, end_us + MARGIN_US)
    steps = " ".join(f"WHEN {rank} THEN {us}" for rank, us in enumerate(_STEPS, start=1))
    rows = (
        f"SELECT {_COLUMNS}, revision, expected, observed, ratio, slo_ratio, burn_rate_short, "
        f"burn_rate_long, {_UNSAMPLED}, 0 AS tier "
        f"FROM ({last_of('fidelity', 'revision', ', '.join(KEYS))}) "
        f"WHERE window_start >= ? AND window_start < ? AND {are} "
        f"UNION ALL SELECT {_COLUMNS}, 0, sum(expected)::BIGINT, sum(observed)::BIGINT, "
        f"{_RATIO}, max(slo_ratio), NULL, NULL, {_SUMS}, tier "
        f'FROM (SELECT *, "at" AS window_start FROM ({summaries("fidelity")})) WHERE {are} '
        f"GROUP BY {_COLUMNS}, tier"
    )
    values = values_of(conditions)
    once_each = (
        f"SELECT * REPLACE (CASE tier WHEN 0 THEN window_us {steps} END AS window_us) "
        f"FROM ({once(rows)}) WHERE window_start >= ? AND window_start < ?"
    )
    asked = (*near, *values, *values, start_us, end_us)
    if step_us is not None:
        once_each, asked = _stepped(once_each), (step_us, start_us, step_us, *asked)
    found = queries.ask(
        f"SELECT * FROM ({once_each}) ORDER BY {_SCOPE}, window_start, tier LIMIT ?",
        (*asked, limit + 1),
        scopes("fidelity", start_us - _STEPS[-1], end_us + _STEPS[-1]) | {"fidelity": Scope(near)},
    )
    is_cut = len(found) > limit
    del found[limit:]
    tiers = [(row.pop("tier"), row["window_start"], row["window_us"]) for row in found]
    return {"series": _series(found), "tiers": told(tiers), "is_cut": is_cut}


def _stepped(rows: str) -> str:
    """Return a statement for windows added up in steps.

    Its parameters are the length of a step, below which no sum is told to be, and those of
    `begin_of`.
    """
    highest = ", ".join(
        f"max({name}) FILTER (NOT isnan({name})) AS {name}"
        for name in ("slo_ratio", "burn_rate_short", "burn_rate_long")
    )
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in UNSAMPLED)
    return (
        f'SELECT "at" AS window_start, {_SCOPE}, greatest(max(window_us), ?) AS window_us, '
        "0 AS revision, sum(expected)::BIGINT AS expected, sum(observed)::BIGINT AS observed, "
        f"{_RATIO} AS ratio, {highest}, {sums}, max(tier) AS tier "
        f"FROM (SELECT *, {begin_of('window_start')} FROM ({rows})) "
        f'GROUP BY {_SCOPE}, "at"'
    )


def _series(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return windows, sorted by what they are of, as a series of each."""
    series: list[dict[str, Any]] = []
    for row in rows:
        of = {name: row.pop(name) for name in SCOPE}
        if not series or any(series[-1][name] != of[name] for name in SCOPE):
            series.append(of | {"windows": []})
        series[-1]["windows"].append(row)
    return series
