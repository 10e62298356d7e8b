"""What a host asks to be read back, and when: nothing of a cut that is still being committed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.errors import StateError
from streams.runtime.commit import CommitRefusedError, Cut
from tests.unit.runtime.shell_cases import FakeBroker, Shell, chunk, until

Wanted = list[tuple[bytes, int, int]]


class SlowBroker(FakeBroker):
    """Commits when it is told to: until then the broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_back = threading.Event()
        self.cut_ms = 0

    def commit(self, cut: Cut, metadata: bytes | None) -> None:
        self.cut_ms = cut.cut_ms
        assert self.is_back.wait(60)
        super().commit(cut, metadata)


def test_a_trace_of_a_cut_in_flight_is_asked_for_once_it_is_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broker that is away for longer than a commit takes to be seen holds nothing of it yet.

    Read back then, the trace would pass for gone, and its late spans be counted as lost.
    """
    asked: list[Wanted] = []

    def recall(_partition: int, wanted: Wanted) -> dict[bytes, list[bytes] | None]:
        asked.append(wanted)
        return {trace_id: [b"event"] for trace_id, _, _ in wanted}

    async def story() -> None:
        broker = SlowBroker()
        pool = ThreadPoolExecutor(1)
        shell = Shell(monkeypatch, broker=broker, recall=recall, recall_pool=pool)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        cut = asyncio.create_task(shell.host.cut())
        await until(lambda: broker.cut_ms)
        young = (b"young", broker.cut_ms, 1)
        shell.runner.recalls = [young, (b"old", broker.cut_ms - 1, 1)]
        await shell.step()
        await until(lambda: shell.runner.given)
        assert asked == [[(b"old", broker.cut_ms - 1, 1)]]
        broker.is_back.set()
        await cut
        shell.runner.recalls = [young]
        await until(lambda: shell.host._recalling is None or shell.host._recalling.done())
        await shell.step()
        await until(lambda: len(asked) == 2)
        assert asked[1] == [young]
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_a_refused_cut_is_in_flight_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back then is what was committed before it."""
    asked: list[Wanted] = []

    def recall(_partition: int, wanted: Wanted) -> dict[bytes, list[bytes] | None]:
        asked.append(wanted)
        return {}

    async def story() -> None:
        broker = FakeBroker()
        broker.meets = [CommitRefusedError("fenced")]
        shell = Shell(monkeypatch, broker=broker, recall=recall)
        shell.host.put(chunk("a", 0, 2))
        await shell.step()
        await shell.host.cut()
        wanted = [(b"t", 1 << 60, 1)]
        shell.runner.recalls = wanted
        await shell.step()
        await until(lambda: asked)
        assert asked[0] == wanted
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_an_answer_for_an_earlier_revision_is_not_taken_for_a_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a trace is read back it may be closed with its events from memory, and come again.

    Its next revision would be made of the one before the last: what came between would be gone.
    """
    may_answer, is_asked = threading.Event(), threading.Event()
    asked: list[Wanted] = []

    def recall(_partition: int, wanted: Wanted) -> dict[bytes, list[bytes] | None]:
        asked.append(wanted)
        is_asked.set()
        assert may_answer.wait(60)
        return {trace_id: [b"revision %d" % revision] for trace_id, _, revision in wanted}

    async def story() -> None:
        shell = Shell(monkeypatch, recall=recall, recall_pool=ThreadPoolExecutor(1))
        shell.runner.recalls = [(b"again", 5, 1), (b"once", 5, 1)]
        await shell.step()
        await until(is_asked.is_set)
        shell.runner.recalls = [(b"again", 7, 2), (b"once", 5, 1)]  # closed, and reopened
        may_answer.set()
        await until(lambda: shell.host._recalling is not None and shell.host._recalling.done())
        assert shell.runner.given == [(b"once", [b"revision 1"])]
        await shell.step()
        await until(lambda: len(shell.runner.given) == 2)
        assert asked[1] == [(b"again", 7, 2)]
        assert shell.runner.given[1] == (b"again", [b"revision 2"])
        await shell.host.stop(cut=False)

    asyncio.run(story())


def test_a_trace_that_cannot_be_taken_back_stops_the_task_with_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was asked for again and again, ten times a second, and nobody heard why."""
    asked: list[Wanted] = []

    def recall(_partition: int, wanted: Wanted) -> dict[bytes, list[bytes] | None]:
        asked.append(wanted)
        return {trace_id: [b"torn"] for trace_id, _, _ in wanted}

    def torn(_trace_id: bytes, _bodies: object) -> None:
        raise ValueError("torn")

    async def story() -> None:
        shell = Shell(monkeypatch, recall=recall)
        monkeypatch.setattr(shell.runner, "recalled", torn)
        shell.runner.recalls = [(b"t", 5, 1)]
        await shell.step()
        await until(lambda: shell.host._recalling is not None and shell.host._recalling.done())
        assert isinstance(shell.host.failed, StateError)
        assert "cannot read its own traces back: ValueError" in str(shell.host.failed)
        assert len(asked) == 1
        await shell.host.stop(cut=False)

    asyncio.run(story())
