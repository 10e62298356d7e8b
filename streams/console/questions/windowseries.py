"""Series of fidelity: windows, and where retention removed them, their sums by minute or hour."""

from collections.abc import Sequence
from typing import Any, Final

from streams.console.archive.kinds import SCOPE, UNSAMPLED
from streams.console.archive.summaries import STEPS_US
from streams.console.questions.queries import Queries, Where, both, last_of, values_of
from streams.console.questions.tiers import scopes, summaries, told

_SCOPE: Final = ", ".join(SCOPE)
_UNSAMPLED: Final = ", ".join(UNSAMPLED)
_SUMS: Final = ", ".join(f"sum({name})::BIGINT" for name in UNSAMPLED)
_STEPS: Final = tuple(STEPS_US.values())


def fidelity(
    queries: Queries, start_us: int, end_us: int, conditions: Sequence[Where], limit: int
) -> dict[str, Any]:
    """Return the windows that begin within [start, end), by what they are of, in order.

    A sum of windows is told as a window that is as long as its step, of revision 0 and without burn
    rates, which cannot be added up. `UNSAMPLED` are null where only older files have a window.
    """
    keys = f"window_start, {_SCOPE}"
    where = [Where("window_start >= ? AND window_start < ?", (start_us, end_us)), *conditions]
    within, values = both(where), values_of(where)
    steps = " ".join(f"WHEN {rank} THEN {us}" for rank, us in enumerate(_STEPS, start=1))
    rows = queries.ask(
        f"SELECT {keys}, window_us, revision, expected, observed, ratio, slo_ratio, "
        f"burn_rate_short, burn_rate_long, {_UNSAMPLED}, 0 AS tier "
        f"FROM ({last_of('fidelity', 'revision', keys)}) WHERE {within} "
        f"UNION ALL SELECT {keys}, CASE tier {steps} END, 0, sum(expected)::BIGINT, "
        "sum(observed)::BIGINT, CASE WHEN sum(expected) > 0 THEN sum(observed) / sum(expected) "
        f"ELSE 'nan'::DOUBLE END, max(slo_ratio), NULL, NULL, {_SUMS}, tier "
        f'FROM (SELECT *, "at" AS window_start FROM ({summaries("fidelity")})) WHERE {within} '
        f"GROUP BY {keys}, tier ORDER BY {_SCOPE}, window_start, tier LIMIT ?",
        (*values, *values, limit),
        scopes("fidelity", start_us, end_us),
    )
    tiers = [(row.pop("tier"), row["window_start"], row["window_us"]) for row in rows]
    series: list[dict[str, Any]] = []
    for row in rows:
        of = {name: row.pop(name) for name in SCOPE}
        if not series or any(series[-1][name] != of[name] for name in SCOPE):
            series.append(of | {"windows": []})
        series[-1]["windows"].append(row)
    return {"series": series, "tiers": told(tiers)}
