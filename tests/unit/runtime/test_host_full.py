"""What comes in faster than it is joined: a full inbox, and topics that run ahead."""

import asyncio

import pytest

from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import PARTITION, Shell, chunk


def test_a_full_inbox_makes_the_source_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched already comes in; nothing more is fetched until a step has made room."""

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"), HostSettings(inbox_rows_max=2, step_rows_max=1))
        shell.host.put(chunk("a", 0, 1))
        assert not shell.source.held
        shell.host.put(chunk("a", 1, 2))
        assert shell.source.held == {"a", "b"}
        shell.host.put(chunk("a", 2, 3))
        await shell.step()
        assert shell.source.held == {"a", "b"}, "there is no room yet"
        await shell.step()
        assert not shell.source.held
        await shell.step()
        assert shell.runner.positions == {"a": 3, "b": 0}

    asyncio.run(story())


def test_the_next_holder_is_not_kept_from_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that goes with a full inbox leaves no partition held: it may come back."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(inbox_rows_max=2))
        shell.host.put(chunk("a", 0, 2))
        assert shell.source.held == {"a"}
        await shell.host.stop(cut=False)
        assert not shell.source.held

    asyncio.run(story())


def test_bytes_fill_an_inbox_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few large records are as much as many small ones."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(inbox_bytes_max=2))
        shell.host.put(chunk("a", 0, 2))
        assert shell.source.held == {"a"}
        await shell.step()
        assert not shell.source.held

    asyncio.run(story())


def test_a_step_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes no further chunk once it has its rows; the rest waits for the next."""

    async def story() -> None:
        shell = Shell(monkeypatch, settings=HostSettings(step_rows_max=3))
        for start in (0, 2, 4):
            shell.host.put(chunk("a", start, start + 2))
        await shell.step()
        assert shell.runner.positions == {"a": 4}
        assert not shell.host.is_settled
        await shell.step()
        assert shell.runner.positions == {"a": 6}
        assert shell.host.is_settled

    asyncio.run(story())


def test_a_held_topic_waits_in_the_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that runs ahead is paused at the source and its chunks stay, until it is released."""

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"))
        shell.runner.held = frozenset({"a"})
        await shell.step()
        assert shell.source.asked == [("hold", "a", PARTITION)]
        shell.host.put(chunk("a", 0, 2))
        shell.host.put(chunk("b", 0, 2))
        await shell.step()
        assert shell.runner.positions == {"a": 0, "b": 2}
        shell.runner.held = frozenset()
        await shell.step()
        assert shell.source.asked[1:] == [("release", "a", PARTITION)]
        await shell.step()
        assert shell.runner.positions == {"a": 2, "b": 2}

    asyncio.run(story())


def test_a_held_topic_does_not_keep_out_the_one_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An inbox full of a held topic's records still takes the topic that is behind."""

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"), HostSettings(inbox_rows_max=4))
        shell.runner.held = frozenset({"a"})
        await shell.step()
        shell.host.put(chunk("a", 0, 4))
        shell.host.put(chunk("a", 4, 8))
        assert shell.source.held == {"a"}
        shell.host.put(chunk("b", 0, 2))
        await shell.step()
        assert shell.runner.positions == {"a": 0, "b": 2}

    asyncio.run(story())


def test_a_released_topic_counts_as_full_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a held topic left in the inbox fills it once the topic is released."""

    async def story() -> None:
        shell = Shell(monkeypatch, ("a", "b"), HostSettings(inbox_rows_max=4, step_rows_max=2))
        shell.runner.held = frozenset({"a"})
        await shell.step()
        for start in (0, 2, 4, 6):
            shell.host.put(chunk("a", start, start + 2))
        shell.runner.held = frozenset()
        await shell.step()
        assert shell.source.held == {"a", "b"}
        await shell.step()
        await shell.step()
        assert not shell.source.held

    asyncio.run(story())
