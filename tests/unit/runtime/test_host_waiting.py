"""What a task waits for: room on its disk, and its turn to commit."""

import asyncio
import threading

import pytest

from streams.runtime import committing
from streams.runtime import host as host_module
from streams.runtime.pace import Pace
from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import PARTITION, Shell, chunk, is_blocked, until


def test_a_full_disk_stops_the_task_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken in while the disk is full, all topics are held; with room it goes on."""
    monkeypatch.setattr(host_module, "DISK_RETRY_SECONDS", 0.001)

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"), HostSettings(0.0, cut_interval_seconds=0.001))
        shell.broker.disk_is_full = True
        shell.host.start()
        shell.host.put(chunk("a", 0, 3))
        await until(lambda: shell.host.waiting_for)
        assert shell.host.waiting_for == "disk_full"
        await until(lambda: len(shell.source.asked) == 2)
        assert {asked[:2] for asked in shell.source.asked} == {("hold", "a"), ("hold", "b")}
        rows, commits = shell.runner.rows, len(shell.broker.commits)
        shell.host.put(chunk("a", 3, 9))
        await asyncio.sleep(0.05)
        assert (shell.runner.rows, len(shell.broker.commits)) == (rows, commits)
        shell.broker.disk_is_full = False
        await until(lambda: shell.broker.commits[-1].offsets["a", PARTITION] == 9)
        assert shell.host.waiting_for == ""
        assert {asked[:2] for asked in shell.source.asked[2:]} == {
            ("release", "a"),
            ("release", "b"),
        }
        await shell.host.stop(cut=True)
        assert shell.host.failed is None

    asyncio.run(story())


def test_a_task_that_waits_for_room_commits_before_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance or the end does not wait for the disk: the commit is with the broker."""

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.broker.disk_is_full = True
        shell.host.put(chunk("a", 0, 3))
        await shell.step()
        await shell.host.cut()
        assert shell.host.waiting_for == "disk_full"
        shell.host.put(chunk("a", 3, 5))
        await shell.step()
        await shell.host.stop(cut=True)
        assert shell.broker.commits[-1].offsets == {("a", PARTITION): 5}
        assert shell.host.failed is None

    asyncio.run(story())


def test_only_so_many_tasks_commit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many commits at once delay each other: the others wait for their turn."""

    async def story() -> None:
        pace = Pace(3600.0, at_once=1)
        shells = [Shell(monkeypatch, pace=pace) for _ in range(3)]
        turn = pace.turn()
        await turn.__aenter__()
        for shell in shells:
            shell.host.put(chunk("a", 0, 3))
            await shell.step()
        cuts = [asyncio.create_task(shell.host.cut()) for shell in shells]
        assert await is_blocked(cuts[0])
        assert not any(shell.broker.commits for shell in shells)
        turn.give_back()
        turn.give_back()  # again it lets nobody else in
        await asyncio.gather(*cuts)
        assert [len(shell.broker.commits) for shell in shells] == [1, 1, 1]

    asyncio.run(story())


def test_a_commit_that_hangs_keeps_no_other_task_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no CPU: its turn is given back; and at a revoke it is given up soon."""
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(host_module, "LEAVE_SECONDS", 0.005)

    async def story() -> None:
        pace = Pace(3600.0, at_once=1)
        stuck, well = Shell(monkeypatch, pace=pace), Shell(monkeypatch, pace=pace)
        back = threading.Event()
        calls = iter(range(1, 1_000_000))
        monkeypatch.setattr(type(stuck.broker), "call_seconds", property(lambda _: next(calls)))
        monkeypatch.setattr(stuck.broker, "commit", lambda *_: back.wait(60))
        for shell in (stuck, well):
            shell.host.put(chunk("a", 0, 3))
            await shell.step()
        hanging = asyncio.create_task(stuck.host.cut())
        async with asyncio.timeout(60):
            await well.host.cut()
            assert len(well.broker.commits) == 1
            assert not hanging.done()
            stuck.host.is_paused = True
            await hanging
        assert (stuck.host.is_refused, stuck.host.meter.given_up) == (True, 1)
        back.set()

    asyncio.run(story())
