"""What the monitor reads of a task's host: why it rests, what waits, and what its work cost."""

import asyncio

import pytest

from streams.runtime import host as host_module
from streams.runtime.commit import CommitRefusedError
from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import Shell, chunk


def test_a_task_says_why_it_rests_and_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its state is read back, and between revoke and assignment, a task may not step."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        assert shell.host.rest == ""
        shell.host.is_paused = True
        assert shell.host.rest == "rebalancing"
        shell.host._ready = shell.host._takes_in = False
        assert shell.host.rest == "restoring"
        shell.host.put(chunk("a", 0, 3))
        assert shell.host.inbox == (0, 0), "it is fetched again from where the state stands"
        shell.host._takes_in = True
        shell.host.begin()
        shell.host.put(chunk("a", 0, 3))
        records, size_bytes = shell.host.inbox
        assert (records, size_bytes > 0) == (3, True)

    asyncio.run(story())


def test_a_cut_that_went_through_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time and bytes, with the state's; a refused one is no cut. So is each restore."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        meter = shell.host.meter
        assert meter.restore_seconds.count == 1
        shell.host.put(chunk("a", 0, 3))
        await shell.step()
        shell.broker.meets = [CommitRefusedError("fenced")]
        await shell.host.cut()
        assert (meter.cut_seconds.count, meter.restore_seconds.count) == (0, 2)
        shell.host.put(chunk("a", 0, 3))
        await shell.step()
        await shell.host.cut()
        assert (meter.cut_seconds.count, meter.cut_bytes.sum) == (1, len(b"o") + len(b"piece"))

    asyncio.run(story())


def test_refused_commits_are_forgotten_after_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts that are far apart do not add up to an end; all of them are counted."""

    async def story() -> None:
        clock = [1_000.0]
        monkeypatch.setattr(host_module.time, "monotonic", lambda: clock[0])
        settings = HostSettings(restarts_max=1, restart_window_seconds=30)
        shell = Shell(monkeypatch, settings=settings)
        for n in range(4):
            clock[0] += 31
            shell.host.put(chunk("a", n, n + 1))
            await shell.step()
            shell.broker.meets = [CommitRefusedError("fenced")]
            await shell.host.cut()
            shell.host.put(chunk("a", n, n + 1))
            await shell.step()
            await shell.host.cut()
            assert shell.host.failed is None
        assert (shell.host.recent_restarts, shell.host.meter.restarts) == (1, 4)
        clock[0] += 31
        assert (shell.host.recent_restarts, shell.host.meter.restarts) == (0, 4)

    asyncio.run(story())
