"""The command line of the fault harness: a bug can be planted only in the target that has it."""

from pathlib import Path

import pytest

from tests.fault import __main__ as command
from tests.fault.canary import CANARIES, program_of
from tests.fault.console_canary import CONSOLE_CANARIES, console_program_of
from tests.fault.harness import PROGRAM, REPOSITORY


def parsed(monkeypatch: pytest.MonkeyPatch, *given: str) -> str | None:
    """Return the bug that a command line asks for."""
    monkeypatch.setattr("sys.argv", ["tests.fault", *given])
    found: str | None = command._arguments().canary
    return found


@pytest.mark.parametrize("flag", ["--canary", "--bug"])
def test_a_bug_of_the_target_is_planted(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    """Each target has its own, and the program that runs it."""
    for name in CANARIES:
        assert parsed(monkeypatch, flag, name) == name
        assert command._program(name) == program_of(name)
    for name in CONSOLE_CANARIES:
        assert parsed(monkeypatch, "--target", "console", flag, name) == name
        assert command._program(name) == console_program_of(name)
    assert command._program(parsed(monkeypatch)) == PROGRAM


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (["--target", "console", "--bug", "drop_output"], "skip_after_kill"),
        (["--bug", "skip_after_kill"], "drop_output"),
    ],
)
def test_a_bug_of_another_target_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    known: str,
) -> None:
    """It ends with 2, before anything starts, and says which there are."""
    with pytest.raises(SystemExit) as ended:
        parsed(monkeypatch, *given)
    assert ended.value.code == 2
    assert known in capsys.readouterr().err


def test_an_upgrade_begins_at_a_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without one it cannot run, a folder without code is none, and no other scenario takes it."""
    here = str(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["tests.fault", "--scenario", "upgrade", "--old", here])
    assert command._arguments().old == REPOSITORY
    for given, words in (
        (["--scenario", "upgrade"], "--old FOLDER belongs to"),
        (["--scenario", "upgrade", "--old", str(tmp_path)], "is no checkout"),
        (["--scenario", "kills", "--old", here], "--old FOLDER belongs to"),
    ):
        with pytest.raises(SystemExit) as ended:
            parsed(monkeypatch, *given)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err
