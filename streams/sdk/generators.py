"""Generators whose iteration is a span.

The span begins with the body, at the first step, and ends with it: at its end, by an error, or when
whoever iterates closes it. It is the current one while the body runs, and only then: between two
steps what is current is the reader's own. Invariant: what is current inside, such as a span that
was begun there, is current again at the next step, in whichever thread or task that is.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from contextvars import Token
from functools import partial
from typing import Any

from streams.sdk.span import Context, Span, _current


class _Steps:
    """What is current inside of a generator: entered for each step."""

    __slots__ = ("_inside", "_token")

    def __init__(self, span: Span) -> None:
        self._inside: Context | None = span
        self._token: Token[Context | None] | None = None

    def __enter__(self) -> None:
        self._token = _current.set(self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside = _current.get()
        if self._token is not None:
            with suppress(ValueError):  # a step that ends in another context than it began in
                _current.reset(self._token)
            self._token = None


def traced_generator(
    function: Callable[..., Generator[Any, Any, Any]], begin: Callable[[], Span]
) -> Callable[..., Generator[Any, Any, Any]]:
    """Return a generator function each of whose generators is a span, from its first step on."""

    @functools.wraps(function)
    def generated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = begin()
        steps, inner = _Steps(span), function(*args, **kwargs)
        step = partial(inner.send, None)
        try:
            while True:
                try:
                    with steps:
                        item = step()
                except StopIteration as end:
                    return end.value
                try:
                    step = partial(inner.send, (yield item))
                except GeneratorExit:
                    with steps:
                        inner.close()
                    raise
                except BaseException as thrown:
                    step = partial(inner.throw, thrown)
        except GeneratorExit:  # whoever iterates wants no more: nothing has failed
            raise
        except BaseException as error:
            span.fail(error)
            raise
        finally:
            span.end()

    return generated


def traced_async_generator(
    function: Callable[..., AsyncGenerator[Any, Any]], begin: Callable[[], Span]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return the same for an asynchronous generator."""

    @functools.wraps(function)
    async def generated(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = begin()
        steps, inner = _Steps(span), function(*args, **kwargs)
        step = partial(inner.asend, None)
        try:
            while True:
                try:
                    with steps:
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    step = partial(inner.asend, (yield item))
                except GeneratorExit:
                    with steps:
                        await inner.aclose()
                    raise
                except BaseException as thrown:
                    step = partial(inner.athrow, thrown)
        except GeneratorExit:
            raise
        except BaseException as error:
            span.fail(error)
            raise
        finally:
            span.end()

    return generated
