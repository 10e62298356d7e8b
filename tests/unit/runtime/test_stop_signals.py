"""Stop signals, sent by the system to a process of its own: once asks, twice ends at once."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import asyncio, sys
from streams.runtime.stop_signals import StopSignals

async def main(is_hard, is_supervised):
    asked = asyncio.Event()
    StopSignals(asked.set, is_hard=is_hard, is_supervised=is_supervised).install()
    print("listening", flush=True)
    await asked.wait()
    print("asked", flush=True)
    {then}
    print("ended", flush=True)

asyncio.run(main({is_hard}, {is_supervised}))
"""
SOON = "await asyncio.sleep(0.1)"
NEVER = "await asyncio.sleep(300)"
BLOCKED = "import time; time.sleep(300)"
ECHO = 1.3  # beyond what may be an echo of the first signal


@contextmanager
def process(
    then: str, *, is_hard: bool = True, is_supervised: bool = False, stdin: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that listens."""
    program = PROGRAM.format(then=then, is_hard=is_hard, is_supervised=is_supervised)
    made = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert line(made) == "listening"
        yield made
    finally:
        made.kill()
        made.wait(240)
        for pipe in (made.stdin, made.stdout, made.stderr):
            if pipe is not None:
                pipe.close()


def line(made: subprocess.Popen[str]) -> str:
    assert made.stdout is not None
    return made.stdout.readline().strip()


def ended(made: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code and what was said since the last line that was read."""
    assert made.stdout is not None
    assert made.stderr is not None
    code = made.wait(240)
    return code, made.stdout.read().strip(), made.stderr.read().strip()


@pytest.mark.usefixtures("hangups")
def test_one_signal_asks_for_an_orderly_end() -> None:
    """The process does what it must and ends well."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with process(SOON) as made:
            made.send_signal(name)
            assert line(made) == "asked"
            assert ended(made) == (0, "ended", "")


def test_what_nohup_lets_a_process_ignore_it_goes_on_ignoring() -> None:
    """The terminal that it was started from is closed, and it works on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process(SOON) as made:
            signal.signal(signal.SIGHUP, before)
            made.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert made.poll() is None
            made.send_signal(signal.SIGTERM)
            assert (line(made), ended(made)) == ("asked", (0, "ended", ""))
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_at_once() -> None:
    """Whether the loop turns or not; the code is 3 and a sentence says what became of the rest."""
    for then in (NEVER, BLOCKED):
        with process(then) as made:
            made.send_signal(signal.SIGTERM)
            assert line(made) == "asked"
            time.sleep(ECHO)
            made.send_signal(signal.SIGINT)
            code, out, err = ended(made)
            assert (code, out) == (3, "")
            assert err.startswith("spanloom: told to stop a second time (SIGINT)")
            assert "Operator action: none" in err


def test_an_echo_is_not_a_second_signal() -> None:
    """A terminal and a wrapper that both pass a Ctrl-C on do not make it a hard stop."""
    with process(f"import os, signal; os.kill(os.getpid(), signal.SIGINT); {SOON}") as made:
        made.send_signal(signal.SIGINT)
        assert line(made) == "asked"
        assert ended(made) == (0, "ended", "")


def test_a_process_with_others_in_it_is_not_ended() -> None:
    """A demonstration's worker is asked again, and no more."""
    with process("await asyncio.sleep(3)", is_hard=False) as made:
        made.send_signal(signal.SIGTERM)
        assert line(made) == "asked"
        time.sleep(ECHO)
        made.send_signal(signal.SIGTERM)
        assert ended(made) == (0, "ended", "")


def test_a_supervised_process_ends_with_its_supervisor() -> None:
    """The pipe that the supervisor holds closes when it dies, however it dies."""
    with process(SOON, is_supervised=True) as made:
        assert made.stdin is not None
        made.stdin.close()
        assert line(made) == "asked"
        assert ended(made)[:2] == (0, "ended")


def test_a_supervisor_that_dies_before_it_heard_a_sign_ends_its_process() -> None:
    """Standard input is a socket; closed with a sign of life unread it is reset before its end."""
    ours, theirs = socket.socketpair()
    with ours, theirs, process(SOON, is_supervised=True, stdin=theirs.fileno()) as made:
        theirs.send(b".")  # as the process itself does
        theirs.close()
        ours.close()
        assert line(made) == "asked"
        assert ended(made) == (0, "ended", ""), "no traceback is the last that its log has"


def test_a_supervised_process_hears_the_first_word_only() -> None:
    """The supervisor and whoever stopped it may both send a signal: that is one stop."""
    with process("await asyncio.sleep(3)", is_supervised=True) as made:
        os.kill(made.pid, signal.SIGTERM)
        assert line(made) == "asked"
        time.sleep(ECHO)
        os.kill(made.pid, signal.SIGTERM)
        assert ended(made)[:2] == (0, "ended")
