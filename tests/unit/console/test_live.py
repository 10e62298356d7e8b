"""News for viewers: read once for all, in order, and nobody slow holds up the others."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from streams.codec.panics import Panic
from streams.console import live as live_module
from streams.console.live import QUEUE_EVENTS, Live, Source

Message = dict[str, Any]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for news ten times as often as a console does."""
    monkeypatch.setattr(live_module, "POLL_SECONDS", live_module.POLL_SECONDS / 10)


class Told:
    """Something that changes when a test says so, and counts how often it is read."""

    def __init__(self, name: str = "numbers") -> None:
        self.value, self.reads = 0, 0
        self.failing: BaseException | None = None
        self.source = Source(name, lambda: self.value, self.read)

    def read(self) -> Message:
        self.reads += 1
        if self.failing is not None:
            raise self.failing
        return {"value": self.value}


class Viewer:
    """A viewer as the server sees one; `is_slow` takes the first message and no other."""

    def __init__(self, live: Live, *, is_slow: bool = False) -> None:
        self.sent: list[Message] = []
        self._gone, self._is_slow = asyncio.Event(), is_slow
        self.task = asyncio.ensure_future(live({"type": "http"}, self._receive, self._send))

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self._is_slow and len(self.sent) > 1:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def leave(self) -> None:
        self._gone.set()
        await self.task

    def events(self) -> list[tuple[str, Any]]:
        """Return names and data of what came."""
        found = []
        for message in self.sent[1:]:
            lines = dict(
                line.split(": ", 1) for line in message["body"].decode().splitlines() if line
            )
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found


def test_who_asks_for_the_head_alone_is_answered() -> None:
    """And is no viewer: else the request would go on for as long as there are news."""

    async def ask() -> list[Message]:
        live, sent = Live([]), []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError("nothing more comes")

        await asyncio.wait_for(live({"type": "http", "method": "HEAD"}, receive, send), 60)
        assert live.viewers == 0
        return sent

    start, body = asyncio.run(ask())
    assert (start["status"], body.get("body")) == (200, b"")
    assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


def play(story: Callable[[Live, Told], Awaitable[None]]) -> None:
    """Run a story with a poller that runs, and end it."""

    async def run() -> None:
        told = Told()
        live = Live([told.source])
        polling = asyncio.ensure_future(live.run())
        try:
            await story(live, told)
        finally:
            live.stop()
            await asyncio.wait_for(polling, 60)

    asyncio.run(run())


def test_each_viewer_hears_the_newest_and_what_follows() -> None:
    """The first event is how things are; each change is one more, in order."""

    async def story(live: Live, told: Told) -> None:
        first = Viewer(live)
        await until(lambda: first.events() == [("numbers", {"value": 0})])
        told.value = 1
        await until(lambda: len(first.events()) == 2)
        second = Viewer(live)
        await until(lambda: second.events() == [("numbers", {"value": 1})])
        told.value = 2
        await until(lambda: len(second.events()) == 2)
        assert [data["value"] for _, data in first.events()] == [0, 1, 2]
        assert first.sent[0]["status"] == 200

    play(story)


def test_a_thousand_viewers_cost_one_reading() -> None:
    """What is told is read once for all, and only when it changed and somebody looks on."""

    async def story(live: Live, told: Told) -> None:
        await asyncio.sleep(0.4)
        assert told.reads == 0
        viewers = [Viewer(live) for _ in range(1_000)]
        await until(lambda: all(one.events() for one in viewers))
        assert (told.reads, live.viewers) == (1, 1_000)
        told.value = 1
        await until(lambda: all(len(one.events()) == 2 for one in viewers))
        assert told.reads == 2
        await asyncio.gather(*(one.leave() for one in viewers))
        assert live.viewers == 0

    play(story)


def test_a_slow_viewer_is_let_go_and_counted() -> None:
    """The others hear everything; the slow one's connection ends."""

    async def story(live: Live, told: Told) -> None:
        slow, quick = Viewer(live, is_slow=True), Viewer(live)
        await until(lambda: live.viewers == 2 and bool(quick.events()))
        told_until = QUEUE_EVENTS + 3
        while told.value < told_until:
            told.value += 1
            value = told.value
            await until(lambda value=value: quick.events()[-1][1]["value"] == value)
        await asyncio.wait_for(slow.task, 60)
        assert (live.dropped, live.viewers) == (1, 1)
        assert [data["value"] for _, data in quick.events()] == list(range(told_until + 1))

    play(story)


@pytest.mark.parametrize("error", [OSError("disk away"), Panic("of a library"), KeyError("ours")])
def test_a_failing_archive_is_told_and_tried_again(error: BaseException) -> None:
    """Viewers hear of trouble once, and of the value when it can be read again."""

    async def story(live: Live, told: Told) -> None:
        told.failing = error
        viewer = Viewer(live)
        await until(lambda: told.reads > 2)
        assert [name for name, _ in viewer.events()] == ["trouble"]
        told.failing = None
        await until(lambda: ("numbers", {"value": 0}) in viewer.events())

    play(story)


def test_the_end_lets_everybody_go() -> None:
    """Viewers' answers end, and whoever comes after is told to come back."""

    async def story(live: Live, _: Told) -> None:
        viewer = Viewer(live)
        await until(lambda: bool(viewer.events()))
        live.stop()
        await asyncio.wait_for(viewer.task, 60)
        assert viewer.sent[-1] == {"type": "http.response.body", "body": b""}
        late = Viewer(live)
        await asyncio.wait_for(late.task, 60)
        assert late.sent[0]["status"] == 503

    play(story)


def test_a_source_that_takes_long_holds_up_no_other() -> None:
    """While one is being read, another's changes are told one after the other."""

    async def run() -> None:
        told, is_over = Told(), threading.Event()
        slow = Source("slow", lambda: 0, partial(is_over.wait, 60))
        live = Live([slow, told.source])
        polling = asyncio.ensure_future(live.run())
        viewer = Viewer(live)
        try:
            for told.value in (1, 2, 3):
                await until(lambda: ("numbers", {"value": told.value}) in viewer.events())
            assert all(name == "numbers" for name, _ in viewer.events())
        finally:
            is_over.set()
        await until(lambda: ("slow", True) in viewer.events())
        live.stop()
        await asyncio.wait_for(polling, 60)

    asyncio.run(run())
