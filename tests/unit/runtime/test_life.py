"""Signs of life: what is silence, what is a starved machine, and whom a sign reaches."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from streams.runtime import life
from streams.runtime.life import FIRST_SIGN_FACTOR, Silence
from streams.runtime.supervisor import COMMAND


def looked(silence: Silence, times: int, **waited: float) -> Silence:
    """Look once a second in vain; each thread of `waited` has so many seconds more each time."""
    for n in range(1, times + 1):
        seconds = {thread: n * more for thread, more in waited.items()}
        silence.look(1.0, False, lambda now=seconds: now)
    return silence


def nobody_waits() -> Mapping[str, float]:
    """Return what is known of threads that never wanted for a processor."""
    return {"1": 0.0}


def signed(limit_seconds: float) -> Silence:
    """Return the silence of a worker that has just given its first sign."""
    silence = Silence(limit_seconds)
    silence.look(1.0, True, nobody_waits)
    return silence


# --- what is counted


def test_silence_is_over_beyond_the_limit_and_not_at_it() -> None:
    """Each second without a sign counts, and one sign ends it."""
    silence = looked(signed(10.0), 10)
    assert (silence.seconds, silence.is_over) == (10.0, False)
    assert looked(silence, 1).is_over
    silence.look(1.0, True, nobody_waits)
    assert (silence.seconds, silence.is_over) == (0.0, False)


def test_a_limit_of_zero_is_none() -> None:
    """Whoever wants to look at a frozen worker with a debugger may."""
    assert not looked(signed(0.0), 10_000).is_over


def test_the_first_sign_may_take_longer() -> None:
    """The interpreter and its libraries come from a disk that may be cold."""
    silence = looked(Silence(10.0), int(10 * FIRST_SIGN_FACTOR))
    assert not silence.is_over
    assert looked(silence, 1).is_over


def test_time_in_which_the_supervisor_did_not_run_does_not_count() -> None:
    """A machine that slept for a night finds its workers silent for two seconds."""
    silence = signed(10.0)
    silence.look(30_000.0, False, nobody_waits)
    assert silence.seconds == 2.0


def test_time_in_which_a_thread_waits_for_a_processor_does_not_count() -> None:
    """On a starved machine a worker is silent in so far as it was let run, thread by thread."""
    # The first look of a silence has nothing to compare with: it counts in full.
    assert looked(signed(10.0), 101, a=0.9, b=0.2).seconds == pytest.approx(1.0 + 100 * 0.1)
    assert looked(signed(10.0), 101, a=3.0).seconds == 1.0, "never less than nothing"
    silence = looked(signed(10.0), 5, a=0.5)
    silence.look(1.0, False, lambda: {"c": 99.0})
    assert silence.seconds == pytest.approx(1 + 4 * 0.5 + 1), "a new thread waited before its birth"
    assert looked(signed(10.0), 11, a=0.0).is_over, "the kernel counts a wait when it ends"


# --- what the system tells


def test_threads_and_state_are_read_where_the_system_tells(tmp_path: Path) -> None:
    """Nanoseconds in the second place; a thread that ends meanwhile is left out."""
    task = tmp_path / "7" / "task"
    for name, text in {"7": "5 2500000000 9", "8": "1 0 1", "9": ""}.items():
        (task / name).mkdir(parents=True)
        (task / name / "schedstat").write_text(text)
    (task / "10").mkdir()
    assert life.waited_of(7, tmp_path) == {"7": 2.5, "8": 0.0}
    (tmp_path / "7" / "stat").write_text("7 (a) b) T 1 2 3")
    assert life.state_of(7, tmp_path) == "stopped by a signal"
    (tmp_path / "7" / "stat").write_text("7 (x) Z 1 2 3")
    assert life.state_of(7, tmp_path) == "Z"
    assert (life.waited_of(1, tmp_path), life.state_of(1, tmp_path)) == ({}, "unknown")


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no such figures here")
def test_this_system_tells() -> None:
    """A thread has waited for some time, or for none, and this process computes."""
    assert str(os.getpid()) in life.waited_of(os.getpid())
    assert min(life.waited_of(os.getpid()).values()) >= 0.0
    assert life.state_of(os.getpid()) == life.STATES["R"]


# --- signs


def test_signs_are_heard_once_and_a_full_line_stops_nobody() -> None:
    """All that came are taken together; a supervisor that does not read is not waited for."""
    ours, theirs = socket.socketpair()
    with theirs:
        sign = life.give(theirs.fileno())
        with ours:
            assert not life.heard(ours)
            for _ in range(100_000):
                sign()
            assert life.heard(ours)
            assert not life.heard(ours)
        sign()  # nobody listens any more
    sign()


def test_a_worker_signs_before_it_reads_its_contract(tmp_path: Path) -> None:
    """So the longer limit before the first sign is for the interpreter, and not for Faust."""
    contract = tmp_path / "contract.yaml"
    os.mkfifo(contract)  # whoever reads it waits for somebody who writes it
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(120)
        worker = subprocess.Popen(
            [*COMMAND, "--contract", str(contract), "--state-dir", str(tmp_path / "state")],
            env={**os.environ, "SPANLOOM_SUPERVISED": "1"},
            stdin=theirs.fileno(),
        )
        try:
            assert ours.recv(1) == b"."
            assert worker.poll() is None
        finally:
            worker.kill()
            worker.wait(120)


def test_nothing_but_a_line_is_written_to(tmp_path: Path) -> None:
    """Standard input may be a file or a terminal, or closed."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        life.give(file.fileno())()
        number = file.fileno()
    assert path.read_bytes() == b""
    life.give(number)()


def test_a_worker_that_holds_the_lock_tells_where_it_stands() -> None:
    """The signal is answered without the interpreter, which never comes back."""
    program = (
        "import ctypes\nfrom streams.runtime import life\nlife.tell_where_it_stands()\n"
        "def hangs():\n    print('up', flush=True)\n    ctypes.PyDLL(None).sleep(300)\n"
        "hangs()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(life.TELL_SIGNAL)
        said = ""
        while "in hangs" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGKILL)
