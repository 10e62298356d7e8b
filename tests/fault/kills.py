"""Kill the worker at random moments while it reads, and hold what it published to the truth.

One seed decides when the worker dies and which of its restarts find their local state gone. What
is fed, killed and checked is the shipped worker on a real broker.
"""

import random
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from streams.codec.records import decode
from tests.fault.harness import (
    TRACES,
    Deployment,
    WorkerProcess,
    assert_revisions_are_whole,
    assert_spans_are_whole,
    balance,
)
from tests.fault.nezha import Recording
from tests.fault.patience import PATIENCE

STARTING_SECONDS = (0.5, 4.0)
"""After a start: dies while it starts, joins the group or restores."""
WORKING_SECONDS = (0.2, 4.0)
"""After all tasks are restored: dies while it joins, cuts or publishes."""
STARTING_RATIO = 0.25
WAITS = ("--fixed-waits", 2, "--closed-retention", 36_000)
"""Shorter than many traces: they are amended, so that kills meet revisions and recalls too."""
END_SECONDS = 180.0
HELD_BACK_RATIO = 0.1
"""Share of the rows that are fed after the last kill, so that no worker is done before it."""


@dataclass
class KillReport:
    """What a run of kills measured.

    Attributes:
        seed: repeats the run's choices.
        lives: how each killed worker was met: "starting" or "working", and for how long, seconds.
        without_state: numbers of the restarts whose local state was deleted.
        restored_seconds: from each start to its first restored task, for the lives that got there.
        revisions: how many trace revisions were published.
        accounting: accounts of all partitions at the end.
    """

    seed: int
    lives: list[tuple[str, float]] = field(default_factory=list)
    without_state: list[int] = field(default_factory=list)
    restored_seconds: list[float] = field(default_factory=list)
    revisions: int = 0
    accounting: dict[str, int] = field(default_factory=dict)


def run_kills(
    deployment: Deployment, recording: Recording, *, seed: int, kills: int, feed_seconds: float
) -> KillReport:
    """Feed the recording at a pace, kill the worker `kills` times, and check all that came out.

    Raises:
        AssertionError: something was lost, published twice or does not balance; the seed is in the
            report that the caller prints.
    """
    report = KillReport(seed)
    print(f"kills: seed {seed}, {kills} kills over {recording.rows} rows")
    chance = random.Random(seed)
    bare = set(chance.sample(range(kills), min(2, kills // 2 + kills % 2)))
    deployment.create_topics()
    kills_are_over = threading.Event()
    fed: list[int] = []

    def feed() -> None:
        events = recording.events()
        first = round(recording.rows * (1 - HELD_BACK_RATIO))
        fed.append(deployment.feed(islice(events, first), first / feed_seconds))
        kills_are_over.wait()
        fed.append(deployment.feed(events))

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    worker = _start(deployment, recording)
    for n in range(kills):
        report.lives.append(_live(worker, deployment, chance))
        worker.kill()
        if n in bare:
            deployment.lose_state()
            report.without_state.append(n)
        worker = _start(deployment, recording)
    kills_are_over.set()
    feeding.join(END_SECONDS * PATIENCE)
    assert sum(fed) == recording.rows
    assert worker.wait(END_SECONDS) == 0, worker.tail()
    report.restored_seconds = [s for w in deployment.workers if (s := _restored_after(w)) > 0]
    report.accounting = worker.accounting()
    _check(deployment, recording, report)
    return report


def _start(deployment: Deployment, recording: Recording) -> WorkerProcess:
    return deployment.worker(
        "--exit-after", recording.rows, "--drain-seconds", 240, instance="only"
    )


def _live(
    worker: WorkerProcess, deployment: Deployment, chance: random.Random
) -> tuple[str, float]:
    """Let a worker live for a random while; return how it was met and for how long."""
    is_starting = chance.random() < STARTING_RATIO
    life = chance.uniform(*(STARTING_SECONDS if is_starting else WORKING_SECONDS))
    if not is_starting:
        worker.wait_until_restored(deployment.partitions)
    time.sleep(life)
    assert worker.is_alive, worker.tail()
    return ("starting" if is_starting else "working"), round(life, 2)


def _restored_after(worker: WorkerProcess) -> float:
    events = worker.events("task_restored")
    if not events:
        return 0.0
    at = datetime.fromisoformat(events[0]["timestamp"]).timestamp()
    return round(at - worker.started_unix, 2)


def _check(deployment: Deployment, recording: Recording, report: KillReport) -> None:
    traces = deployment.read_by(TRACES, decode)
    report.revisions = assert_revisions_are_whole(traces)
    assert_spans_are_whole(traces, recording.spans)
    assert balance(report.accounting) == 0, report.accounting
    assert report.accounting == recording.accounting
