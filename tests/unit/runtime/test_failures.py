"""What a worker ends with: the task's own word before its client's, and the client's by name."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiokafka import errors as theirs

from streams.errors import BrokerError, RightError, SpanloomError, StateError
from streams.runtime.failures import FailureWatch, failed_task, is_good


@dataclass
class Task:
    failed: SpanloomError | None = None


@dataclass
class Topics:
    error: SpanloomError | None = None


@dataclass
class Client:
    crashed: bool = False
    crash_reason: BaseException | None = None


async def well() -> None:
    """Start."""


async def refused() -> None:
    raise theirs.GroupAuthorizationFailedError("spanloom")


async def broken() -> None:
    raise OSError("no route")


async def slow() -> None:
    await asyncio.sleep(3600)


def looked(
    start: Callable[[], Awaitable[None]] = well,
    *,
    task: SpanloomError | None = None,
    noted: SpanloomError | None = None,
    topics: SpanloomError | None = None,
    client: Client | None = None,
) -> SpanloomError | None:
    """Return what the watch finds once the start has got as far as it gets."""

    async def story() -> SpanloomError | None:
        starting = asyncio.ensure_future(start())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        watch = FailureWatch(Topics(topics), "User:w")
        try:
            return watch.look([Task(), Task(task)], noted, starting, client or Client())
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    return asyncio.run(story())


@pytest.mark.parametrize("start", [well, slow])
def test_a_worker_that_is_well_goes_on(start: Callable[[], Awaitable[None]]) -> None:
    """A start that goes on is no failure: a broker may be away for a while."""
    assert looked(start) is None


def test_what_a_task_says_is_believed_first() -> None:
    """The client's crash is often its consequence, and an assignment's error too."""
    of_task, noted, topics = StateError("task"), StateError("noted"), StateError("topics")
    crashed = Client(True, OSError("crash"))
    assert looked(broken, task=of_task, noted=noted, topics=topics, client=crashed) is of_task
    assert looked(broken, noted=noted, topics=topics, client=crashed) is noted
    assert looked(broken, topics=topics, client=crashed) is topics
    assert "did not start: OSError: no route." in str(looked(broken, client=crashed))


def test_a_client_that_ends_says_what_to_do() -> None:
    """Whatever Faust raises becomes a sentence with an operator action."""
    found = looked(client=Client(True, OSError("crash")))
    assert isinstance(found, BrokerError)
    assert "the Kafka client stopped: OSError: crash. Operator action: look at" in str(found)


def test_a_client_that_is_refused_names_user_and_right() -> None:
    """At the start or later, by the broker's own kind of error."""
    later = Client(True, theirs.TopicAuthorizationFailedError("a.v1"))
    for found, right in ((looked(refused), "Read group spanloom"), (looked(client=later), "a.v1")):
        assert isinstance(found, RightError)
        assert "User:w may not" in str(found)
        assert right in str(found)


def test_the_first_task_that_failed_is_named() -> None:
    """None while all are well."""
    first = StateError("first")
    assert failed_task([Task(), Task(first), Task(StateError("second"))]) is first
    assert failed_task([Task()]) is None


def test_a_start_that_was_cancelled_is_not_good() -> None:
    """A worker that is told to stop while it starts has not started."""

    async def story() -> tuple[bool, bool]:
        done = asyncio.ensure_future(well())
        cancelled = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(done, cancelled, return_exceptions=True)
        return is_good(done), is_good(cancelled)

    assert asyncio.run(story()) == (True, False)
