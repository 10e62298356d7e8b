"""The end of `spanloom worker` waits for no thread that waits for the broker."""

import subprocess
import sys

import pytest

SCRIPT = """
import threading, time
from streams.cli import worker
from streams.errors import BrokerError
seconds, fails = {seconds}, {fails}
with worker._leaving_threads():
    threading.Thread(target=time.sleep, args=(seconds,)).start()
    print("done")
    if fails:
        raise BrokerError("no broker. Operator action: look.")
print("went on")
"""
SAID = "spanloom: no broker. Operator action: look.\n"


@pytest.mark.parametrize(
    ("seconds", "fails", "code", "stdout", "stderr"),
    [
        (600, False, 0, "done\n", ""),
        (600, True, 3, "done\n", SAID),
        (0.1, False, 0, "done\nwent on\n", ""),
    ],
)
def test_a_thread_that_works_for_nobody_is_not_waited_for(
    seconds: float, fails: bool, code: int, stdout: str, stderr: str
) -> None:
    """It could wait for a broker for longer than a stop may take; the exit code is the same."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(seconds=seconds, fails=fails)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (code, stdout, stderr)


def test_an_error_without_such_a_thread_is_raised_as_ever() -> None:
    """The command line says it."""
    script = SCRIPT.format(seconds=0.1, fails=True)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 1
    assert "BrokerError: no broker" in run.stderr


COMPILING = """
import asyncio, time
from streams.cli import worker
worker.load = lambda: time.sleep(600)
async def run():
    worker._load_loops()
with worker._leaving_threads():
    asyncio.run(run())
    print("done")
print("went on")
"""


def test_a_stop_does_not_wait_for_a_compiler() -> None:
    """The loops of a worker that is stopped while they are compiled are of use to nobody."""
    run = subprocess.run(
        [sys.executable, "-c", COMPILING], capture_output=True, text=True, timeout=240, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")
