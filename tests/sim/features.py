"""What one simulated run has in it: drawn from the seed, each feature on in some runs only.

Swarm testing: runs with everything on hide what a run with two features shows, so each seed
switches features off at random. Source: Groce et al., "Swarm Testing", ISSTA 2012.
"""

import random
from dataclasses import dataclass, fields

FAULTS = {
    "crashes": 0.6,
    "zombies": 0.4,
    "rebalances": 0.6,
    "refusals": 0.5,
    "unknown": 0.4,
    "local_faults": 0.5,
    "compaction": 0.5,
    "clock_steps": 0.4,
    "hidden": 0.4,
    "holes": 0.5,
    "late": 0.7,
    "twice": 0.7,
    "poison": 0.3,
    "wild_clock": 0.1,
    "backlog": 0.3,
    "small_segments": 0.5,
    "recalls_lost": 0.1,
    "open_bound": 0.15,
    "bytes_bound": 0.1,
    "trace_bound": 0.1,
    "closed_bound": 0.1,
    "short_retention": 0.08,
    "learned_wait": 0.2,
    "delay_bound": 0.4,
    "global_stage": 0.25,
}
"""Feature -> the share of runs that have it."""


@dataclass(frozen=True, slots=True)
class Features:
    """The shape of a run, and which features it has.

    Attributes:
        partitions, workers, traces: how many.
        actions: how many actions are drawn before all is set right and read to the end.
        on: the features of this run; see `FAULTS`.
    """

    partitions: int
    workers: int
    traces: int
    actions: int
    on: frozenset[str]

    @classmethod
    def draw(cls, seed: int) -> "Features":
        """Return the features of a seed."""
        rng = random.Random(f"{seed}/features")
        # Half of the runs have about half of the features, the others few or many.
        often = rng.choice((0.4, 1.0, 1.0, 1.5))
        on = {name for name, share in FAULTS.items() if rng.random() < share * often}
        if "global_stage" in on:
            # A window an hour ahead is ended by the clock alone, after an hour of empty windows.
            on.discard("wild_clock")
        return cls(
            partitions=rng.choice((1, 1, 2)),
            workers=rng.choice((1, 2, 2, 3)),
            traces=rng.choice((1, 2, 2, 3, 3, 4)),
            actions=rng.choice((3, 6, 12)),
            on=frozenset(on),
        )

    def __contains__(self, name: str) -> bool:
        assert name in FAULTS, name
        return name in self.on

    def without(self, names: frozenset[str]) -> "Features":
        """Return the same run without some features."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Features(**{**values, "on": self.on - names})

    @property
    def forgets(self) -> bool:
        """Whether some event may end outside of the last revision, by a bound or a lost read."""
        return bool(self.on & {"recalls_lost", "trace_bound", "closed_bound", "short_retention"})

    @property
    def closes_early(self) -> bool:
        """Whether a bound may close traces before their time, for good."""
        return bool(self.on & {"open_bound", "bytes_bound"})
