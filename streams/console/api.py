"""The HTTP interface: how the paths are asked, and how they answer.

Owns the shape of answers. Times are ISO 8601 in UTC. What is wrong with a question is
answered 400 with `error`, naming the parameter; what is not there 404.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import duckdb
import pyarrow as pa
import structlog
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from streams import __version__
from streams.console.asked import described, read
from streams.console.paths.every import PATHS
from streams.console.paths.path import Path
from streams.console.queries import Queries
from streams.console.settings import LOOPBACK
from streams.console.times import with_times
from streams.errors import ConfigError

ERROR_CHARS: Final = 500
BODY_BYTES_MAX: Final = 1 << 20
"""A question is a page of text, and ten thousand ids, at most."""
_TIMES: Final = frozenset(
    {
        "start", "end", "timestamp", "opened_at", "resolved_at", "acknowledged_at", "command_at",
        "firing_since", "last_seen", "window_start", "appended", "at", "begin",
        "ingested_at",
    }
)  # fmt: skip

log = structlog.get_logger()


def openapi(described_paths: Sequence[Path] = PATHS) -> dict[str, Any]:
    """Return the description of the interface, OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for one in described_paths:
        names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
        inside = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
        answers = {"200": "The answer.", "400": "The question is wrong: `error` says how."}
        if names:
            answers["404"] = "There is none of that id."
        about: dict[str, Any] = {
            "summary": one.summary,
            "parameters": inside + [described(p) for p in one.parameters],
            "responses": {
                code: {"description": words, "content": {"application/json": {}}}
                for code, words in answers.items()
            },
        }
        if one.body is not None:
            schema = one.body.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            content = {"application/json": {"schema": schema}}
            about["requestBody"] = {"required": True, "content": content}
            about["responses"]["413"] = {"description": "The question is too long."}
        paths.setdefault(one.path, {})[one.method.lower()] = about
    info = {"title": "Spanloom console", "version": __version__}
    return {
        "openapi": "3.1.0",
        "info": info,
        "paths": paths,
        "components": {"schemas": schemas},
    }


class _TooLongError(Exception):
    """A request carries more than a question needs."""


async def _body(request: Request, model: type[BaseModel]) -> BaseModel:
    """Return what a request carries.

    Raises:
        ConfigError: it is not as the model says; names the field.
        _TooLongError: there is too much of it.
    """
    text = bytearray()
    async for part in request.stream():
        text += part
        if len(text) > BODY_BYTES_MAX:
            raise _TooLongError
    try:
        return model.model_validate_json(bytes(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:ERROR_CHARS] or "the request"
        raise ConfigError(f"{where}: {first['msg'][:ERROR_CHARS]}") from error


def _route(one: Path, queries: Queries, workers: Executor) -> Route:
    async def answer(request: Request) -> Response:
        try:
            asked = read(one.parameters, dict(request.query_params))
            if one.body is not None:
                asked["body"] = await _body(request, one.body)
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(
                workers, one.ask, queries, asked, request.path_params
            )
        except ConfigError as error:
            return JSONResponse({"error": str(error)}, 400)
        except _TooLongError:
            return JSONResponse({"error": f"at most {BODY_BYTES_MAX} bytes are read"}, 413)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            log.error("question_failed", path=one.path, error=str(error)[:ERROR_CHARS])
            return JSONResponse({"error": "the archive could not answer; see the log"}, 503)
        if found is None:
            return JSONResponse({"error": "there is none of that id"}, 404)
        return JSONResponse(shaped(found))

    return Route(one.path, answer, methods=[one.method])


def shaped(found: Any) -> Any:
    """Return what was found as answers have it: times as text, no number that JSON lacks."""
    return with_times(found, _TIMES)


def application(
    queries: Queries,
    workers: Executor,
    others: Mapping[str, Callable[[], Response]],
    more: Sequence[Path] = (),
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the interface.

    Args:
        queries: the archive.
        workers: threads that questions are asked in.
        others: further pages by path: health, metrics.
        more: paths beside those of every deployment.
        routes: what answers otherwise: the page and its news.
    """
    paths = (*PATHS, *more)

    def page(path: str, give: Callable[[], Response]) -> Route:
        async def answer(_: Request) -> Response:
            return give()

        return Route(path, answer, methods=["GET"])

    document = openapi(paths)
    return Starlette(
        # Else a page of anybody could ask by a name of its own that leads to the loopback.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)],
        routes=[
            *(_route(one, queries, workers) for one in paths),
            page("/api/v1/openapi.json", lambda: JSONResponse(document)),
            *(page(path, give) for path, give in others.items()),
            *routes,
        ],
    )
