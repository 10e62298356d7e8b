"""A signal that comes before a command listens: a word and a code, as ever after."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS = 120.0


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize(
    ("arguments", "option", "code"),
    [
        (("worker", "--state-dir", "state"), "--contract", 0),
        (("console", "--archive", "archive"), "--contract", 0),
        (("collector", "--buffer-dir", "buffer"), "--contract", 0),
        (("notify", "run"), "--config", 0),
        (("demo", "--page-port", "0"), "--contract", 1),
    ],
)
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_in_the_first_moment_is_a_stop(
    tmp_path: Path, arguments: tuple[str, ...], option: str, code: int, told: signal.Signals
) -> None:
    """A command that still reads its file ends with its own code and says why."""
    file = tmp_path / "file.yaml"
    os.mkfifo(file)
    command = [sys.executable, "-m", "streams.cli.main", *arguments, option, str(file)]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        held_open = _writer(file, running)
        running.send_signal(told)
        # A signal between Python's last look and the call that reads is seen after the call only.
        os.close(held_open)
        _, said = running.communicate(timeout=SECONDS)
    finally:
        running.kill()
    assert running.returncode == code, said
    assert f"spanloom: told to stop ({told.name}) before it had begun" in said
    assert "Traceback" not in said


def _writer(fifo: Path, running: subprocess.Popen[str]) -> int:
    """Return the writing end of a pipe that a process reads from, as soon as it does."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and running.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.02)
    pytest.fail(f"nobody reads {fifo}")


def test_nothing_is_imported_before_the_command_listens() -> None:
    """Half a second of imports comes after: the entry itself brings the standard library alone."""
    program = (
        "import sys; from streams.cli import main; "
        "print(sorted(sys.modules.keys() & {'typer', 'numpy', 'streams.errors', 'asyncio'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
