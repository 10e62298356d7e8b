"""Keys from the command line: shown once, kept as hashes, taken back; each change written down."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli.console_key import app
from streams.errors import ConfigError
from streams.serving import keys


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys and book in a folder of the test's own."""
    monkeypatch.setenv("SPANLOOM_CONSOLE_KEYS_FILE", str(tmp_path / "keys.json"))
    monkeypatch.setenv("SPANLOOM_CONSOLE_ARCHIVE", str(tmp_path / "archive"))


def run(*words: str) -> Any:
    done = CliRunner().invoke(app, list(words), catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    """It opens; the file and the book do not hold it; nobody else may read the file."""
    made = run("new", "--actor", "alice", "--role", "operator", "--for", "2d", "--json")
    file = tmp_path / "keys.json"
    ring = keys.KeyRing(file)
    actor, _ = ring.actor(made["key"], 0)
    assert actor is not None
    assert (actor.name, actor.roles) == ("alice", {"operator"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (book,) = (tmp_path / "archive" / "access").iterdir()
    assert made["key"] not in file.read_text() + book.read_text()
    assert json.loads(book.read_text())["event"] == "key_made"


def test_keys_are_listed_and_revoked(tmp_path: Path) -> None:
    """One is taken back and the other is not; it stays in the list."""
    one, two = (run("new", "--actor", name, "--json") for name in ("one", "two"))
    run("revoke", one["key_id"], "--json")
    states = {key["actor"]: key["state"] for key in run("list", "--json")["keys"]}
    assert states == {"one": "revoked", "two": "valid"}
    ring = keys.KeyRing(tmp_path / "keys.json")
    assert ring.actor(one["key"], 0) == (None, "revoked")
    assert ring.actor(two["key"], 0)[0] is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "--actor", "a", "--role", "king"), "--role king"),
        (("new", "--actor", " "), "--actor"),
        (("new", "--actor", "a\x1b[1m"), "--actor"),
        (("new", "--actor", "a", "--for", "0d"), "--for 0d"),
        (("new", "--actor", "a", "--for", "ever"), "--for ever"),
        (("list",), "console-key new"),
        (("revoke", "nobody"), "console-key new"),
    ],
)
def test_what_is_wrong_is_told(words: tuple[str, ...], said: str) -> None:
    """With the flag, or what to do first."""
    with pytest.raises(ConfigError, match=said):
        run(*words)
