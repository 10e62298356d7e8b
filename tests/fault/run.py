"""One run: a deployment, its traffic, a scenario of faults, and the verdict on what came out.

Owns the order of a run and the report. What a scenario does is in the modules `scenario_*`; it is
given a `Run` and draws all that chance decides from `Run.chance`.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from streams.contract.loader import load_contract
from streams.runtime.accounts import group_accounts
from streams.runtime.link import Link
from streams.runtime.reading import Reading
from tests.fault.arrivals import Arrivals, quantile
from tests.fault.broker import BrokerNode
from tests.fault.checks import (
    ALERTS,
    INCIDENTS,
    STATS,
    Verdict,
    check,
    compare_windows,
    read_records,
)
from tests.fault.commits import has_read_all
from tests.fault.fleet import Fleet, Life
from tests.fault.handover import Change, handovers
from tests.fault.harness import PROGRAM, Deployment, wait_for
from tests.fault.incidents import untold
from tests.fault.oracle import WINDOW_US, Truth, read_truth
from tests.fault.patience import PATIENCE
from tests.fault.traffic import DAY_US, Feed, Mix

POLL_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 60.0
RESTART_SECONDS: Final = 1.0
"""How long a supervisor waits before it starts a worker again that ended by itself."""
WORKING_SECONDS_MAX: Final = 600.0
SETTLE_SECONDS_MAX: Final = 400.0
WINDOWS_SECONDS_MAX: Final = 200.0
IMPATIENCE: Final = 0.15 / PATIENCE
"""For a planted bug: what it keeps away never comes."""
IMPATIENT_STUCK_SECONDS: Final = 60.0
"""For a planted bug, too: what only was not read yet must not count as lost."""
OWN_ENDS_SHOWN: Final = 20
STUCK_SECONDS_MAX: Final = 120.0 * PATIENCE
ALERTS_SECONDS_MAX: Final = 200.0
WORKER_SETTINGS: Final[dict[str, object]] = {
    "closed_retention_seconds": 36_000,
    "incident_update_seconds": 5,
    "incident_refresh_seconds": 10,
    "disk_free_min_bytes": 1 << 20,
}
"""Retention beyond any run: what a late span does must not depend on how long the run took.

Incidents tell early what joined them: the end of a run waits for it. The disk that is filled is
smaller than what a worker wants free: it would wait for ever.
"""


@dataclass
class Plan:
    """What is asked of a run.

    Attributes:
        scenario: its name.
        seed: decides all that chance decides.
        kills: how many faults; what counts as one is the scenario's.
        workers: how many work at once.
        seconds: how long, where a scenario goes by time.
        records_per_second: pace of the simulated pipeline; about 25 records of Kafka each.
        partitions: of the telemetry topics.
        program: what runs a worker.
        points: the crash points to visit, or the kinds of damage; all when empty.
        is_patient: wait long for what does not come; a planted bug may keep it away for ever.
        canary: name of the planted bug.
        old: checkout of an older version, which all workers run at first; this one's if absent.
    """

    scenario: str
    seed: int
    kills: int = 10
    workers: int = 3
    seconds: float = 300.0
    records_per_second: float = 15.0
    partitions: int = 4
    program: tuple[str, ...] = PROGRAM
    points: tuple[str, ...] = ()
    is_patient: bool = True
    canary: str = ""
    old: Path | None = None


@dataclass
class Run:
    """A run in progress: what a scenario works with."""

    plan: Plan
    deployment: Deployment
    node: BrokerNode | None
    fleet: Fleet
    arrivals: Arrivals
    feed: Feed
    chance: Random
    say: Callable[[str], None]
    faults: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    measured: dict[str, list[float]] = field(default_factory=dict)
    cleanups: list[Callable[[], object]] = field(default_factory=list)
    _again: dict[str, float] = field(default_factory=dict)

    @property
    def seats(self) -> list[str]:
        """The names of the regular seats."""
        return [f"w{n}" for n in range(self.plan.workers)]

    def note(self, kind: str, seat: str, words: str = "") -> None:
        """Take note of a fault and show it."""
        self.faults[kind] += 1
        at = time.time()
        self.changes.append(Change(at, kind, seat))
        done = len(self.changes)
        since = at - self.feed.start_us / 1e6
        self.say(f"{since:7.1f} s  fault {done:3d}  {kind} {seat} {words}".rstrip())

    def recovered(self, life: Life) -> bool:
        """Whether a life has given output, or got no partition although it had the time."""
        if life.recovery_seconds(self.arrivals) is not None:
            return True
        waited = time.time() - life.counted_from_unix
        return waited > IDLE_SECONDS and life.is_alive and not life.restored()

    def wait_until_recovered(self, seats: Iterable[str]) -> None:
        """Wait until lives have given output; a life that never does is a failure of the run."""
        for seat in seats:

            def is_so(seat: str = seat) -> bool:
                life = self.fleet.living.get(seat)
                return life is not None and self.recovered(life)

            if not self.wait_until(is_so, WORKING_SECONDS_MAX):
                self.failures.append(f"{seat} gave no output: {self.fleet.tails()}")

    def firsts(self, since_unix: float) -> list[float | None]:
        """Return when each partition first gave output that was cut after a moment."""
        return [p.first_after(since_unix) for p in self.arrivals.partitions.values()]

    def wait_for_output(self, since_unix: float, name: str) -> None:
        """Wait until all partitions gave output that was cut after a moment; note how long."""
        if not self.wait_until(lambda: None not in self.firsts(since_unix), WORKING_SECONDS_MAX):
            self.failures.append(f"{name}: no output of a partition: {self.fleet.tails()}")
        took = [at - since_unix for at in self.firsts(since_unix) if at is not None]
        self.measured.setdefault(name, []).extend(took)

    def tend(self) -> None:
        """Start again whoever ended by itself, a second later, as a supervisor would."""
        for life in self.fleet.ended():
            self.say(f"            own end: {self.fleet.own_ends[-1]}")
            self._again[life.seat] = time.monotonic() + RESTART_SECONDS
        for seat, at in list(self._again.items()):
            if time.monotonic() >= at or seat in self.fleet.living:
                del self._again[seat]
                if seat not in self.fleet.living:
                    self.fleet.start(seat)

    def wait(self, seconds: float) -> None:
        """Let time pass, and tend the workers meanwhile."""
        self.wait_until(lambda: False, seconds)

    def wait_until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so, tending the workers; return whether it was in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tend()
            if is_so():
                return True
            time.sleep(POLL_SECONDS)
        return False


Scenario = Callable[[Run], None]


class CannotRunError(Exception):
    """A scenario needs what this machine does not allow; the message says what."""


def carry_out(
    plan: Plan,
    scenario: Scenario,
    deployment: Deployment,
    node: BrokerNode | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run a scenario and return its report; the deployment has no topics yet.

    Raises:
        AssertionError: the run itself broke: a worker did not start, the feed failed.
    """
    deployment.create_topics()
    arrivals = Arrivals(deployment.broker, deployment.partitions)
    fleet = Fleet(deployment, plan.program, dict(WORKER_SETTINGS))
    feed = Feed(deployment.broker, plan.seed, plan.records_per_second, Mix())
    chance = Random(f"{plan.seed}/{plan.scenario}")
    run = Run(plan, deployment, node, fleet, arrivals, feed, chance, say)
    if plan.old is not None:
        fleet.homes.update(dict.fromkeys(run.seats, plan.old))
    try:
        for seat in run.seats:
            fleet.start(seat)
        feed.start()
        is_working = run.wait_until(lambda: fleet.is_working(arrivals), WORKING_SECONDS_MAX)
        assert is_working, f"no output of all partitions: {fleet.tails()}"
        _allow_ancient(run)
        say("all partitions give output; faults begin")
        scenario(run)
        return _finish(run)
    finally:
        arrivals.end()
        deployment.end()
        for cleanup in run.cleanups:
            cleanup()


def _allow_ancient(run: Run) -> None:
    """Wait until all that was sent at first is in the state of all partitions.

    A partition gives output when what the flow of a trace waits for was read; for one whose other
    topics were not, as on a machine that is busy, nothing is too late.
    """
    read = partial(has_read_all, run.deployment.broker, run.deployment.group)
    assert run.wait_until(read, WORKING_SECONDS_MAX), "topics unread"
    at = time.time()
    has_output = run.wait_until(lambda: None not in run.firsts(at), WORKING_SECONDS_MAX)
    assert has_output, f"no more output: {run.fleet.tails()}"
    run.feed.allow_ancient()


def _finish(run: Run) -> dict[str, Any]:
    run.tend()
    for seat in run.seats:
        if seat not in run.fleet.living:
            run.fleet.start(seat)
    sent = run.feed.end()
    run.say(f"faults are over; {sent} records sent; waiting until all is told")
    truth = read(run)
    truth, accounts = _settle(run, truth)
    run.fleet.terminate_all()
    verdict = check(run.deployment.broker, truth, accounts, run.feed.start_us - 60 * WINDOW_US)
    problems = [*run.failures, *run.fleet.bad_ends]
    verdict.wrong += len(problems)
    verdict.problems += [f"wrong: {one}" for one in problems]
    return report(run, truth, verdict)


def input_topics() -> list[str]:
    """Return the topics that the join reads under the seed contract."""
    modules = [name.lower() for name in load_contract("seed").modules]
    return [*(f"telemetry.{name}.v1" for name in [*modules, "other"]), "spanloom.links.v1"]


def _settle(run: Run, first: Truth) -> tuple[Truth, dict[str, int]]:
    """Wait until the workers have closed all traces and told all windows and alerts.

    Returns:
        The truth, read again if the workers have written input of their own, and the accounts.
    """
    truth = first
    accounts: dict[str, int] = {}
    changed = [time.monotonic()]
    patience = 1.0 if run.plan.is_patient else IMPATIENCE
    stuck_seconds = STUCK_SECONDS_MAX if run.plan.is_patient else IMPATIENT_STUCK_SECONDS

    def all_closed() -> bool:
        run.tend()
        before = dict(accounts)
        with Reading(Link.plain(run.deployment.broker)) as reading:
            found = group_accounts(reading, run.deployment.group)
        if found is None:
            return False
        accounts.clear()
        accounts.update(found.accounts | {"open": found.open})
        time.sleep(1)
        if accounts != before:
            changed[0] = time.monotonic()
        assert time.monotonic() - changed[0] < stuck_seconds, "nothing moves any more"
        return accounts["accepted"] >= truth.accounting["accepted"] and accounts["open"] == 0

    def all_told() -> bool:
        run.tend()
        time.sleep(1)
        stats = read_records(run.deployment.broker, STATS)
        missing, wrong, _ = compare_windows(stats, truth, run.feed.start_us - 60 * WINDOW_US)
        return not missing and not wrong

    def all_alerts_told() -> bool:
        run.tend()
        time.sleep(1)
        alerts, events = (
            read_records(run.deployment.broker, topic) for topic in (ALERTS, INCIDENTS)
        )
        return not untold(alerts, events)

    for is_so, seconds, what in (
        (all_closed, SETTLE_SECONDS_MAX, "all traces closed"),  # or nothing moves any more
        (all_told, WINDOWS_SECONDS_MAX * patience, "all windows told"),
        (all_alerts_told, ALERTS_SECONDS_MAX * patience, "all alerts told by incidents"),
    ):
        try:
            took = wait_for(is_so, seconds, lambda: f"accounts {accounts}")
            run.say(f"{what} after {took:.1f} s")
        except AssertionError as error:  # the checks say what is missing
            run.say(f"gave up waiting until {what}: {error}"[:300])
        if accounts.get("accepted") != truth.accounting["accepted"]:
            truth = read(run)
    return truth, accounts


def read(run: Run) -> Truth:
    """Return what must come out of all input that there is now."""
    return read_truth(run.deployment.broker, input_topics(), run.feed.start_us - DAY_US)


def report(run: Run, truth: Truth, verdict: Verdict) -> dict[str, Any]:
    """Return the report of a run, JSON-able."""
    plan = run.plan
    lives = run.fleet.lives()
    took = [(life, life.recovery_seconds(run.arrivals)) for life in lives]
    recoveries = [s for life, s in took if s is not None and not life.is_resumed]
    resumptions = [s for life, s in took if s is not None and life.is_resumed]
    return {
        "scenario": plan.scenario,
        "seed": plan.seed,
        "workers": plan.workers,
        "canary": plan.canary,
        "kills": run.faults["kill"] + run.faults["point"],
        "lost": verdict.lost,
        "repeated": verdict.repeated,
        "wrong": verdict.wrong,
        "recovery_p50_s": quantile(recoveries, 0.5),
        "recovery_p95_s": quantile(recoveries, 0.95),
        "recovery_max_s": quantile(recoveries, 1.0),
        "recoveries": len(recoveries),
        "resumption_max_s": quantile(resumptions, 1.0),
        "lives": len(lives),
        "faults": dict(sorted(run.faults.items())),
        "handover": handovers(run.changes, lives, run.arrivals),
        "measured": {
            name: {"count": len(v), "p50": quantile(v, 0.5), "max": quantile(v, 1.0)}
            for name, v in run.measured.items()
        },
        "own_ends": run.fleet.own_ends[-OWN_ENDS_SHOWN:],
        "own_ends_count": len(run.fleet.own_ends),
        "problems": verdict.problems,
        "notes": run.notes,
        "compared": verdict.figures,
        "accounting": dict(truth.accounting),
        "load_average_5m": round(os.getloadavg()[1], 1),
        "seconds": round(time.time() - run.feed.start_us / 1e6, 1),
    }
