"""The broker restarts, dies and stays away, while records are sent and joined."""

import time
from typing import Final

from tests.fault.broker import BrokerNode
from tests.fault.run import CannotRunError, Run

AWAY_SECONDS: Final = (0.0, 4.0)
DOWN_SECONDS: Final = 70.0
BETWEEN_SECONDS: Final = (2.0, 8.0)


def broker(run: Run) -> None:
    """In each round: a clean restart, a `kill -9`, and 70 s without a broker, in some order."""
    node = run.node
    if node is None:
        raise CannotRunError("scenario broker needs a broker of its own: leave --broker out")
    for _ in range(run.plan.kills):
        kinds = ["clean", "hard", "down"]
        run.chance.shuffle(kinds)
        for kind in kinds:
            bounce(run, node, kind)


def bounce(run: Run, node: BrokerNode, kind: str, down_seconds: float = DOWN_SECONDS) -> None:
    """Take the broker away and bring it back; wait until all partitions give output again."""
    run.wait(run.chance.uniform(*BETWEEN_SECONDS))
    is_hard = kind == "hard" or (kind == "down" and run.chance.random() < 0.5)
    away = down_seconds if kind == "down" else run.chance.uniform(*AWAY_SECONDS)
    run.note(f"broker {kind}", "broker", f"{'kill' if is_hard else 'stop'}, away {away:.1f} s")
    (node.kill if is_hard else node.stop)()
    run.wait(away)
    node.start()
    back = time.time()
    run.wait_for_output(back, "output_after_broker_s")
