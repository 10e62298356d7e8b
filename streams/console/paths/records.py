"""What happened to a record, and its lineage (rows S2-4, S2-62, S2-63, S2-70)."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import Parameter
from streams.console.paths.path import Path
from streams.console.questions.history import history, record_lineage
from streams.console.questions.queries import Queries


def _record(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    return history(queries, path["record_id"])


def _lineage(queries: Queries, asked: dict[str, Any], path: Mapping[str, str]) -> Any:
    return record_lineage(queries, path["record_id"], asked["direction"] or "forward")


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
