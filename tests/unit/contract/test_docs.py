"""docs/contract.md keeps up with the model, and its examples are a contract."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from streams.contract import model, rules
from streams.contract.incident_rules import IncidentRules, Maintenance
from streams.contract.loader import load_contract, parse_contract

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "contract.md").read_text(encoding="utf-8")
PARTS: list[type[BaseModel]] = [
    model.Contract, model.Module, model.Component, model.Flow, model.Stage, model.When,
    model.Objectives, model.EdgeObjective, model.Thresholds, model.Signal, model.NamedEvent,
    rules.Rule, rules.RuleMatch, rules.RuleCondition, rules.ExternalAlerts,
    IncidentRules, Maintenance,
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_every_key_is_explained(part: type[BaseModel]) -> None:
    """Each key, as the file spells it, stands in the page as code."""
    keys = [info.alias or name for name, info in part.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in PAGE] == []


def test_no_key_in_a_table_is_unknown() -> None:
    """The first column of the tables holds keys of the model only."""
    known = {i.alias or n for part in PARTS for n, i in part.model_fields.items()}
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    named = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    assert named
    assert named - known == set()


def test_the_examples_together_are_a_valid_contract() -> None:
    """What a reader copies loads."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    contract = parse_contract("".join(blocks), "docs/contract.md")
    assert contract.name == "orders"
    assert contract.topic("BILLING") == "telemetry.payments.v1"


def test_the_defaults_in_the_page_are_the_models() -> None:
    """A default stands in the row of its key."""
    parts: list[type[BaseModel]] = [model.Thresholds, model.Objectives]
    for part in parts:
        for name, info in part.model_fields.items():
            if isinstance(info.default, int | float):
                rows = re.findall(rf"^\| [^|]*`{name}`[^|]*\| ([^|]*) \|", PAGE, re.MULTILINE)
                assert any(f"{info.default:g}" in row.split(", ") for row in rows), name


def test_the_seed_uses_every_kind_of_key_of_a_stage() -> None:
    """So that the shipped file is an example too; counts and owners are in the page's own."""
    written = {
        key
        for flow in load_contract("seed").flows.values()
        for stage in flow.stages
        for key in stage.model_fields_set
    }
    assert written == set(model.Stage.model_fields) - {"min_count", "owner"}
