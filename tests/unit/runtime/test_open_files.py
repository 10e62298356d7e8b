"""The limit of open files: raised as far as may be, and told of where that is too little."""

import json
import resource
import subprocess
import sys

import pytest

from streams.runtime.open_files import FILES_A_TASK, OTHER_FILES

PROGRAM = """
import resource, sys
from streams.monitoring.logs import configure_logs
from streams.runtime.open_files import allow

configure_logs()
soft, hard, tasks = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
allow(tasks)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limits_of(soft: int, hard: int, tasks: int) -> tuple[int, list[dict[str, object]]]:
    """Return the soft limit of a process that was made to work with these, and what it said."""
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("this machine allows fewer open files")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(tasks)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return int(ran.stdout), [json.loads(line) for line in ran.stderr.splitlines()]


def test_the_soft_limit_is_raised_to_what_the_tasks_may_need() -> None:
    """64 partitions are some 130 tasks, and as many files as most shells allow were too few."""
    assert limits_of(1_024, 8_192, 133) == (OTHER_FILES + FILES_A_TASK * 133, [])


def test_a_limit_that_is_larger_is_left_alone() -> None:
    """Somebody may have had a reason."""
    assert limits_of(4_096, 8_192, 13) == (4_096, [])


def test_too_few_files_are_told_of_with_what_to_do() -> None:
    """What comes of them looks like a broker that is away."""
    soft, (line,) = limits_of(128, 200, 13)
    assert soft == 200
    assert (line["event"], line["level"], line["allowed"]) == ("few_open_files", "warning", 200)
    wanted = OTHER_FILES + FILES_A_TASK * 13
    assert line["wanted"] == wanted
    assert f"open {wanted} files" in str(line["action"])
