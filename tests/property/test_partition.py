"""The partition of alerts equals a slow oracle's, whatever the order in which they came."""

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.core.incidents.partition import Partition
from streams.core.incidents.propagation import Propagation, Spot
from streams.core.incidents.relate import Relations
from tests.property.test_restarts_and_incidents import alerts
from tests.synthetic_pipeline import INCIDENTS, TOPOLOGY
from tests.tiers import tried
from tests.unit.core.incidents.alerts import alert

RELATIONS = Relations(TOPOLOGY, INCIDENTS.relations)
Alert = dict[str, Any]

PLACES = [("BETA", "mapping"), ("BETA", "pool"), ("EPSILON", "cache"), ("PHI", "jobs")]
REPORTER = ("BETA", "log")
STAGES = (Spot(PLACES[0], ("record", "schema_mapping")), Spot(PLACES[1], ("record", "enrichment")))
MAPPED = Relations(
    replace(
        TOPOLOGY,
        propagation=Propagation(
            {
                PLACES[0]: (PLACES[2],),
                PLACES[1]: (PLACES[2], PLACES[3]),
                PLACES[2]: (PLACES[3],),
                PLACES[3]: (PLACES[1],),
            },
            (STAGES,),
            frozenset({REPORTER}),
        ),
    ),
    INCIDENTS.relations,
)


@st.composite
def mapped_alerts(draw: st.DrawFn) -> Alert:
    """Alerts of signals, at components that the graph knows and at one that it does not."""
    module, component = draw(st.sampled_from([*PLACES, REPORTER, ("GAMMA", "")]))
    since = draw(st.integers(10, 18))
    kind = draw(st.sampled_from(["metric_threshold", "queue_lag"]))
    made = alert(
        kind,
        module,
        since,
        last=since + draw(st.integers(1, 6)),
        state=draw(st.sampled_from(["FIRING", "RESOLVED"])),
        version=draw(st.integers(1, 3)),
        component=component,
    )
    number = draw(st.integers(0, 2))
    return made | {"fingerprint": f"{component or module}-{kind}-{number}"}


def oracle(found: dict[str, Alert], relations: Relations = RELATIONS) -> set[frozenset[str]]:
    """Part alerts by the rules as docs/incidents.md says them: every pair, no index, no memory."""
    links = {
        (a, b): relation
        for a in found
        for b in found
        if a != b and (relation := relations.between(found[a], found[b])) is not None
    }

    def weight(a: str, b: str) -> tuple[int, int, str]:
        return links[a, b].rank, abs(found[a]["firing_since"] - found[b]["firing_since"]), b

    cause = {}
    for a in found:
        causes = [b for b in found if (a, b) in links and links[a, b].leader == b]
        if causes:
            cause[a] = min(causes, key=lambda b: weight(a, b))
    groups = {a: {a} for a in found}

    def join(a: str, b: str) -> None:
        both = groups[a] | groups[b]
        for one in both:
            groups[one] = both

    roots = [a for a in found if a not in cause]
    for a in roots:
        for b in roots:
            if (a, b) in links:
                join(a, b)
    heads = {frozenset(groups[a]) for a in roots}
    for a, b in cause.items():
        join(a, b)
    circles = sorted(({*c} for a in cause if (c := circle_of(a, cause))), key=sorted)
    for circle in [c for i, c in enumerate(circles) if c not in circles[:i]]:
        outside = [
            (weight(a, b), a, b) for a in circle for b in found
            if (a, b) in links and links[a, b].leader == b and b not in groups[a]
        ]  # fmt: skip
        if outside:
            join(*min(outside)[1:])
    attached = []
    for head in heads:
        near = [(weight(a, b), b) for a in head for b in cause if (a, b) in links
                and not links[a, b].leader]  # fmt: skip
        if near:
            attached.append((min(head), min(near)[1]))
    for a, b in attached:
        join(a, b)
    return {frozenset(group) for group in groups.values()}


def circle_of(start: str, cause: dict[str, str]) -> list[str]:
    """Return the circle of causes that a name is part of; none where it is in none."""
    path = [start]
    while cause.get(path[-1], start) != start and len(path) <= len(cause):
        path.append(cause[path[-1]])
    return path if cause.get(path[-1]) == start and len(path) <= len(cause) else []


def parts(partition: Partition) -> set[frozenset[str]]:
    return {frozenset(part.prints) for part in partition.part_of.values()}


@given(st.lists(alerts(), min_size=1, max_size=14), st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=300)
@example([], 0, 1)
def test_the_partition_is_the_oracles_in_whatever_order(
    states: list[Alert], seed: int, size: int
) -> None:
    """Alerts and further states of them, in chunks of any size: what counts is the last."""
    check(RELATIONS, states, Random(seed), size)


@tried(
    st.lists(mapped_alerts(), min_size=1, max_size=14),
    st.integers(0, 2**32),
    st.integers(1, 5),
    few=80,
    many=400,
)
def test_components_that_need_each_other_in_circles_make_no_difference(
    states: list[Alert], seed: int, size: int
) -> None:
    """The graph has circles of two and three, a jam, a reporter, and two who know nobody."""
    check(MAPPED, states, Random(seed), size)


def check(relations: Relations, states: list[Alert], random: Random, size: int) -> None:
    """Hold the partition against the oracle after every chunk, and in another order at the end."""
    latest: dict[str, Alert] = {}
    partition = Partition(relations)
    for start in range(0, len(states), size):
        for state in states[start : start + size]:
            latest[state["fingerprint"]] = state
            partition.put(state)
        told = [change.part.prints for change in partition.regroup()]
        assert parts(partition) == oracle(latest, relations)
        assert all(frozenset(prints) in parts(partition) for prints in told)
    shuffled = list(latest.values())
    random.shuffle(shuffled)
    other = Partition(relations)
    for state in shuffled:
        other.put(state)
        if random.random() < 0.5:
            other.regroup()
    other.regroup()
    assert parts(other) == oracle(latest, relations)


@tried(
    st.lists(alerts(), min_size=2, max_size=12, unique_by=lambda a: a["fingerprint"]),
    few=20,
    many=100,
)
def test_a_part_that_goes_takes_nobody_along(states: list[Alert]) -> None:
    """When all alerts of one part are dropped, the others stay as they would be without it."""
    partition = Partition(RELATIONS)
    for state in states:
        partition.put(state)
    partition.regroup()
    gone = set(partition.part_of[states[0]["fingerprint"]].prints)
    partition.drop(gone)
    left = {a["fingerprint"]: a for a in states if a["fingerprint"] not in gone}
    assert parts(partition) == oracle(left)
    assert partition.regroup() == []


@tried(
    st.lists(alerts(), min_size=2, max_size=8, unique_by=lambda a: a["fingerprint"]),
    few=20,
    many=100,
)
def test_pinned_alerts_stay_together(states: list[Alert]) -> None:
    """Two alerts that were put together are in one part, whatever becomes of the others."""
    partition = Partition(RELATIONS)
    one, other = states[0]["fingerprint"], states[1]["fingerprint"]
    for state in states:
        partition.put(state)
        if one in partition.alerts and other in partition.alerts and not partition.pins:
            partition.pin(one, other)
        partition.regroup()
    assert partition.part_of[one] is partition.part_of[other]
