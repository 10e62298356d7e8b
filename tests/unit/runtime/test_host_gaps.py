"""What a task missed is fetched until it has come, and nothing is missed that came early."""

import asyncio

import pytest

from streams.runtime import refetch
from streams.runtime.commit import CommitRefusedError
from tests.unit.runtime.shell_cases import PARTITION, FakeBroker, Shell, chunk, until


def test_a_gap_is_fetched_until_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers may fail, or be lost as well: when it was a topic's last, nothing else asks."""
    monkeypatch.setattr(refetch, "AGAIN_SECONDS", 0.01)

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
        await until(lambda: not shell.host._refetch.running)
        assert set(asked) == {0}
        assert shell.runner.positions == {"a": 6}
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_what_expired_before_it_was_read_is_passed_over_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client begins where the broker does: asked for what is gone it would bring that for ever.

    A gap that the broker can still fill is not passed over.
    """
    monkeypatch.setattr(refetch, "AGAIN_SECONDS", 0.01)

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        await shell.host.cut()
        shell.source.first["a"] = 5
        shell.host.put(chunk("a", 7, 9))
        await shell.step()
        await until(lambda: ("again", "a", 5) in shell.source.asked)
        assert shell.runner.positions == {"a": 5}
        assert shell.host.lost_to_retention == 3
        shell.host.put(chunk("a", 5, 9))
        await shell.step()
        await until(lambda: not shell.host._refetch.running)
        assert shell.runner.positions == {"a": 9}
        assert shell.host.lost_to_retention == 3
        assert shell.runner.offsets == {"a": [0, 1, 5, 6, 7, 8]}
        await shell.host.cut()
        assert shell.broker.commits[-1].offsets == {("a", PARTITION): 9}
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


def test_a_topics_last_records_are_missed_though_nothing_follows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They left the fetcher and never came: no gap shows, and lag and end say all is read."""
    monkeypatch.setattr(refetch, "STILL_SECONDS", 0.01)

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"))
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        shell.source.out = {"a": 5, "b": 0}
        shell.host.put(chunk("a", 2, 3))
        await shell.step()
        assert shell.source.asked == [], "they may be on their way"
        while not shell.source.asked:
            await shell.step()
            await asyncio.sleep(0.005)
        assert shell.source.asked[0] == ("again", "a", 3)
        shell.host.put(chunk("a", 3, 5))
        await shell.step()
        await until(lambda: not shell.host._refetch.running)
        assert {topic for _, topic, _ in shell.source.asked} == {"a"}
        await shell.host.stop(cut=False)

    asyncio.run(story())


@pytest.mark.parametrize("is_paused", [False, True])
def test_what_waits_in_a_task_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    """Neither what waits to be joined nor, in a rebalance, what may go to another worker."""
    monkeypatch.setattr(refetch, "STILL_SECONDS", 0.0)

    async def story() -> None:
        shell = Shell(monkeypatch)
        shell.source.out = {"a": 2}
        shell.host.is_paused = is_paused
        if not is_paused:
            shell.host.put(chunk("a", 0, 2))
        for _ in range(3):
            await shell.host._steer()
        assert shell.source.asked == []

    asyncio.run(story())


def test_what_goes_on_leaving_the_fetcher_is_slow_and_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that is busy would have more to do for it: what is fetched again comes twice."""
    monkeypatch.setattr(refetch, "STILL_SECONDS", 0.0)

    async def story() -> None:
        shell = Shell(monkeypatch)
        for out in range(1, 6):
            shell.source.out = {"a": out}
            await shell.host._steer()
        assert shell.source.asked == []
        await shell.host._steer()
        await until(lambda: shell.source.asked)

    asyncio.run(story())
