"""The join gives what the slow join gives, however the events are cut, repeated and mixed."""

import random
from dataclasses import replace

from hypothesis import given, settings

from streams.core.fidelity.plan import Plan
from tests.join_cases import (
    LINKS,
    OTHER,
    TOPIC_OF_MODULE,
    TOPICS,
    Event,
    Published,
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


def check_final(found: dict[int, Published], expected: SlowJoin) -> None:
    """Compare the last revision of every trace with the slow join and the slow judge."""
    wanted = expected.final()
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
    check_final(world.final(), expected)


@settings(max_examples=100)
@given(randoms)
def test_last_revisions_are_a_function_of_the_events_alone(rng: random.Random) -> None:
    """Clock ticks, recalls, cuts, crashes and the number of partitions change no last revision."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 8)))
    partitions = rng.randint(1, 3)
    expected = slow(plan, log)
    found: dict[int, Published] = {}
    for partition in range(partitions):
        mine = [e for e in log if e.trace % partitions == partition]
        world = World(plan)
        run_roughly(rng, world, mine)
        world.finish()
        assert not found.keys() & world.final().keys()
        found |= world.final()
    check_final(found, expected)


@settings(max_examples=100)
@given(randoms)
def test_windows_count_what_the_last_revisions_say(rng: random.Random) -> None:
    """However often traces were amended, the windows are those of a clean run of the same events."""
    plan = random_plan(rng)
    events = random_events(rng, plan, rng.randint(1, 6))
    world, clean = World(plan), World(patient(plan))
    run_roughly(rng, world, delivered(rng, events, late=0.3))
    world.finish()
    clean.feed(sorted(events, key=lambda e: e.at_us))
    clean.finish()
    history = ("late", "revisions", "duplicate", "events", "untraced")
    assert of_traces(world.windows(history)) == of_traces(clean.windows(history))


def of_traces(windows: dict[tuple[object, ...], dict[str, int]]) -> dict[object, dict[str, int]]:
    """Return the scopes that count traces, not events."""
    return {name: counters for name, counters in windows.items() if name[1] != "module"}


def patient(plan: Plan) -> Plan:
    """Return the plan with waits that no log here is longer than."""
    flows = tuple(replace(f, wait_us=1 << 40, settle_us=1 << 40) for f in plan.flows)
    return replace(plan, flows=flows)


def run_roughly(rng: random.Random, world: World, log: list[Event]) -> None:
    """Feed a log in chunks, with clocks that tell anything, cuts, recalls and crashes between."""
    at = 0
    crashes = rng.randint(0, 3)
    while at < len(log):
        size = rng.choice((0, 1, 1, 3, 10, 100))
        chunk = log[at : at + size]
        now_us = log[min(at + size, len(log)) - 1].kafka_us
        ticks = [rng.choice((0, 0, now_us - rng.randrange(100), now_us)) for _ in TOPICS]
        world.feed(chunk, ticks)
        at += len(chunk)
        if rng.random() < 0.4:
            world.cut(full=rng.random() < 0.3)
        if rng.random() < 0.4:
            world.recall()
        if crashes and rng.random() < 0.2 and world.cuts:
            crashes -= 1
            world.restart()
            at = world.fed
