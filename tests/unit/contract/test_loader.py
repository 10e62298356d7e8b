"""A file to a contract, or to one error with every problem, its line and its fix."""

from pathlib import Path

import pytest

from streams.contract.loader import (
    FILE_BYTES_MAX,
    SHOWN_MAX,
    ContractError,
    contract_path,
    keys_at,
    load_contract,
    parse_contract,
)
from streams.errors import ConfigError

MANY_FAULTS = """\
version: 1.0
name: many
modules:
  A: {owner: no}
  OTHER: {}
  B: {depends_on: [C], tieer: 2}
flows:
  f:
    entry: one
    stages:
      - {id: one, module: A, name: x}
      - {id: parser, module: A, name: y, after: [one]}
      - id: three
        module: B
        after: [parsr]
      - {id: four, module: B, name: z, after: [one],
         when: {stage: one, dimension: d, in: []}}
  g:
    entry: one
    stages: []
"""


def problems(text: str) -> list[str]:
    """Return the lines of the error that a text gives."""
    with pytest.raises(ContractError) as caught:
        parse_contract(text, "many.yaml")
    return str(caught.value).splitlines()


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    """Errors of type and errors between parts stand in one list, each with its line and fix."""
    assert problems(MANY_FAULTS) == [
        "many.yaml:1: version: must be text, but YAML reads 1.0; put it in quotes",
        "many.yaml:4: modules.A.owner: must be text, but YAML reads false; put it in quotes",
        "many.yaml:5: modules.OTHER: 'OTHER' is a reserved module name; give the module another",
        "many.yaml:6: modules.B.depends_on: unknown module 'C'; known: A, B",
        "many.yaml:6: modules.B.tieer: unknown key 'tieer'; did you mean 'tier'?",
        "many.yaml:13: flows.f.stages[2].name: 'name' is missing; add it",
        "many.yaml:15: flows.f.stages[2].after: unknown stage 'parsr'; did you mean 'parser'?",
        "many.yaml:17: flows.f.stages[3].when.in: 'in' must not be empty; "
        "add an item or remove the part",
        "many.yaml:20: flows.g.stages: 'stages' must not be empty; add an item or remove the part",
    ]


def test_a_problem_carries_its_parts() -> None:
    """Scripts need not take the text apart; the error is one of configuration."""
    with pytest.raises(ConfigError) as caught:
        parse_contract("version: '1'\nname: x\n", "x.yaml")
    assert isinstance(caught.value, ContractError)
    (only,) = caught.value.problems
    assert (only.file, only.line, only.path) == ("x.yaml", 1, "modules")
    assert caught.value.exit_code == 2


def test_keys_written_twice_are_refused_though_the_rest_is_valid() -> None:
    """Neither of the two wins."""
    text = "version: '1'\nname: x\nmodules: {A: {}}\nname: y\n"
    assert problems(text) == ["many.yaml:4: name: key 'name' is there already, in line 2; keep one"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "the file is empty"), ("- a", "should be an object"), ("a: b: c", "not YAML")],
)
def test_what_is_no_contract_at_all_says_so(text: str, expected: str) -> None:
    """One problem, one line."""
    (only,) = problems(text)
    assert expected in only


def test_a_flood_of_problems_is_cut_and_says_how_many_more() -> None:
    """A reader is not buried."""
    modules = "".join(f"  M{i}: {{tieer: 1}}\n" for i in range(SHOWN_MAX + 7))
    found = problems(f"version: '1'\nname: x\nmodules:\n{modules}")
    assert len(found) == SHOWN_MAX + 1
    assert "and at least 7 more" in found[-1]


def test_files_that_cannot_be_read_are_one_problem(tmp_path: Path) -> None:
    """Missing, too big or not UTF-8: named, with what to do."""
    with pytest.raises(ContractError, match=r"cannot read .*nowhere\.yaml.*give a path"):
        load_contract(tmp_path / "nowhere.yaml")
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ContractError, match="larger than 4194304 bytes"):
        load_contract(big)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9")
    with pytest.raises(ContractError, match="byte 9 is not UTF-8"):
        load_contract(latin)


def test_seed_is_the_shipped_contract() -> None:
    """By name, wherever the command runs; any other name is a path."""
    assert load_contract("seed").name == "seed"
    assert contract_path("other.yaml") == Path("other.yaml")


def test_an_aliased_part_is_reported_where_it_is_used() -> None:
    """A part that stands once and counts twice is wrong in both places."""
    text = "version: '1'\nname: x\nmodules:\n  A: &m {tieer: 1}\n  B: *m\n"
    assert [line.split(": ")[0] for line in problems(text)] == ["many.yaml:4", "many.yaml:5"]


def test_known_keys_follow_the_model() -> None:
    """Suggestions look through mappings, lists and optional parts, and use the file's spelling."""
    assert keys_at(("flows", "f", "stages", 3, "when")) == ("stage", "dimension", "in")
    assert "short_s" in keys_at(("slos",))
    assert keys_at(("playbooks",)) == ()
    assert keys_at(("nothing", "here")) == ()


@pytest.mark.parametrize(
    ("after", "fix"), [("parse", "write [parse]"), ("{parse: 1}", "write - and an item in each")]
)
def test_one_thing_where_a_list_must_be_is_told_as_yaml_writes_lists(after: str, fix: str) -> None:
    """The most common slip of a first contract: no word of arrays, which YAML does not have."""
    text = (
        'version: "1"\nname: n\nmodules: {A: {}}\nflows:\n  f:\n    entry: parse\n    stages:\n'
        "      - {id: parse, module: A, name: parse}\n"
        f"      - {{id: ship, module: A, name: ship, after: {after}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        parse_contract(text)
    assert f"flows.f.stages[1].after: must be a list, even of one item; {fix}" in str(caught.value)
