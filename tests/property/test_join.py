"""The join gives what the slow join gives, however the events are cut, repeated and mixed."""

import random

from hypothesis import given, settings

from streams.core.fidelity.plan import Plan
from tests.join_cases import (
    LINKS,
    OTHER,
    TOPIC_OF_MODULE,
    Event,
    World,
    delivered,
    random_cuts,
    random_events,
)
from tests.judge_cases import random_plan, randoms
from tests.oracle_join import SlowJoin


def slow(plan: Plan, log: list[Event]) -> SlowJoin:
    """Return the slow join of a log, with the settings of the worlds here."""
    join = SlowJoin(
        plan, TOPIC_OF_MODULE, other=OTHER, topics=LINKS, wait_us=150, disorder_max_us=40
    )
    join.run(log)
    return join


def check_final(world: World, expected: SlowJoin) -> None:
    """Compare the last revision of every trace with the slow join and the slow judge."""
    found, wanted = world.final(), expected.final()
    assert found.keys() == wanted.keys()
    for trace, (numbers, verdict) in wanted.items():
        assert found[trace].numbers == numbers
        assert len(found[trace].bodies) == len(numbers)
        assert (found[trace].status, found[trace].flow) == (verdict.status, verdict.flow)
        assert sorted(map(str, found[trace].missing)) == sorted(map(str, verdict.missing))


@settings(max_examples=150)
@given(randoms)
def test_first_and_last_revisions_are_those_of_the_slow_join(rng: random.Random) -> None:
    """Chunks, repeats and disorder decide nothing: a row closes a trace, or it does not."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 8)))
    expected = slow(plan, log)
    world = World(plan)
    for chunk in random_cuts(rng, len(log)):
        world.feed(log[chunk])
        if rng.random() < 0.3:
            world.cut(full=rng.random() < 0.3)
        if rng.random() < 0.3:
            world.recall()
    world.finish()
    assert world.first() == expected.first()
    check_final(world, expected)
