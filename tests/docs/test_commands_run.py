"""The command lines of the pages that need no broker are run as they stand."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.commands import app
from tests.docs.pages import ROOT, commands

ALONE = (
    ("schema", "check"),
    ("contract", "show", "seed"),
    ("contract", "check", "seed"),
    ("contract", "signals", "seed"),
    ("rules", "test", "docs/"),
    ("coverage", "template", "ALPHA"),
)
"""How commands begin that read nothing but what this repository holds."""
MADE = "release/schemas"
"""What a reader of the pages has beside that: the schemas of an earlier release."""


def alone() -> list[str]:
    """Return the calls that need nothing else, each once, in the order of the pages."""
    starts = [" ".join(words) for words in ALONE]
    calls = [shlex.join(words) for _, words in commands() if "..." not in words]
    return [c for c in dict.fromkeys(calls) if any(c.startswith(start) for start in starts)]


def test_there_are_some() -> None:
    """The check below can fail: several kinds of call are found."""
    assert len({call.split()[0] for call in alone()}) >= 3


@pytest.mark.parametrize("call", alone())
def test_a_command_of_the_pages_ends_well(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 0 and without a word on standard error, from where a reader stands."""
    words = shlex.split(call)
    for name in ("docs", "schemas"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / MADE).parent.mkdir()
    (tmp_path / MADE).symlink_to(ROOT / "schemas")
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, words)
    assert (answer.exit_code, answer.stderr) == (0, ""), answer.output
