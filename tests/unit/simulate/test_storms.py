"""Plans of storms: a clean head, the fault, a clean tail; the same for the same seed."""

from streams.simulate.faults import FEATURE_DRIFT, KINDS, WRONG_MODEL_VERSION
from streams.simulate.storms import HEAD_S, TAIL_S, quiet_storm, single_storms
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


def test_the_seed_decides() -> None:
    """The same seed gives the same plan; another one other times."""
    again = list(single_storms(SEED_CONTRACT, [1], START_US))
    assert list(single_storms(SEED_CONTRACT, [1], START_US)) == again
    assert list(single_storms(SEED_CONTRACT, [2], START_US)) != again


def test_a_quiet_storm_has_no_fault() -> None:
    """Fault-free runs are there to be counted against."""
    assert quiet_storm(SEED_CONTRACT, 7).faults == ()
    assert quiet_storm(SEED_CONTRACT, 7).kind == "none"
