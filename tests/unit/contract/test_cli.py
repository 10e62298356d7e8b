"""`spanloom contract check` and `show` as a person or a script sees them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.contract import app, contract_view
from streams.contract.loader import load_contract, parse_contract

RUN = CliRunner()
UNOWNED = """\
version: "1"
name: small [x]
modules:
  A: {}
flows:
  f:
    entry: one
    stages:
      - {id: one, module: A, name: a.one}
      - {id: two, module: A, name: a.two, after: [one], owner: me, min_count: 2}
"""


def test_a_valid_contract_ends_with_0() -> None:
    """And says what it holds."""
    result = RUN.invoke(app, ["check", "seed"])
    assert result.exit_code == 0
    assert "contract seed 1.0.0 is valid: 6 modules, 3 flows" in result.stdout


def test_a_wrong_contract_ends_with_2_and_every_problem(tmp_path: Path) -> None:
    """On standard error, one a line, or as one JSON object on standard output."""
    file = tmp_path / "wrong.yaml"
    file.write_text(UNOWNED.replace("[one]", "[oen]").replace("module: A", "module: B"))
    for command in ("check", "show"):
        result = RUN.invoke(app, [command, str(file)])
        assert result.exit_code == 2
        assert "wrong.yaml:10: flows.f.stages[1].after: unknown stage 'oen'" in result.stderr
        assert result.stderr.rstrip().endswith(f"3 problems in {file}")
    result = RUN.invoke(app, ["check", "--json", str(file)])
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ok"], len(answer["problems"])) == (2, False, 3)
    assert answer["problems"][0]["line"] == 9


def test_json_of_a_valid_contract_says_ok() -> None:
    """With its name and version."""
    answer = json.loads(RUN.invoke(app, ["check", "seed", "--json"]).stdout)
    assert (answer["ok"], answer["name"], answer["problems"]) == (True, "seed", [])


def test_what_nobody_owns_is_shown(tmp_path: Path) -> None:
    """Module A and its stage `one` have no owner; stage `two` has its own."""
    assert contract_view(parse_contract(UNOWNED))["unowned"] == ["A", "f.one"]
    file = tmp_path / "small.yaml"
    file.write_text(UNOWNED)
    shown = RUN.invoke(app, ["show", str(file)])
    assert shown.exit_code == 0
    assert "small [x]" in shown.stdout, "brackets are text, not markup"
    assert "nobody answers for 2 parts: A, f.one" in shown.stdout
    assert "at least 2 spans" in shown.stdout


def test_show_gives_what_follows_from_the_contract() -> None:
    """Owners, need, edges and objectives, filled in."""
    view = contract_view(load_contract("seed"))
    stages = {stage["id"]: stage for stage in view["flows"]["record"]["stages"]}
    assert stages["enrichment"]["owner"] == "transformation-team"
    assert stages["cache_lookup"]["need"] == "optional"
    expected = "required when delivery.ack_pattern in [async, batch]"
    assert stages["acknowledgment_receipt"]["need"] == expected
    last = view["flows"]["record"]["edges"][-1]
    assert last == {"from_stage": "delivery", "to_stage": "acknowledgment", "slo": 0.9995}
    assert json.loads(RUN.invoke(app, ["show", "seed", "--json"]).stdout) == view


@pytest.mark.parametrize("command", ["check", "show"])
def test_help_has_an_example(command: str) -> None:
    """A reader can copy a line."""
    assert f"spanloom contract {command}" in RUN.invoke(app, [command, "--help"]).stdout
