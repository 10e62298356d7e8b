"""Which alert brings another one about, where the contract says what components need."""

from dataclasses import replace
from typing import Any

import pytest

from streams.core.incidents.partition import Partition
from streams.core.incidents.propagation import Component, Propagation, Spot
from streams.core.incidents.relate import FOLLOWS, SAME_PLACE, Relations, RelationSettings
from streams.core.incidents.topology import Place
from tests.synthetic_pipeline import NEAR, ORDER, SECOND, STAGES, TOPOLOGY
from tests.unit.core.incidents.alerts import alert

CACHE: Component = ("EPSILON", "cache")
LOG: Component = ("BETA", "error_log")
COMPONENT = {stage: stage.split("_")[0] for stage in ORDER}
SPOTS = {stage: Spot((STAGES[stage], COMPONENT[stage]), ("record", stage)) for stage in ORDER}
KNOWN = Propagation(
    {("BETA", "enrichment"): (CACHE,)},
    tuple((SPOTS[near], SPOTS[far]) for far, near in NEAR.items()),
    frozenset({LOG}),
)
SHAPE = replace(
    TOPOLOGY,
    propagation=KNOWN,
    stage_component={Place("record", stage): name for stage, name in COMPONENT.items()},
)
SLOW = {"name": "pipeline.beta.mapping.histogram.map_duration_seconds"}
RELATIONS = Relations(SHAPE, RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND))


def at(
    stage: str, since: float, kind: str = "metric_threshold", last: float = 30
) -> dict[str, Any]:
    """Return an alert at a stage's component."""
    near = f"{NEAR[stage]}>" if kind == "fidelity_burn" else ">"
    made = alert(kind, near + stage, since, last=last)
    return made | {"component": "" if kind == "fidelity_burn" else COMPONENT[stage]}


def of(component: Component, since: float, last: float = 30) -> dict[str, Any]:
    """Return an alert of a component that has no stage."""
    module, name = component
    return alert("metric_threshold", module, since, last=last, component=name, name=name)


def cause(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """Return which of two alerts brings the other about; None for neither. Asked both ways."""
    relation = RELATIONS.between(one, other)
    assert relation == RELATIONS.between(other, one)
    if relation is None or relation.rank != FOLLOWS:
        return None
    return one if relation.cause == one["fingerprint"] else other


def test_trouble_gets_to_whoever_needs_the_component() -> None:
    """At any time for as long as it lasts, which is twice its age while it fires."""
    cache = of(CACHE, 10, last=30)
    for since in (10, 12, 29):
        assert cause(cache, at("enrichment", since)) is cache
    assert cause(cache, at("enrichment", 60)) is None
    assert cause(cache, at("enrichment", 5)) is None, "it began before"


def test_it_goes_down_the_flow_two_stages_at_most() -> None:
    """What is further down has something in between that would show it."""
    first = at("schema_mapping", 10)
    assert cause(first, at("enrichment", 12)) is first
    assert cause(first, at("quality_scoring", 12)) is first
    assert cause(first, at("rendering", 12)) is None


def test_late_records_make_late_and_not_wrong() -> None:
    """Waiting is handed on down the flow at any time; who only gets records late computes well."""
    late = at("schema_mapping", 10) | SLOW
    assert cause(late, at("enrichment", 20) | SLOW) is late
    assert cause(late, at("enrichment", 20, "deadline_missed")) is late
    assert cause(late, at("enrichment", 11)) is None
    assert cause(late, at("enrichment", 11, "error_spans")) is None
    queue = at("schema_mapping", 10, "queue_lag")
    assert cause(queue, at("enrichment", 12)) is None
    assert cause(of(CACHE, 10) | SLOW, at("enrichment", 20)) is not None, "what is needed may fail"


def test_records_bring_trouble_at_once() -> None:
    """What begins down the flow well after is another problem, unless it needs the first."""
    wrong = at("schema_mapping", 10)
    assert cause(wrong, at("enrichment", 13)) is wrong
    assert cause(wrong, at("enrichment", 14)) is None
    cache = of(CACHE, 10)
    assert cause(cache, at("enrichment", 20)) is cache


@pytest.mark.parametrize(("shared", "follows"), [(20, True), (16, True), (6, False), (2, False)])
def test_other_traces_are_an_alibi(shared: int, follows: bool) -> None:
    """A third fails here and a third there: were it one thing, most of them would be the same."""
    ids = [f"{n:032x}" for n in range(60)]
    values = {"value": 0.3, "unit": "ratio"}
    first = at("enrichment", 10, "error_spans") | {"trace_ids": ids[:20]} | values
    then = at("quality_scoring", 11, "error_spans") | values
    then |= {"trace_ids": ids[20 - shared : 40 - shared]}
    assert (cause(first, then) is first) == follows
    later = then | {"firing_since": 12 * SECOND}
    assert cause(first, later) is first, "the samples are of other windows"
    unknown = then | {"unit": "s"}
    assert cause(first, unknown) is first, "how many it hits is not told"


def test_a_module_falls_silent_by_itself() -> None:
    """What another one measures does not keep it from sending; silence has rules of its own."""
    silent = alert("module_silent", "INTEGRATION", 12, last=30)
    assert RELATIONS.between(at("schema_mapping", 11), silent) is None


def test_a_jam_goes_up_the_flow() -> None:
    """A queue or a missed deadline is; a value that a component measures of itself is not."""
    slow = at("rendering", 10)
    queue = at("transfer_beta_gamma", 12, "queue_lag")
    late = at("transfer_beta_gamma", 12, "deadline_missed")
    assert cause(slow, queue) is slow
    assert cause(slow, late) is slow
    assert cause(slow, at("quality_scoring", 12)) is None


@pytest.mark.parametrize(("apart", "leads"), [(1, "slow"), (2, "queue")])
def test_where_both_ways_are_open_the_first_leads(apart: float, leads: str) -> None:
    """Within a window nobody can tell who was first: the jam is the effect."""
    queue = at("transfer_beta_gamma", 10, "queue_lag")
    slow = at("rendering", 10 + apart) | SLOW
    assert cause(queue, slow) is (slow if leads == "slow" else queue)


def test_a_deadline_counts_by_the_start_of_its_traces() -> None:
    """So it may seem to begin two windows before the signal of its cause, and no more."""
    cache = of(CACHE, 12)
    assert cause(cache, at("enrichment", 10, "deadline_missed")) is cache
    assert cause(cache, at("enrichment", 9, "deadline_missed")) is None


def test_a_reporter_follows_whatever_it_tells_of_and_brings_nothing_about() -> None:
    """Anything of its module or up the flow."""
    log = of(LOG, 12)
    for first in (at("enrichment", 10), at("transfer_alpha_beta", 10)):
        assert cause(log, first) is first
    assert cause(log, at("rendering", 14)) is None


def test_broken_traces_follow_from_trouble_at_their_ends_alone() -> None:
    """And make nobody's own figures worse."""
    loss = at("rendering", 12, "fidelity_burn")
    near = at("transfer_beta_gamma", 10)
    assert cause(loss, near) is near
    assert cause(loss, at("quality_scoring", 10)) is None
    assert cause(at("rendering", 10, "fidelity_burn"), at("delivery", 12)) is None


def test_one_component_is_one_place() -> None:
    """Whichever began first."""
    relation = RELATIONS.between(at("rendering", 10), at("rendering", 20, "queue_lag"))
    assert relation is not None
    assert relation.rank == SAME_PLACE


def parts_of(*alerts: dict[str, Any]) -> set[frozenset[str]]:
    """Return how alerts are parted, by their fingerprints."""
    partition = Partition(RELATIONS)
    for one in alerts:
        partition.put(one)
    partition.regroup()
    return {frozenset(part.prints) for part in partition.part_of.values()}


def test_a_place_goes_with_what_was_there_first() -> None:
    """Trouble that was there before what might have caused it is not its effect; nor is more."""
    first = at("enrichment", 8)
    cache = of(CACHE, 10)
    more = at("enrichment", 12, "metric_rate")
    beside = at("enrichment", 13, "metric_anomaly")
    assert cause(cache, more) is cache
    prints = [one["fingerprint"] for one in (first, cache, more, beside)]
    assert parts_of(first, cache, more, beside) == {
        frozenset((prints[0], prints[2], prints[3])),
        frozenset((prints[1],)),
    }
    assert parts_of(cache, more, beside) == {frozenset(prints[1:])}


def test_a_symptom_of_two_causes_binds_nothing_together() -> None:
    """A later alert at the symptom's place goes with the cause that the place went with first."""
    cache, mapping = of(CACHE, 10), at("schema_mapping", 14)
    symptom, more = at("enrichment", 11), at("enrichment", 15, "metric_rate")
    assert cause(mapping, more) is mapping
    together = frozenset(one["fingerprint"] for one in (cache, symptom, more))
    assert parts_of(cache, mapping, symptom, more) == {
        together,
        frozenset((mapping["fingerprint"],)),
    }
