"""A commit is noted or given up, and never both."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from streams.runtime import committing
from streams.runtime.committing import OwnThreads, published
from tests.unit.runtime.shell_cases import is_blocked

LIMIT_SECONDS = 0.01


class HeldThreads:
    """Runs a call when a test says so."""

    def __init__(self) -> None:
        self.future: Future[None] = Future()
        self._call: Callable[[], None]

    def submit(self, call: Callable[[], None], /) -> Future[None]:
        self._call = call
        return self.future

    def run(self) -> None:
        self._call()
        self.future.set_result(None)


class Client:
    """Is in a call that lasts longer each time somebody looks, or in one that just began."""

    def __init__(self) -> None:
        self.is_stuck = False
        self._seconds = 0.0

    @property
    def call_seconds(self) -> float:
        self._seconds = self._seconds + 1 if self.is_stuck else 0.5
        return self._seconds


def limit() -> float:
    """Return how long a call may take."""
    return LIMIT_SECONDS


def nothing() -> None:
    """Do nothing about a slow call."""


def fail() -> None:
    """Fail as a client does."""
    raise ValueError("planned")


def test_what_is_published_is_noted() -> None:
    """In this order, in a thread of its own; its errors are the caller's."""
    done: list[str] = []
    client: Any = SimpleNamespace(call_seconds=0.0)

    async def story() -> None:
        publish, note = (lambda: done.append("published")), (lambda: done.append("noted"))
        assert await published(OwnThreads(), publish, note, client, limit, nothing)
        with pytest.raises(ValueError, match="planned"):
            await published(OwnThreads(), fail, note, client, limit, nothing)

    asyncio.run(story())
    assert done == ["published", "noted"]


def test_a_call_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it comes back after all nothing is noted: the task was read back meanwhile."""
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.001)
    done: list[str] = []
    client = Client()
    slow: list[bool] = []

    async def story() -> None:
        threads = HeldThreads()
        publish, note = (lambda: done.append("published")), (lambda: done.append("noted"))
        waiting = asyncio.create_task(
            published(threads, publish, note, client, limit, lambda: slow.append(client.is_stuck))
        )
        while len(slow) < 30:  # three times as many looks as the limit has, each at another call
            await asyncio.sleep(0.001)
        assert not waiting.done()
        client.is_stuck = True
        assert not await waiting
        threads.run()
        await asyncio.sleep(0)

    asyncio.run(story())
    assert done == ["published"]
    assert sum(slow) >= LIMIT_SECONDS / 0.001, "so many looks, however long each took"


def test_who_waits_no_longer_has_nothing_noted() -> None:
    """The lock of a task's cuts is free then, and its copy may be another cut's."""
    done: list[str] = []
    client: Any = SimpleNamespace(call_seconds=0.0)

    async def story() -> None:
        threads = HeldThreads()
        note = lambda: done.append("noted")  # noqa: E731
        waiting = asyncio.create_task(published(threads, nothing, note, client, limit, nothing))
        assert await is_blocked(waiting)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        threads._call()

    asyncio.run(story())
    assert done == []


def test_what_is_being_noted_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy of a state is written while nobody looks at the client any more."""
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.001)
    client = Client()
    looks: list[float] = []

    async def story() -> None:
        threads = HeldThreads()
        waiting: asyncio.Task[bool]

        def note() -> None:
            client.is_stuck = True

        def is_slow() -> None:
            looks.append(client.call_seconds)

        waiting = asyncio.create_task(published(threads, nothing, note, client, limit, is_slow))
        await asyncio.sleep(0)
        threads._call()
        while len(looks) < 30:
            await asyncio.sleep(0.001)
        assert not waiting.done()
        threads.future.set_result(None)
        assert await waiting

    asyncio.run(story())
