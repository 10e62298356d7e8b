"""`spanloom schema`: the matrix and its exit codes; what a registry is given."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.shell import Shell
from tests.unit.runtime.confluent import confluent


def test_the_command_says_all_of_it(shell: Shell, tmp_path: Path) -> None:
    """As text and as JSON; a changed schema ends it with 1."""
    answer = shell("schema", "check")
    assert answer.code == 0
    assert "deprecated: alert version 1, use version 2" in answer.out
    told = json.loads(shell("schema", "check", "--json", "--contract", "seed").out)
    assert all(pair["holds"] for pair in told["pairs"])
    assert {"metric", "alert"} <= {one["record"] for one in told["deprecated"]}
    (tmp_path / "alert.v1.avsc").write_text('{"type": "record", "name": "A", "fields": []}')
    answer = shell("schema", "check", "--against", tmp_path)
    assert (answer.code, "alert.v1.avsc: was changed" in answer.out) == (1, True)
    answer = shell("schema", "register")
    assert (answer.code, "SPANLOOM_REGISTRY_URL" in answer.err) == (2, True)


def test_registering_gives_each_version_an_id(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text and as JSON, the same ids again."""
    with confluent() as registry:
        monkeypatch.setenv("SPANLOOM_REGISTRY_URL", registry.url)
        people = shell("schema", "register")
        told = json.loads(shell("schema", "register", "--json").out)
    assert people.code == 0, people.err
    ids = {(row["record"], row["version"]): row["id"] for row in told["registered"]}
    assert f"{ids['alert', 2]:>8}  alert version 2" in people.out.splitlines()
    assert len(set(ids.values())) == len(ids)
