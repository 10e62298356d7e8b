"""The workers of a run: who sits where, what became of each life, and who starts them again.

Owns the seats (instance, state folder) and the processes on them. A worker that ends by itself is
started again, as a supervisor would do it, and its words are kept.
"""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.fault.arrivals import Arrivals
from tests.fault.harness import PROGRAM, REPOSITORY, Deployment, WorkerProcess

LAST_WORDS_CHARACTERS: Final = 300
STOP_SECONDS: Final = 60.0
JOIN: Final = "join-"


@dataclass
class Life:
    """One process on a seat, from its start to its end, or from one stop to the next.

    Attributes:
        seat: whose.
        worker: the process.
        ended_by: what ended it; "" while it lives.
        counted_from_unix: from when its recovery is counted: its start, or when it went on.
        is_resumed: it went on after a stop.
    """

    seat: str
    worker: WorkerProcess
    ended_by: str = ""
    counted_from_unix: float = 0.0
    ended_unix: float = 0.0
    is_resumed: bool = False
    _recovery: float | None = None

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.worker.is_alive

    def restored(self) -> dict[int, float]:
        """Return when it last took over each join partition in this life, Unix seconds."""
        return dict(self.takeovers())

    def takeovers(self) -> list[tuple[int, float]]:
        """Return each time it took over a join partition in this life, Unix seconds, in order."""
        found = []
        for event in self.worker.events("task_restored"):
            task = str(event["task"])
            if task.startswith(JOIN):
                at = datetime.fromisoformat(event["timestamp"]).timestamp()
                if at < self.counted_from_unix or (self.ended_unix and at > self.ended_unix):
                    continue
                found.append((int(task.removeprefix(JOIN)), at))
        return found

    def recovery_seconds(self, arrivals: Arrivals) -> float | None:
        """Return how long it took from its start to the first new output of a partition it had.

        None before that, for a life that ended before it, and for one that got no partition.
        """
        if self._recovery is None:
            firsts = [
                arrived
                for partition, at in self.restored().items()
                if (arrived := arrivals.partitions[partition].first_after(at)) is not None
                and not (self.ended_unix and arrived > self.ended_unix)
            ]
            if firsts:
                self._recovery = min(firsts) - self.counted_from_unix
        return self._recovery


@dataclass
class Fleet:
    """The workers of one deployment.

    Attributes:
        deployment: where they work.
        program: what is run; another one than the shipped command for a planted bug.
        settings: of each worker.
        homes: by seat the checkout whose code its next worker runs; this one for the others.
    """

    deployment: Deployment
    program: Sequence[str] = PROGRAM
    settings: dict[str, object] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)
    living: dict[str, Life] = field(default_factory=dict)
    past: list[Life] = field(default_factory=list)
    own_ends: list[str] = field(default_factory=list)
    bad_ends: list[str] = field(default_factory=list)

    def start(self, seat: str, **settings: object) -> Life:
        """Start a worker on a seat that is free."""
        assert seat not in self.living
        worker = self.deployment.worker(
            instance=seat,
            state=self.state(seat).name,
            settings=self.settings | settings,
            program=self.program,
            home=self.homes.get(seat, REPOSITORY),
        )
        life = self.living[seat] = Life(seat, worker, counted_from_unix=worker.started_unix)
        return life

    def state(self, seat: str) -> Path:
        """Return the folder of a seat's local state."""
        return self.deployment.folder / f"state-{seat}"

    def local_copies(self, seat: str) -> list[Path]:
        """Return the folders of a seat's local databases, by task."""
        base = self.state(seat) / self.deployment.group
        return sorted(path for path in base.glob("*-*/") if path.is_dir())

    def kill(self, seat: str) -> Life:
        """SIGKILL."""
        life = self.living.pop(seat)
        life.worker.kill()
        return self._over(life, "kill")

    def resume(self, seat: str) -> Life:
        """SIGCONT: what the process does from now on is another life."""
        life = self.leave(seat, "pause")
        life.worker.resume()
        again = Life(seat, life.worker, counted_from_unix=time.time(), is_resumed=True)
        self.living[seat] = again
        return again

    def terminate(self, seat: str) -> Life:
        """SIGTERM, and wait for a good end."""
        self.living[seat].worker.terminate()
        return self._gone(seat)

    def _gone(self, seat: str) -> Life:
        life = self.living.pop(seat)
        code = life.worker.wait(STOP_SECONDS)
        # Told before it listens, while Python still imports, a process ends by the signal itself.
        is_early = code == -signal.SIGTERM and not life.worker.tail().strip()
        if code != 0 and not is_early:
            self.bad_ends.append(f"{seat}: exit {code} after SIGTERM: {last_words(life.worker)}")
        return self._over(life, "term")

    def terminate_all(self) -> None:
        """SIGTERM to all at once, and wait for good ends."""
        for life in self.living.values():
            life.worker.terminate()
        for seat in list(self.living):
            self._gone(seat)

    def leave(self, seat: str, how: str) -> Life:
        """Take note that a worker ended, as it was meant to."""
        return self._over(self.living.pop(seat), how)

    def ended(self) -> list[Life]:
        """Return those that ended by themselves since the last call; their words are kept."""
        gone = [self.living.pop(s) for s, life in list(self.living.items()) if not life.is_alive]
        for life in gone:
            code = life.worker.process.returncode
            words = f"{life.seat}: exit {code}: {last_words(life.worker)}"
            self.own_ends.append(words)
            self._over(life, "own end")
        return gone

    def _over(self, life: Life, how: str) -> Life:
        life.ended_by, life.ended_unix = how, time.time()
        self.past.append(life)
        return life

    def lives(self) -> list[Life]:
        """Return all lives, ended or not, by start."""
        every = [*self.past, *self.living.values()]
        return sorted(every, key=lambda life: life.worker.started_unix)

    def is_working(self, arrivals: Arrivals) -> bool:
        """Whether each partition gives output of a worker that lives."""
        had = {p: at for life in self.living.values() for p, at in life.restored().items()}
        firsts = [arrivals.partitions[p].first_after(at) for p, at in had.items()]
        return len(had) == len(arrivals.partitions) and None not in firsts

    def tails(self) -> str:
        """Return the last words of all that live."""
        return "\n".join(f"{s}: {life.worker.tail()}" for s, life in self.living.items())


def last_words(worker: WorkerProcess) -> str:
    """Return what a worker said last, on one line."""
    lines = worker.tail().strip().splitlines()
    return lines[-1][:LAST_WORDS_CHARACTERS] if lines else ""
