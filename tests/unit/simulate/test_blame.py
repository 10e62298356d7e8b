"""Whom a fault is blamed on, and how far it reaches."""

from dataclasses import replace
from random import Random

from streams.simulate.blame import blame, candidates, stage_component
from streams.simulate.faults import ACKNOWLEDGMENTS_LOST, CLOCK_SKEW, MODULE_SILENT, Fault
from streams.simulate.layout import read_layout
from streams.simulate.plan import places
from tests.unit.simulate.oracle_recount import SEED_CONTRACT

LAYOUT = read_layout(SEED_CONTRACT)


def test_causes_are_components_of_the_contract_and_are_reached() -> None:
    """Whatever the fault, its causes exist, and what it reaches holds them."""
    for seed in range(20):
        for planned in places(LAYOUT, Random(seed)):
            fault = replace(planned, end_us=1)
            found = blame(LAYOUT, fault)
            assert found.causes
            assert found.causes <= found.reached.keys() <= candidates(LAYOUT)


def test_an_edge_is_the_fault_of_either_end() -> None:
    """Which side lost what crosses an edge cannot be told: both are right answers."""
    lost = blame(LAYOUT, Fault(ACKNOWLEDGMENTS_LOST, "delivery>acknowledgment", 0, 1))
    assert lost.causes == {("GAMMA", "delivery"), ("GAMMA", "acknowledgment")}
    assert not lost.is_module


def test_silence_and_clocks_are_a_whole_module_s() -> None:
    """All components of the module are to blame, and its name alone is the answer."""
    silent = blame(LAYOUT, Fault(MODULE_SILENT, "EPSILON", 5, 7))
    assert {("EPSILON", "cache"), ("EPSILON", "warm_up")} < silent.causes
    assert {module for module, _ in silent.causes} == {"EPSILON"}
    skewed = blame(LAYOUT, Fault(CLOCK_SKEW, "transfer_beta_gamma>rendering", 5, 7, skew_us=1))
    assert {module for module, _ in skewed.causes} == {"GAMMA"}
    assert silent.is_module
    assert skewed.is_module
    assert (silent.since_us, silent.until_us) == (5, 7)


def test_a_stage_is_somebody_s() -> None:
    """The component of a stage's span, in the named flow or in any; None where there is none."""
    assert stage_component(LAYOUT, "job", "execution") == ("PHI", "executor")
    assert stage_component(LAYOUT, "", "parser") == ("ALPHA", "parser")
    assert stage_component(LAYOUT, "record", "execution") is None
