"""A console without a key of pseudonyms makes one, once, beside its archive; not for a bucket."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.console.privacy import MADE_SUFFIX, check_keys, keys_of, privacy_of
from streams.console.settings import ConsoleSettings, load_console_settings
from streams.contract.loader import load_contract
from streams.errors import ConfigError, StateError
from tests.unit.console.canaries import KEYS_TEXT, contract

Lines = list[Any]


@pytest.fixture
def place(tmp_path: Path) -> tuple[ConsoleSettings, Path]:
    """Return settings with an archive in a folder, and where its key lies."""
    folder = tmp_path / "archive"
    folder.mkdir()
    return load_console_settings(archive=f"{folder}/"), tmp_path / f"archive{MADE_SUFFIX}"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield what is logged."""
    with capture_logs() as found:
        yield found


def pseudonym(settings: ConsoleSettings, *, holds_files: bool = False) -> str:
    """Return what a console keeps of a name."""
    check_keys(contract(), settings)
    privacy = privacy_of(contract(), settings, lambda: holds_files)
    assert privacy is not None
    return privacy.pseudonyms.of("alice")


def test_it_is_made_once(place: tuple[ConsoleSettings, Path], lines: Lines) -> None:
    """For its owner alone; each start says in one line where it lies, and none what it is."""
    settings, file = place
    first = pseudonym(settings)
    text = file.read_text("ascii")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key_id, secret = text.split()
    assert (key_id, len(secret), text[-1]) == ("k1", 64, "\n")
    assert pseudonym(settings, holds_files=True) == first
    assert file.read_text("ascii") == text
    assert [(one["event"], one["log_level"]) for one in lines] == [
        ("pseudonym_keys_made", "warning"),
        ("pseudonym_keys_own", "warning"),
    ]
    for one in lines:
        assert one["file"] == str(file)
        assert "apart from backups" in one["action"]
        assert "SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE" in one["action"]
    assert secret not in repr(lines)
    assert [key.secret.decode() for key in keys_of(settings)] == [secret]
    assert sorted(file.parent.iterdir()) == [file.parent / "archive", file]


def test_two_archives_have_two_keys(tmp_path: Path) -> None:
    """Nobody is the same in both."""
    found = {pseudonym(load_console_settings(archive=str(tmp_path / name))) for name in "ab"}
    assert len(found) == 2


def test_when_it_is_gone_that_is_said_aloud(
    place: tuple[ConsoleSettings, Path], lines: Lines
) -> None:
    """A new one is made, and older pseudonyms are nobody's any more."""
    settings, file = place
    first = pseudonym(settings)
    file.unlink()
    assert pseudonym(settings, holds_files=True) != first
    last = lines[-1]
    assert (last["event"], last["log_level"]) == ("pseudonym_keys_lost", "error")
    assert "cannot be searched by plain value any more" in last["why"]
    assert len(lines) == 2


def test_a_given_key_is_used_alone(place: tuple[ConsoleSettings, Path], lines: Lines) -> None:
    """No other is made, and one that was made is let lie."""
    settings, file = place
    given = load_console_settings(archive=settings.archive, pseudonym_keys=KEYS_TEXT)
    assert pseudonym(given).startswith("~k2:")
    assert not file.exists()
    assert pseudonym(settings).startswith("~k1:")
    lines.clear()
    assert pseudonym(given).startswith("~k2:")
    assert lines == []


def test_without_classes_none_is_made(place: tuple[ConsoleSettings, Path], lines: Lines) -> None:
    """Nothing is kept in place of anything."""
    settings, file = place
    plain = load_contract("seed").model_copy(update={"field_classes": {}})
    for one in (plain, None):
        check_keys(one, settings)
        assert privacy_of(one, settings) is None
    assert not file.exists()
    assert lines == []


def test_what_a_kill_left_is_done_anew(place: tuple[ConsoleSettings, Path]) -> None:
    """A file that was not whole had no name yet."""
    settings, file = place
    unfinished = file.with_name(file.name + ".unfinished")
    unfinished.write_text("k1 ab", "ascii")
    assert pseudonym(settings)
    assert not unfinished.exists()
    assert len(file.read_text("ascii").split()[1]) == 64


def test_where_none_can_be_written_it_does_not_start(place: tuple[ConsoleSettings, Path]) -> None:
    """And says what to do."""
    settings, file = place
    (file.with_name(file.name + ".unfinished")).mkdir()
    with pytest.raises(StateError, match=r"Operator action: let the console write its key there"):
        pseudonym(settings)
    assert not file.exists()


def test_one_that_is_none_is_told(place: tuple[ConsoleSettings, Path]) -> None:
    """Nothing is made in its place: it may be mended."""
    settings, file = place
    for text in ("# nothing\n", "k1 short\n"):
        file.write_text(text, "ascii")
        with pytest.raises(ConfigError, match=r"SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE"):
            pseudonym(settings)
        assert file.read_text("ascii") == text


def test_a_bucket_wants_a_key() -> None:
    """Without one it does not start, and says what to set."""
    settings = load_console_settings(archive="s3://bucket/archive")
    for refused in (check_keys, privacy_of):
        with pytest.raises(
            ConfigError, match=r"SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE.*openssl rand"
        ):
            refused(contract(), settings)
    given = load_console_settings(archive=settings.archive, pseudonym_keys=KEYS_TEXT)
    assert pseudonym(given).startswith("~k2:")
