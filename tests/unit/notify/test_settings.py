"""Settings of the process that tells incidents: what is wrong is named, with the fix."""

from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.notify.settings import load_notify_settings, load_targets
from streams.settings import load_settings


def test_what_is_given_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over its variable, and None falls through."""
    monkeypatch.setenv("SPANLOOM_NOTIFY_HOSTS", '["hooks.example.org"]')
    monkeypatch.setenv("SPANLOOM_NOTIFY_GROUP", "told")
    found = load_notify_settings(group="mine", config=None)
    assert (found.group_of("desk"), found.hosts) == ("mine.desk", ("hooks.example.org",))


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("group", "no spaces", "String should match pattern '^[A-Za-z0-9._-]{1,100}$'"),
        ("hosts", "hooks.example.org", 'give a JSON list, such as ["hooks.example.org"'),
        ("hosts", "[1]", "Input should be a valid string"),
    ],
)
def test_what_does_not_fit_is_named(
    name: str, value: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting, its variable and what it wants."""
    monkeypatch.setenv(f"SPANLOOM_NOTIFY_{name.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        load_notify_settings()
    said = str(caught.value)
    assert said.startswith(f"settings are wrong: notify_{name}")
    assert f"SPANLOOM_NOTIFY_{name.upper()}" in said
    assert fix in said


def test_nobody_to_tell_is_named() -> None:
    """With the setting that is missing, and both ways to give it."""
    with pytest.raises(ConfigError) as caught:
        load_targets(load_notify_settings(), load_settings())
    said = str(caught.value)
    assert said.startswith("notify_config (SPANLOOM_NOTIFY_CONFIG): missing")
    assert "--config" in said
    assert "--contract (SPANLOOM_CONTRACT)" in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """By its path."""
    settings = load_notify_settings(config=tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_targets(settings, load_settings())
