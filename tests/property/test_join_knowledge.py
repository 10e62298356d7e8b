"""Windows follow from the last revisions and what was known of them, whatever was known before."""

import random
from typing import cast

import numpy as np

from streams.core.fidelity.causes import IN_FLIGHT, KNOWN_NAMES
from streams.core.fidelity.plan import Plan
from streams.engine.join_state import JoinState
from streams.engine.knowledge import Knowledge
from streams.units import I64, U8, U64
from tests.join_cases import World, delivered, event_of, random_events
from tests.judge_cases import random_plan, randoms
from tests.property.test_join import of_traces, patient, run_roughly
from tests.tiers import tried

HISTORY = ("late", "revisions", "duplicate", "events", "untraced")


class Whims:
    """Knows anything of a trace, and something else when asked again."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def of(self, state: JoinState, slots: I64, keys: list[bytes], by: U8) -> U64:
        """Return random masks."""
        out = np.zeros((len(keys), len(KNOWN_NAMES)), np.uint64)
        for row in out:
            row[:IN_FLIGHT] = [self._rng.randrange(16) & self._rng.randrange(16) for _ in row[1:]]
            row[IN_FLIGHT] = self._rng.random() < 0.2
        return out


class Memory:
    """Knows what was known when the traces of another task were judged last."""

    def __init__(self, world: World) -> None:
        self._closed = world.task.state.closed

    def of(self, state: JoinState, slots: I64, keys: list[bytes], by: U8) -> U64:
        """Return the masks that the closed set keeps."""
        found = [self._closed.find(key) for key in keys]
        return np.stack([batch.known[at] for batch, at in filter(None, found)])


class Whimsical(World):
    """A world whose task knows anything."""

    def __init__(self, plan: Plan, rng: random.Random) -> None:
        self._rng = rng
        super().__init__(plan)

    def _begin(self) -> None:
        super()._begin()
        self.task._closer._knowledge = cast(Knowledge, Whims(self._rng))


def counted(world: World) -> dict[object, dict[str, int]]:
    """Return the counters of all scopes of traces, causes as they were told."""
    out: dict[object, dict[str, int]] = {}
    for start_us, _, scopes in world.task.state.counts.snapshot()["windows"]:
        for scope, counters, _ in scopes:
            kept = {k: n for k, n in counters.items() if n and k not in HISTORY}
            if kept:
                out[(start_us, *scope)] = kept
    return of_traces(out)  # type: ignore[arg-type]


@tried(randoms, few=15, many=60)
def test_revisions_take_back_what_was_counted_whatever_was_known(rng: random.Random) -> None:
    """Judged once more with what was known at their last revision, the traces count the same."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 5)), late=0.4)
    world, once = Whimsical(plan, rng), World(patient(plan))
    run_roughly(rng, world, log)
    world.finish()
    once.task._closer._knowledge = cast(Knowledge, Memory(world))
    bodies = [body for last in world.final().values() for body in last.bodies]
    events = [event_of(body, kafka_us=1 << 20) for body in bodies]
    once.feed(sorted(events, key=lambda e: e.at_us))
    once.finish()
    assert counted(world) == counted(once)
