"""The truth against a recount."""

import json
from collections import Counter

from streams.simulate.faults import CONTEXT_DROPPED, CONTEXT_RESTARTED, Fault
from streams.simulate.pipeline import Simulation
from streams.simulate.plan import plan_faults
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import (
    SEED_CONTRACT,
    START_US,
    recount_edges,
    spans_by_trace,
    true_edges,
)


def test_truth_equals_a_recount_of_the_events() -> None:
    """With all seven faults planted, every count is what the yielded events say."""
    faults = plan_faults(2, 60, SEED_CONTRACT, START_US)
    simulation = Simulation(SEED_CONTRACT, 2, START_US, 60, 20, faults)
    emissions = list(simulation.drain())
    truth = simulation.truth.as_dict()
    produced = truth["produced"]
    assert produced["events"] == len(emissions)
    assert produced["by_topic"] == Counter(e.topic for e in emissions)
    assert produced["by_type"] == Counter(e.event["event_type"] for e in emissions)
    assert produced["with_trace"] == sum(e.event["trace_id"] != "" for e in emissions)
    assert produced["with_trace"] + produced["without_trace"] == len(emissions)
    ids = Counter(e.event["event_id"] for e in emissions)
    repeats = len(emissions) - len(ids)
    assert repeats > 0
    assert repeats == (produced["duplicates_with_trace"] + produced["duplicates_without_trace"])
    assert sum(truth["traces"].values()) == len(spans_by_trace(emissions))
    edges = true_edges(truth)
    assert edges == recount_edges(SEED_CONTRACT, emissions)
    assert sum(expected != observed for expected, observed in edges.values()) >= 4


def test_truth_survives_json() -> None:
    """The mapping comes back from JSON as it went in."""
    simulation = Simulation(SEED_CONTRACT, 1, START_US, 2)
    list(simulation.drain())
    truth = simulation.truth.as_dict()
    assert json.loads(json.dumps(truth, allow_nan=False)) == truth


def test_effects_count_what_a_fault_did() -> None:
    """A dropped record leaves one trace, a restarted one two, and the edge lacks just as many."""
    near_far = ("buffer", "transfer_alpha_beta")
    for kind, traces in ((CONTEXT_DROPPED, 1), (CONTEXT_RESTARTED, 2)):
        fault = Fault(kind, ">".join(near_far), START_US, START_US + 9 * SECOND_US, share=0.3)
        simulation = Simulation(SEED_CONTRACT, 3, START_US, 5, faults=[fault])
        list(simulation.drain())
        affected = simulation.truth.as_dict()["faults"][0]["affected"]
        key = ("record", *near_far)
        lost = simulation.truth.expected[key] - simulation.truth.observed[key]
        assert 30 < lost < 90
        assert affected == {"events": lost, "records": lost, "traces": traces * lost}
