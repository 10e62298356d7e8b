"""Where and when a fault strikes."""

from typing import Any

import pytest

from streams.errors import ConfigError
from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CLOCK_SKEW,
    CONTEXT_DROPPED,
    MODULE_SILENT,
    Fault,
    FaultTable,
)
from streams.simulate.layout import read_layout
from tests.unit.simulate.oracle_recount import SEED_CONTRACT

LAYOUT = read_layout(SEED_CONTRACT)
HOP = "buffer>transfer_alpha_beta"


def test_a_fault_strikes_from_its_start_until_before_its_end() -> None:
    """The interval is closed on the left and open on the right."""
    table = FaultTable(LAYOUT, [Fault(MODULE_SILENT, "GAMMA", 10, 20)])
    struck = [at for at in (9, 10, 19, 20) if table.at_module(MODULE_SILENT, "GAMMA", at) == 0]
    assert struck == [10, 19]


def test_a_fault_strikes_its_own_place_and_kind_only() -> None:
    """Other modules, other kinds and other edges are left alone."""
    table = FaultTable(
        LAYOUT, [Fault(MODULE_SILENT, "GAMMA", 10, 20), Fault(CONTEXT_DROPPED, HOP, 10, 20)]
    )
    assert table.at_module(MODULE_SILENT, "BETA", 15) is None
    assert table.at_module(CLOCK_SKEW, "GAMMA", 15) is None
    assert table.at_edge(CONTEXT_DROPPED, ["buffer"], "transfer_alpha_beta", 15) == 1
    assert table.at_edge(CONTEXT_DROPPED, ["parser"], "transfer_alpha_beta", 15) is None
    assert table.at_edge(ACKNOWLEDGMENTS_LOST, ["buffer"], "transfer_alpha_beta", 15) is None


def test_a_wrong_clock_is_the_far_modules() -> None:
    """The skew on an edge into GAMMA is found by GAMMA."""
    edge = "transfer_beta_gamma>rendering"
    table = FaultTable(LAYOUT, [Fault(CLOCK_SKEW, edge, 10, 20, skew_us=-5)])
    assert table.at_module(CLOCK_SKEW, "GAMMA", 10) == 0
    assert table.at_module(CLOCK_SKEW, "INTEGRATION", 10) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "gremlins"}, "unknown kind; use one of module_silent,"),
        ({"where": "DELTA"}, "unknown module; the contract has ALPHA, BETA"),
        ({"kind": CONTEXT_DROPPED}, "no edge of the record flow; it has buffer>"),
        ({"kind": CONTEXT_DROPPED, "where": "parser>routing"}, "no edge of the record flow"),
        ({"end_us": 10}, "start_us 10 must be before end_us"),
        ({"share": 0.0}, "share 0.0 must be over 0"),
        ({"kind": "slow_enrichment"}, "name the slow spans by dimension and value"),
        ({"kind": CLOCK_SKEW, "where": HOP}, "skew_us must not be 0"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    """The message names the fault, its place, and what would be right."""
    good = {"kind": MODULE_SILENT, "where": "GAMMA", "start_us": 10, "end_us": 20}
    with pytest.raises(ConfigError, match=message):
        FaultTable(LAYOUT, [Fault(**(good | changes))])
