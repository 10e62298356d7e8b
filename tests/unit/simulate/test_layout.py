"""The contract as a walk sees it."""

import pytest

from streams.contract.model import Contract
from streams.errors import ConfigError
from streams.simulate.layout import read_layout
from tests.unit.simulate.oracle_recount import SEED_CONTRACT


def small_contract() -> Contract:
    return Contract.model_validate(
        {
            "version": "7",
            "name": "small",
            "modules": {"A": {"topic": "a.events"}, "B": {}, "IDLE": {}},
            "flows": {
                "record": {
                    "entry": "first",
                    "stages": [
                        {"id": "third", "module": "B", "name": "t", "after": ["second"]},
                        {
                            "id": "side",
                            "module": "B",
                            "name": "s",
                            "after": ["first"],
                            "required": False,
                        },
                        {"id": "second", "module": "B", "name": "m", "after": ["first"]},
                        {"id": "first", "module": "A", "component": "door", "name": "f"},
                    ],
                }
            },
        }
    )


def test_stages_come_after_what_they_follow() -> None:
    """However the file is ordered, predecessors are walked first, ties as in the file."""
    stages = read_layout(small_contract()).record.stages
    assert [stage.id for stage in stages] == ["first", "side", "second", "third"]


def test_edges_lead_to_stages_that_must_come() -> None:
    """An optional far stage makes no edge; a conditional one does."""
    assert set(read_layout(small_contract()).record.edges) == {
        ("first", "second"),
        ("second", "third"),
    }
    edges = read_layout(SEED_CONTRACT).record.edges
    assert ("delivery", "acknowledgment_receipt") in edges
    assert ("field_transformation", "cache_lookup") not in edges


def test_modules_keep_their_topics_and_components() -> None:
    """A module has its own topic or the default one, and a component even without a stage."""
    layout = read_layout(small_contract())
    assert layout.topics == {
        "A": "a.events",
        "B": "telemetry.b.v1",
        "IDLE": "telemetry.idle.v1",
    }
    assert layout.components["A"] == ("door",)
    assert layout.components["IDLE"] == ("idle",)


def test_a_stage_of_any_component_comes_from_one() -> None:
    """Where the contract leaves the component open the stage's id stands for it."""
    second = read_layout(small_contract()).record.stage("second")
    assert second is not None
    assert second.component == "second"


def test_records_take_the_first_flow_where_none_is_named_for_them() -> None:
    """A contract need not call its flow `record`."""
    plain = small_contract().plain()
    plain["flows"] = {"request": plain["flows"]["record"]}
    layout = read_layout(Contract.model_validate(plain))
    assert layout.record.name == "request"
    assert layout.stage_modules()["second"] == "B"


def test_a_contract_without_flows_is_refused() -> None:
    """The message says what is missing and what to do."""
    contract = Contract.model_validate({"version": "1", "name": "empty", "modules": {"A": {}}})
    with pytest.raises(ConfigError, match="needs a flow that records take; add one"):
        read_layout(contract)
