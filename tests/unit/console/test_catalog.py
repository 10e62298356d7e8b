"""The catalog: a contract as lists, and what nobody owns named once more."""

import json

from streams.console.paths.catalog import catalog_of, catalog_paths
from streams.contract.loader import load_contract, parse_contract

HALF_OWNED = """
version: "1"
name: half
modules:
  A: {owner: a-team}
  B: {}
flows:
  f:
    entry: one
    stages:
      - {id: one, module: A, name: a.one}
      - {id: two, module: B, name: b.two, after: [one]}
      - {id: three, module: B, name: b.three, after: [two], owner: c-team}
"""


def test_the_shipped_contract_is_told_whole() -> None:
    """Each module, stage, edge, signal and rule is there, and JSON can hold it."""
    contract = load_contract("seed")
    found = json.loads(json.dumps(catalog_of(contract)))
    assert [one["name"] for one in found["modules"]] == list(contract.modules)
    for flow in found["flows"]:
        declared = contract.flows[flow["id"]]
        assert [one["id"] for one in flow["stages"]] == [stage.id for stage in declared.stages]
        edges = [(one["from_stage"], one["to_stage"]) for one in flow["edges"]]
        assert edges == list(declared.edges)
    assert len(found["signals"]) == len(contract.signals)
    assert {one["module"] for one in found["signals"]} <= set(contract.modules)
    assert len(found["rules"]) == len(contract.rules)
    assert found["unowned"] == {"modules": [], "stages": [], "rules": []}


def test_an_edge_has_its_own_objective() -> None:
    """The objective of an edge is its own, else its flow's."""
    (record, *_) = catalog_of(load_contract("seed"))["flows"]
    objectives = {(one["from_stage"], one["to_stage"]): one["slo_ratio"] for one in record["edges"]}
    assert objectives["delivery", "acknowledgment"] == 0.9995
    assert objectives["connection", "parser"] == record["slo_ratio"] == 0.999


def test_what_nobody_owns_is_named() -> None:
    """A module without an owner, and its stages unless they have one of their own."""
    unowned = catalog_of(parse_contract(HALF_OWNED))["unowned"]
    assert unowned == {"modules": ["B"], "stages": ["f/two"], "rules": []}


def test_without_a_contract_the_lists_are_empty() -> None:
    """The same shape, and `contract` says that there is none."""
    found = catalog_of(None)
    assert found["contract"] is None
    assert found.keys() == catalog_of(load_contract("seed")).keys()
    (path,) = catalog_paths(None)
    assert path.path == "/api/v1/catalog"
