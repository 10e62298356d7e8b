"""The HTTP interface: how the paths are asked, and how they answer.

Owns the shape of answers. Times are ISO 8601 in UTC. What is wrong with a question is
answered 400 with `error`, naming the parameter; what is not there 404; what takes too long, or
comes while too much waits, 503. An answer is made in the thread that asked, and is sent in parts as
its client takes them.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import duckdb
import pyarrow as pa
import structlog
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from streams.codec.panics import Panic
from streams.console import arrow, site
from streams.console.access.gate import (
    RECORD,
    Access,
    Guard,
    actor_of,
    asker,
    client_of,
    lacks,
    refused,
)
from streams.console.asked import read
from streams.console.limits import Question, TimeLimitError, TooMuchError
from streams.console.metrics import Rows
from streams.console.openapi import openapi
from streams.console.ordering import check_open, given
from streams.console.paths.every import PATHS
from streams.console.paths.path import ConflictError, Path
from streams.console.personal import ASKING, Asking, PersonalError
from streams.console.questions.queries import Queries
from streams.console.times import with_times
from streams.console.tokens import NAME, bound, digest_of, unbound
from streams.core.privacy.records import Privacy
from streams.errors import BrokerError, ConfigError, StateError, said_of
from streams.serving.bounds import BusyError, Room
from streams.serving.meters import RequestMeters
from streams.serving.roles import Actor

ERROR_CHARS: Final = 500
BODY_BYTES_MAX: Final = 1 << 20
"""A question is a page of text, and ten thousand ids, at most."""
BODY_SECONDS: Final = 10.0
PART_BYTES: Final = 64 << 10
ORDERS_WAITING_MAX: Final = 16
"""Each may wait for a broker that is away; more than a few people give no orders at once."""
WAITING_OF_ONE_MAX: Final = 16
"""Questions and orders of one client: it fills the queue of others no further. A page asks six."""
AGAIN_SECONDS: Final = "1"
_TIMES: Final = frozenset(
    {
        "start", "end", "timestamp", "opened_at", "resolved_at", "acknowledged_at", "command_at",
        "firing_since", "last_seen", "window_start", "appended", "at", "begin", "expires",
        "ingested_at",
    }
)  # fmt: skip

_WHOLE: Final = "whole"

log = structlog.get_logger()


class _Whole(Convertor[str]):
    """All that is left of a path, which the server has decoded already."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        """Return it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return it as it is."""
        return value


register_url_convertor(_WHOLE, _Whole())


class _TooLongError(Exception):
    """A request carries more than a question needs."""


async def _body(request: Request, model: type[BaseModel]) -> BaseModel:
    """Return what a request carries.

    Raises:
        ConfigError: it is not as the model says; names the field.
        _TooLongError: there is too much of it.
        TimeoutError: it does not come to its end.
    """
    text = bytearray()
    async with asyncio.timeout(BODY_SECONDS):
        async for part in request.stream():
            text += part
            if len(text) > BODY_BYTES_MAX:
                raise _TooLongError
    _each_once(bytes(text))
    try:
        return model.model_validate_json(bytes(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:ERROR_CHARS] or "the request"
        raise ConfigError(f"{where}: {first['msg'][:ERROR_CHARS]}") from error


def _each_once(text: bytes) -> None:
    """Refuse a field that is said twice: of two filters one would be dropped without a word.

    Raises:
        ConfigError: there is one; names it. What is no JSON is left to whoever reads it.
    """

    def once(pairs: list[tuple[str, Any]]) -> None:
        for name, times in Counter(name for name, _ in pairs).items():
            if times > 1:
                raise ConfigError(f"{name[:60]}: given {times} times; give it once")

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=once)


def _without_digest(asked: dict[str, Any], request: Request) -> str:
    """Return the digest of a question, whose token, where it has one, loses it.

    Raises:
        ConfigError: the token is one of another question.
    """
    body = asked.get("body")
    given = asked if body is None else body.model_dump(mode="json")
    digest = digest_of(request.scope["path"], given)
    if given.get(NAME):
        token = unbound(given[NAME], digest)
        if body is None:
            asked[NAME] = token
        else:
            asked["body"] = body.model_copy(update={NAME: token})
    return digest


class _Held(Response):
    """An answer that is sent in parts, and counts as held until it is gone."""

    def __init__(self, body: bytes, status: int, room: Room, media: str) -> None:
        super().__init__(b"", status, media_type=media)
        self._bytes, self._room = body, room
        self.headers["Content-Length"] = str(len(body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            view = memoryview(self._bytes)
            for at in range(0, max(1, len(view)), PART_BYTES):
                part = {"body": bytes(view[at : at + PART_BYTES])}
                is_more = at + PART_BYTES < len(view)
                await send({"type": "http.response.body", **part, "more_body": is_more})
        finally:
            self._room.leave(len(self._bytes))


@dataclass
class Interface:
    """What the paths of one console share.

    Attributes:
        queries: the archive.
        workers: threads that questions are asked in.
        orders: threads that orders are given in; a broker that is away holds no question up.
        access: who may ask.
        meters: where it is counted.
        privacy: what the archive has in place of what is personal; None for nothing of that.
    """

    queries: Queries
    workers: Executor
    orders: Executor
    access: Access
    meters: RequestMeters
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        settings = self.access.settings
        self.questions_waiting = Room(
            settings.questions_waiting_max + settings.query_threads,
            "questions_waiting",
            "too many questions wait; ask again in a moment",
        )
        self.orders_waiting = Room(
            ORDERS_WAITING_MAX, "orders_waiting", "too many orders wait for the broker; ask again"
        )
        self.held = Room(
            settings.answers_bytes_max,
            "held_answers",
            "too many answers wait to be taken; ask again in a moment",
        )

        self._of_one: Counter[str] = Counter()
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._threads_of_one = max(1, settings.query_threads // 2)

    @asynccontextmanager
    async def _waits(self, who: str, waiting: Room) -> AsyncIterator[None]:
        """Let somebody wait for their turn; half of the threads are left to others.

        Raises:
            BusyError: they, or all together, wait for too many.
        """
        if self._of_one[who] >= WAITING_OF_ONE_MAX:
            raise BusyError("waiting_of_one", "you wait for too many answers; ask again later")
        waiting.take()
        self._of_one[who] += 1
        turn = self._turns.setdefault(who, asyncio.Semaphore(self._threads_of_one))
        try:
            async with turn:
                yield
        finally:
            waiting.leave()
            self._of_one[who] -= 1
            if not self._of_one[who]:
                del self._of_one[who], self._turns[who]

    def rows(self) -> Rows:
        """Return what it has to say to a scraper, besides its meters."""
        access = self.access
        is_unreadable = access.keys is not None and bool(access.keys.failed)
        return {
            "spanloom_console_waiting_questions": [((), self.questions_waiting.taken)],
            "spanloom_console_held_answer_bytes": [((), self.held.taken)],
            "spanloom_console_sessions": [((), len(access.sessions))],
            "spanloom_console_displaced_sessions": [((), access.sessions.displaced)],
            "spanloom_console_access_events": list(dict(access.log.events).items()),
            "spanloom_console_unwritten_access_events": [
                ((reason,), count) for reason, count in dict(access.log.unwritten).items()
            ],
            "spanloom_console_keys_unreadable": [((), int(is_unreadable))],
        }

    def route(self, one: Path) -> Route:
        """Return what serves a path."""

        async def answer(request: Request) -> Response:
            actor = actor_of(request)
            if actor is None or not actor.may(one.role):
                return self._without_role(one, request)
            try:
                asked = read(one.parameters, request.query_params.multi_items())
                if one.body is not None:
                    asked["body"] = await _body(request, one.body)
                digest = _without_digest(asked, request)
                asked["actor"] = actor
                asked[ASKING] = self._asking(actor, one, request)
                body = await self._answered(one, asked, request, digest)
            except (ConfigError, _TooLongError, TimeoutError, ClientDisconnect) as error:
                return self._wrong(error)
            except PersonalError:
                return self._without_role(one._replace(role="personal"), request)
            except BusyError as error:
                self.meters.refused[error.reason] += 1
                return _error(503, str(error), AGAIN_SECONDS)
            except TimeLimitError:
                self.meters.refused["query_seconds"] += 1
                seconds = self.access.settings.query_seconds
                return _error(503, f"stopped after {seconds:g} s: ask for a shorter range")
            except ConflictError as error:
                self.meters.refused["conflict"] += 1
                return _error(409, str(error))
            except (BrokerError, StateError) as error:
                log.error("order_failed", path=one.path, error=str(error)[:ERROR_CHARS])
                return _error(503, "this could not be done now; the console's log says why")
            except duckdb.OutOfMemoryException:
                self.meters.refused["query_memory"] += 1
                return _error(503, "it needs more memory than questions have: narrow it")
            except (duckdb.Error, pa.ArrowException, OSError, Panic) as error:
                log.error("question_failed", path=one.path, error=said_of(error)[:ERROR_CHARS])
                return _error(503, "the archive could not answer; see the log")
            if body is None:
                return _error(404, "there is none of that id")
            media = arrow.MEDIA if _wants_arrow(one, request) else "application/json"
            return _Held(body, 202 if one.is_order else 200, self.held, media)

        served = Route(_pattern(one.path), answer, methods=[one.method])
        served.path = one.path  # what meters and the access log call it
        return served

    def _asking(self, actor: Actor, one: Path, request: Request) -> Asking:
        """Return what turns the personal values of a question, and writes down that it did."""
        about = {"actor": actor.name, "client": client_of(request.scope), "path": one.path}
        return Asking(
            self.privacy, actor, partial(self.access.log.write, "question", "personal", **about)
        )

    def _without_role(self, one: Path, request: Request) -> Response:
        refusal = lacks(one.role)
        self.meters.refused[refusal.reason] += 1
        actor = actor_of(request)
        self.access.log.refused(
            refusal.reason,
            actor="" if actor is None else actor.name,
            client=client_of(request.scope),
            method=one.method,
            path=one.path,
            role=one.role,
        )
        return refused(refusal, request.scope, request.headers)

    def _wrong(self, error: Exception) -> Response:
        if isinstance(error, TooMuchError):
            self.meters.refused["result_bytes"] += 1
        if isinstance(error, ConfigError):
            return _error(400, str(error))
        if isinstance(error, _TooLongError):
            self.meters.refused["body_bytes"] += 1
            return _error(413, f"at most {BODY_BYTES_MAX} bytes are read")
        self.meters.refused["body_seconds"] += 1
        return _error(408, f"the request did not come to its end within {BODY_SECONDS:g} s")

    async def _answered(
        self, one: Path, asked: dict[str, Any], request: Request, digest: str
    ) -> bytes | None:
        """Return the text of an answer, for which room is taken; None for what is not there.

        Raises:
            BusyError, TimeLimitError, ConfigError, StateError, BrokerError, duckdb.Error, OSError.
        """
        settings = self.access.settings
        question = Question(settings.query_seconds, settings.result_bytes_max)
        path = dict(request.path_params)
        waiting = self.orders_waiting if one.is_order else self.questions_waiting

        def ask() -> bytes | None:
            if one.is_order:
                found = self._ordered(one, asked, path, request)
            else:
                with question.asked():
                    found = one.ask(self.queries, asked, path)
            if found is None:
                return None
            if isinstance(found, dict) and NAME in found:
                found[NAME] = bound(found[NAME], digest)
            if _wants_arrow(one, request):
                return arrow.stream(found, one.table, _TIMES)
            return _text(found)

        async with self._waits(asker(asked["actor"], client_of(request.scope)), waiting):
            threads = self.orders if one.is_order else self.workers
            body = await asyncio.get_running_loop().run_in_executor(threads, ask)
        if body is not None:
            self.held.take(len(body))
        return body

    def _ordered(
        self, one: Path, asked: dict[str, Any], path: Mapping[str, str], request: Request
    ) -> Any:
        """Return the answer to an order, which is written down before it is given and after.

        Raises:
            BusyError: none are taken now.
            StateError: it cannot be written down, so it was not given.
            ConfigError, ConflictError, BrokerError: as the order says.
        """
        if one.is_for_worker:
            check_open(self.access.settings.orders_closed_file)
        body = asked.get("body")
        return given(
            self.access.log,
            lambda: one.ask(self.queries, asked, path),
            {} if body is None else body.model_dump(mode="json", exclude_none=True),
            actor=asked["actor"].name,
            client=client_of(request.scope),
            path=request.scope["path"],
        )


def _error(status: int, words: str, again: str = "") -> Response:
    return JSONResponse({"error": words}, status, {"Retry-After": again} if again else {})


def _not_served(request: Request, error: Exception, served: Sequence[BaseRoute]) -> Response:
    """Answer a path or a method that there is not, as the interface answers everything."""
    assert isinstance(error, HTTPException)
    headers, is_method = dict(error.headers or {}), error.status_code == 405
    if is_method:  # several routes may have one path
        found = [one for one in served if one.matches(request.scope)[0] is not Match.NONE]
        allowed = {name for one in found for name in getattr(one, "methods", None) or ()}
        headers["Allow"] = ", ".join(sorted(allowed))
    if request.url.path.startswith("/api/"):
        words = (
            f"this path takes {headers['Allow']} alone" if is_method else "there is no such path"
        )
        body = {"error": f"{words}; /api/v1/openapi.json names all that there is"}
        return JSONResponse(body, error.status_code, headers)
    is_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if is_page and not is_method:
        return site.absent(request)  # it says so, and has the way back
    return PlainTextResponse(error.detail, error.status_code, headers)


def _pattern(path: str) -> str:
    """Return a path for the router: the id of a record at its end may have slashes in it."""
    if path.endswith(RECORD):
        return path.removesuffix(RECORD) + f"{{{RECORD[1:-1]}:{_WHOLE}}}"
    return path


def _wants_arrow(one: Path, request: Request) -> bool:
    """Whether an answer is to be Arrow: it is a table, and the request asks for that."""
    return bool(one.table) and arrow.is_wanted(",".join(request.headers.getlist("accept")))


def _text(found: Any) -> bytes:
    text = json.dumps(shaped(found), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def shaped(found: Any) -> Any:
    """Return what was found as answers have it: times as text, no number that JSON lacks."""
    return with_times(found, _TIMES)


def application(
    interface: Interface,
    others: Mapping[str, Callable[[Request], Response]],
    more: Sequence[Path] = (),
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the interface.

    Args:
        interface: what the paths share.
        others: further pages by path: health, metrics.
        more: paths beside those of every deployment.
        routes: what answers otherwise: the login, the page and its news.
    """
    paths = (*PATHS, *more)

    def page(path: str, give: Callable[[Request], Response]) -> Route:
        async def answer(request: Request) -> Response:
            return give(request)

        return Route(path, answer, methods=["GET"])

    there = {*others, *(getattr(one, "path", "") for one in routes)}
    document = openapi(paths, there)
    served: list[BaseRoute] = [
        *(interface.route(one) for one in paths),
        page("/api/v1/openapi.json", lambda _: JSONResponse(document)),
        *(page(path, give) for path, give in others.items()),
        *routes,
    ]

    def label(scope: Scope) -> str:
        for one in served:
            if one.matches(scope)[0] is not Match.NONE:
                return str(getattr(one, "path", "other"))
        return "other"

    guard = Middleware(Guard, access=interface.access, meters=interface.meters, label=label)
    return Starlette(
        middleware=[guard],
        routes=served,
        exception_handlers={HTTPException: partial(_not_served, served=served)},
    )
