"""Workers join and leave, in peace and in haste, and die, while records flow."""

import time
from typing import Final

from tests.fault.run import Run

HASTE_RATIO: Final = 0.3
HASTE_SECONDS: Final = (0.2, 4.0)
PEACE_SECONDS: Final = (16.0, 20.0)
"""Long enough for the silences of one change to be told from those of the next."""
EXTRA_SEATS: Final = 2


def rebalance(run: Run) -> None:
    """Let workers join, leave and die for `--seconds`, or `--kills` times when that is given."""
    seats = [*run.seats, *(f"x{n}" for n in range(EXTRA_SEATS))]
    ends_at = time.monotonic() + run.plan.seconds
    changes = 0
    while changes < run.plan.kills or (not run.plan.kills and time.monotonic() < ends_at):
        run.wait(run.chance.uniform(*_pause(run)))
        living = sorted(run.fleet.living)
        free = [seat for seat in seats if seat not in living]
        kinds = ["join", "join"] * bool(free) + ["term", "term", "kill"] * (len(living) > 1)
        kind = run.chance.choice(kinds)
        if kind == "join":
            seat = run.chance.choice(free)
            run.note("join", seat, f"to {len(living)}")
            run.fleet.start(seat)
        else:
            seat = run.chance.choice(living)
            run.note(kind, seat, f"of {len(living)}")
            (run.fleet.kill if kind == "kill" else run.fleet.terminate)(seat)
        changes += 1
    run.wait(PEACE_SECONDS[0])


def _pause(run: Run) -> tuple[float, float]:
    is_hasty = bool(run.changes) and run.chance.random() < HASTE_RATIO
    return HASTE_SECONDS if is_hasty else PEACE_SECONDS
