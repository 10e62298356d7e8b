"""Metrics of all modules behind one question, by their one naming convention (row S2-71)."""

import re
from typing import Any, Final

from streams.console.archive.summaries import SORTED
from streams.console.personal import Kept, as_asked
from streams.console.questions.queries import Queries, Where, both, values_of, with_dimension
from streams.console.questions.tiers import scopes, series, summaries, told
from streams.errors import ConfigError
from streams.units import SECOND_US

POINTS: Final = 120
"""Of a series when no step is asked for."""
POINTS_MAX: Final = 10_000
ROWS_MAX: Final = 100_000
_SERIES: Final = ("name", "module", "component", "dimensions")
_ABOUT: Final = ", ".join(_SERIES)
_PLAIN: Final = ", ".join(_SERIES[:-1])
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.*?:/-]+")


def metrics(
    queries: Queries,
    start_us: int,
    end_us: int,
    name: str,
    dimensions: str,
    step_s: int | None,
    kept: Kept = as_asked,
) -> dict[str, Any]:
    """Return the series of the metrics whose name fits a pattern, within [start, end).

    Args:
        queries: the archive.
        start_us: the begin of the range, in us.
        end_us: its end.
        name: of the metric; * stands for any characters, ? for one.
        dimensions: `name=value` pairs that a series must have, separated by commas.
        step_s: length of a step; None for as many as give `POINTS`.
        kept: what the archive has in place of a personal value.

    Raises:
        ConfigError: the pattern, a dimension or the step is wrong; names it and the fix.
    """
    if not _PATTERN.fullmatch(name):
        raise ConfigError("name: letters, digits, and any of _ . : / - * ?")
    step_us = step_of(start_us, end_us, step_s)
    where = [Where("name GLOB ?", (name,)), *_with(dimensions, kept)]
    within = both([Where('"{time}" >= ? AND "{time}" < ?'), *where])
    values = (start_us, step_us, start_us, end_us, *values_of(where))
    rows = queries.ask(
        f'SELECT {_ABOUT}, "at", min(min) AS min, max(max) AS max, '
        "sum(mean * count) / sum(count) AS mean, arg_max(last, last_at) AS last, "
        "sum(count)::BIGINT AS count, max(tier) AS tier FROM ("
        f"SELECT {_PLAIN}, {SORTED}, {begin_of('timestamp')}, min(value_number) AS min, "
        "max(value_number) AS max, avg(value_number) AS mean, "
        "arg_max(value_number, timestamp) AS last, max(timestamp) AS last_at, "
        "count(DISTINCT event_id) AS count, 0 AS tier "
        f"FROM events WHERE event_type = 'METRIC' AND {within.format(time='timestamp')} "
        "GROUP BY ALL "
        f"UNION ALL SELECT {_ABOUT}, {begin_of('at')}, min, max, sum / count, last, last_at, "
        f"count, tier FROM ({summaries('events')}) "
        f"WHERE what = 'metric' AND {within.format(time='at')}"
        f') GROUP BY {_ABOUT}, "at" ORDER BY {_ABOUT}, "at" LIMIT ?',
        (*values, *values, ROWS_MAX + 1),
        scopes("events", start_us, end_us),
    )
    is_cut = len(rows) > ROWS_MAX
    tiers = [(row.pop("tier"), row["at"], step_us) for row in rows[:ROWS_MAX]]
    return {
        "step_us": step_us,
        "series": series(rows[:ROWS_MAX], _SERIES),
        "tiers": told(tiers),
        "is_cut": is_cut,
    }


def begin_of(time: str) -> str:
    """Return the begin of a row's step, as `at`; its parameters are the first one's and a step."""
    return f'"{time}" - ("{time}" - ?) % ? AS "at"'


def step_of(start_us: int, end_us: int, step_s: int | None) -> int:
    """Return the length of a step, in us.

    Raises:
        ConfigError: there would be too many.
    """
    span_us = end_us - start_us
    step_us = step_s * SECOND_US if step_s else max(SECOND_US, -(-span_us // POINTS))
    if span_us > step_us * POINTS_MAX:
        raise ConfigError(f"step: more than {POINTS_MAX} points; take a longer one")
    return step_us


def _with(dimensions: str, kept: Kept) -> list[Where]:
    return [with_dimension(pair, kept) for pair in dimensions.split(",") if pair]
