"""What a task missed is fetched until it has come, and nothing is missed that came early."""

import asyncio

import pytest

from streams.runtime import host as host_module
from streams.runtime.commit import CommitRefusedError
from tests.unit.runtime.shell_cases import FakeBroker, Shell, chunk, until


def test_a_gap_is_fetched_until_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers may fail, or be lost as well: when it was a topic's last, nothing else asks."""
    monkeypatch.setattr(host_module, "AGAIN_SECONDS", 0.01)

    async def story() -> None:
        shell = Shell(monkeypatch)
        asked: list[int] = []

        async def again(_topic: str, _partition: int, position: int) -> None:
            asked.append(position)
            if len(asked) == 1:
                raise TimeoutError

        monkeypatch.setattr(shell.source, "again", again)
        shell.host.put(chunk("a", 5, 6))
        await shell.step()
        await until(lambda: len(asked) >= 3)
        shell.host.put(chunk("a", 0, 6))
        await shell.step()
        await until(lambda: not shell.host._missing)
        assert set(asked) == {0}
        assert shell.runner.positions == {"a": 6}
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_what_comes_before_the_task_may_step_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that was sought brings its first records before the one who sought hears of it.

    Thrown away they would be missed only with the topic's next record, if there ever is one.
    """

    async def story() -> None:
        shell = Shell(monkeypatch, broker=FakeBroker())
        shell.broker.meets = [CommitRefusedError("fenced")]
        shell.host.put(chunk("a", 0, 2))
        await shell.step()

        async def again(_topic: str, _partition: int, _position: int) -> None:
            shell.host.put(chunk("a", 0, 2))

        monkeypatch.setattr(shell.source, "again", again)
        await shell.host.cut()
        await shell.step()
        assert shell.runner.offsets == {"a": [0, 1]}
        await shell.host.stop(cut=False)

    asyncio.run(story())
