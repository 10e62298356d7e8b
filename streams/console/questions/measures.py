"""Metrics of all modules behind one question, by their one naming convention (row S2-71)."""

import re
from collections.abc import Sequence
from typing import Any, Final

from streams.console.personal import Kept, as_asked
from streams.console.questions.queries import Queries, Scope, Where, both, values_of, with_dimension
from streams.errors import ConfigError
from streams.units import SECOND_US

POINTS: Final = 120
"""Of a series when no step is asked for."""
POINTS_MAX: Final = 10_000
ROWS_MAX: Final = 100_000
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
    span_us = end_us - start_us
    step_us = step_s * SECOND_US if step_s else max(SECOND_US, -(-span_us // POINTS))
    if span_us > step_us * POINTS_MAX:
        raise ConfigError(f"step: more than {POINTS_MAX} points; take a longer one")
    where = [
        Where("event_type = 'METRIC' AND timestamp >= ? AND timestamp < ?", (start_us, end_us)),
        Where("name GLOB ?", (name,)),
        *_with(dimensions, kept),
    ]
    rows = queries.ask(
        "SELECT name, module, component, dimensions, "
        'timestamp - (timestamp - ?) % ? AS "at", min(value_number) AS min, '
        "max(value_number) AS max, avg(value_number) AS mean, "
        "arg_max(value_number, timestamp) AS last, count(DISTINCT event_id) AS count "
        f"FROM events WHERE {both(where)} GROUP BY ALL "
        'ORDER BY name, module, component, dimensions, "at" LIMIT ?',
        (start_us, step_us, *values_of(where), ROWS_MAX + 1),
        {"events": Scope((start_us, end_us))},
    )
    is_cut = len(rows) > ROWS_MAX
    return {
        "step_us": step_us,
        "series": _series(rows[:ROWS_MAX]),
        "is_cut": is_cut,
    }


def _with(dimensions: str, kept: Kept) -> list[Where]:
    return [with_dimension(pair, kept) for pair in dimensions.split(",") if pair]


def _series(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows, sorted by series, as series of points."""
    found: list[dict[str, Any]] = []
    about = ("name", "module", "component", "dimensions")
    for row in rows:
        key = {name: row.pop(name) for name in about}
        if not found or any(found[-1][name] != key[name] for name in about):
            found.append(key | {"points": []})
        found[-1]["points"].append(row)
    return found
