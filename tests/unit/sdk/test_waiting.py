"""Of a wait for the broker it is told when it is long, and then now and then."""

import logging
import time
from typing import Any

import pytest

from streams.sdk import waiting
from streams.sdk.waiting import AGAIN_SECONDS, LONG_SECONDS, LongWait
from tests.unit.sdk.senders import made


def test_a_long_wait_is_told_again_and_again() -> None:
    """After its bound, then once a minute, each time with its whole length."""
    wait = LongWait(100.0)
    told = {at: wait.told(5, 0, 100.0 + at) for at in range(0, 200, 5)}
    at_last = [at for at, seconds in told.items() if seconds is not None]
    assert at_last == [30, 90, 150]
    assert all(told[at] == at for at in at_last)


def test_whatever_becomes_of_events_ends_a_wait() -> None:
    """So does nothing that waits; the next wait begins there."""
    wait = LongWait(0.0)
    assert wait.told(0, 0, 0.0) is None
    assert wait.told(5, 0, LONG_SECONDS) == LONG_SECONDS
    assert wait.told(4, 1, LONG_SECONDS + AGAIN_SECONDS) is None
    begun = LONG_SECONDS + AGAIN_SECONDS
    assert wait.told(4, 1, begun + LONG_SECONDS - 1) is None
    assert wait.told(4, 1, begun + LONG_SECONDS) == LONG_SECONDS
    assert wait.told(0, 1, begun + 1_000) is None
    assert wait.told(3, 1, begun + 1_001) is None


def test_the_log_says_how_many_wait_and_when_they_are_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the application's log, by the emitter's own thread."""
    monkeypatch.setattr(waiting, "LONG_SECONDS", 0.0)
    caplog.set_level(logging.WARNING)
    t = made(delivery_seconds_max=120)
    with t.span("alpha.parse"):
        pass
    assert t.flush(60)
    sender: Any = t.emitter.sender
    sender.ready = False
    for _ in range(3):
        with t.span("alpha.parse"):
            pass
    until = time.monotonic() + 60
    while not caplog.messages and time.monotonic() < until:
        time.sleep(0.01)
    (told,) = caplog.messages
    assert "events wait since" in told
    assert "delivery_timeout 120 s after" in told
    sender.ready = True
    assert t.close(60).waiting == 0
