"""One target at work, on a topic and a receiver in memory."""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streams.codec.records import encode
from streams.codec.schemas import schema_folder
from streams.notify.http import Attempt
from streams.notify.rules.outbox import Position
from streams.notify.target import UNCOMMITTED_MAX, TargetRunner
from tests.notify_events import incident
from tests.unit.notify.fakes import FakeSender, FakeView
from tests.unit.notify.targets import target

A, B = "a" * 32, "b" * 32
TOPIC: dict[int, Mapping[str, Any] | bytes] = {
    0: incident(A, 1),
    2: incident(B, 1),
    4: incident(A, 2, "UPDATED"),
    6: incident(A, 3, "RESOLVED"),
}
TAKEN = Attempt("delivered", status=200)


def work(
    view: FakeView,
    answer: Callable[[Mapping[str, Any]], Attempt] = lambda _event: TAKEN,
    until: Callable[[TargetRunner], bool] | None = None,
    **changed: Any,
) -> tuple[TargetRunner, FakeSender]:
    """Let a target work until something is so, and then stop it in peace."""
    sender = FakeSender(answer)

    async def run() -> TargetRunner:
        with ThreadPoolExecutor(3) as pool:
            runner = TargetRunner(target(**changed), view, sender, pool)  # type: ignore[arg-type]
            task = asyncio.create_task(runner.run())
            for _ in range(24_000):
                if task.done() or (until or is_done)(runner):
                    break
                await asyncio.sleep(0.005)
            runner.stop()
            await task
            return runner

    def is_done(runner: TargetRunner) -> bool:
        return view.position is not None and view.position.offset >= max(view._records) + 1

    return asyncio.run(run()), sender


def test_everything_is_told_and_committed() -> None:
    """In order within each incident; the last commit says that all is done."""
    view = FakeView(TOPIC)
    runner, sender = work(view)
    assert sorted(sender.sent) == ["a1", "a2", "a3", "b1"]
    assert [s for s in sender.sent if s[0] == "a"] == ["a1", "a2", "a3"]
    assert view.committed[-1] == Position(7, 2)  # b is still followed, from its opening on
    assert view.is_closed
    assert runner.counts.events == {"delivered": 4}
    assert runner.status()["followed"] == 1


def test_what_was_told_before_a_restart_is_noted_and_not_told() -> None:
    """Nothing before the position, nor what was done ahead of it, goes out again."""
    view = FakeView(TOPIC, Position(4, 0, bytes([0b100])))  # 6 is done ahead of 4
    _, sender = work(view)
    assert sender.sent == ["a2"]
    assert sender.noted == ["a1", "b1", "a2", "a3"]
    assert sender.forgotten == 1


def test_nothing_is_said_again_before_the_topic_is_read_to_its_end() -> None:
    """Else an incident whose end was told, but not committed, would be said to be active."""
    view = FakeView(TOPIC)
    _, sender = work(view, until=lambda runner: bool(sender_of(runner).again_after))
    assert sender.again_after[0] == 4


def sender_of(runner: TargetRunner) -> FakeSender:
    """Return a runner's sender."""
    sender = runner._sender
    assert isinstance(sender, FakeSender)
    return sender


def test_what_passes_no_filter_is_counted_and_not_told() -> None:
    """Its offset is done all the same."""
    view = FakeView(TOPIC)
    runner, sender = work(view, filters={"owners": ["somebody"]})
    assert sender.sent == []
    assert runner.counts.events == {"filtered": 4}
    assert view.committed[-1].offset == 7


def an_alert() -> bytes:
    """Return a valid record of another schema."""
    example = schema_folder() / "examples" / "alert" / "2" / "firing.json"
    return encode("alert", json.loads(example.read_text("utf-8")))


@pytest.mark.parametrize(
    "value", [b"\x00\x00\x00\x00\x63nonsense", b"", an_alert()], ids=["bytes", "none", "alert"]
)
def test_a_record_that_cannot_be_read_is_counted_and_passed(value: bytes) -> None:
    """One bad record does not keep the others from their receiver."""
    view = FakeView({**TOPIC, 1: value})
    runner, sender = work(view)
    assert len(sender.sent) == 4
    assert runner.counts.dropped == {"unreadable": 1}


def test_a_receiver_that_comes_back_gets_what_it_missed() -> None:
    """Down is shown with its reason while it lasts, and forgotten afterwards."""
    calls = 0
    seen: list[dict[str, Any]] = []

    def answer(_event: Mapping[str, Any]) -> Attempt:
        nonlocal calls
        calls += 1
        return TAKEN if calls > 8 else Attempt("failed", "no answer")

    def until(runner: TargetRunner) -> bool:
        seen.append(runner.status())
        return runner.counts.events["delivered"] == 4

    runner, _ = work(FakeView(TOPIC), answer, until, breaker_failures=3)
    down = [status for status in seen if status["is_down"]]
    assert down
    assert down[-1]["reason"] == "no answer"
    assert not runner.status()["is_down"]
    assert runner.counts.events == {"delivered": 4}


def test_an_incident_that_cannot_be_written_holds_nobody_up() -> None:
    """A fault of ours with one event is a refusal of that event."""

    def answer(event: Mapping[str, Any]) -> Attempt:
        if event["incident_id"] == B:
            raise ValueError("no form for it")
        return TAKEN

    runner, _ = work(FakeView(TOPIC), answer, refused_attempts_max=2)
    assert runner.counts.dropped == {"refused": 1}
    assert runner.counts.events["delivered"] == 3


def test_events_that_the_broker_deleted_are_counted_as_lost() -> None:
    """Retention that was cut short is no secret."""
    view = FakeView(TOPIC)
    view.lost = 5
    runner, _ = work(view)
    assert runner.counts.dropped == {"lost_to_retention": 5}


def test_reading_stops_while_the_target_holds_all_it_may() -> None:
    """A receiver that is away costs bounded memory: the topic keeps the rest."""
    topic = {n: incident(f"{n:032x}", 1) for n in range(1_100)}
    view = FakeView(topic)
    runner, _ = work(view, lambda _event: Attempt("failed", "away"), lambda _runner: view.is_paused)
    assert 1_024 <= runner.status()["pending"] <= 1_030


def test_telling_waits_for_what_is_not_committed() -> None:
    """A broker that takes no commit bounds what a crash would repeat."""
    view = FakeView({n: incident(f"{n:032x}", 1) for n in range(300)})
    view.can_commit = False
    still: list[int] = []

    def until(runner: TargetRunner) -> bool:
        still.append(runner.counts.events["delivered"])
        return len(still) > 100 and still[-100] == still[-1] > 0

    runner, _ = work(view, until=until)
    assert UNCOMMITTED_MAX <= runner.counts.events["delivered"] <= UNCOMMITTED_MAX + 4
    assert view.committed == []


def test_a_fault_of_the_rules_ends_the_target() -> None:
    """An event that would never be done must not wait in silence."""
    view = FakeView(TOPIC)

    def broken(_event: Mapping[str, Any]) -> Attempt:
        return Attempt("delivered", seconds="no number")  # type: ignore[arg-type]

    with pytest.raises(TypeError):
        work(view, broken)
    assert view.is_closed
