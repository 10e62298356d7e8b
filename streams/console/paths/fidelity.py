"""Fidelity: series of windows."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.archive.kinds import SCOPE
from streams.console.asked import END, START, Parameter
from streams.console.paths.path import Path, equal, range_of
from streams.console.questions.measures import step_of
from streams.console.questions.queries import Queries
from streams.console.questions.windowseries import fidelity

WINDOWS_MAX: Final = 100_000
"""Of an answer: a day of windows of 10 s of a dozen scopes."""


def _fidelity(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    start_us, end_us = range_of(asked)
    where = equal(asked, *SCOPE)
    step_us = None if asked["step"] is None else step_of(start_us, end_us, asked["step"])
    return fidelity(queries, start_us, end_us, where, WINDOWS_MAX, step_us)


PATHS: Final = (
    Path(
        "/api/v1/fidelity",
        "Windows of each edge, module and total within a range, of module and total with what was "
        "not sampled; old ones by minute or hour.",
        (
            START,
            END,
            *(Parameter(name, "text", "Only of this one.") for name in SCOPE),
            Parameter(
                "step",
                "number",
                "Seconds of a step, in which windows are added up, burn rates at their highest; "
                "each window alone if absent.",
            ),
        ),
        _fidelity,
        table="series",
        command="fidelity",
    ),
)
