"""Takeovers: what stays does not wait for what comes, and nobody is fenced who came later."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from polars.exceptions import PanicException

from streams.errors import BrokerError, SpanloomError, StateError
from streams.runtime.changelog import Restored
from streams.runtime.host import TaskHost
from streams.runtime.recovery import Recovered
from streams.runtime.takeover import Takeovers
from streams.runtime.task import TaskId
from tests.unit.runtime.shell_cases import until


class Host:
    """A host that notes what is done to it; `fence` and `recover` wait until they may."""

    def __init__(self, did: list[str], name: str = "join") -> None:
        self.id = TaskId(name, 0)
        self.failed: SpanloomError | None = None
        self.is_closed = False
        self.coming_back: asyncio.Task[None] | None = None
        self.may_fence, self.may_recover = threading.Event(), threading.Event()
        self.may_fence.set()
        self.may_recover.set()
        self.fails: Exception | None = None
        self._did = did

    def _do(self, what: str) -> None:
        self._did.append(f"{what} {self.id.kind}")

    def fence(self) -> None:
        assert self.may_fence.wait(60)
        self._do("fence")

    def recover(self) -> Recovered:
        assert self.may_recover.wait(60)
        self._do("recover")
        if self.fails is not None:
            raise self.fails
        return Recovered(cast(Any, None), cast(Any, self), Restored([], 0, 0, 0.0), 0.0, 0)

    def close(self) -> None:
        self._do("close copy of")

    def adopt(self, _found: Recovered) -> None:
        self._do("adopt")

    def begin(self) -> None:
        self._do("begin")

    def start(self) -> None:
        self._do("start")

    def fail(self, error: Exception) -> None:
        self.failed = StateError(str(error))

    async def stop(self, *, cut: bool) -> None:
        assert not cut
        self.is_closed = True
        self._do("stop")


class Bench:
    """Takeovers, and all that was done in order."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.go_on_fails: BaseException | None = None
        self.takeovers = Takeovers(self._go_on, lambda: self.did.append("done"))

    async def _go_on(self, host: TaskHost) -> None:
        assert not self.takeovers.is_restoring(host.id), "an assignment meanwhile would skip it"
        self.did.append(f"go on {host.id.kind}")
        if self.go_on_fails is not None:
            raise self.go_on_fails

    def host(self, name: str = "join") -> Host:
        return Host(self.did, name)

    def begin(self, *hosts: Host) -> None:
        self.takeovers.begin(cast(list[TaskHost], hosts))


def played(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> list[str]:
    """Return what was done in a story."""

    async def play() -> list[str]:
        bench = Bench()
        await story(bench)
        bench.takeovers.end()
        return bench.did

    return asyncio.run(play())


def test_a_task_is_fenced_then_read_then_fetched_then_joined() -> None:
    """In this order: an earlier holder could commit after the reading, and chunks come too soon."""

    async def story(bench: Bench) -> None:
        host = bench.host()
        bench.begin(host)
        await until(lambda: "done" in bench.did)
        assert not bench.takeovers.is_restoring(host.id)

    steps = ["fence join", "recover join", "adopt join", "go on join", "begin join", "start join"]
    assert played(story) == [*steps, "done"]


def test_all_are_fenced_before_one_is_read() -> None:
    """A revoke waits until nobody can be fenced any more: not for a state that is being read."""

    async def story(bench: Bench) -> None:
        large, slow = bench.host("large"), bench.host("slow")
        large.may_recover.clear()
        slow.may_fence.clear()
        slow.may_recover.clear()
        bench.begin(large, slow)
        revoke = asyncio.create_task(bench.takeovers.fenced())
        await until(lambda: "fence large" in bench.did)
        await asyncio.sleep(0)
        assert not revoke.done()
        slow.may_fence.set()
        async with asyncio.timeout(60):
            await revoke
        assert bench.did == ["fence large", "fence slow"]
        assert bench.takeovers.is_restoring(large.id)
        large.may_recover.set()
        slow.may_recover.set()
        await until(lambda: bench.did.count("done") == 2)

    played(story)


def test_without_takeovers_a_revoke_waits_for_nothing() -> None:
    """Then nobody is being fenced."""

    async def story(bench: Bench) -> None:
        await bench.takeovers.fenced()

    assert played(story) == []


def test_a_task_that_is_lost_while_it_is_read_is_given_up() -> None:
    """An assignment does not wait for the reading; its copy is closed then, nothing is joined."""

    async def story(bench: Bench) -> None:
        host = bench.host()
        host.may_recover.clear()
        bench.begin(host)
        await bench.takeovers.leave(cast(TaskHost, host))
        assert not bench.takeovers.is_restoring(host.id)
        host.may_recover.set()
        await until(lambda: "close copy of join" in bench.did)

    did = played(story)
    assert set(did) == {"fence join", "stop join", "recover join", "close copy of join"}


@pytest.mark.parametrize("is_restart", [False, True])
def test_a_task_that_comes_again_waits_for_who_still_reads_it(is_restart: bool) -> None:
    """Two would have the local copy open: be it a takeover that was lost, or a refused commit."""

    async def story(bench: Bench) -> None:
        lost, again = bench.host(), bench.host()
        if is_restart:
            reading = asyncio.Event()
            lost.coming_back = asyncio.create_task(_then_close(reading, bench))
        else:
            lost.may_recover.clear()
            bench.begin(lost)
        await bench.takeovers.leave(cast(TaskHost, lost))
        bench.begin(again)
        await bench.takeovers.fenced()
        for _ in range(5):
            await asyncio.sleep(0)
        assert "recover join" not in bench.did
        lost.may_recover.set()
        if is_restart:
            reading.set()
        await until(lambda: "done" in bench.did)
        assert bench.did.index("close copy of join") < bench.did.index("adopt join")

    assert played(story)[-1] == "done"


async def _then_close(reading: asyncio.Event, bench: Bench) -> None:
    await reading.wait()
    bench.did.append("close copy of join")


@pytest.mark.parametrize("where", ["recover", "go on"])
@pytest.mark.parametrize("error", [BrokerError("away"), ValueError("no use"), PanicException("x")])
def test_a_task_that_cannot_come_back_fails(where: str, error: BaseException) -> None:
    """The worker looks at its hosts for that; an unforeseen error says what to do."""

    async def story(bench: Bench) -> None:
        host = bench.host()
        if where == "recover":
            host.fails = error
        else:
            bench.go_on_fails = error
        bench.begin(host)
        await until(lambda: host.failed)
        has_words = where == "go on" or isinstance(error, BrokerError)
        assert (str(error) if has_words else type(error).__name__) in str(host.failed)
        if where == "recover" and not isinstance(error, BrokerError):
            assert "Operator action" in str(host.failed)
        assert not bench.takeovers.is_restoring(host.id)

    assert "begin join" not in played(story)


def test_a_cancel_out_of_a_seek_fails_the_task() -> None:
    """Nobody asked it to end: it would be restored, never joined, and nobody would know."""

    async def story(bench: Bench) -> None:
        host = bench.host()
        bench.go_on_fails = asyncio.CancelledError()
        bench.begin(host)
        await until(lambda: host.failed)
        assert "cancelled by somebody else" in str(host.failed)

    assert "begin join" not in played(story)


def test_an_end_waits_for_nobody() -> None:
    """A stop during a restore ends at once; the thread is left to the end of the process."""
    hosts: list[Host] = []

    async def story(bench: Bench) -> None:
        host = bench.host()
        hosts.append(host)
        host.may_recover.clear()
        bench.begin(host)
        await until(lambda: "fence join" in bench.did)

    assert played(story) == ["fence join"]
    hosts[0].may_recover.set()
