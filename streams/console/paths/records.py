"""What happened to a record, and its lineage (rows S2-4, S2-62, S2-63, S2-70)."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from streams.console.asked import Parameter
from streams.console.paths.path import Path
from streams.console.personal import kept_of
from streams.console.questions.history import history, record_lineage
from streams.console.questions.queries import Queries
from streams.core.lineage import Direction


def _record(queries: Queries, asked: dict[str, Any], path: Mapping[str, str]) -> Any:
    return _first(asked, path, lambda record_id: history(queries, record_id))


def _first(
    asked: dict[str, Any], path: Mapping[str, str], tell: Callable[[str], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Return what is told of a record; of one whose id is personal, under the newest key."""
    found = map(tell, kept_of(asked)("record_id", path["record_id"]))
    return next((one for one in found if one is not None), None)


def _lineage(queries: Queries, asked: dict[str, Any], path: Mapping[str, str]) -> Any:
    direction: Direction = asked["direction"] or "forward"
    return _first(asked, path, lambda record_id: record_lineage(queries, record_id, direction))


PATHS: Final = (
    Path(
        "/api/v1/records/{record_id}",
        "What happened to a record, in order, over all its traces.",
        (),
        _record,
        command="record",
    ),
    Path(
        "/api/v1/lineage/{record_id}",
        "Where a record came from, what was done to it, where it went.",
        (
            Parameter(
                "direction",
                "word",
                "From its source on (forward, the default), or from where it went back.",
                ("forward", "backward"),
            ),
        ),
        _lineage,
        command="lineage",
    ),
)
