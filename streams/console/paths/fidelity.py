"""Fidelity: series of windows."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.archive.kinds import SCOPE
from streams.console.asked import END, START, Parameter
from streams.console.paths.path import Path, equal, range_of
from streams.console.questions.queries import Queries

WINDOWS_MAX: Final = 100_000


def _fidelity(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    start_us, end_us = range_of(asked)
    where = equal(asked, *SCOPE)
    series: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in queries.fidelity(start_us, end_us, where, WINDOWS_MAX):
        points = {name: value for name, value in row.items() if name not in SCOPE}
        series.setdefault(tuple(row[name] for name in SCOPE), []).append(points)
    return {
        "series": [dict(zip(SCOPE, key, strict=True)) | {"windows": s} for key, s in series.items()]
    }


PATHS: Final = (
    Path(
        "/api/v1/fidelity",
        "Windows of each edge, module and total within a range.",
        (
            START,
            END,
            *(Parameter(name, "text", "Only of this one.") for name in SCOPE),
        ),
        _fidelity,
        table="series",
        command="fidelity",
    ),
)
