"""What is wrong with an argument is told before a long run begins, by every command."""

import importlib
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from benchmarks.arguments import at_least_one, report_file

COMMANDS = {
    "benchmarks.__main__": ["--case", "soak"],
    "benchmarks.incidents.__main__": ["--set", "flap"],
    "benchmarks.archive": [],
    "benchmarks.viewers": [],
    "benchmarks.fidelity": ["--learn", "x", "--judge", "x"],
    "benchmarks.fuzz": [],
    "tests.fault.__main__": [],
}


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("place", ["nowhere/report.json", "."])
def test_a_report_that_cannot_be_written_is_refused_at_once(
    module: str, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour of kills would be lost for a folder that is not there."""
    arguments = [*COMMANDS[module], "--json", place]
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    command = importlib.import_module(module).main
    with pytest.raises(SystemExit) as ended:
        command(arguments) if module == "benchmarks.__main__" else command()
    assert ended.value.code == 2
    assert "argument --json: " in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--workers", "--partitions"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_deployment_without_workers_or_partitions_is_refused(
    flag: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would wait for output that nobody gives."""
    monkeypatch.setattr(sys, "argv", ["tests.fault", f"{flag}={value}"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("tests.fault.__main__").main()
    assert ended.value.code == 2
    assert f"argument {flag}: " in capsys.readouterr().err


def test_what_can_be_written_is_taken(tmp_path: Path) -> None:
    """A file that is there already is written anew."""
    file = tmp_path / "report.json"
    assert report_file(str(file)) == file
    file.touch()
    assert report_file(str(file)) == file
    assert at_least_one("12") == 12
    with pytest.raises(ArgumentTypeError, match="from 1 on"):
        at_least_one("")
