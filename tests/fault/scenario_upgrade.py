"""A group goes from an older version to this one, worker by worker, and one of them goes back.

Input goes on all the time, so that each step has workers of both versions in one group. A version
that cannot read a state must say so and leave it: the seat is then given to the one that can.
"""

import time
from pathlib import Path
from typing import Final

from tests.fault.harness import REPOSITORY
from tests.fault.run import WORKING_SECONDS_MAX, CannotRunError, Run

MIXED_SECONDS: Final = (5.0, 12.0)
"""How long two versions work side by side after each step."""
REFUSAL: Final = "run the version that wrote"


def upgrade(run: Run) -> None:
    """Replace every worker, then take one back and forward again, in each of `--kills` rounds.

    Raises:
        CannotRunError: nobody said where the older version is.
    """
    old = run.plan.old
    if old is None:
        raise CannotRunError("scenario upgrade needs a checkout of the older version: give --old")
    for number in range(run.plan.kills):
        if number:  # the first round begins with all of them old
            for seat in run.seats:
                _replace(run, seat, old, "roll back")
        order = run.chance.sample(run.seats, len(run.seats))
        for seat in order:
            _replace(run, seat, REPOSITORY, "upgrade")
        back = run.chance.choice(run.seats)
        _replace(run, back, old, "roll back")
        _replace(run, back, REPOSITORY, "upgrade")


def _replace(run: Run, seat: str, home: Path, kind: str) -> None:
    """Stop a worker as planned, start another version of it, and wait until all give output."""
    run.note(kind, seat)
    run.fleet.terminate(seat)
    run.fleet.homes[seat] = home
    began = time.time()
    life = run.fleet.start(seat)
    run.wait_until(
        lambda: run.fleet.living.get(seat) is not life or run.recovered(life), WORKING_SECONDS_MAX
    )
    if run.fleet.living.get(seat) is not life:
        _give_up(run, seat)
    run.wait_until_recovered([seat])
    run.wait_for_output(began, f"{kind.replace(' ', '_')}_output_s")
    run.wait(run.chance.uniform(*MIXED_SECONDS))
    read = {str(e["task"]) for e in life.worker.events("task_restored") if e["pieces"]}
    run.notes.append(f"{kind} {seat}: read back {', '.join(sorted(read)) or 'nothing'}")


def _give_up(run: Run, seat: str) -> None:
    """Give a seat to this version; that the older one refuses a newer state is no failure."""
    words = run.fleet.own_ends[-1]
    if run.fleet.homes[seat] == REPOSITORY or REFUSAL not in words:
        run.failures.append(f"a version ended at a state of the other one: {words}")
    run.note("refused", seat, words)
    run.fleet.homes[seat] = REPOSITORY
