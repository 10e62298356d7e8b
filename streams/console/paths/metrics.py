"""Metrics of all modules, by name and dimension (row S2-71)."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import END, START, Parameter
from streams.console.paths.path import Path, range_of
from streams.console.personal import kept_of
from streams.console.questions.measures import metrics
from streams.console.questions.queries import Queries


def _metrics(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    start_us, end_us = range_of(asked)
    return metrics(
        queries,
        start_us,
        end_us,
        asked["name"],
        asked["dimension"] or "",
        asked["step"],
        kept_of(asked),
    )


PATHS: Final = (
    Path(
        "/api/v1/metrics",
        "Series of the metrics whose name fits, a point a step; old ones by minute or hour.",
        (
            START,
            END,
            Parameter("name", "text", "Of the metric; * stands for any characters.", required=True),
            Parameter("dimension", "text", "name=value that a series must have; several by comma."),
            Parameter("step", "number", "Seconds of a step; without, or with 0, 120 points."),
        ),
        _metrics,
        table="series",
        command="metrics",
    ),
)
