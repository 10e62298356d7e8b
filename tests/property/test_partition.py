"""The partition of alerts equals a slow oracle's, whatever the order in which they came."""

from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.core.incidents.partition import Partition
from streams.core.incidents.relate import Relations
from tests.property.test_restarts_and_incidents import alerts
from tests.synthetic_pipeline import INCIDENTS, TOPOLOGY

RELATIONS = Relations(TOPOLOGY, INCIDENTS.relations)
Alert = dict[str, Any]


def oracle(found: dict[str, Alert]) -> set[frozenset[str]]:
    """Part alerts by the rules as docs/incidents.md says them: every pair, no index, no memory."""
    links = {
        (a, b): relation
        for a in found
        for b in found
        if a != b and (relation := RELATIONS.between(found[a], found[b])) is not None
    }

    def weight(a: str, b: str) -> tuple[int, int, str]:
        return links[a, b].rank, abs(found[a]["firing_since"] - found[b]["firing_since"]), b

    cause = {}
    for a in found:
        causes = [b for b in found if (a, b) in links and links[a, b].cause == b]
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
    attached = []
    for head in heads:
        near = [(weight(a, b), b) for a in head for b in cause if (a, b) in links
                and not links[a, b].cause]  # fmt: skip
        if near:
            attached.append((min(head), min(near)[1]))
    for a, b in attached:
        join(a, b)
    return {frozenset(group) for group in groups.values()}


def parts(partition: Partition) -> set[frozenset[str]]:
    return {frozenset(part.prints) for part in partition.part_of.values()}


@given(st.lists(alerts(), min_size=1, max_size=14), st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=300)
@example([], 0, 1)
def test_the_partition_is_the_oracles_in_whatever_order(
    states: list[Alert], seed: int, size: int
) -> None:
    """Alerts and further states of them, in chunks of any size: what counts is the last."""
    random = Random(seed)
    latest: dict[str, Alert] = {}
    partition = Partition(RELATIONS)
    for start in range(0, len(states), size):
        for alert in states[start : start + size]:
            latest[alert["fingerprint"]] = alert
            partition.put(alert)
        told = [change.part.prints for change in partition.regroup()]
        assert parts(partition) == oracle(latest)
        assert all(frozenset(prints) in parts(partition) for prints in told)
    shuffled = list(latest.values())
    random.shuffle(shuffled)
    other = Partition(RELATIONS)
    for alert in shuffled:
        other.put(alert)
        if random.random() < 0.5:
            other.regroup()
    other.regroup()
    assert parts(other) == oracle(latest)


@given(st.lists(alerts(), min_size=2, max_size=12, unique_by=lambda a: a["fingerprint"]))
@settings(max_examples=100)
def test_a_part_that_goes_takes_nobody_along(states: list[Alert]) -> None:
    """When all alerts of one part are dropped, the others stay as they would be without it."""
    partition = Partition(RELATIONS)
    for alert in states:
        partition.put(alert)
    partition.regroup()
    gone = set(partition.part_of[states[0]["fingerprint"]].prints)
    partition.drop(gone)
    left = {a["fingerprint"]: a for a in states if a["fingerprint"] not in gone}
    assert parts(partition) == oracle(left)
    assert partition.regroup() == []


@given(st.lists(alerts(), min_size=2, max_size=8, unique_by=lambda a: a["fingerprint"]))
@settings(max_examples=100)
def test_pinned_alerts_stay_together(states: list[Alert]) -> None:
    """Two alerts that were put together are in one part, whatever becomes of the others."""
    partition = Partition(RELATIONS)
    one, other = states[0]["fingerprint"], states[1]["fingerprint"]
    for alert in states:
        partition.put(alert)
        if one in partition.alerts and other in partition.alerts and not partition.pins:
            partition.pin(one, other)
        partition.regroup()
    assert partition.part_of[one] is partition.part_of[other]
