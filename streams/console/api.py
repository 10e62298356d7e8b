"""The HTTP interface: paths, what they ask the archive, and how they answer.

Owns the paths and the shape of answers. Times are ISO 8601 in UTC. What is wrong with a question is
answered 400 with `error`, naming the parameter; what is not there 404.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams import __version__
from streams.console.asked import COUNT, END, START, TOKEN, Parameter, described, read
from streams.console.kinds import SCOPE
from streams.console.queries import Queries, Where
from streams.console.settings import LOOPBACK
from streams.console.times import with_times
from streams.errors import ConfigError

ERROR_CHARS: Final = 500
RECORD_TRACES_MAX: Final = 1_000
WINDOWS_MAX: Final = 100_000
_TIMES: Final = frozenset(
    {
        "start", "end", "timestamp", "opened_at", "resolved_at", "acknowledged_at", "command_at",
        "firing_since", "last_seen", "window_start", "appended", "at", "begin",
    }
)  # fmt: skip
_STATUSES: Final = ("COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED")
_SEVERITIES: Final = ("INFO", "WARN", "ERROR", "CRITICAL")

log = structlog.get_logger()
Ask = Callable[[Queries, dict[str, Any], Mapping[str, str]], Any]


class Path(NamedTuple):
    """One path.

    Attributes:
        path: with {names} in it.
        summary: what it answers.
        parameters: of the query.
        ask: returns the answer, None for what is not there.
    """

    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    ask: Ask


def _traces(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    where = [
        *_equal(asked, "flow", "status"),
        *_among(asked, module="modules", missing_stage="missing_stages"),
    ]
    if asked["min_duration_us"] is not None:
        where.append(Where("duration_us >= ?", (asked["min_duration_us"],)))
    start_us, end_us = _range(asked)
    token = asked["continuation_token"] or ""
    page = queries.traces(start_us, end_us, where, asked["limit"], token)
    return {"traces": page.rows, "continuation_token": page.continuation_token}


def _trace(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    found = queries.trace(path["trace_id"].lower())
    return None if found is None else found[0] | {"revisions": found[1]}


def _record(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    record_id = path["record_id"]
    traces = queries.traces_of_record(record_id, RECORD_TRACES_MAX)
    if not traces:
        return None
    entries = [
        event
        for trace in traces
        for event in trace["spans"]
        if event["record_id"] in ("", record_id)
    ]
    entries.sort(key=lambda e: (e["timestamp"], e["span_id"], e["event_id"]))
    trace_ids = [trace["trace_id"] for trace in traces]
    return {
        "record_id": record_id,
        "traces": [
            {name: t[name] for name in ("trace_id", "revision", "status", "start", "missing")}
            for t in traces
        ],
        "entries": entries,
        "incidents": queries.incidents_of(record_id, trace_ids, RECORD_TRACES_MAX),
    }


def _fidelity(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    start_us, end_us = _range(asked)
    where = _equal(asked, *SCOPE)
    series: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in queries.fidelity(start_us, end_us, where, WINDOWS_MAX):
        points = {name: value for name, value in row.items() if name not in SCOPE}
        series.setdefault(tuple(row[name] for name in SCOPE), []).append(points)
    return {
        "series": [dict(zip(SCOPE, key, strict=True)) | {"windows": s} for key, s in series.items()]
    }


def _incidents(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    where = _equal(asked, "severity", "module", "owner")
    if asked["state"] is not None:
        ended = "event IN ('RESOLVED', 'MERGED')"
        where.append(Where(ended if asked["state"] == "ended" else f"NOT {ended}"))
    page = queries.incidents(where, asked["limit"], asked["continuation_token"] or "")
    return {"incidents": page.rows, "continuation_token": page.continuation_token}


def _incident(queries: Queries, _: dict[str, Any], path: Mapping[str, str]) -> Any:
    found = queries.incident(path["incident_id"])
    return None if found is None else found[0] | {"versions": found[1]}


PATHS: Final = (
    Path(
        "/api/v1/traces",
        "Traces that start within a range, the newest first.",
        (
            START,
            END,
            Parameter("flow", "text", "Of this flow."),
            Parameter("module", "text", "With an event of this module."),
            Parameter("status", "word", "Of this status.", _STATUSES),
            Parameter("missing_stage", "text", "That lack this stage."),
            Parameter("min_duration_us", "number", "That took so long at least."),
            COUNT,
            TOKEN,
        ),
        _traces,
    ),
    Path("/api/v1/traces/{trace_id}", "One trace with its spans and revisions.", (), _trace),
    Path(
        "/api/v1/records/{record_id}",
        "What happened to a record, in order, over all its traces.",
        (),
        _record,
    ),
    Path(
        "/api/v1/fidelity",
        "Windows of each edge, module and total within a range.",
        (
            START,
            END,
            *(Parameter(name, "text", "Only of this one.") for name in SCOPE),
        ),
        _fidelity,
    ),
    Path(
        "/api/v1/incidents",
        "Incidents, the newest first.",
        (
            Parameter(
                "state", "word", "Only those that are open, or that have ended.", ("open", "ended")
            ),
            Parameter("severity", "word", "Of this severity.", _SEVERITIES),
            Parameter("module", "text", "That began in this module."),
            Parameter("owner", "text", "Of this owner."),
            COUNT,
            TOKEN,
        ),
        _incidents,
    ),
    Path("/api/v1/incidents/{incident_id}", "One incident with its versions.", (), _incident),
)


def _range(asked: dict[str, Any]) -> tuple[int, int]:
    if asked["end"] < asked["start"]:
        raise ConfigError("end: before start")
    return asked["start"], asked["end"]


def _equal(asked: dict[str, Any], *names: str) -> list[Where]:
    return [Where(f"{name} = ?", (asked[name],)) for name in names if asked[name] is not None]


def _among(asked: dict[str, Any], **columns: str) -> list[Where]:
    return [
        Where(f"list_contains({column}, ?)", (asked[name],))
        for name, column in columns.items()
        if asked[name] is not None
    ]


def openapi() -> dict[str, Any]:
    """Return the description of the interface, OpenAPI 3.1."""
    paths = {}
    for one in PATHS:
        names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
        inside = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
        answers = {"200": "The answer.", "400": "The question is wrong: `error` says how."}
        if names:
            answers["404"] = "There is none of that id."
        paths[one.path] = {
            "get": {
                "summary": one.summary,
                "parameters": inside + [described(p) for p in one.parameters],
                "responses": {
                    code: {"description": words, "content": {"application/json": {}}}
                    for code, words in answers.items()
                },
            }
        }
    about = {"title": "Spanloom console", "version": __version__}
    return {"openapi": "3.1.0", "info": about, "paths": paths}


def application(
    queries: Queries, workers: Executor, others: Mapping[str, Callable[[], Response]]
) -> Starlette:
    """Return the interface.

    Args:
        queries: the archive.
        workers: threads that questions are asked in.
        others: further pages by path: health, metrics.
    """

    def route(one: Path) -> Route:
        async def answer(request: Request) -> Response:
            try:
                asked = read(one.parameters, dict(request.query_params))
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(
                    workers, one.ask, queries, asked, request.path_params
                )
            except ConfigError as error:
                return JSONResponse({"error": str(error)}, 400)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                log.error("question_failed", path=one.path, error=str(error)[:ERROR_CHARS])
                return JSONResponse({"error": "the archive could not answer; see the log"}, 503)
            if found is None:
                return JSONResponse({"error": "there is none of that id"}, 404)
            return JSONResponse(with_times(found, _TIMES))

        return Route(one.path, answer, methods=["GET"])

    def page(path: str, give: Callable[[], Response]) -> Route:
        async def answer(_: Request) -> Response:
            return give()

        return Route(path, answer, methods=["GET"])

    document = openapi()
    return Starlette(
        # Else a page of anybody could ask by a name of its own that leads to the loopback.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)],
        routes=[
            *map(route, PATHS),
            page("/api/v1/openapi.json", lambda: JSONResponse(document)),
            *(page(path, give) for path, give in others.items()),
        ],
    )
