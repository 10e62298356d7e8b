"""The watchdog: it ends what cannot end itself, and nothing that only stood still as a whole."""

import os
import signal
import subprocess
import sys
import time

import pytest

from streams.monitoring.watchdog import Watchdog

PROGRAM = """
import sys, time
from streams.monitoring.watchdog import Watchdog
watchdog = Watchdog(blocked_seconds=5, stop_seconds=3)
watchdog.start()
print("up", flush=True)
{body}
print("done", flush=True)
"""
TURNING = "for _ in range(60):\n    watchdog.turned()\n    time.sleep(0.2)"


def started(body: str) -> subprocess.Popen[str]:
    """Return a process with a watchdog that does what `body` says."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_a_loop_that_turns_is_left_alone() -> None:
    """Time adds up between two turns only."""
    said: list[str] = []
    watchdog = Watchdog(5.0, 3.0, said.append)
    for _ in range(20):
        watchdog.look(4.0)
        watchdog.turned()
    assert said == []
    watchdog.look(4.0)
    watchdog.look(2.0)
    assert watchdog.blocked_seconds == 6.0
    assert [text[:41] for text in said] == ["the worker's loop has not turned for 6 s."]
    assert "Operator action: " in said[0]


def test_a_stop_has_a_deadline_of_its_own() -> None:
    """From its beginning on the loop need not turn, and turning does not put the deadline off."""
    said: list[str] = []
    watchdog = Watchdog(5.0, 8.0, said.append)
    watchdog.look(4.0)
    watchdog.stopping("")
    for _ in range(4):
        watchdog.look(2.0)
        watchdog.turned()
        watchdog.stopping("again")
    assert said == []
    watchdog.look(2.0)
    assert len(said) == 1
    assert "longer than 8 s (stop_seconds_max)" in said[0]


def test_a_stop_that_hangs_says_why_it_was_stopped() -> None:
    """The error that the worker ends with is not lost with the stop that never came to its end."""
    said: list[str] = []
    watchdog = Watchdog(5.0, 1.0, said.append)
    watchdog.stopping("no answer from the broker for 61 s.")
    watchdog.look(2.0)
    assert said[0].startswith("no answer from the broker for 61 s. Moreover, the stop took longer")


@pytest.mark.slow
def test_a_blocked_process_ends_with_3_and_a_sentence() -> None:
    """A main thread that never comes back is ended from another one."""
    process = started("time.sleep(300)")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert err.startswith("spanloom: the worker's loop has not turned for ")


@pytest.mark.slow
def test_a_process_that_was_stopped_lives_on() -> None:
    """SIGSTOP for longer than the limit, then SIGCONT: the process goes on and ends well."""
    process = started(TURNING)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(8)
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (0, "done\n", "")


@pytest.mark.slow
def test_a_watch_that_is_over_ends_nothing() -> None:
    """A worker that is done may live in a process that goes on."""
    process = started("watchdog.over(); time.sleep(8)")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "done\n", "")
