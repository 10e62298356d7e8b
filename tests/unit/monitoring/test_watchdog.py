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
TURNING = "for _ in range(30):\n    watchdog.turned()\n    time.sleep(0.2)"


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
    assert [text[:41] for text in said] == ["the worker's loop has not turned for 6 s;"]
    assert "test_watchdog.py:" in said[0], "where it stands"
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


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process, and return its exit code and what it said."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.mark.slow
def test_processes_end_only_when_they_do_not_turn() -> None:
    """Three at once, since each waits for longer than the limit: only the blocked one is ended."""
    blocked = started("time.sleep(300)")
    stopped = started(TURNING)
    is_over = started("watchdog.over(); time.sleep(7)")
    os.kill(stopped.pid, signal.SIGSTOP)
    time.sleep(7)
    os.kill(stopped.pid, signal.SIGCONT)
    code, out, err = ended(blocked)
    assert (code, out) == (3, ""), "a main thread that never comes back is ended by another one"
    assert err.startswith("spanloom: the worker's loop has not turned for ")
    assert ended(stopped) == (0, "done\n", ""), "who was stopped for longer goes on"
    assert ended(is_over) == (0, "done\n", ""), "a worker that is done may leave its process"
