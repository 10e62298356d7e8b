"""One change of the group at a time, each after the one before is over: how long partitions pause.

A round lets a worker join, stop as planned, join again, and die. Nothing else happens meanwhile, so
that each silence has one cause; before the first round nothing happens at all for a while, which
says how long a silence is without any cause.
"""

import time
from collections.abc import Callable
from typing import Final

from tests.fault.handover import STRETCH_SECONDS
from tests.fault.run import WORKING_SECONDS_MAX, CannotRunError, Run

PEACE_SECONDS: Final = 5.0
"""Between the first output of all partitions after a change and the next change."""


def handover(run: Run) -> None:
    """Change the group four times in each of `--kills` rounds.

    Raises:
        CannotRunError: a worker that joins would get no partition.
    """
    workers, partitions = run.plan.workers, run.plan.partitions
    # The assignor moves no partition from a worker that has no more than its rounded share.
    if -(-partitions // (workers + 1)) * workers >= partitions:
        raise CannotRunError(
            f"with {partitions} partitions a worker that joins {workers} would get none: give "
            f"--partitions {(workers + 1) * 2}"
        )
    run.note("quiet", "nobody")
    run.wait(STRETCH_SECONDS)
    for number in range(run.plan.kills):
        seat = f"x{number}"
        _join(run, seat)
        _leave(run, seat, "term", run.fleet.terminate)
        _join(run, seat)
        _leave(run, seat, "kill", run.fleet.kill)


def _join(run: Run, seat: str) -> None:
    run.note("join", seat)
    began = time.time()
    life = run.fleet.start(seat)
    _settle(run, began, lambda: bool(life.restored()))


def _leave(run: Run, seat: str, kind: str, leave: Callable[[str], object]) -> None:
    had = set(run.fleet.living[seat].restored())
    began = time.time()
    run.note(kind, seat)
    leave(seat)

    def all_taken() -> bool:
        lives = run.fleet.living.values()
        return had <= {p for life in lives for p, at in life.restored().items() if at > began}

    _settle(run, began, all_taken)


def _settle(run: Run, since_unix: float, is_over: Callable[[], bool]) -> None:
    """Wait until a change is over: its partitions have changed hands, and all give output."""
    if not run.wait_until(is_over, WORKING_SECONDS_MAX):
        run.failures.append(f"a change was never over: {run.fleet.tails()}")
    run.wait_for_output(time.time(), "settled")
    run.wait_until(lambda: time.time() - since_unix >= STRETCH_SECONDS, WORKING_SECONDS_MAX)
    run.wait(PEACE_SECONDS)
