"""The contract as values: defaults, inheritance, and that a wrong one cannot be built."""

from typing import Any

import pytest
from pydantic import ValidationError

from streams.contract.model import Contract


def small(**changes: Any) -> dict[str, Any]:
    """Return the tree of a contract with one flow of two stages."""
    tree: dict[str, Any] = {
        "version": "1",
        "name": "small",
        "modules": {"A": {"owner": "team-a", "playbook": "p"}, "B": {}},
        "flows": {
            "f": {
                "entry": "one",
                "stages": [
                    {"id": "one", "module": "A", "component": "c", "name": "a.one"},
                    {"id": "two", "module": "B", "name": "b.two", "after": ["one"]},
                ],
            }
        },
        "playbooks": {"p": "look"},
    }
    return {**tree, **changes}


def test_a_module_has_a_topic_of_its_own_unless_it_names_one() -> None:
    """The default topic is telemetry.<lower name>.v1; a shared topic is listed once."""
    modules = {"Alpha": {}, "B": {"topic": "x.v1"}, "C": {"topic": "x.v1"}}
    contract = Contract.model_validate(small(modules=modules, flows={}))
    assert contract.topic("Alpha") == "telemetry.alpha.v1"
    assert contract.topics() == ("telemetry.alpha.v1", "x.v1")


def test_owner_and_playbook_of_a_stage_default_to_its_modules() -> None:
    """A stage's own owner wins; without any it is nobody's."""
    tree = small()
    contract = Contract.model_validate(tree)
    assert (contract.owner("f", "one"), contract.playbook("f", "one")) == ("team-a", "p")
    assert (contract.owner("f", "two"), contract.playbook("f", "two")) == ("", None)
    tree["flows"]["f"]["stages"][1]["owner"] = "team-x"
    assert Contract.model_validate(tree).owner("f", "two") == "team-x"


def test_the_nearest_objective_wins() -> None:
    """Edge before flow before the contract's, and 0.999 when nothing is said."""
    tree = small()
    assert Contract.model_validate(tree).objective("f") == 0.999
    tree["flows"]["f"]["slo"] = 0.99
    assert Contract.model_validate(tree).objective("f", "one", "two") == 0.99
    edge = {"flow": "f", "from_stage": "one", "to_stage": "two", "fidelity": 0.9}
    tree["slos"] = {"fidelity": 0.95, "edges": [edge]}
    contract = Contract.model_validate(tree)
    assert contract.objective("f", "one", "two") == 0.9
    assert contract.objective("f") == 0.99
    assert contract.objective("elsewhere") == 0.95


def test_a_contract_written_out_and_read_again_is_the_same() -> None:
    """`plain` has the file's keys, so that it can be loaded."""
    tree = small()
    tree["flows"]["f"]["stages"][1]["when"] = {"stage": "one", "dimension": "d", "in": ["x"]}
    contract = Contract.model_validate(tree)
    assert contract.plain()["flows"]["f"]["stages"][1]["when"]["in"] == ["x"]
    assert Contract.model_validate(contract.plain()) == contract


def test_a_contract_cannot_be_built_around_the_checks() -> None:
    """Building from Python runs the same checks as loading a file."""
    tree = small()
    tree["flows"]["f"]["stages"][1]["after"] = ["oen"]
    with pytest.raises(ValidationError, match=r"stages\[1\]\.after: unknown stage 'oen'; did you"):
        Contract.model_validate(tree)


def test_a_contract_does_not_change() -> None:
    """Its parts are frozen."""
    contract = Contract.model_validate(small())
    with pytest.raises(ValidationError, match="frozen"):
        contract.name = "other"


def test_edges_are_the_predecessors_of_the_stages() -> None:
    """One edge for each `after`."""
    assert Contract.model_validate(small()).flows["f"].edges == (("one", "two"),)


@pytest.mark.parametrize("treatment", ["hash", "truncate", "truncate:0", "truncate:12", "drop "])
def test_a_treatment_that_is_none(treatment: str) -> None:
    """Is refused when the contract is read."""
    given = {
        "version": "1",
        "name": "n",
        "modules": {"A": {}},
        "field_classes": {"actor": "PII"},
        "field_treatments": {"actor": treatment},
    }
    with pytest.raises(ValidationError, match="field_treatments"):
        Contract.model_validate(given)
    assert Contract.model_validate(given | {"field_treatments": {"actor": "truncate:3"}})
