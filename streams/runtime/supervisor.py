"""Runs several worker processes of one group on this machine, as one command.

Each child is a whole worker with its own state directory, static member id and ports. The
supervisor passes a stop on, tags what they say with their number, and starts those that died
again, within a budget; one that shows no life is killed, and then it has died. It joins nothing
itself and holds nothing that could be lost.

Invariant: no child outlives the supervisor: each holds the end of a line that closes with it.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import structlog

from streams.errors import ConfigError, StalledError
from streams.monitoring.view import RestartReason
from streams.runtime import life
from streams.runtime.restarts import Restarts, restarts_text
from streams.runtime.stop_signals import ECHO_SECONDS, heeded
from streams.settings import WorkerSettings

log = structlog.get_logger()
COMMAND: Final = (sys.executable, "-m", "streams.cli.main", "worker")
BACKOFF_SECONDS: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 30.0
KILL_SECONDS: Final = 5.0
"""So long after a child's own deadline for its stop, which it should have kept, it is killed."""
TELL_SECONDS: Final = 1.0
"""So long a child that shows no life may take to write where it stands, before it is killed."""
LINE_BYTES_MAX: Final = 1 << 20
REASONS: Final[tuple[RestartReason, ...]] = get_args(RestartReason)
RESTARTABLE: Final = 3
"""Exit code of a broker or state that cannot be used just now; 1 and 2 need a person."""
Say = Callable[[str, str], None]
"""Passes a line on: the stream's name (stdout or stderr) and the tagged line. It raises nothing, or
the child would wait for a reader, its pipe full."""


def children_of(settings: WorkerSettings) -> list[dict[str, str]]:
    """Return what each child is told beside what the supervisor was told, as variables.

    Args:
        settings: the supervisor's.

    Raises:
        ConfigError: a setting cannot be shared out.
    """
    n = settings.workers
    if settings.exit_after:
        raise ConfigError(
            "exit_after (SPANLOOM_EXIT_AFTER) counts the records of one worker's partitions, and "
            f"nobody counts those of {n} workers: leave it out, or use --workers 1"
        )
    for name in ("health_port", "metrics_port"):
        port = getattr(settings, name)
        if port and port + n - 1 > 65_535:
            raise ConfigError(
                f"{name} (SPANLOOM_{name.upper()}): worker {n - 1} would listen on "
                f"{port + n - 1}: give a port that leaves room for {n}"
            )
    return [_child(settings, number) for number in range(n)]


def _child(settings: WorkerSettings, number: int) -> dict[str, str]:
    told = {
        "workers": "1",
        "supervised": "true",
        "state_dir": str(settings.state_dir / str(number)),
        "health_port": str(settings.health_port and settings.health_port + number),
        "metrics_port": str(settings.metrics_port and settings.metrics_port + number),
    }
    if settings.instance:
        told["instance"] = f"{settings.instance}-{number}"
    return variables(told)


def variables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as the variables that a child reads."""
    return {f"SPANLOOM_{name.upper()}": _text(value) for name, value in given.items()}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, tuple | list) else str(value)


def tagged(line: str, number: int) -> str:
    """Return a line of a child with its number, still readable by what reads such lines."""
    if line.startswith("{") and line.endswith("}") and len(line) > 2:
        return f'{{"worker": {number}, {line[1:]}'
    if line.startswith("ready "):
        return f"{line} worker={number}"
    return f"[{number}] {line}"


def _reason(code: int, *, was_frozen: bool) -> RestartReason:
    """Return why a child is started again."""
    if was_frozen:
        return "frozen"
    return "signal" if code < 0 else "exit"


class Budget:
    """How often a child may be started again.

    Args:
        restarts_max: within the window.
        window_seconds: how long a restart is remembered.
    """

    def __init__(self, restarts_max: int, window_seconds: float) -> None:
        self.restarts_max, self.window_seconds = restarts_max, window_seconds
        self._restarts = Restarts(window_seconds)

    def backoff_seconds(self, now: float) -> float | None:
        """Return how long to wait before another start, None when the budget is spent."""
        recent = self._restarts.recent(now)
        if recent >= self.restarts_max:
            return None
        self._restarts.note(now)
        return min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2.0**recent)


def tell(child: asyncio.subprocess.Process, name: signal.Signals) -> None:
    """Send a child a signal, if it is still there.

    By its pid: `terminate` and `kill` of the library look first whether it has ended, take its exit
    code for themselves, and whoever waits for it is then told 255 (CPython 3.11, `Popen.poll`).
    """
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, name)


def has_ended(child: asyncio.subprocess.Process) -> bool:
    """Whether a child is gone; `wait` may last until its pipes are closed too (CPython 3.11)."""
    return child.returncode is not None


class Supervisor:
    """Runs the children of one command.

    Args:
        settings: the supervisor's; `workers` says how many.
        given: what it was told by flags, which its children are told too.
        say: passes their lines on.
        command: what a child is.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        given: Mapping[str, Any],
        say: Say,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._settings = settings
        self._environments = [
            {**os.environ, **variables(given), **child} for child in children_of(settings)
        ]
        self._say = say
        self._command = command
        self._stopping = asyncio.Event()
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._codes: list[int] = []
        self._told_at = 0.0
        self._frozen: set[int] = set()
        """Who was killed for showing no life, until it is started again."""
        self._restarted: dict[int, Counter[str]] = defaultdict(Counter)

    async def run(self) -> int:
        """Run until all children have ended; return the exit code of the command.

        Raises:
            StalledError: a child died more often than the budget allows.
        """
        loop = asyncio.get_running_loop()
        for name in heeded():
            loop.add_signal_handler(name, self._told)
        numbers = range(len(self._environments))
        results = await asyncio.gather(*map(self._keep, numbers), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return max(self._codes, default=0)

    def _told(self) -> None:
        now = time.monotonic()
        self._told_at = self._told_at or now
        if self._stopping.is_set() and now - self._told_at >= ECHO_SECONDS:
            for child in self._running.values():
                tell(child, signal.SIGKILL)
            self._codes.append(RESTARTABLE)
        self._stop()

    def _stop(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            for child in self._running.values():
                tell(child, signal.SIGTERM)

    async def _keep(self, number: int) -> None:
        """Run a child, and again while it dies and may be; a good end or a bad one ends all."""
        settings = self._settings
        budget = Budget(settings.restarts_max, settings.restart_window_seconds)
        try:
            while not self._stopping.is_set():
                code = await self._run(number)
                if self._stopping.is_set() and code == -signal.SIGTERM:
                    code = 0  # told before it listened: it had nothing in hand
                if self._stopping.is_set() or code == 0:
                    self._codes.append(code if code >= 0 else RESTARTABLE)
                    return
                if code > 0 and code != RESTARTABLE:
                    log.error("worker_ended", number=number, code=code)
                    self._codes.append(code)
                    return self._stop()
                await self._wait_to_restart(number, code, budget)
        except BaseException:
            self._stop()
            raise

    async def _wait_to_restart(self, number: int, code: int, budget: Budget) -> None:
        wait = budget.backoff_seconds(asyncio.get_running_loop().time())
        reason = _reason(code, was_frozen=number in self._frozen)
        self._frozen.discard(number)
        why: str = reason
        if reason != "frozen":
            why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if wait is None:
            raise StalledError(
                f"worker {number} ended {budget.restarts_max + 1} times in "
                f"{budget.window_seconds:g} s, the last time by {why}. Operator action: look at "
                "what it said before; all workers were stopped, and a restart is safe."
            )
        self._restarted[number][reason] += 1
        log.warning("worker_restarted", number=number, why=why, wait_seconds=wait)
        try:
            await asyncio.wait_for(self._stopping.wait(), wait)
        except TimeoutError:
            return

    async def _run(self, number: int) -> int:
        """Run a child once; return its exit code, negative for a signal."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                child = await self._start(number, theirs)
            self._running[number] = child
            if self._stopping.is_set():  # told while the child was being made
                tell(child, signal.SIGTERM)
            copying = [
                asyncio.create_task(self._copy(number, "stdout", child.stdout)),
                asyncio.create_task(self._copy(number, "stderr", child.stderr)),
            ]
            watching = [
                asyncio.create_task(self._kill_late(number, child)),
                asyncio.create_task(self._kill_frozen(number, child, ours)),
            ]
            try:
                try:
                    code = await child.wait()
                finally:  # whoever holds its pipes may still write, and nobody needs to be killed
                    for task in watching:
                        task.cancel()
                await asyncio.gather(*copying)
            finally:
                del self._running[number]
        return code

    async def _start(self, number: int, line: socket.socket) -> asyncio.subprocess.Process:
        environment = self._environments[number]
        restarted = self._restarted[number]
        counts = restarts_text({reason: restarted[reason] for reason in REASONS})
        child = await asyncio.create_subprocess_exec(
            *self._command,
            env={**environment, **variables({"restarted": counts})},
            # Never written, and it ends when this process does; signs of life come back.
            stdin=line.fileno(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on
        )
        log.info(
            "worker_started",
            number=number,
            pid=child.pid,
            state_dir=str(Path(environment["SPANLOOM_STATE_DIR"])),
        )
        return child

    async def _kill_frozen(
        self, number: int, child: asyncio.subprocess.Process, line: socket.socket
    ) -> None:
        """Kill a child that shows no life, and say so; in a stop its deadline is enough.

        Never before its session is over: until then its partitions are its own, and it may come
        back to them.
        """
        settings = self._settings
        limit = settings.frozen_timeout_seconds
        silence = life.Silence(limit and max(limit, settings.session_timeout_seconds))
        last = time.monotonic()
        while not self._stopping.is_set():
            await asyncio.sleep(life.LOOK_SECONDS)
            if has_ended(child):
                return
            now = time.monotonic()
            silence.look(now - last, life.heard(line), lambda: life.waited_of(child.pid))
            last = now
            if silence.is_over and not self._stopping.is_set():
                break
        else:
            return
        log.warning(
            "worker_frozen",
            number=number,
            pid=child.pid,
            silent_seconds=round(silence.seconds, 1),
            limit_seconds=silence.limit_seconds,
            state=life.state_of(child.pid),
            action="it is killed and started again, and goes on from its last commit",
        )
        self._frozen.add(number)
        tell(child, life.TELL_SIGNAL)
        await asyncio.sleep(TELL_SECONDS)
        tell(child, signal.SIGKILL)
        await asyncio.sleep(KILL_SECONDS)
        if has_ended(child):
            return
        log.error(
            "worker_not_gone",
            number=number,
            pid=child.pid,
            state=life.state_of(child.pid),
            action="the kernel holds it: look at the disk of its state_dir and at dmesg; it is "
            "started again once it is gone, and others have its partitions",
        )

    async def _kill_late(self, number: int, child: asyncio.subprocess.Process) -> None:
        """Kill a child that has not ended when it should have, and say so: it cannot."""
        await self._stopping.wait()
        seconds = self._settings.stop_seconds_max + KILL_SECONDS
        await asyncio.sleep(seconds)
        log.warning("worker_killed", number=number, pid=child.pid, seconds=seconds)
        tell(child, signal.SIGKILL)

    async def _copy(self, number: int, name: str, stream: asyncio.StreamReader | None) -> None:
        """Pass the lines of a child on; one that never ends is passed on in pieces."""
        assert stream is not None
        rest = b""
        while piece := await stream.read(1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._say(name, tagged(line.decode("utf-8", "replace"), number))
        if rest:
            self._say(name, tagged(rest.decode("utf-8", "replace"), number))
