"""`spanloom demo`: its exit code is the verdict, and the report is written either way."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from streams.cli import demo
from streams.demo.page import PORT, Page
from streams.errors import BrokerError
from tests.unit.cli.shell import Shell
from tests.unit.cli.test_demo_verdict import GOOD


@pytest.mark.parametrize("is_good", [True, False])
def test_the_exit_code_is_the_verdict(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_good: bool
) -> None:
    """0 for a report without failures, 1 for one with any; the file holds the report."""
    report: dict[str, Any] = copy.deepcopy(GOOD)
    report["faults"][0]["found"] = is_good
    asked: list[object] = []

    def run(seconds: float, seed: int, contract: str, *_: object, **more: Any) -> dict[str, Any]:
        asked.extend((seconds, seed, contract, more["page_port"]))
        more["finish"](report, Page("", "seed", 0), False)
        return report

    monkeypatch.setattr(demo, "run_demo", run)
    path = tmp_path / "report.json"
    answer = shell("demo", "--seconds", 20, "--seed", 7, "--json", path)
    assert asked == [20.0, 7, "seed", PORT]
    assert answer.code == (0 if is_good else 1)
    assert json.loads(path.read_text()) == report
    assert ("✓ 1,234 events" in answer.out) == is_good
    assert ("✗ Fault module_silent at GAMMA was not found." in answer.out) != is_good


def test_an_engine_that_fails_makes_no_report(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error ends the command with its code, and no file claims a result."""

    def run(*_: object, **__: object) -> None:
        raise BrokerError("the embedded broker went away")

    monkeypatch.setattr(demo, "run_demo", run)
    answer = shell("demo", "--json", tmp_path / "report.json")
    assert answer.code == 3
    assert "the embedded broker went away" in answer.err
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("seconds", [9, 3601, -1])
def test_a_length_out_of_bounds_is_wrong_usage(shell: Shell, seconds: int) -> None:
    """Too short to plant anything, or too long for the embedded broker."""
    answer = shell("demo", "--seconds", seconds)
    assert answer.code == 2
    assert "--seconds" in answer.err


@pytest.mark.parametrize("place", ["", "nowhere/report.json"])
def test_a_report_that_cannot_be_written_is_refused_at_start(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """A folder that is not there is told before the run, not in a traceback after it."""

    def run(*_: object, **__: object) -> None:
        pytest.fail("the demonstration ran")

    monkeypatch.setattr(demo, "run_demo", run)
    answer = shell("demo", "--json", tmp_path / place)
    assert answer.code == 2
    assert "cannot be written" in answer.err
