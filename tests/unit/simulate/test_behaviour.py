"""How stages look when nothing is wrong."""

from random import Random

from streams.contract.loader import SHIPPED, load_contract
from streams.core.columns import SPAN_KINDS
from streams.simulate.behaviour import (
    ACK_PATTERNS,
    BEHAVIOURS,
    DEFAULT,
    behaviour_of,
    draw_duration_us,
    draw_profile,
)
from streams.simulate.layout import read_layout
from tests.unit.simulate.oracle_recount import SEED_CONTRACT


def test_every_stage_of_the_shipped_contracts_has_a_behaviour() -> None:
    """Table and contracts name the same stages, so that no stage is walked by default."""
    flows = [flow for name in SHIPPED for flow in load_contract(name).flows.values()]
    assert set(BEHAVIOURS) == {stage.id for flow in flows for stage in flow.stages}


def test_an_unknown_stage_behaves_by_default() -> None:
    """Another contract's stage can be walked too."""
    assert behaviour_of("never_heard_of") is DEFAULT


def test_behaviours_name_what_exists() -> None:
    """Hosts and keepers are stages, span kinds are the wire's."""
    for behaviour in BEHAVIOURS.values():
        assert behaviour.span_kind in SPAN_KINDS
        assert {behaviour.inside, behaviour.kept_in} - {""} <= BEHAVIOURS.keys()


def test_a_healthy_span_leaves_room_before_its_deadline() -> None:
    """No span takes more than 60 % of its deadline, and none takes no time."""
    rng = Random(3)
    for flow in read_layout(SEED_CONTRACT).flows.values():
        for stage in flow.stages:
            for _ in range(200):
                duration_us = draw_duration_us(stage, draw_profile(rng), rng)
                assert duration_us > 0
                assert not stage.deadline_us or duration_us <= 0.6 * stage.deadline_us


def test_a_destination_acknowledges_in_one_way() -> None:
    """Pattern follows destination, and all three patterns occur."""
    profiles = [draw_profile(Random(seed)) for seed in range(100)]
    assert {p["ack_pattern"] for p in profiles} == {"sync", "async", "batch"}
    assert all(p["ack_pattern"] == ACK_PATTERNS[p["destination"]] for p in profiles)
