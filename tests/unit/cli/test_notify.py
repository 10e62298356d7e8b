"""`spanloom notify` without a broker: help, check, and what ends a start."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.commands import app
from streams.errors import ConfigError

FILE = """\
targets:
  - {id: pager, kind: webhook, url: {env: PAGER_URL}}
"""


def write(folder: Path, text: str) -> str:
    """Write a file of targets and return its path."""
    path = folder / "notify.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("command", ["run", "check", "test"])
def test_help_has_an_example_and_the_exit_codes(command: str) -> None:
    """A reader can begin from it."""
    shown = CliRunner().invoke(app, ["notify", command, "--help"])
    assert shown.exit_code == 0
    assert f"Example: spanloom notify {command}" in " ".join(shown.output.split())
    assert "Ends with 0" in " ".join(shown.output.split())


def test_check_says_what_a_file_holds(tmp_path: Path) -> None:
    """Secrets are not read: the file can be checked where they are not."""
    path = write(tmp_path, FILE)
    shown = CliRunner().invoke(app, ["notify", "check", path])
    assert shown.exit_code == 0
    assert "1 target: pager (webhook)" in shown.output
    shown = CliRunner().invoke(app, ["notify", "check", path, "--json"])
    assert json.loads(shown.output)["targets"] == [{"id": "pager", "kind": "webhook"}]


def test_check_lists_every_problem_with_its_line(tmp_path: Path) -> None:
    """2, the same for people and for scripts."""
    path = write(tmp_path, FILE.replace("kind: webhook", "kind: webhok, tiemout: 3"))
    shown = CliRunner().invoke(app, ["notify", "check", path])
    assert shown.exit_code == 2
    assert "notify.yaml:2: targets[0].kind" in shown.output
    shown = CliRunner().invoke(app, ["notify", "check", path, "--json"])
    assert shown.exit_code == 2
    assert {problem["line"] for problem in json.loads(shown.output)["problems"]} == {2}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """2 and the path."""
    shown = CliRunner().invoke(app, ["notify", "check", str(tmp_path / "none.yaml")])
    assert shown.exit_code == 2
    assert "cannot read" in shown.output


def test_an_unknown_target_is_told_from_the_known_ones(tmp_path: Path) -> None:
    """Nothing is sent."""
    words = ["notify", "test", "--config", write(tmp_path, FILE), "--target", "pagr"]
    shown = CliRunner().invoke(app, words)
    assert isinstance(shown.exception, ConfigError)
    assert "known: pager" in str(shown.exception)
