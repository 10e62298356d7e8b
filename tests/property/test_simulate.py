"""For any seed, length, rate and faults: truth equals a recount, and slices change nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.simulate.faults import CONTEXT_DROPPED, CONTEXT_RESTARTED, MODULE_SILENT, Fault
from streams.simulate.pipeline import Simulation
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import (
    SEED_CONTRACT,
    START_US,
    recount_edges,
    true_edges,
)

HOPS = (
    "buffer>transfer_alpha_beta",
    "transfer_alpha_beta>schema_mapping",
    "enrichment>quality_scoring",
    "transfer_beta_gamma>rendering",
)


@st.composite
def fault_lists(draw: st.DrawFn) -> list[Fault]:
    """Return up to three faults that take spans away, at any time and overlapping at will."""
    faults = []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from((MODULE_SILENT, CONTEXT_DROPPED, CONTEXT_RESTARTED)))
        places = tuple(SEED_CONTRACT.modules) if kind == MODULE_SILENT else HOPS
        start_us = START_US + draw(st.integers(0, 2 * SECOND_US))
        length_us = draw(st.integers(1, 2 * SECOND_US))
        share = draw(st.sampled_from((0.2, 0.5, 1.0)))
        where = draw(st.sampled_from(places))
        faults.append(Fault(kind, where, start_us, start_us + length_us, share))
    return faults


@settings(max_examples=50)
@given(
    seed=st.integers(),
    seconds=st.floats(0.1, 2.5),
    rate=st.floats(1, 25),
    faults=fault_lists(),
    slice_us=st.integers(50_000, 900_000),
)
def test_truth_is_a_recount_and_slices_change_nothing(
    seed: int, seconds: float, rate: float, faults: list[Fault], slice_us: int
) -> None:
    """Whole and sliced runs yield the same events, and the truth describes them exactly."""
    whole = Simulation(SEED_CONTRACT, seed, START_US, seconds, rate, faults)
    sliced = Simulation(SEED_CONTRACT, seed, START_US, seconds, rate, faults)
    emissions = list(whole.drain())
    parts = []
    until_us = START_US
    while not sliced.is_drained:
        until_us += slice_us
        parts += sliced.emissions(until_us)
    assert repr(parts) == repr(emissions)  # by text: absent values are NaN
    truth = whole.truth.as_dict()
    assert sliced.truth.as_dict() == truth
    assert truth["produced"]["events"] == len(emissions)
    assert true_edges(truth) == recount_edges(SEED_CONTRACT, emissions)
