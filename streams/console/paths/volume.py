"""How much there was: traces, spans that never came, events."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import END, START, Parameter
from streams.console.paths.path import STATUSES, Path, range_of
from streams.console.questions.queries import Queries
from streams.console.questions.volume import BYS, volume

_EQUAL: Final = ("flow", "module", "status", "to_stage", "event_type")


def _volume(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    start_us, end_us = range_of(asked)
    equal = {name: asked[name] for name in _EQUAL if asked[name] is not None}
    return volume(queries, start_us, end_us, asked["by"], equal, asked["step"])


PATHS: Final = (
    Path(
        "/api/v1/volume",
        "Counts of traces, missing spans or events, a point a step; old ones by minute or hour.",
        (
            START,
            END,
            Parameter(
                "by",
                "word",
                "Traces by flow or module, missing spans by edge, spans by component, events.",
                BYS,
                True,
            ),
            Parameter("flow", "text", "Of this flow."),
            Parameter("module", "text", "Of this module."),
            Parameter("status", "word", "Of this status.", STATUSES),
            Parameter("to_stage", "text", "That lack this stage."),
            Parameter("event_type", "text", "Of this type."),
            Parameter("step", "number", "Seconds of a step; without, or with 0, 120 points."),
        ),
        _volume,
        table="series",
        command="volume",
    ),
)
