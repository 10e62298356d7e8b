"""Faults that can be told from each other."""

from itertools import combinations

import pytest

from streams.simulate.faults import EDGE_KINDS, MODULE_KINDS, MODULE_SILENT, FaultTable
from streams.simulate.layout import read_layout
from streams.simulate.plan import fault_modules, plan_faults
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import SEED_CONTRACT, START_US

LAYOUT = read_layout(SEED_CONTRACT)
SEEDS = range(25)


@pytest.mark.parametrize("seconds", [60, 61, 75, 90, 600])
def test_a_minute_holds_all_seven(seconds: int) -> None:
    """From 60 seconds on each kind is planted exactly once, at a place that exists."""
    for seed in SEEDS:
        faults = plan_faults(seed, seconds, SEED_CONTRACT)
        assert sorted(fault.kind for fault in faults) == sorted(MODULE_KINDS + EDGE_KINDS)
        FaultTable(LAYOUT, faults)  # refuses a place that the contract does not have


@pytest.mark.parametrize("seconds", [20, 25.5, 30, 45, 60, 90, 600])
def test_both_ends_stay_clean(seconds: float) -> None:
    """Nothing strikes in the first 8 and the last 12 seconds, and the start moves all alike."""
    for seed in SEEDS:
        faults = plan_faults(seed, seconds, SEED_CONTRACT, START_US)
        for fault in faults:
            assert fault.start_us >= START_US + 8 * SECOND_US
            assert fault.end_us <= START_US + (seconds - 12) * SECOND_US


@pytest.mark.parametrize("seconds", [30, 45, 60, 90, 600])
def test_faults_are_short_and_apart(seconds: int) -> None:
    """Each lasts 4 to 7 seconds; two either have 2.4 quiet seconds between or share no module."""
    for seed in SEEDS:
        faults = plan_faults(seed, seconds, SEED_CONTRACT)
        for fault in faults:
            assert 3.9 * SECOND_US <= fault.end_us - fault.start_us <= 7 * SECOND_US
        for a, b in combinations(faults, 2):
            quiet_us = max(a.start_us, b.start_us) - min(a.end_us, b.end_us)
            is_apart = not fault_modules(LAYOUT, a) & fault_modules(LAYOUT, b)
            assert quiet_us >= 2.4 * SECOND_US or is_apart
        assert len({fault.where for fault in faults if fault.edge}) == sum(
            fault.edge is not None for fault in faults
        )


def test_a_short_run_gets_fewer_faults() -> None:
    """More time never means fewer faults, and too little time means none."""
    counts = [len(plan_faults(1, seconds, SEED_CONTRACT)) for seconds in (5, 23, 45, 60)]
    assert counts[:2] == [0, 0]
    assert 0 < counts[2] < counts[3] == 7


def test_silence_falls_on_modules_that_are_missed() -> None:
    """BETA: records enter it by one hop, where no other fault shows, and it is required."""
    silent = {
        fault.where
        for seed in SEEDS
        for fault in plan_faults(seed, 60, SEED_CONTRACT)
        if fault.kind == MODULE_SILENT
    }
    assert silent == {"BETA"}


def test_no_edge_shows_two_faults() -> None:
    """Faulty edges differ, and none of them leads into the silent module."""
    modules = LAYOUT.stage_modules()
    for seed in SEEDS:
        faults = plan_faults(seed, 60, SEED_CONTRACT)
        edges = [fault.edge for fault in faults if fault.edge]
        assert len(set(edges)) == len(edges) == 4
        (silent,) = [fault.where for fault in faults if fault.kind == MODULE_SILENT]
        assert silent not in {modules[far] for _, far in edges}


def test_the_seed_decides() -> None:
    """The same seed plans the same faults; some other seed plans others."""
    assert plan_faults(4, 60, SEED_CONTRACT) == plan_faults(4, 60, SEED_CONTRACT)
    assert len({plan_faults(seed, 60, SEED_CONTRACT) for seed in SEEDS}) > 5
