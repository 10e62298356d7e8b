"""The supervisor, over real processes that do what a test says: none is lost, none is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.errors import ConfigError, StalledError
from streams.runtime import supervisor as supervisor_module
from streams.runtime.supervisor import Budget, Supervisor, children_of, tagged
from streams.settings import load_settings

CHILD = """
import os, signal, sys, time
number = int(os.environ["SPANLOOM_STATE_DIR"].rpartition("/")[2])
life = os.environ["LIVES"] + f"/{number}"
os.makedirs(life, exist_ok=True)
open(f"{life}/{os.getpid()}", "w").close()
lives = len(os.listdir(life))
# Not by print: the signal may come while the line below is being flushed.
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"told\\n"), sys.exit(0)))
print("ready partitions=2", flush=True)
"""
WAIT = "\nsys.stdin.read(); sys.exit(0)"


class Run:
    """One run of a supervisor with its children, in a thread of its loop's own making."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, **given: Any):
        monkeypatch.setenv("LIVES", str(folder / "lives"))
        monkeypatch.setattr(supervisor_module, "BACKOFF_SECONDS", 0.05)
        self.folder = folder / "lives"
        self.said: list[tuple[str, str]] = []
        settings = load_settings(**{"workers": 2, "state_dir": folder, **given})
        command = (sys.executable, "-c", CHILD + body)
        self.supervisor = Supervisor(settings, given, lambda *line: self.said.append(line), command)

    def pids(self, number: int) -> list[int]:
        """Return the pids that a child has had."""
        folder = self.folder / str(number)
        return [int(p.name) for p in folder.iterdir()] if folder.is_dir() else []

    def told(self, then: Callable[[], None], is_time: Callable[[], bool]) -> int:
        """Run, do something once it is time for it, and return the exit code."""

        async def story() -> int:
            running = asyncio.create_task(self.supervisor.run())
            async with asyncio.timeout(240):
                while not is_time():
                    await asyncio.sleep(0.02)
            then()
            return await asyncio.wait_for(running, 240)

        return asyncio.run(story())

    def until_ended(self) -> int:
        """Run to the end and return the exit code."""
        return asyncio.run(asyncio.wait_for(self.supervisor.run(), 240))

    def lines(self, word: str) -> list[str]:
        """Return what was said on standard output that begins with a word."""
        return [line for stream, line in self.said if stream == "stdout" and line.startswith(word)]


def is_there(pid: int) -> bool:
    """Say whether a process lives; one that ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def me(name: signal.Signals) -> None:
    """Send this process a signal, which the supervisor in it listens to."""
    os.kill(os.getpid(), name)


# --- life and death of children


def test_a_stop_is_passed_on_and_all_end_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM reaches each child once; all ended 0, and so does the command."""
    run = Run(tmp_path, monkeypatch, WAIT)
    code = run.told(lambda: me(signal.SIGTERM), lambda: len(run.lines("ready")) == 2)
    assert code == 0
    assert sorted(run.lines("[")) == ["[0] told", "[1] told"]
    assert sorted(run.lines("ready")) == [f"ready partitions=2 worker={n}" for n in (0, 1)]


def test_a_child_that_is_killed_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is taken by a new process, and the other one is left alone."""
    run = Run(tmp_path, monkeypatch, WAIT)
    killed: list[int] = []

    def has_come_back() -> bool:
        if not killed and len(run.lines("ready")) == 2:
            killed.extend(run.pids(1))
            os.kill(killed[0], signal.SIGKILL)
        return len(run.lines("ready")) == 3

    assert run.told(lambda: me(signal.SIGINT), has_come_back) == 0
    assert (len(run.pids(0)), len(run.pids(1))) == (1, 2)


def test_a_child_without_a_broker_comes_back_within_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3 is tried again so often and no more; then all end, with a reason."""
    body = "\nif number == 1: sys.exit(3)" + WAIT
    run = Run(tmp_path, monkeypatch, body, restarts_max=3)
    with pytest.raises(StalledError, match=r"worker 1 ended 4 times in 300 s.*exit code 3"):
        run.until_ended()
    assert (len(run.pids(0)), len(run.pids(1))) == (1, 4)
    assert not any(is_there(pid) for pid in run.pids(0))


@pytest.mark.parametrize("code", [1, 2])
def test_a_child_that_needs_a_person_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A wrong setting or a bug is not tried again, and its code is the command's."""
    run = Run(tmp_path, monkeypatch, f"\nif number == 0: sys.exit({code})" + WAIT)
    assert run.until_ended() == code
    assert len(run.pids(0)) == 1
    assert not any(is_there(pid) for pid in run.pids(1))


def test_a_child_that_ended_well_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody told it to stop: it stays down, and the others go on."""
    run = Run(tmp_path, monkeypatch, "\nif number == 0: sys.exit(0)" + WAIT)

    def is_alone() -> bool:
        return bool(run.pids(0)) and not is_there(run.pids(0)[0]) and bool(run.lines("ready"))

    assert run.told(lambda: me(signal.SIGTERM), is_alone) == 0
    assert len(run.pids(0)) == 1


def test_the_code_of_a_child_that_was_told_after_its_end_is_its_own() -> None:
    """It ended well; that it was told to stop in that very moment must not make it 255."""

    async def story() -> list[int]:
        codes = []
        for _ in range(20):
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
            while is_there(child.pid):  # ended; the loop does not know it yet
                time.sleep(0.001)
            supervisor_module.tell(child, signal.SIGTERM)
            codes.append(await child.wait())
        return codes

    assert asyncio.run(story()) == [0] * 20


def test_a_second_signal_kills_what_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children that hang in their stop are not waited for, and the code says so."""
    stuck = "\nsignal.signal(signal.SIGTERM, lambda *_: print('deaf', flush=True))\ntime.sleep(300)"
    run = Run(tmp_path, monkeypatch, stuck)
    monkeypatch.setattr(supervisor_module, "ECHO_SECONDS", 3_600.0)
    told: list[bool] = []

    def are_deaf() -> bool:
        if len(run.lines("ready")) == 2 and not told:
            told.append(True)
            me(signal.SIGTERM)
            me(signal.SIGINT)  # an echo: a terminal and a wrapper pass one Ctrl-C on
        if len(run.lines("[")) < 2:
            return False
        assert all(map(is_there, [*run.pids(0), *run.pids(1)]))
        monkeypatch.setattr(supervisor_module, "ECHO_SECONDS", 0.0)
        return True

    assert run.told(lambda: me(signal.SIGTERM), are_deaf) == 3


@pytest.mark.usefixtures("hangups")
def test_a_terminal_that_is_closed_ends_all_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor died of it, and its children saw only their pipes end."""
    run = Run(tmp_path, monkeypatch, WAIT)
    assert run.told(lambda: me(signal.SIGHUP), lambda: len(run.lines("ready")) == 2) == 0
    assert sorted(run.lines("[")) == ["[0] told", "[1] told"]


def test_a_child_that_misses_its_own_deadline_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop ends, whatever a child does."""
    monkeypatch.setattr(supervisor_module, "KILL_SECONDS", 0.5)
    stuck = "\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('x', flush=True)"
    run = Run(tmp_path, monkeypatch, stuck + "\ntime.sleep(300)", stop_seconds_max=1)
    with capture_logs() as lines:
        assert run.told(lambda: me(signal.SIGTERM), lambda: len(run.lines("[")) == 2) == 3
    killed = [line for line in lines if line["event"] == "worker_killed"]
    assert sorted(line["number"] for line in killed) == [0, 1], "who was killed says nothing"
    assert {line["pid"] for line in killed} == {*run.pids(0), *run.pids(1)}


def test_no_child_outlives_its_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed cannot pass anything on; its children's pipe ends with it."""
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from streams.runtime.supervisor import Supervisor\n"
        "from streams.settings import load_settings\n"
        "from streams.monitoring.logs import configure_logs\n"
        "configure_logs()\n"
        f"settings = load_settings(workers=2, state_dir=Path({str(tmp_path)!r}))\n"
        f"command = (sys.executable, '-c', {CHILD + WAIT!r})\n"
        "say = lambda stream, line: print(line, flush=True)\n"
        "asyncio.run(Supervisor(settings, {}, say, command).run())\n"
    )
    lives = tmp_path / "lives"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "LIVES": str(lives)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        heard = {process.stdout.readline().strip() for _ in range(2)}
        process.kill()
    assert heard == {f"ready partitions=2 worker={n}" for n in (0, 1)}
    pids = [int(path.name) for path in lives.glob("*/*")]
    assert len(pids) == 2
    deadline = time.monotonic() + 120
    while any(map(is_there, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_children_say_is_passed_on_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both streams, long lines, and a last line without an end."""
    body = (
        "\nprint('x' * 3_000_000, flush=True)"
        '\nsys.stderr.write(\'{"event": "e"}\\nno end\'); sys.exit(0)'
    )
    run = Run(tmp_path, monkeypatch, body, workers=2)
    assert run.until_ended() == 0
    of_zero = [line for stream, line in run.said if stream == "stderr" and "0" in line]
    assert of_zero == ['{"worker": 0, "event": "e"}', "[0] no end"]
    long = [line for line in run.lines("[0]") if "x" in line]
    assert sum(line.count("x") for line in long) == 3_000_000


# --- children that show no life

SIGNS = """
from streams.monitoring.watchdog import Watchdog
from streams.runtime import life
life.tell_where_it_stands()
Watchdog(300, 300, sign=life.give()).live()
print("restarted", os.environ["SPANLOOM_RESTARTED"], flush=True)
"""
FREEZE = """
import ctypes
def hangs():
    ctypes.PyDLL(None).sleep(300)
if number in (1, 2) and lives == 1: time.sleep(2)  # until then its first sign was heard
if number == 1 and lives == 1: os.kill(os.getpid(), signal.SIGSTOP)
if number == 2 and lives == 1: hangs()
if number == 0:
    end = time.monotonic() + 20
    while time.monotonic() < end: sum(range(1_000_000))
"""


def test_a_child_that_shows_no_life_is_killed_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is stopped, one never gives the lock back; one that only computes is left alone."""
    limits = {"frozen_timeout_seconds": 0.1, "session_timeout_seconds": 6}
    run = Run(tmp_path, monkeypatch, SIGNS + FREEZE + WAIT, workers=3, **limits)
    with capture_logs() as lines:
        code = run.told(
            lambda: me(signal.SIGTERM),
            lambda: (
                [len(run.pids(number)) for number in (1, 2)] == [2, 2] and len(run.lines("[")) == 5
            ),
        )
    assert code == 0
    assert len(run.pids(0)) == 1, "it was busy, and not frozen"
    frozen = {line["number"]: line for line in lines if line["event"] == "worker_frozen"}
    assert sorted(frozen) == [1, 2]
    assert frozen[1]["state"] == "stopped by a signal"
    assert "does not let its other threads run" in frozen[2]["state"]
    assert all(line["limit_seconds"] == 6 for line in frozen.values()), "not within its session"
    assert all(line["pid"] in run.pids(number) for number, line in frozen.items())
    restarted = [line for line in lines if line["event"] == "worker_restarted"]
    assert {line["number"]: line["why"] for line in restarted} == {1: "frozen", 2: "frozen"}
    told = [line for line in run.lines("[1] restarted")]
    assert told[-1] == "[1] restarted frozen=1,signal=0,exit=0"
    stacks = [line for stream, line in run.said if stream == "stderr"]
    assert any(line.startswith("[2] ") and line.endswith("in hangs") for line in stacks)


def test_a_child_that_cannot_be_killed_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that waits for a disk lets nobody go: its operator must know whom to look at."""
    monkeypatch.setattr(supervisor_module, "KILL_SECONDS", 0.2)
    monkeypatch.setattr(supervisor_module, "TELL_SECONDS", 0.2)
    tell, deaf = supervisor_module.tell, [True]

    def held(child: asyncio.subprocess.Process, name: signal.Signals) -> None:
        if name != signal.SIGKILL or not deaf:
            tell(child, name)

    monkeypatch.setattr(supervisor_module, "tell", held)
    limits = {"frozen_timeout_seconds": 6, "session_timeout_seconds": 6}
    body = SIGNS + "\nif number == 1 and lives == 1: os.kill(os.getpid(), signal.SIGSTOP)" + WAIT
    run = Run(tmp_path, monkeypatch, body, **limits)

    def is_back() -> bool:
        if deaf and any(line["event"] == "worker_not_gone" for line in lines):
            deaf.clear()
            os.kill(run.pids(1)[0], signal.SIGKILL)
        return len(run.pids(1)) == 2 and len(run.lines("ready")) == 3

    with capture_logs() as lines:
        assert run.told(lambda: me(signal.SIGTERM), is_back) == 0
    (told,) = [line for line in lines if line["event"] == "worker_not_gone"]
    assert (told["number"], told["state"]) == (1, "stopped by a signal")
    assert told["pid"] in run.pids(1)


def test_a_child_that_is_gone_is_not_told_of_while_others_hold_its_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left behind may still write, and is passed on; the kernel holds nobody."""
    monkeypatch.setattr(supervisor_module, "KILL_SECONDS", 0.2)
    monkeypatch.setattr(supervisor_module, "TELL_SECONDS", 0.2)
    left = """
if number == 1 and lives == 1:
    parent = os.getpid()
    if not os.fork():
        while os.getppid() == parent: time.sleep(0.02)
        time.sleep(3)
        print("left", flush=True)
        os._exit(0)
    time.sleep(2)
    os.kill(parent, signal.SIGSTOP)
"""
    limits = {"frozen_timeout_seconds": 6, "session_timeout_seconds": 6}
    run = Run(tmp_path, monkeypatch, SIGNS + left + WAIT, **limits)
    with capture_logs() as lines:
        code = run.told(
            lambda: me(signal.SIGTERM),
            lambda: len(run.pids(1)) == 2 and len(run.lines("ready")) == 3,
        )
    assert code == 0
    assert run.lines("[1] left") == ["[1] left"]
    events = [line["event"] for line in lines]
    assert "worker_frozen" in events
    assert "worker_not_gone" not in events


# --- what a child is told


def told(**given: Any) -> list[dict[str, str]]:
    """Return the variables of the children of a command with these settings."""
    return children_of(load_settings(**given))


def test_each_child_has_what_must_not_be_shared() -> None:
    """Folder, member id and ports are its own; a port or id that was not given stays away."""
    one, two = told(
        workers=2, state_dir=Path("s"), instance="w", health_port=8080, metrics_port=9100
    )
    assert (one["SPANLOOM_STATE_DIR"], two["SPANLOOM_STATE_DIR"]) == ("s/0", "s/1")
    assert (one["SPANLOOM_INSTANCE"], two["SPANLOOM_INSTANCE"]) == ("w-0", "w-1")
    assert (one["SPANLOOM_HEALTH_PORT"], two["SPANLOOM_HEALTH_PORT"]) == ("8080", "8081")
    assert (one["SPANLOOM_METRICS_PORT"], two["SPANLOOM_METRICS_PORT"]) == ("9100", "9101")
    assert {c["SPANLOOM_WORKERS"] for c in (one, two)} == {"1"}
    bare = told(workers=3)[2]
    assert "SPANLOOM_INSTANCE" not in bare
    assert bare["SPANLOOM_HEALTH_PORT"] == "0"


def test_a_child_reads_what_its_supervisor_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags become variables that load to the same settings, lists and paths included."""
    given = {
        "workers": 2, "group": "g", "input_topics": ("a.v1", "b.v1"), "profile": Path("p.yaml"),
        "fixed_wait_seconds": 1.5,
    }  # fmt: skip
    settings = load_settings(**given)
    environment = Supervisor(settings, given, lambda *_: None)._environments[1]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    changed = {"workers", "supervised", "state_dir"}
    expected = settings.model_dump(exclude=changed)
    assert child.model_dump(exclude=changed) == expected
    assert (child.workers, child.supervised) == (1, True)


def test_a_count_of_records_is_refused() -> None:
    """Each worker would count its own, and none would know when all have seen so many."""
    with pytest.raises(ConfigError, match=r"SPANLOOM_EXIT_AFTER.*--workers 1"):
        told(workers=2, exit_after=100)


@pytest.mark.parametrize("name", ["health_port", "metrics_port"])
def test_ports_beyond_the_last_one_are_refused(name: str) -> None:
    """The last worker's port must be one."""
    assert len(told(workers=2, **{name: 65_534})) == 2
    with pytest.raises(ConfigError, match=f"SPANLOOM_{name.upper()}.*65536"):
        told(workers=2, **{name: 65_535})


# --- words and budget


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"event": "x"}', '{"worker": 3, "event": "x"}'),
        ("{}", "[3] {}"),
        ('{"cut off', '[3] {"cut off'),
        ("ready partitions=4", "ready partitions=4 worker=3"),
        ("readymade", "[3] readymade"),
        ("", "[3] "),
    ],
)
def test_lines_are_tagged_and_stay_readable(line: str, shown: str) -> None:
    """JSON stays JSON, the line that scripts wait for stays at the beginning of its line."""
    assert tagged(line, 3) == shown
    if shown.startswith("{"):
        assert json.loads(shown)["worker"] == 3


def test_a_budget_backs_off_and_forgets() -> None:
    """Each restart within the window waits twice as long, up to a bound; old ones do not count."""
    budget = Budget(8, 300.0)
    waits = [budget.backoff_seconds(float(now)) for now in range(8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert budget.backoff_seconds(299.0) is None
    assert budget.backoff_seconds(301.0) == 30.0, "the first is forgotten"
    assert budget.backoff_seconds(1_000.0) == 0.5
    assert Budget(0, 300.0).backoff_seconds(0.0) is None
