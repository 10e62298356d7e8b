"""Logs may be lost, and never cost what they speak of."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from streams.monitoring.logs import LogStream


class FullDisk(io.StringIO):
    """A file on a disk that may be full."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_lines_that_nobody_takes_are_counted_and_told() -> None:
    """The line after them says how many there were; those before stand as they were."""
    disk = FullDisk()
    log = LogStream(disk)
    print('{"event": "a"}', file=log, flush=True)
    disk.is_full = True
    for _ in range(3):
        print('{"event": "lost"}', file=log, flush=True)
    disk.is_full = False
    print('{"event": "b"}', file=log, flush=True)
    print('{"event": "c"}', file=log, flush=True)
    said = [json.loads(line) for line in disk.getvalue().splitlines()]
    assert [one["event"] for one in said] == ["a", "log_lines_lost", "b", "c"]
    assert said[1]["lines"] == 3


SAYING = (
    "import structlog; from streams.monitoring.logs import configure_logs; configure_logs()\n"
    "from streams.monitoring.watchdog import end_process\n"
    "log = structlog.get_logger()\n"
    "for n in range(5000): log.info('said', n=n)\n"
)


@pytest.mark.parametrize(("then", "code"), [("import os; os._exit(7)", 7), ("end_process('x')", 3)])
def test_a_reader_that_ended_ends_nobody(then: str, code: int) -> None:
    """A supervisor that was killed no longer reads: the worker must still be able to stop."""
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", SAYING + then], stderr=writing) as process:
        os.close(reading)
        os.close(writing)
        assert process.wait(120) == code
