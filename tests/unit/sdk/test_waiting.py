"""Of a wait for the broker it is told when it is long, then now and then, and when it is over."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ConfigError
from streams.sdk.waiting import LongWait, Told
from tests.unit.sdk.senders import ListSender, made

FIRST, AGAIN = 30.0, 60.0


def test_a_long_wait_is_told_again_and_again() -> None:
    """After its bound, then once a minute, each time with its whole length."""
    wait = LongWait(FIRST, AGAIN, 100.0)
    told = {at: wait.look(5, 0, 0, 100.0 + at) for at in range(0, 200, 5)}
    at_last = [at for at, one in told.items() if one is not None]
    assert at_last == [30, 90, 150]
    assert all(told[at] == Told(at, 5, is_over=False) for at in at_last)


def test_whatever_becomes_of_events_ends_a_wait() -> None:
    """So does nothing that waits; the next wait begins there."""
    wait = LongWait(FIRST, AGAIN, 0.0)
    assert wait.look(0, 0, 0, 0.0) is None
    assert wait.look(5, 0, 0, FIRST) == Told(FIRST, 5, is_over=False)
    assert wait.look(4, 0, 1, FIRST + AGAIN) is None
    begun = FIRST + AGAIN
    assert wait.look(4, 0, 1, begun + FIRST - 1) is None
    assert wait.look(4, 0, 1, begun + FIRST) == Told(FIRST, 4, is_over=False)
    assert wait.look(0, 0, 5, begun + 1_000) is None
    assert wait.look(3, 0, 5, begun + 1_001) is None


def test_the_end_of_a_told_wait_is_told_once() -> None:
    """By an event that the broker took, with the length of the whole outage, drops included."""
    wait = LongWait(FIRST, AGAIN, 0.0)
    assert wait.look(5, 7, 0, 10.0) is None, "taken before any wait was told"
    assert wait.look(5, 7, 0, 40.0) == Told(30.0, 5, is_over=False)
    assert wait.look(9, 7, 0, 50.0) is None
    assert wait.look(0, 7, 9, 60.0) is None, "what was dropped was not taken"
    assert wait.look(2, 7, 9, 70.0) is None
    assert wait.look(1, 8, 9, 71.0) == Told(61.0, 9, is_over=True)
    assert wait.look(1, 9, 9, 72.0) is None
    assert wait.look(1, 9, 9, 102.0) == Told(30.0, 1, is_over=False)
    assert wait.look(0, 10, 9, 103.0) == Told(31.0, 1, is_over=True)


@given(
    looks=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 1), st.integers(0, 50)),
        max_size=60,
    )
)
def test_between_two_ends_a_wait_was_told(looks: list[tuple[int, int, int, int]]) -> None:
    """An end comes with a taken event, after a told wait; a told one has its end or goes on."""
    wait = LongWait(FIRST, AGAIN, 0.0)
    now, sent, lost, is_open = 0.0, 0, 0, False
    for waiting, taken, dropped, seconds in looks:
        now, sent, lost = now + seconds, sent + taken, lost + dropped
        told = wait.look(waiting, sent, lost, now)
        if is_open and taken:
            assert told is not None
            assert told.is_over
        if told is None:
            continue
        if told.is_over:
            assert is_open
            assert taken
        else:
            assert told.seconds >= FIRST
            assert told.events == waiting > 0
        is_open = not told.is_over


@pytest.mark.parametrize("name", ["wait_told_seconds", "wait_told_again_seconds"])
def test_a_bound_that_cannot_be_is_refused(name: str) -> None:
    """The error names the option and what it may be."""
    with pytest.raises(ConfigError, match=rf"{name}=0.*from 0\.1 to 3600"):
        made(**{name: 0})


def until(is_so: Callable[[], bool]) -> None:
    """Wait for the emitter's own thread."""
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


def test_the_log_and_the_counts_tell_of_a_wait_and_of_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the application's log, by the emitter's thread; how often it was said is a metric too."""
    caplog.set_level(logging.WARNING)
    t = made(delivery_seconds_max=120, wait_told_seconds=0.1, wait_told_again_seconds=0.1)
    with t.span("alpha.parse"):
        pass
    assert t.flush(60)
    sender: Any = t.emitter.sender
    sender.ready = False
    for _ in range(3):
        with t.span("alpha.parse"):
            pass
    until(lambda: t.counts().waits_told >= 2)
    assert all("3 events wait since" in one for one in caplog.messages)
    assert "delivery_timeout 120 s after" in caplog.messages[0]
    sender.ready = True
    until(lambda: "takes events again" in caplog.messages[-1])
    with t.span("alpha.parse"):
        pass
    counts = t.close(60)
    assert counts.waiting == 0
    over = [one for one in caplog.messages if "takes events again" in one]
    assert len(over) == 1
    assert "up to 3 events waited" in over[0]
    assert len(caplog.messages) == counts.waits_told + 1
    name = "pipeline.alpha.telemetry.histogram.waits_told"
    assert sum(e["value"] for e in sender.events if e["name"] == name) == counts.waits_told


def test_an_end_that_comes_with_the_last_events_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A program that ends as the broker comes back has said that, too."""
    caplog.set_level(logging.WARNING)
    t = made(wait_told_seconds=0.1)
    t.emitter._make_sender = Away
    with t.span("alpha.parse"):
        pass
    until(lambda: t.counts().waits_told == 1)
    assert t.close(60).sent == 1
    assert "takes events again" in caplog.messages[-1]


class Away(ListSender):
    """Hears of its messages when it is closed, as where the broker comes back at the end."""

    def __init__(self, counting: Any) -> None:
        super().__init__(counting)
        self._counting, self.counting = counting, self
        self._events = 0

    def arrived(self, events: int) -> None:
        self._events += events

    def close(self, seconds: float) -> None:
        self._counting.arrived(self._events)
