"""Cancels that nobody asked us for are errors that somebody hears of."""

import asyncio

import pytest

from streams.runtime.cancelling import own_cancels_only
from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import Shell, chunk, until


async def of_others() -> None:
    """Await something that somebody else has cancelled."""
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    with own_cancels_only():
        await other


def test_what_others_cancelled_is_an_error() -> None:
    """Raised as it is it would end whoever awaits it as if that had been asked to stop."""

    async def story() -> None:
        with pytest.raises(TimeoutError, match="cancelled by somebody else"):
            await of_others()
        with pytest.raises(TimeoutError):  # behind a bound in time too
            await asyncio.wait_for(of_others(), 10)

    asyncio.run(story())


def test_our_own_cancel_passes() -> None:
    """Whoever was asked to stop stops."""

    async def waits() -> None:
        with own_cancels_only():
            await asyncio.sleep(60)

    async def story() -> None:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        with pytest.raises(TimeoutError, match=r"^$"):  # a bound that has passed is no such error
            await asyncio.wait_for(waits(), 0.01)

    asyncio.run(story())


def test_without_a_cancel_nothing_changes() -> None:
    """Other errors pass as they are."""
    with pytest.raises(ValueError, match="mine"), own_cancels_only():
        raise ValueError("mine")


@pytest.mark.parametrize("where", ["step", "cut"])
def test_a_cancel_that_nobody_asked_for_stops_the_task_with_a_word(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It comes out of what the task waits for; a task that ended so would stand still for ever."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(0.0, cut_interval_seconds=0.001))
        if where == "step":
            shell.runner.fails = asyncio.CancelledError()
        else:
            shell.broker.meets = [asyncio.CancelledError()]
        shell.host.start()
        shell.host.put(chunk("a", 0, 1))
        await until(lambda: shell.host.failed)
        await shell.host.stop(cut=False)
        assert "cancelled by somebody else" in str(shell.host.failed)
        assert "Operator action" in str(shell.host.failed)

    asyncio.run(story())
