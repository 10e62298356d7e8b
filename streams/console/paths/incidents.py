"""Incidents: a list, one."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import COUNT, TOKEN, Parameter
from streams.console.paths.path import SEVERITIES, Path, equal
from streams.console.questions.effects import effects
from streams.console.questions.queries import Queries, Where


def _incidents(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    where = equal(asked, "severity", "module", "owner")
    if asked["state"] is not None:
        ended = "event IN ('RESOLVED', 'MERGED')"
        where.append(Where(ended if asked["state"] == "ended" else f"NOT {ended}"))
    page = queries.incidents(where, asked["limit"], asked["continuation_token"] or "")
    return {"incidents": page.rows, "continuation_token": page.continuation_token}


def _incident(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    found = queries.incident(path["incident_id"])
    return None if found is None else found[0] | {"versions": found[1]}


def _effects(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    return effects(queries, path["incident_id"])


PATHS: Final = (
    Path(
        "/api/v1/incidents",
        "Incidents, the newest first.",
        (
            Parameter(
                "state", "word", "Only those that are open, or that have ended.", ("open", "ended")
            ),
            Parameter("severity", "word", "Of this severity.", SEVERITIES),
            Parameter("module", "text", "That began in this module."),
            Parameter("owner", "text", "Of this owner."),
            COUNT,
            TOKEN,
        ),
        _incidents,
        table="incidents",
        command="incidents",
    ),
    Path(
        "/api/v1/incidents/{incident_id}",
        "One incident with its versions.",
        (),
        _incident,
        command="incident",
    ),
    Path(
        "/api/v1/incidents/{incident_id}/effects",
        "What the modules upstream and downstream of an incident did in its time.",
        (),
        _effects,
        command="effects",
    ),
)
