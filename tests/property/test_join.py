"""The join gives what the slow join gives, however the events are cut, repeated and mixed."""

import random
from collections.abc import Collection
from dataclasses import replace
from unittest.mock import patch

from streams.core.fidelity.plan import Plan
from streams.core.traces.opentraces import TraceBounds
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
    settings_of,
    trace_key,
)
from tests.judge_cases import random_plan, randoms
from tests.oracle_join import SlowJoin
from tests.tiers import tried


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


@tried(randoms, few=18, many=70)
def test_first_and_last_revisions_are_those_of_the_slow_join(rng: random.Random) -> None:
    """Chunks, repeats and disorder decide nothing: a row closes a trace, or it does not."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 8)))
    if rng.random() < 0.3:  # what is met closes at once
        plan = replace(plan, flows=tuple(replace(f, settle_us=0) for f in plan.flows))
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


@tried(randoms, few=10, many=40)
def test_last_revisions_are_a_function_of_the_events_alone(rng: random.Random) -> None:
    """Clocks, recalls, cuts, crashes, compaction and partitions change no last revision."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 8)))
    partitions = rng.randint(1, 3)
    expected = slow(plan, log)
    found: dict[int, Published] = {}
    for partition in range(partitions):
        mine = [e for e in log if e.trace % partitions == partition]
        world = World(plan)
        with patch("streams.core.traces.opentraces.COMPACT_MIN_ROWS", rng.choice((1, 1 << 20))):
            run_roughly(rng, world, mine)
            world.finish()
        assert not found.keys() & world.final().keys()
        found |= world.final()
    check_final(found, expected)


@tried(randoms, few=10, many=40)
def test_windows_count_what_the_last_revisions_say(rng: random.Random) -> None:
    """However often traces were amended, the windows are those of a clean run of the events."""
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


def run_roughly(
    rng: random.Random,
    world: World,
    log: list[Event],
    *,
    crashes: int | None = None,
    lost: Collection[bytes] = (),
) -> None:
    """Feed a log in chunks, with clocks that tell anything, cuts, recalls and crashes between."""
    at, begin = 0, world.fed
    crashes = rng.randint(0, 3) if crashes is None else crashes
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
            world.recall(lost)
        if crashes and rng.random() < 0.2 and world.cuts:
            crashes -= 1
            world.restart()
            at = world.fed - begin


@tried(randoms, few=10, many=40)
def test_a_restored_task_goes_on_as_if_it_had_never_stopped(rng: random.Random) -> None:
    """State read back after any cut, from deltas and full segments, gives the same continuation."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 8)), late=0.3)
    bounds = rng.choice((TraceBounds(), TraceBounds(rows_max=4), TraceBounds(bytes_max=700)))
    ever = World(plan, settings_of(bounds=bounds))
    half = rng.randrange(len(log) + 1)
    run_roughly(rng, ever, log[:half], crashes=0)
    ever.cut(full=rng.random() < 0.2)
    again = ever.restarted()
    pending = again.task.state.pending_recalls()
    assert sorted(pending) == sorted(ever.task.state.pending_recalls())
    seed = rng.random()
    for world in (ever, again):
        run_roughly(random.Random(seed), world, log[half:], crashes=0)
        world.finish()
    assert again.published == ever.published
    assert again.task.state.accounting() == ever.task.state.accounting()
    assert again.task.state.reasons == ever.task.state.reasons
    assert again.task.watermark_us() == ever.task.watermark_us()
    assert again.windows() == ever.windows()


@tried(randoms, few=8, many=30)
def test_what_cannot_be_read_back_is_counted_late(rng: random.Random) -> None:
    """A trace whose last revision is gone keeps it, and what comes after is counted, not joined."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 8)), late=0.4)
    world = World(plan)
    lost = {key for key in (trace_key(n) for n in range(1, 9)) if rng.random() < 0.5}
    run_roughly(rng, world, log, lost=lost)
    world.finish(lost=lost)
    for key, revisions in world.published.items():
        if key in lost:
            assert len(revisions) == 1
    accounts = world.task.state.accounting()
    assert accounts["joined"] == sum(len(p.numbers) for p in world.final().values())
    expected = slow(plan, log).final()
    for trace, published in world.final().items():
        if trace_key(trace) not in lost:
            assert published.numbers == expected[trace][0]


@tried(randoms, few=8, many=30)
def test_a_trace_never_grows_beyond_its_bounds(rng: random.Random) -> None:
    """Events beyond the rows or bytes of one trace are evicted, and every one is counted."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(1, 6)), late=0.2, twice=0.4)
    rows_max, bytes_max = rng.randint(1, 6), rng.choice((100, 700, 1 << 20))
    world = World(plan, settings_of(bounds=TraceBounds(rows_max, bytes_max)))
    run_roughly(rng, world, log)
    world.finish()
    for published in world.final().values():
        assert len(published.bodies) <= rows_max
        assert len(published.bodies) == 1 or sum(map(len, published.bodies)) <= bytes_max
        assert (published.status == "TRUNCATED") == (published.evicted > 0)
    accounts = world.task.state.accounting()
    assert accounts["joined"] == sum(len(p.bodies) for p in world.final().values())
    assert accounts["evicted"] == world.task.state.reasons.get("trace_too_large", 0)


@tried(randoms, few=8, many=30)
def test_too_many_open_traces_close_early_and_are_amended(rng: random.Random) -> None:
    """Beyond the bounds of memory the oldest traces close early; the last revision is the same."""
    plan = random_plan(rng)
    log = delivered(rng, random_events(rng, plan, rng.randint(4, 8)))
    most, most_bytes = rng.randint(1, 4), rng.choice((900, 1 << 20))
    world = World(plan, settings_of(open_traces_max=most, open_bytes_max=most_bytes))
    for chunk in random_cuts(rng, len(log)):
        world.feed(log[chunk])
        world.cut()
        open_ = world.task.state.open
        waiting = len(world.task.state.pending_recalls())
        assert len(open_) <= most + waiting
        assert waiting or open_.live_bytes <= most_bytes
        world.recall()
    world.finish()
    check_final(world.final(), slow(plan, log))
