"""How long chunks gather before a step: a step costs the same however little is in it."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from streams.runtime import host as host_module
from streams.runtime.task import HostSettings
from tests.unit.runtime.shell_cases import Shell, chunk, until

FAR = 3600.0
"""Seconds after which nothing of a test happens any more."""


async def fed(shell: Shell, chunks: int) -> None:
    """Start the host's own loop and put chunks in, two records each."""
    shell.host.start()
    for start in range(0, 2 * chunks, 2):
        shell.host.put(chunk("a", start, start + 2))


def test_chunks_gather_until_a_cut_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is seen before a cut: what comes until then is one step."""
    now = [0.0]
    clock = SimpleNamespace(**vars(time) | {"monotonic": lambda: now[0]})
    monkeypatch.setattr(host_module, "time", clock)

    async def story() -> None:
        settings = HostSettings(coalesce_seconds=2 * FAR, cut_interval_seconds=FAR)
        shell = Shell(monkeypatch, settings=settings)
        await fed(shell, 1)
        await asyncio.sleep(0.1)
        shell.host.put(chunk("a", 2, 4))
        await asyncio.sleep(0.1)
        assert shell.runner.offsets == {}
        now[0] += FAR
        await until(lambda: shell.runner.offsets)
        assert shell.runner.offsets == {"a": [0, 1, 2, 3]}
        await until(lambda: shell.host.cuts)
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_enough_for_a_step_waits_for_no_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog is joined as fast as it comes."""

    async def story() -> None:
        settings = HostSettings(
            coalesce_seconds=FAR, cut_interval_seconds=FAR, step_rows_max=4, inbox_rows_max=100
        )
        shell = Shell(monkeypatch, settings=settings)
        await fed(shell, 1)
        await asyncio.sleep(0.15)
        assert shell.runner.offsets == {}
        shell.host.put(chunk("a", 2, 4))
        await until(lambda: shell.runner.positions == {"a": 4})
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_a_full_inbox_waits_for_no_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large records fill an inbox: the source must not wait for the next cut."""

    async def story() -> None:
        settings = HostSettings(
            coalesce_seconds=FAR, cut_interval_seconds=FAR, inbox_bytes_max=4, step_rows_max=1_000
        )
        shell = Shell(monkeypatch, settings=settings)
        await fed(shell, 1)
        assert not shell.runner.offsets
        shell.host.put(chunk("a", 2, 4))
        assert shell.source.held == {"a"}
        await until(lambda: shell.runner.positions == {"a": 4} and not shell.source.held)
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_gathering_has_an_end_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cuts are rare, stream time still goes on."""

    async def story() -> None:
        settings = HostSettings(coalesce_seconds=0.1, cut_interval_seconds=FAR)
        shell = Shell(monkeypatch, settings=settings)
        await fed(shell, 1)
        await until(lambda: shell.runner.offsets)
        assert shell.host.cuts == 0
        await shell.host.stop(cut=False)

    asyncio.run(story())
