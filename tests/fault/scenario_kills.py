"""Workers that die, stop and leave at random moments, and workers that die at named points."""

import time
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final

from streams.runtime.crashpoints import COMMIT_POINTS, POINTS
from tests.fault.fleet import Life
from tests.fault.harness import SESSION_SECONDS
from tests.fault.run import POLL_SECONDS, WORKING_SECONDS_MAX, Run

KILL_RATIO: Final = 0.8
PAUSE_RATIO: Final = 0.5
"""Of the faults that are no kill."""
STARTING_RATIO: Final = 0.25
STARTING_SECONDS: Final = (0.5, 5.0)
WORKING_SECONDS: Final = (0.0, 4.0)
AWAY_RATIO: Final = 0.3
"""Share of the workers that stay away for longer than their session: others take over."""
AWAY_SECONDS: Final = (SESSION_SECONDS + 0.5, SESSION_SECONDS + 5.0)
PAUSE_SECONDS: Final = (SESSION_SECONDS + 1.0, SESSION_SECONDS + 6.0)
BARE_RATIO: Final = 0.15
VISITS_MAX: Final = 12
RESTORES_MAX: Final = 2
"""A worker with one partition restores two tasks, its join and its fragments, and no more."""
POINT_SECONDS_MAX: Final = 480.0


@dataclass
class Fate:
    """What will happen to one life, drawn when it begins."""

    how: str
    is_starting: bool
    after_seconds: float
    away_seconds: float
    is_bare: bool
    pause_seconds: float


def draw_fate(chance: Random) -> Fate:
    """Draw what will happen to a life."""
    how = "kill"
    if chance.random() > KILL_RATIO:
        how = "pause" if chance.random() < PAUSE_RATIO else "term"
    is_starting = how == "kill" and chance.random() < STARTING_RATIO
    return Fate(
        how=how,
        is_starting=is_starting,
        after_seconds=chance.uniform(*(STARTING_SECONDS if is_starting else WORKING_SECONDS)),
        away_seconds=chance.uniform(*AWAY_SECONDS) if chance.random() < AWAY_RATIO else 0.0,
        is_bare=chance.random() < BARE_RATIO,
        pause_seconds=chance.uniform(*PAUSE_SECONDS),
    )


class _Seat:
    """One seat's turn of fates, moved on by `step`."""

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self._chance = Random(f"{run.plan.seed}/kills/{name}")
        self._fate = draw_fate(self._chance)
        self._working_since = 0.0
        self._back_at = 0.0
        self._paused: Life | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether its worker runs."""
        return self._paused is None and self.name in self.run.fleet.living

    def step(self, is_ending: bool) -> None:
        now, fleet = time.time(), self.run.fleet
        if self._paused is not None:
            if now >= self._back_at:
                fleet.resume(self.name)
                self._paused, self._working_since = None, 0.0
                self._fate = draw_fate(self._chance)
            return
        life = fleet.living.get(self.name)
        if life is None:
            if now >= self._back_at or is_ending:
                fleet.start(self.name)
                self._working_since, self._fate = 0.0, draw_fate(self._chance)
            return
        if not is_ending and self._is_due(life, now):
            self._strike(life, now)

    def _is_due(self, life: Life, now: float) -> bool:
        if self._fate.is_starting:
            return now - life.worker.started_unix >= self._fate.after_seconds
        if not self._working_since and self.run.recovered(life):
            self._working_since = now
        if not self._working_since and now - life.counted_from_unix > WORKING_SECONDS_MAX:
            self.run.failures.append(f"{self.name} gave no output: {life.worker.tail()}")
            self._working_since = now
        return bool(self._working_since) and now - self._working_since >= self._fate.after_seconds

    def _strike(self, life: Life, now: float) -> None:
        run, fate = self.run, self._fate
        met = "starting" if fate.is_starting else "working"
        if fate.how == "pause":
            life.worker.pause()
            self._paused, self._back_at = life, now + fate.pause_seconds
            run.note("pause", self.name, f"for {fate.pause_seconds:.1f} s")
            return
        run.note(fate.how, self.name, met)
        (run.fleet.kill if fate.how == "kill" else run.fleet.terminate)(self.name)
        self._back_at = now + fate.away_seconds
        if fate.is_bare:
            run.deployment.lose_state(run.fleet.state(self.name).name)
            run.faults["bare"] += 1


def kills(run: Run) -> None:
    """Kill workers `--kills` times, and stop, pause and bare them in between."""
    seats = [_Seat(run, name) for name in run.seats]
    while run.faults["kill"] < run.plan.kills:
        for seat in seats:
            seat.step(is_ending=run.faults["kill"] >= run.plan.kills)
        run.tend()
        time.sleep(POLL_SECONDS)
    while not all(seat.is_quiet for seat in seats):
        for seat in seats:
            seat.step(is_ending=True)
        run.tend()
        time.sleep(POLL_SECONDS)


def points(run: Run) -> None:
    """Let workers die `--kills` times at each named point; every point must be reached."""
    names = run.plan.points or POINTS
    orders = [name for name in names for _ in range(run.plan.kills)]
    run.chance.shuffle(orders)
    waiting = deque(_spec(run.chance, name) for name in orders)
    armed: dict[str, str] = {}
    for seat in run.seats:
        run.fleet.terminate(seat)
    while waiting or armed:
        for seat in run.seats:
            life = run.fleet.living.get(seat)
            spec = armed.get(seat)
            if life is None and waiting:
                armed[seat] = waiting.popleft()
                run.fleet.start(seat, crash_point=armed[seat])
            elif life is None:
                run.fleet.start(seat)
            elif spec is not None and not life.is_alive:
                del armed[seat]
                _died(run, seat, spec)
            elif spec is not None and _is_overdue(life):
                del armed[seat]
                run.failures.append(f"{spec} was not reached: {life.worker.tail()}")
                run.fleet.kill(seat)
            elif spec is None and not life.is_alive:
                run.tend()
            elif spec is None and waiting:
                run.fleet.terminate(seat)
        time.sleep(POLL_SECONDS)
    reached = {kind.removeprefix("at ") for kind in run.faults if kind.startswith("at ")}
    run.failures += [f"no worker died at {name}" for name in names if name not in reached]


def _spec(chance: Random, name: str) -> str:
    """Return where to die: at which visit, and whether what is queued is sent before."""
    visits = chance.randint(1, VISITS_MAX if name in COMMIT_POINTS else RESTORES_MAX)
    return f"{name}:{visits}" + (":flushed" if chance.random() < 0.5 else "")


def _is_overdue(life: Life) -> bool:
    return time.time() - life.worker.started_unix > POINT_SECONDS_MAX


def _died(run: Run, seat: str, spec: str) -> None:
    life = run.fleet.leave(seat, spec)
    code = life.worker.process.returncode
    if code == -9:
        run.note("point", seat, spec)
        run.faults[f"at {spec.partition(':')[0]}"] += 1
    else:
        run.fleet.own_ends.append(f"{seat}: exit {code} before {spec}: {life.worker.tail()}")
