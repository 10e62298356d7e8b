"""Plans of storms: a clean head, the fault, a clean tail; the same for the same seed."""

from itertools import pairwise

import pytest

from streams.contract.loader import SHIPPED, load_contract
from streams.simulate.blame import blame, causes_of
from streams.simulate.faults import FEATURE_DRIFT, KINDS, WRONG_MODEL_VERSION
from streams.simulate.layout import read_layout
from streams.simulate.storms import (
    DOUBLES,
    HEAD_S,
    LASTING,
    LASTING_S,
    TAIL_S,
    component_faults,
    double_storms,
    flapping_storms,
    lasting_storms,
    quiet_storm,
    single_storms,
)
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import SEED_CONTRACT, START_US


def test_each_kind_strikes_once_a_seed_between_clean_ends() -> None:
    """Every kind has its storm for each seed, with time to learn before and to settle after."""
    storms = list(single_storms(SEED_CONTRACT, [1, 2], START_US))
    of_others = {WRONG_MODEL_VERSION, FEATURE_DRIFT}
    assert sorted(s.kind for s in storms) == sorted(k for k in KINDS * 2 if k not in of_others)
    assert len({storm.id for storm in storms}) == len(storms)
    for storm in storms:
        (fault,) = storm.faults
        assert fault.start_us - START_US >= HEAD_S * SECOND_US
        assert START_US + storm.seconds * SECOND_US - fault.end_us >= TAIL_S * SECOND_US - 1


def test_flapping_faults_come_and_go() -> None:
    """Each kind of fault of a component has a storm in which it is on and off several times."""
    storms = list(flapping_storms(SEED_CONTRACT, [1], START_US))
    kinds = {fault.kind for fault in component_faults(read_layout(SEED_CONTRACT))}
    assert sorted(storm.kind for storm in storms) == sorted(f"flapping {kind}" for kind in kinds)
    for storm in storms:
        (fault,) = storm.faults
        whole = [fault.is_on(at_us) for at_us in range(fault.start_us, fault.end_us, SECOND_US)]
        turns = sum(now and not before for before, now in pairwise([False, *whole]))
        assert turns >= 3


def test_some_faults_last_and_the_seeds_reach_every_kind() -> None:
    """Each seed has a few kinds that go on for minutes; the next seed goes on with others."""
    kinds = {storm.kind for storm in single_storms(SEED_CONTRACT, [1], START_US)}
    seeds = range(1, 2 + len(kinds) // LASTING)
    storms = list(lasting_storms(SEED_CONTRACT, seeds, START_US))
    assert len(storms) == LASTING * len(seeds)
    assert {storm.kind for storm in storms} == {f"lasting {kind}" for kind in kinds}
    for storm in storms:
        (fault,) = storm.faults
        lasts_s = (fault.end_us - fault.start_us) / SECOND_US
        assert LASTING_S[0] <= lasts_s <= LASTING_S[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_two_faults_stand_to_each_other_as_their_kind_says(name: str) -> None:
    """Apart, nothing is reached by both; nested, one's cause is in the other's reach."""
    contract = load_contract(name)
    layout = read_layout(contract)
    storms = list(double_storms(contract, [1, 2], START_US))
    assert len(storms) == 2 * sum(DOUBLES.values())
    for storm in storms:
        one, other = (blame(layout, fault) for fault in storm.faults)
        assert not causes_of(layout, storm.faults[0]) & causes_of(layout, storm.faults[1])
        both = one.reached.keys() & other.reached.keys()
        is_nested = bool(one.causes & other.reached.keys() or other.causes & one.reached.keys())
        assert (storm.kind == "two nested") == is_nested
        assert not (storm.kind == "two apart" and both)
        overlap_us = min(one.until_us, other.until_us) - max(one.since_us, other.since_us)
        assert overlap_us > 0, "they strike at once"


def test_the_seed_decides() -> None:
    """The same seed gives the same plan; another one other times."""
    again = list(single_storms(SEED_CONTRACT, [1], START_US))
    assert list(single_storms(SEED_CONTRACT, [1], START_US)) == again
    assert list(single_storms(SEED_CONTRACT, [2], START_US)) != again


def test_a_quiet_storm_has_no_fault() -> None:
    """Fault-free runs are there to be counted against."""
    assert quiet_storm(SEED_CONTRACT, 7).faults == ()
    assert quiet_storm(SEED_CONTRACT, 7).kind == "none"
