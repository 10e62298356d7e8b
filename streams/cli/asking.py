"""How `spanloom query` asks a console: page by page, and again where a console will answer soon.

Owns the requests and what becomes of their answers. Invariant: an answer of many pages is whole or
an error; a page that cannot be had now is waited for, within a bound, since its token stays good.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import typer

from streams.codec.retry_after import patience_us
from streams.console.asked import LIMIT, LIMIT_MAX
from streams.console.paths.audit import AuditQuery
from streams.console.paths.path import Path as Question
from streams.errors import BrokerError, ConfigError
from streams.runtime.clock import wall_us
from streams.units import SECOND_US

URL: Final = "http://127.0.0.1:8090"
SECONDS: Final = 60.0
"""Of one request."""
PATIENCE_SECONDS: Final = 120.0
"""How long one page is asked for again: a console that was killed has read on by then, or its log
says why not."""
PAUSE_SECONDS: Final = 2.0
"""Between two requests for a page, unless the console says how long."""
PAUSE_SECONDS_MIN: Final = 0.2
"""A console, or a proxy, that says "at once" is not asked without a pause."""
PAUSE_SECONDS_MAX: Final = 15.0
NOTHING: Final = 1
KEY_VARIABLE: Final = "SPANLOOM_CONSOLE_KEY"
_SOON: Final = (429, 503)
"""With `Retry-After` they are no answer yet; without it they are one."""
_PROXY: Final = (502, 503, 504)
"""What a proxy says while the console behind it starts anew."""


class _SoonError(Exception):
    """The page cannot be had now, but may be soon: `seconds` says when to come again."""

    def __init__(self, why: str, seconds: float = PAUSE_SECONDS) -> None:
        super().__init__(why)
        self.seconds = pause_seconds(seconds)


def pause_seconds(asked_for: float) -> float:
    """Return how long to wait before a page is asked for again, of what the console asked for."""
    return min(max(asked_for, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)


def asked(
    one: Question, console: str, given: Mapping[str, Any], *, everything: bool
) -> list[dict[str, Any]]:
    """Return the answer, or all its pages.

    Args:
        one: the question.
        console: where it is asked.
        given: what was said of it, by the names of its flags.
        everything: all pages.

    Raises:
        ConfigError: the console calls the question wrong, or the address is none.
        BrokerError: no console answers, or none within the bound.
    """
    if urlsplit(console).scheme not in ("http", "https"):
        raise ConfigError(f"--console {console}: write it as {URL}")
    path = one.path
    for name in (part[1:-1] for part in one.path.split("/") if part.startswith("{")):
        path = path.replace(f"{{{name}}}", quote(given[name], safe=""))
    names = {parameter.name for parameter in one.parameters}
    query = {k: v for k, v in given.items() if k in names and v is not None}
    body = _body(given) if one.body is not None else None
    limits = [LIMIT_MAX, LIMIT] if everything and given.get("limit", 0) is None else []

    async def ask() -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        token = ""
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        seconds = aiohttp.ClientTimeout(SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=seconds) as session:
            while True:
                more: dict[str, Any] = {"continuation_token": token} if token else {}
                more |= {"limit": limits[0]} if limits else {}
                request = {
                    "method": one.method,
                    "url": console + path,
                    "params": query | more if body is None else None,
                    "json": body | more if body is not None else None,
                }
                try:
                    answers.append(await _page(session, request, is_first=not answers))
                except ConfigError as error:
                    if len(limits) < 2 or not str(error).startswith("limit:"):
                        raise
                    del limits[0]  # its rows are too long for so many in one answer
                    continue
                token = answers[-1].get("continuation_token", "")
                if not (everything and token):
                    return answers

    try:
        return asyncio.run(ask())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BrokerError(
            f"no console answers at {console}: {str(error) or 'it is silent'}. Operator action: "
            "start one with `spanloom console`, or name another with --console."
        ) from error


async def _page(
    session: aiohttp.ClientSession, request: Mapping[str, Any], *, is_first: bool
) -> dict[str, Any]:
    """Return a page, asked for again while it may come soon.

    Raises:
        aiohttp.ClientError, TimeoutError: there was no console for the first page.
        others: as `answer`.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time()
    has_told = False
    while True:
        try:
            return await _once(session, request, is_first=is_first)
        except _SoonError as soon:
            if loop.time() + soon.seconds - begin > PATIENCE_SECONDS:
                raise BrokerError(
                    f"the console could not answer for {PATIENCE_SECONDS:g} s: {soon}. "
                    "Operator action: see the log of the console."
                ) from soon
            if not has_told:
                has_told = True
                typer.echo(
                    f"spanloom: {soon}; it is asked again, for {PATIENCE_SECONDS:g} s", err=True
                )
            await asyncio.sleep(soon.seconds)


async def _once(
    session: aiohttp.ClientSession, request: Mapping[str, Any], *, is_first: bool
) -> dict[str, Any]:
    """Return what a request is answered.

    Raises:
        _SoonError: nothing yet.
        others: as `_page`.
    """
    try:
        async with session.request(**request) as response:
            status, text = response.status, await response.text()
            said_after, date = response.headers.get("Retry-After"), response.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError) as error:
        if is_first:
            raise
        raise _SoonError(f"no console answers any more ({str(error) or 'it is silent'})") from error
    patience = patience_us(said_after, date, wall_us())
    if status in _SOON and patience is not None:
        raise _SoonError(_why(status, text), patience / SECOND_US)
    if status in _PROXY and not is_first and not _is_json(text):
        raise _SoonError(f"no console answers any more (status {status})")
    return answer(status, text)


def _body(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the audit query."""
    named = {k: v for k, v in given.items() if k in AuditQuery.model_fields and v not in (None, [])}
    return named | {"time_range": {"start": given["start"], "end": given["end"]}}


def answer(status: int, text: str) -> dict[str, Any]:
    """Return what a console answered.

    Raises:
        ConfigError: it refuses the question.
        BrokerError: it cannot answer.
        typer.Exit: there is none of that id.
    """
    if status == 200 and isinstance(found := _read(text), dict):
        return found
    why = _why(status, text)
    if status == 404:
        typer.echo(why, err=True)
        raise typer.Exit(NOTHING)
    if status in (400, 401, 403, 413, 422):
        raise ConfigError(why)
    raise BrokerError(
        f"the console could not answer: {why}. Operator action: see the log of the console."
    )


def _read(text: str) -> Any:
    """Return the JSON of a text, None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_json(text: str) -> bool:
    return isinstance(_read(text), dict)


def _why(status: int, text: str) -> str:
    found = _read(text)
    if found is None:
        return f"it answered {status} and no JSON"
    return found.get("error", f"it answered {status}") if isinstance(found, dict) else str(status)
