"""The command takes what the Makefile gives it and refuses the rest with a word on why."""

from pathlib import Path

import pytest

from benchmarks.__main__ import CASES, main, parse


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_options_and_a_quick_form(case: str) -> None:
    """Each case parses, and --quick only makes it smaller."""
    plain, quick = parse(["--case", case]), parse(["--case", case, "--quick"])
    assert plain.case == quick.case == case
    assert vars(plain).keys() == vars(quick).keys()
    assert vars(plain) != {**vars(quick), "quick": False}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--case is missing"),
        (["--case", "speed"], "invalid choice"),
        (["--case", "open", "--setting", "poll_records"], "NAME=VALUE"),
        (["--case", "open", "--json", "nowhere/at/all.json"], "no folder"),
        (["--case", "open", "--minutes", "5"], "unrecognized"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)
    assert words in capsys.readouterr().err


def test_a_case_that_cannot_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Java there is no broker: exit code 2, and no file that looks like a result."""
    monkeypatch.setenv("PATH", "/usr/bin/none:/bin/none")
    monkeypatch.setenv("SPANLOOM_KAFKA_HOME", str(tmp_path / "kafka"))
    file = tmp_path / "f.json"
    assert main(["--case", "soak", "--json", str(file)]) == 2
    assert "could not be run" in capsys.readouterr().err
    assert not file.exists()
