"""What a refused task may do: nothing that would fence whoever holds it now."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from streams.errors import BrokerError
from streams.runtime import host as host_module
from streams.runtime.commit import CommitRefusedError
from streams.runtime.recovery import Recovered
from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import PARTITION, Shell, chunk, until


async def refused(shell: Shell) -> None:
    """Let a cut of work after a good commit be refused."""
    shell.host.put(chunk("a", 0, 2))
    await shell.step()
    await shell.host.cut()
    shell.host.put(chunk("a", 2, 5))
    await shell.step()
    shell.broker.meets = [CommitRefusedError("stale generation")]
    await shell.host.cut()


def test_who_lost_its_place_in_the_group_fences_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task waits for the next assignment without a word to the broker, and commits nothing."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.source.memberships = [False]
        await refused(shell)
        assert shell.broker.starts == 1, "only the first restore initialised transactions"
        assert (shell.host.is_refused, shell.host.failed, shell.host.rest) == (
            True,
            None,
            "restoring",
        )
        await shell.step()
        shell.runner.is_dirty = True
        await shell.host.cut()
        assert [cut.offsets for cut in shell.broker.commits] == [{("a", PARTITION): 2}]

    asyncio.run(story())


def test_an_assignment_lets_a_refused_task_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restored it stands where it committed, and nothing of its inbox is left."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.source.memberships = [False]
        await refused(shell)
        shell.host.put(chunk("a", 5, 6))
        shell.restore()
        assert (shell.host.is_refused, shell.runner.positions) == (False, {"a": 2})
        assert shell.host.inbox == (0, 0)
        shell.host.put(chunk("a", 2, 6))
        await shell.step()
        await shell.host.cut()
        assert shell.broker.commits[-1].offsets == {("a", PARTITION): 6}

    asyncio.run(story())


def test_a_broker_that_does_not_say_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to know is no reason to fence, nor to stand still."""
    monkeypatch.setattr(host_module, "MEMBER_RETRY_SECONDS", 0.0)

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.source.memberships = [None, None, True]
        await refused(shell)
        assert (shell.host.is_refused, shell.broker.starts) == (False, 2)
        assert shell.source.asked == [("again", "a", 2)]

    asyncio.run(story())


def pause(shell: Shell) -> None:
    shell.host.is_paused = True


def close(shell: Shell) -> None:
    shell.host._closed = True


@pytest.mark.parametrize("happens", [pause, close])
@pytest.mark.parametrize("answer", [True, None])
def test_a_revoke_or_a_stop_ends_the_question(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[Shell], None], answer: bool | None
) -> None:
    """A revoke waits for the cut that asks: it ends, and after it the task may be another's."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.source.memberships = [answer] * 100
        shell.source.while_asked = lambda: happens(shell)
        async with asyncio.timeout(60):
            await refused(shell)
        assert (shell.host.is_refused, shell.broker.starts) == (True, 1)

    asyncio.run(story())


def test_in_a_revoke_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A last cut that is refused leaves the task to the assignment."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.source.while_asked = lambda: pytest.fail("asked")
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        shell.host.is_paused = True
        shell.broker.meets = [CommitRefusedError("unknown member")]
        await shell.host.cut()
        assert (shell.host.is_refused, shell.broker.starts) == (True, 1)

    asyncio.run(story())


def test_a_refused_task_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inbox was full: what waited in it is thrown away, and no partition stays held for it."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(inbox_rows_max=3))
        shell.host.put(chunk("a", 0, 3))
        assert shell.source.held == {"a"}
        shell.runner.is_dirty = True
        shell.broker.meets = [CommitRefusedError("the broker went")]
        await shell.host.cut()
        assert (shell.host.rest, shell.host.inbox) == ("", (0, 0))
        await shell.step()
        assert not shell.source.held

    asyncio.run(story())


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_revoke_does_not_wait_for_what_is_read_back(
    monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """A large state is read for many seconds: the group, and who takes over, need not wait."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        may_read, recover = threading.Event(), shell.host.recover

        def slow() -> Recovered:
            assert may_read.wait(60)
            return recover()

        monkeypatch.setattr(shell.host, "recover", slow)
        restarting = asyncio.create_task(refused(shell))
        await until(lambda: shell.host.coming_back)
        assert shell.broker.starts == 2, "nobody is fenced after a revoke"
        shell.host.is_paused = True
        async with asyncio.timeout(60):
            await shell.host.cut()  # as a revoke does
        assert not restarting.done()
        assert (shell.host.is_refused, shell.host.is_settled) == (False, False)
        if is_lost:
            await shell.host.stop(cut=False)
        may_read.set()
        await restarting
        assert (shell.host.rest == "restoring") is is_lost
        assert shell.source.asked == [], "the assignment seeks it"
        assert shell.host.failed is None

    asyncio.run(story())


def test_an_error_that_says_what_to_do_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one that nobody foresaw is to be reported."""

    async def story() -> None:
        for error, said in ((BrokerError("look at it"), "look at it"), (KeyError("x"), "report")):
            shell = Shell(monkeypatch)
            shell.host.fail(error)
            assert said in str(shell.host.failed)
            assert (shell.host.failed is error) == (said == "look at it")

    asyncio.run(story())
