"""Restarted contexts, joined: what holds in the end follows from the input alone."""

import json
import random
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings

from streams.core.fidelity.plan import Plan
from streams.core.traces.fragments import Fragment, restarts
from streams.core.traces.links import links_of
from streams.engine.fragments import fragment_of
from streams.engine.link_spans import link_event
from tests.join_cases import Event, delivered
from tests.judge_cases import MODULES, plan_of, randoms
from tests.restart_cases import NOW_US, Engine, link_of, topology_of

STAGES = "abcde"


def a_plan(rng: random.Random) -> Plan:
    """Return one flow of five stages in three modules, some of them optional."""
    optional = "".join(rng.sample("bd", rng.randint(0, 2)))
    plan = plan_of(STAGES, "ab bc cd de", optional=optional)
    stages = tuple(
        operation._replace(module=MODULES[i % 3])
        for i, operation in enumerate(plan.stage_operation)
    )
    flow = replace(plan.flows[0], wait_us=100, settle_us=10)
    return replace(plan, stage_operation=stages, flows=(flow,), modules=MODULES)


def some_events(rng: random.Random, plan: Plan) -> list[Event]:
    """Return the spans of some records, each in one to four traces, less some of the spans."""
    events: list[Event] = []
    trace = 0
    for record in range(rng.randint(1, 4)):
        trace += 1
        begin, parent = rng.randrange(1_000, 1_300), 0
        for stage in range(len(STAGES)):
            if stage and rng.random() < 0.3:
                trace, parent = trace + 1, 0
            for repeat in range(1 + (rng.random() < 0.1)):
                number = 10 * stage + repeat + 1
                span = Event(
                    trace,
                    number,
                    plan.stage_operation[stage],
                    begin + 10 * stage + rng.randrange(-3, 9),
                    parent=parent,
                    record=f"record-{record}",
                )
                if rng.random() < 0.85:
                    events.append(span)
                parent = number
            if rng.random() < 0.07:
                trace, parent = trace + 1, 0
                again = replace(events[-1], trace=trace, parent=0) if events else None
                if again is not None and again.record == f"record-{record}":
                    events.append(again)
    return events


def clean(plan: Plan, events: list[Event]) -> Engine:
    """Return the engine after all events came in order, each once."""
    engine = Engine(plan, 1)
    engine.send(sorted((replace(e, kafka_us=e.at_us + 1) for e in events), key=lambda e: e.at_us))
    engine.finish()
    return engine


def run_roughly(rng: random.Random, engine: Engine) -> None:
    """Let the tasks run in any order, with cuts, recalls and crashes between any two steps."""
    for _ in range(rng.randint(5, 60)):
        partition = rng.randrange(len(engine.joins))
        join = engine.joins[partition]
        act = rng.randrange(9)
        if act <= 2:
            engine.feed(partition, rng.choice((0, 1, 5, 50)), rng.choice((0, 1, 5)))
        elif act == 3:
            join.tick(rng.choice((1_100, 1_500, NOW_US)))
        elif act == 4:
            engine.cut(partition, full=rng.random() < 0.2)
        elif act == 5:
            join.recall()
        elif act == 6:
            engine.fragments.step(rng.choice((1, 3, 100)))
        elif act == 7:
            engine.tell(0.2, rng)
        elif rng.random() < 0.5 and join.cuts:
            engine.crash(partition)
        else:
            engine.fragments.begin()


def shown(engine: Engine) -> dict[int, tuple[object, ...]]:
    """Return what the highest revisions say, but for when they were closed, and by what."""
    return {
        trace: (
            one.status,
            one.flow,
            sorted(map(str, one.missing)),
            {e.number for e in one.events},
            sorted((e.operation.name, e.at_us, e.parent, e.padding) for e in one.links),
        )
        for trace, one in engine.final().items()
    }


@pytest.mark.slow
@settings(max_examples=150)
@given(randoms)
def test_linked_traces_are_a_function_of_the_events_alone(rng: random.Random) -> None:
    """Order, repeats, cuts, crashes of either task and the number of partitions change nothing."""
    plan = a_plan(rng)
    events = some_events(rng, plan)
    engine = Engine(plan, rng.randint(1, 3))
    engine.send(delivered(rng, events, late=0.3))
    run_roughly(rng, engine)
    engine.finish()
    expected = clean(plan, events)
    assert shown(engine) == shown(expected)
    history = ("late", "revisions", "duplicate", "events", "spans")
    counted: dict[object, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for join in engine.joins:
        for scope, counters in join.windows(history).items():
            for name, n in counters.items():
                counted[scope][name] += n
    assert {k: dict(v) for k, v in counted.items() if k[1] != "module"} == {  # type: ignore[index]
        k: v for k, v in expected.joins[0].windows(history).items() if k[1] != "module"
    }


@pytest.mark.slow
@settings(max_examples=80)
@given(randoms)
def test_the_links_that_hold_are_those_of_the_last_fragments(rng: random.Random) -> None:
    """Each highest revision has exactly the synthetic spans that its record's halves give."""
    plan = a_plan(rng)
    engine = Engine(plan, rng.randint(1, 3))
    engine.send(delivered(rng, some_events(rng, plan), late=0.3))
    run_roughly(rng, engine)
    engine.finish()
    by_record: dict[str, list[Fragment]] = defaultdict(list)
    for row in engine.highest_fragments().values():
        by_record[str(row["record_id"])].append(fragment_of(row))
    topology = topology_of(plan)
    wanted: dict[int, set[str]] = defaultdict(set)
    for halves in by_record.values():
        for link in links_of(restarts(halves, topology)).values():
            event = link_of(link_event(link, topology), 0)
            wanted[event.trace].add(event.padding)
    found = {t: {e.padding for e in one.links} for t, one in engine.final().items() if one.links}
    assert found == wanted
    for trace, one in engine.final().items():
        held = {
            s for p in wanted[trace] for s in json.loads(p)["stages"].replace(";", ",").split(",")
        }
        for _, operation, _, _, cause in one.missing:
            if operation is not None:
                assert (cause == "CONTEXT_RESTARTED") == (operation.name in held), one
