"""Incidents: a list, one."""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.asked import COUNT, TOKEN, Parameter
from streams.console.paths.path import SEVERITIES, Path, equal, range_of
from streams.console.questions.effects import effects
from streams.console.questions.queries import Queries, Where
from streams.core.health.troubles import as_of_now

_ENDED: Final = "event IN ('RESOLVED', 'MERGED')"


def _within(asked: Mapping[str, Any]) -> list[Where]:
    """Return the conditions that an incident was open at some moment within [start, end).

    Either bound may be missing; the last version of what has ended says when it did.
    """
    start_us, end_us = asked["start"], asked["end"]
    if start_us is not None and end_us is not None:
        range_of(asked)
    where = []
    if start_us is not None:
        where.append(Where(f"(NOT {_ENDED} OR timestamp > ?)", (start_us,)))
    if end_us is not None:
        where.append(Where("opened_at < ?", (end_us,)))
    return where


_NOW: Final = ("fingerprint", "state", "severity", "firing_since", "last_seen")
"""Of the alerts that an event lists, what may be otherwise since."""


def _incidents(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    where = equal(asked, "severity", "module", "owner") + _within(asked)
    if asked["state"] is not None:
        where.append(Where(_ENDED if asked["state"] == "ended" else f"NOT {_ENDED}"))
    page = queries.incidents(where, asked["limit"], asked["continuation_token"] or "")
    return {"incidents": page.rows, "continuation_token": page.continuation_token}


def _incident(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    found = queries.incident(path["incident_id"])
    if found is None:
        return None
    incident, versions = found
    told = incident["alerts"]
    now = as_of_now(told, queries.last_alerts([alert["fingerprint"] for alert in told]))
    ended = sum(_is_firing(alert) for alert in told) - sum(_is_firing(alert) for alert in now)
    return incident | {
        "versions": versions,
        "alerts_now": [{name: alert[name] for name in _NOW} for alert in now],
        "alerts_firing_now": incident["alerts_firing"] - ended,
    }


def _is_firing(alert: Mapping[str, Any]) -> bool:
    return bool(alert["state"] == "FIRING")


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
            Parameter("start", "time", "Open at this time or later."),
            Parameter("end", "time", "Opened before this time."),
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
