"""Crash points do nothing unless armed, and then kill the process at the visit that was named."""

import signal
import subprocess
import sys

import pytest

from streams.errors import ConfigError
from streams.runtime import crashpoints
from streams.runtime.crashpoints import POINTS, VARIABLE, arm, reached

SCRIPT = """
from types import SimpleNamespace
from streams.runtime.crashpoints import arm_from_environment, reached
arm_from_environment()
for visit in range(1, 4):
    print(visit, flush=True)
    reached("after_commit", SimpleNamespace(flush=lambda: print("flushed", flush=True)))
    reached("before_begin")
"""


def life(spec: str) -> tuple[int, list[str]]:
    """Return the exit code and the output of a process that visits two points three times."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={VARIABLE: spec, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    lines = [line for line in done.stdout.splitlines() if "crash_point_armed" not in line]
    return done.returncode, lines


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker as it is shipped passes every point."""
    monkeypatch.delenv(VARIABLE, raising=False)
    crashpoints.arm_from_environment()
    for name in POINTS:
        reached(name)
    assert life("")[0] == 0


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ("after_commit:1", ["1"]),
        ("after_commit:3", ["1", "2", "3"]),
        ("before_begin:2", ["1", "2"]),
        ("after_commit:2:flushed", ["1", "2", "flushed"]),
        ("before_begin:1:flushed", ["1"]),
    ],
)
def test_the_named_visit_is_the_last(spec: str, lines: list[str]) -> None:
    """The process dies by SIGKILL at that visit of that point, flushed before where asked for."""
    assert life(spec) == (-signal.SIGKILL, lines)


@pytest.mark.parametrize(
    "spec", ["nowhere:1", "after_commit", "after_commit:0", "after_commit:x", "after_commit:1:now"]
)
def test_a_point_that_is_none_is_refused(spec: str) -> None:
    """A misspelt point must not pass for a run without a fault."""
    with pytest.raises(ConfigError, match=VARIABLE):
        arm(spec)
