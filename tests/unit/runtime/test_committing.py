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

LIMIT_SECONDS = 30.0


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


def fail() -> None:
    """Fail as a client does."""
    raise ValueError("planned")


def test_what_is_published_is_noted() -> None:
    """In this order, in a thread of its own; its errors are the caller's."""
    done: list[str] = []
    client: Any = SimpleNamespace(call_seconds=0.0)

    async def story() -> None:
        publish, note = (lambda: done.append("published")), (lambda: done.append("noted"))
        assert await published(OwnThreads(), publish, note, client, LIMIT_SECONDS)
        with pytest.raises(ValueError, match="planned"):
            await published(OwnThreads(), fail, note, client, LIMIT_SECONDS)

    asyncio.run(story())
    assert done == ["published", "noted"]


def test_a_call_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it comes back after all nothing is noted: the task was read back meanwhile."""
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.001)
    done: list[str] = []
    client: Any = SimpleNamespace(call_seconds=LIMIT_SECONDS)

    async def story() -> None:
        threads = HeldThreads()
        publish, note = (lambda: done.append("published")), (lambda: done.append("noted"))
        waiting = asyncio.create_task(published(threads, publish, note, client, LIMIT_SECONDS))
        assert await is_blocked(waiting), "it has just as long as it may"
        client.call_seconds += 0.1
        assert not await waiting
        threads.run()
        await asyncio.sleep(0)

    asyncio.run(story())
    assert done == ["published"]


def test_what_is_being_noted_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy of a state is written while nobody looks at the client any more."""
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.001)
    client: Any = SimpleNamespace(call_seconds=0.0)

    async def story() -> None:
        threads = HeldThreads()
        waiting: asyncio.Task[bool]

        def note() -> None:
            client.call_seconds = 2 * LIMIT_SECONDS

        waiting = asyncio.create_task(published(threads, lambda: None, note, client, LIMIT_SECONDS))
        await asyncio.sleep(0)
        threads._call()
        assert await is_blocked(waiting)
        threads.future.set_result(None)
        assert await waiting

    asyncio.run(story())
