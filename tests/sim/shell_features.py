"""What a run of the simulated shell has in it, drawn from its seed as in `tests.sim.features`."""

import random
from dataclasses import dataclass, replace

from tests.sim.features import Features
from tests.sim.load import Load

SHELL_FAULTS = {
    "rebalances": 0.6,
    "evictions": 0.3,
    "kills": 0.3,
    "restarts": 0.3,
    "broker_away": 0.3,
    "disk_full": 0.2,
    "clock_steps": 0.2,
    "refusals": 0.3,
    "unknown": 0.15,
    "slow_cuts": 0.4,
    "slow_restores": 0.3,
    "slow_recalls": 0.6,
    "recalls_fail": 0.3,
    "drops": 0.4,
    "client_hangs": 0.15,
    "small_inbox": 0.3,
    "hidden": 0.3,
    "no_halves": 0.4,
    "cancelled": 0.3,
    "commit_hangs": 0.2,
}
"""Feature -> the share of runs that have it."""
OF_THE_LOAD = frozenset(
    {"late", "twice", "poison", "holes", "learned_wait", "delay_bound", "small_segments"}
)
SPREAD_MS = 12_000


@dataclass(frozen=True, slots=True)
class ShellFeatures:
    """The shape of a run, and which features it has.

    Attributes:
        load: those of the input and of the engine.
        workers: how many.
        actions: how many actions are drawn before all is set right.
        on: the features of the shell; see `SHELL_FAULTS`.
    """

    load: Features
    workers: int
    actions: int
    on: frozenset[str]

    @classmethod
    def draw(cls, seed: int) -> "ShellFeatures":
        """Return the features of a seed."""
        rng = random.Random(f"{seed}/shell/features")
        often = rng.choice((0.4, 1.0, 1.0, 1.5))
        on = {name for name, share in SHELL_FAULTS.items() if rng.random() < share * often}
        load = Features.draw(seed)
        load = replace(load, traces=rng.choice((2, 4, 6)), on=load.on & OF_THE_LOAD)
        return cls(load, rng.choice((1, 2, 2, 3)), rng.choice((3, 6, 12)), frozenset(on))

    def without(self, names: frozenset[str]) -> "ShellFeatures":
        """Return the same run without some features."""
        load = self.load.without(names)
        return replace(self, load=load, on=self.on - names)

    @property
    def breaks_tasks(self) -> bool:
        """Whether something is done to tasks that they can only end of, with a word."""
        return bool(self.on & {"client_hangs", "cancelled"})

    def bounds(self) -> dict[str, int]:
        """Return fixed bounds of the engine that are too large for a small world to reach."""
        if "small_segments" not in self.load:
            return {}
        return {
            "streams.state.compaction.FLOOR_BYTES": 1,
            "streams.state.compaction.FACTOR": 1,
            "streams.state.compaction.STEP_BYTES": 1,
        }


def spread(seed: int, load: Load, features: ShellFeatures) -> Load:
    """Let the traces come over several seconds, and late spans much later, one after the other."""
    arrivals = []
    for number, arrival in enumerate(load.arrivals):
        event = arrival.event
        trace = event.trace if event is not None else 0
        begins = random.Random(f"{seed}/begins/{trace}").randrange(SPREAD_MS // 3)
        mine = random.Random(f"{seed}/spread/{number}")
        is_late = "late" in features.load and mine.random() < 0.3
        delay_ms = begins + (mine.randrange(SPREAD_MS) if is_late else 0)
        arrivals.append(arrival._replace(at_ms=arrival.at_ms + delay_ms))
    arrivals.sort(key=lambda a: (a.at_ms, a.topic, a.value))
    load.arrivals = arrivals
    return load
